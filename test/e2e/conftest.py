"""Fixtures of the end-to-end tests: models from timm, the tools in build/bin, and golden traces by PyTorch in float64.

Reduced depths by default; `--full` runs the sizes people use. A tool that is not built skips its tests, visibly.
"""

import dataclasses
import math
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch
from nullspace import sources
from nullspace.export import export

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NULLSPACE_BUILD", ROOT / "build"))
SHARED = ROOT.parent / "shared"

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")))


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="models of full depth and width instead of reduced ones")


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU")


@pytest.fixture(scope="session")
def full(request) -> bool:
    return request.config.getoption("--full")


@dataclasses.dataclass
class Case:
    """A PyTorch model, exported and imported."""

    model: torch.nn.Module  # float32, eval mode
    info: sources.ModelInfo
    pt2: pathlib.Path
    mlir: pathlib.Path
    libraries: dict = dataclasses.field(default_factory=dict)

    @property
    def weights(self) -> pathlib.Path:
        return self.mlir.with_suffix(".safetensors")

    def golden(self) -> torch.nn.Module:
        """A float64 copy that takes pixels: normalisation inside."""
        return Pixels(self.model, self.info)


class Pixels(torch.nn.Module):
    """`model`, in float64, over images in [0, 1]. `tokens` and `head` cut it at the noise site."""

    def __init__(self, model, info):
        super().__init__()
        import copy

        self.net = copy.deepcopy(model).double().eval()
        self.register_buffer("mean", torch.tensor(info.mean, dtype=torch.float64).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(info.std, dtype=torch.float64).view(1, -1, 1, 1))

    def forward(self, image, noise=None):
        image = (image.double() - self.mean) / self.std
        if noise is None:
            return self.net(image)
        handle = self.net.patch_embed.register_forward_hook(lambda module, args, tokens: tokens + noise)
        try:
            return self.net(image)
        finally:
            handle.remove()

    def tokens(self, image):
        return self.net.patch_embed((image.double() - self.mean) / self.std)


def run(command, check=True, **kwargs) -> subprocess.CompletedProcess:
    """Runs a tool; on an unexpected failure shows what it said."""
    command = [str(part) for part in command]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs)
    if check and result.returncode != 0:
        pytest.fail(
            f"{' '.join(command)}\nexit status {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
        )
    return result


def tool(name: str) -> pathlib.Path:
    path = BUILD / "bin" / name
    if not path.exists():
        pytest.skip(f"{name} is not built")
    return path


# Runs a command and prints its peak resident memory in bytes: the one child of a process that is small itself.
MEASURE = """
import resource, subprocess, sys
result = subprocess.run(sys.argv[1:], capture_output=True, text=True)
sys.stderr.write(result.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(result.returncode)
"""


def run_with_peak(command) -> tuple[subprocess.CompletedProcess, int]:
    """Runs a tool; its status and errors, and its peak resident memory in bytes."""
    result = run([sys.executable, "-c", MEASURE, *command], check=False, timeout=60)
    return result, int(result.stdout)


def imports_or_explains(folder: pathlib.Path, path: pathlib.Path, *flags) -> subprocess.CompletedProcess:
    """Runs ns-import on a damaged file: success, or status 1 with one message that names the file and nothing written."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    result = run([tool("ns-import"), path, "-o", output / "m.mlir", *flags], check=False, timeout=20)
    assert result.returncode in (0, 1), (path, result.returncode, result.stderr)
    written = sorted(p.name for p in output.iterdir())
    if result.returncode == 0:
        assert written == ["m.mlir", "m.safetensors"]
    else:
        assert result.stderr.startswith(f"ns-import: error: {path}: ") and not written, result.stderr
    return result


def python_module(name: str, *arguments, check=True):
    return run([sys.executable, "-m", name, *arguments], check=check)


def export_and_import(model: torch.nn.Module, info: sources.ModelInfo, folder: pathlib.Path) -> Case:
    """The files are model.* in `folder`; the case's `info` is what export says of the model."""
    case = Case(model, info, folder / "model.pt2", folder / "model.mlir")
    case.info = export(model, info, str(case.pt2))
    run([tool("ns-import"), case.pt2, "-o", case.mlir])
    return case


def make_case(folder: pathlib.Path, source: str, scale: float = 1.0, seed: int = 0, **request) -> Case:
    """Builds, exports and imports a model. `scale` multiplies the weights of the blocks (small random weights hide errors in
    attention) and wakes LayerScale, which starts at 1e-5."""
    model, info = sources.build(sources.Request(source, seed=seed, **request))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed + 1)
        for name, parameter in model.named_parameters():
            if scale != 1.0 and name.endswith(".gamma"):
                parameter.uniform_(0.1, 1.0, generator=generator)
            elif scale != 1.0 and "norm" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
            elif scale != 1.0 and name.startswith("blocks.") and parameter.dim() > 1:
                parameter.mul_(scale)
            elif scale != 1.0 and name.endswith(".bias"):
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    folder.mkdir(parents=True, exist_ok=True)
    return export_and_import(model, info, folder)


