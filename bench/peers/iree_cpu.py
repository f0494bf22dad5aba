"""IREE: the ONNX export compiled for this processor (llvm-cpu, -O3), run by its task scheduler. Compiled once, kept beside the export."""

import os
import pathlib
import subprocess
import sys

FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
    "--iree-opt-level=O3",
    "--iree-input-type=onnx",
)


def load() -> None:
    import iree.compiler
    import iree.runtime  # noqa: F401


def compile_once(onnx: pathlib.Path) -> pathlib.Path:
    """The compiled module; its weights lie beside it."""
    module, mlir = onnx.with_suffix(".vmfb"), onnx.with_suffix(".iree.mlir")
    if module.exists() and module.stat().st_mtime > onnx.stat().st_mtime:
        return module
    folder = pathlib.Path(sys.executable).parent
    run = lambda *command: subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
    try:
        run(folder / "iree-import-onnx", onnx, "--opset-version", 17, "-o", mlir)
        run(folder / "iree-compile", mlir, *FLAGS, "-o", module)
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stderr.splitlines() if "error:" in line), error.stderr[-300:])
        raise RuntimeError(said.split("error:")[-1].strip()) from None
    finally:
        mlir.unlink(missing_ok=True)
    return module


def prepare(problem):
    return Forward(problem)


class Forward:
    def __init__(self, problem):
        import iree.runtime as rt

        rt.flags.parse_flags(f"--task_topology_max_group_count={problem.threads}")
        config = rt.Config("local-task")
        module = rt.VmModule.mmap(config.vm_instance, os.fspath(compile_once(problem.onnx)))
        loaded = rt.load_vm_module(module, config)
        names = [name for name in module.function_names if not name.startswith("__") and "$" not in name]
        self.function = loaded[names[0]]
        self.image = rt.asdevicearray(config.device, problem.images())

    def step(self):
        self.logits = self.function(self.image).to_host()

    def result(self):
        return {"logits": self.logits}
