"""ONNX Runtime over the ONNX export, float32, all of its graph optimisations. Its threads stop spinning between calls."""


def load() -> None:
    import onnxruntime  # noqa: F401


def prepare(problem):
    return Forward(problem)


class Forward:
    def __init__(self, problem):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = problem.threads, 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = ort.InferenceSession(str(problem.onnx), options, providers=["CPUExecutionProvider"])
        self.inputs = {self.session.get_inputs()[0].name: problem.images()}

    def step(self):
        (self.logits,) = self.session.run(None, self.inputs)

    def result(self):
        return {"logits": self.logits}