def compile_model(case: Case, emit: str, *flags) -> pathlib.Path:
    """ns-compile, once for each set of flags."""
    key = (emit, *map(str, flags))
    if key not in case.libraries:
        output = case.mlir.parent / (f"{emit}-{len(case.libraries)}" + (".so" if emit == "library" else ""))
        run([tool("ns-compile"), case.mlir, f"--emit={emit}", *flags, "-o", output])
        case.libraries[key] = output
    return case.libraries[key]


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """make_case with a memory: cases(source, scale=..., ...) builds each model once a session."""
    known = {}

    def get(source, **kwargs):
        key = (source, repr(sorted(kwargs.items())))
        if key not in known:
            known[key] = make_case(tmp_path_factory.mktemp("model"), source, **kwargs)
        return known[key]

    return get


def small_vit(cases, img_size=32, num_classes=10, statistics=None, **model_kwargs) -> Case:
    """A small ViT with weights that make attention matter. `statistics`: its mean and std."""
    return cases(
        "timm:vit_tiny_patch16_224",
        scale=4.0,
        img_size=img_size,
        num_classes=num_classes,
        model_kwargs=dict(patch_size=8, embed_dim=64, num_heads=4) | model_kwargs,
        **(statistics or {}),
    )


@pytest.fixture(scope="session")
def small(cases) -> Case:
    """The model of the numeric tests: 2 blocks over 32x32 images."""
    return small_vit(cases, statistics=dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3]), depth=2)


def images(n: int, info: sources.ModelInfo, seed: int = 0) -> torch.Tensor:
    """Random smooth-ish pictures in [0, 1], exactly representable in 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, info.image[0], 8, 8, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=info.image[1:], mode="bilinear")
    noisy = (fine + 0.1 * torch.randn(fine.shape, generator=generator)).clamp(0, 1)
    return (noisy * 255).round() / 255


def column(path: pathlib.Path, name: str):
    """A column of a summary.csv."""
    import csv

    import numpy as np

    with open(path, newline="") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def adamw(net: torch.nn.Module, info, lr: float, decay: float) -> torch.optim.AdamW:
    """timm's groups: vectors, and what the model says, are not decayed."""
    groups = {True: [], False: []}
    for name, parameter in net.named_parameters():
        groups[parameter.dim() > 1 and name not in info.no_weight_decay].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": decay}, {"params": groups[False], "weight_decay": 0.0}], lr=lr
    )


def moved_elsewhere(net: torch.nn.Module, start: dict, found: dict, tolerance: float) -> list[str]:
    """Parameters whose error is more than `tolerance` of how far training moved them from `start`."""
    wrong = []
    for name, parameter in net.named_parameters():
        keep = slice(None)
        if name.endswith("qkv.bias"):  # the key third has an exact gradient of 0: Adam divides noise by noise there
            width = parameter.shape[0] // 3
            keep = torch.cat([torch.arange(width), torch.arange(2 * width, 3 * width)])
        moved = (parameter.detach() - start[name])[keep].norm()
        error = (found[name].double() - parameter.detach())[keep].norm()
        if not error <= tolerance * moved:
            wrong.append(f"{name}: error {error:.2e}, moved {moved:.2e}")
    return wrong


def cosine(step: int, total: int, lr: float, low: float = 0.0) -> float:
    """The executables' learning rate of a step."""
    return low + 0.5 * (lr - low) * (1 + math.cos(math.pi * step / total))


def write_npz(path: pathlib.Path, info: sources.ModelInfo, train: int, val: int, seed: int = 0):
    """A data set of random pictures with random labels; returns (x_train, y_train, x_val, y_val), images as float tensors."""
    import numpy as np

    generator = torch.Generator().manual_seed(seed + 7)
    x_train, x_val = images(train, info, seed), images(val, info, seed + 1)
    y_train, y_val = (torch.randint(info.classes, (n,), generator=generator) for n in (train, val))
    as_bytes = lambda x: (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez(path, x_train=as_bytes(x_train), y_train=y_train.numpy(), x_val=as_bytes(x_val), y_val=y_val.numpy())
    return x_train, y_train, x_val, y_val


def few_images(case: Case, folder: pathlib.Path) -> pathlib.Path:
    """A data set for executables that run a few steps of a small model."""
    write_npz(folder / "data.npz", case.info, train=16, val=8)
    return folder / "data.npz"
