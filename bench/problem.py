"""What is timed: one model, one batch, one kind of step. Every peer builds its inputs from here, so all do the same work."""

import dataclasses
import json
import os
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out"
BIN = ROOT / "build" / "bin"

# The last four are set so that no image falls or ends early: each library takes all steps.
ATTACKS = {
    "fgsm": "fgsm:eps=4/255",
    "pgd": "pgd:eps=8/255,alpha=2/255,steps=10,start=clean",
    "mim": "mim:eps=8/255,alpha=2/255,steps=10,decay=1",
    "cw": "cw:c=10000,kappa=1000,steps=10,lr=0.01",
    "apgd-ce": "apgd-ce:eps=0.001/255,steps=10",
    "fab-t": "fab-t:eps=0.001/255,steps=3,targets=2",
    "square": "square:eps=0.001/255,queries=15",
}
LAST_ITERATE = ("fgsm", "pgd", "mim")  # whose images are compared, too: of the others, random numbers or the best image decide
KINDS = ("synth", "finetune", "forward", "fgsm", "pgd")
ALL_KINDS = (*KINDS, *(kind for kind in ATTACKS if kind not in KINDS))
# model: batch, kinds
MODELS = {
    "vit_tiny_patch16_224": (16, ALL_KINDS),
    "vit_base_patch16_224": (8, KINDS),
    "deit_small_patch16_224": (16, KINDS[:3]),
    "swin_tiny_patch4_window7_224": (8, KINDS[:3]),
    "resnet50": (8, ("forward",)),
}
NOISE_LR = 0.1
WEIGHT_LR, WEIGHT_DECAY = 1e-5, 0.05
CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Problem:
    model: str
    kind: str
    batch: int
    precision: str = "f32"  # of ours: f32, or bf16 with float32 masters
    micro: int = 0  # images per call of ours; 0: the batch
    options: tuple = ()  # arguments of timm.create_model as (name, value) pairs
    threads: int = dataclasses.field(default_factory=lambda: threads())
    device: str = "cpu"  # where PyTorch computes

    @staticmethod
    def parse(text: str) -> "Problem":
        fields = json.loads(text)
        return Problem(**fields | {"options": tuple(map(tuple, fields["options"]))})

    def text(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @property
    def side(self) -> int:
        return dict(self.options).get("img_size", 224)

    @property
    def per_call(self) -> int:
        return self.micro or self.batch

    def pixels(self) -> np.ndarray:
        """N x H x W x 3, 8 bits."""
        return np.random.default_rng(1).integers(0, 256, (self.batch, self.side, self.side, 3)).astype(np.uint8)

    def images(self) -> np.ndarray:
        """The same as N x 3 x H x W in [0, 1]."""
        return np.ascontiguousarray(self.pixels().transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)

    def labels(self) -> np.ndarray:
        return np.random.default_rng(2).integers(CLASSES, size=self.batch)

    def noise(self, shape) -> np.ndarray:
        return np.random.default_rng(3).uniform(-0.5, 0.5, shape).astype(np.float32)

    @property
    def name(self) -> str:
        """Of the model as it is built."""
        return "-".join([self.model, *(f"{key}{value}" for key, value in self.options)])

    @property
    def emit(self) -> str:
        """What users compile to take this step. The forward pass in bfloat16 is synthesis' `clean_logits`: evaluation measures in float32."""
        if self.kind in ("synth", "finetune"):
            return self.kind
        return "synth" if self.kind == "forward" and self.precision == "bf16" else "evaluate"

    @property
    def executable(self) -> pathlib.Path:
        return OUT / "-".join([self.name, f"b{self.per_call}", self.precision, self.emit])

    @property
    def mlir(self) -> pathlib.Path:
        return OUT / f"{self.name}.mlir"

    @property
    def weights(self) -> pathlib.Path:
        return OUT / f"{self.name}.safetensors"

    @property
    def onnx(self) -> pathlib.Path:
        return OUT / f"{self.name}-b{self.batch}.onnx"


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def peak_kilobytes(process: int | str = "self") -> int:
    """VmHWM of a process."""
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise OSError(f"/proc/{process}/status has no VmHWM")
