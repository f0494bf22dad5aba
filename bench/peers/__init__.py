"""The peers. Each module has `load()`, which imports what the peer needs and builds nothing (its memory then is the idle base; ImportError
says what is missing), and `prepare(problem)`, which returns an object with `step()`, one timed step, and `result()`, what the first step
must have computed (name: array), the same for all peers. All run in float32 with the problem's threads but those whose name says autocast.
"""

from problem import ATTACKS

OURS = "nullspace_executable"
TRAINING = ("eager", "compiled", "published", "jax_jit")
OF_KIND = {
    "synth": TRAINING,
    "finetune": TRAINING,
    "forward": ("eager", "compiled", "jax_jit", "onnx_runtime", "openvino_cpu", "iree_cpu"),
} | dict.fromkeys(ATTACKS, ("attacks",))
NAMES = {
    "eager": "careful eager",
    "compiled": "careful torch.compile",
    "published": "published",
    "jax_jit": "JAX",
    "onnx_runtime": "ONNX Runtime",
    "openvino_cpu": "OpenVINO",
    "iree_cpu": "IREE",
    "attacks": "torchattacks",
    "autocast": "careful eager, autocast bf16",
    "attacks_autocast": "torchattacks, autocast bf16",
}


def of(kind: str, precision: str) -> tuple[str, ...]:
    """Whom to compare with. In bf16: PyTorch under autocast, and PyTorch in float32, first, for the results."""
    if precision == "f32":
        return OF_KIND[kind]
    return ("attacks", "attacks_autocast") if kind in ATTACKS else ("eager", "autocast")
