"""OpenVINO's CPU plugin over the ONNX export: one stream of all threads, and float32 said aloud (it takes bfloat16 by itself where there is AMX)."""


def load() -> None:
    import openvino  # noqa: F401


def prepare(problem):
    return Forward(problem)


class Forward:
    def __init__(self, problem):
        import openvino as ov

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
            "INFERENCE_NUM_THREADS": problem.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        core = ov.Core()
        model = core.compile_model(core.read_model(problem.onnx), "CPU", settings)
        if model.get_property("INFERENCE_PRECISION_HINT") != ov.Type.f32:
            raise RuntimeError("OpenVINO does not compute in float32")
        self.request, self.image = model.create_infer_request(), problem.images()

    def step(self):
        self.outputs = self.request.infer({0: self.image}, share_inputs=True, share_outputs=True)

    def result(self):
        return {"logits": self.outputs[0].copy()}
