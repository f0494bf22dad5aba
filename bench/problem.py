"""What is timed: one model, one batch, one kind of step. Every peer builds its inputs from here, so all do the same work."""

import dataclasses
import os
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out"
BIN = ROOT / "build" / "bin"

KINDS = ("synth", "finetune", "forward")
MODELS = {"vit_tiny_patch16_224": 16, "vit_base_patch16_224": 8}  # model: batch
NOISE_LR = 0.1
WEIGHT_LR, WEIGHT_DECAY = 1e-5, 0.05
CLASSES, SIDE = 1000, 224


@dataclasses.dataclass(frozen=True)
class Problem:
    model: str
    kind: str
    batch: int

    def images(self) -> np.ndarray:
        return np.random.default_rng(1).random((self.batch, 3, SIDE, SIDE), dtype=np.float32)

    def labels(self) -> np.ndarray:
        return np.random.default_rng(2).integers(CLASSES, size=self.batch)

    def noise(self, shape) -> np.ndarray:
        return np.random.default_rng(3).uniform(-0.5, 0.5, shape).astype(np.float32)

    @property
    def emit(self) -> str:
        """What users compile to take this step."""
        return {"synth": "synth", "finetune": "finetune", "forward": "evaluate"}[self.kind]

    @property
    def executable(self) -> pathlib.Path:
        return OUT / f"{self.model}-b{self.batch}-{self.emit}"

    @property
    def mlir(self) -> pathlib.Path:
        return OUT / f"{self.model}.mlir"


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def peak_kilobytes(process: int | str = "self") -> int:
    """VmHWM of a process."""
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise OSError(f"/proc/{process}/status has no VmHWM")
