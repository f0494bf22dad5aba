"""What bench/cuda.py times, and where its pack lies."""

import ctypes
import dataclasses
import json
import os
import pathlib
import sys

from problem import ATTACKS, KINDS, OUT, Problem

__all__ = [
    "ATTACKS",
    "EMULATOR",
    "KINDS",
    "MODELS",
    "PACK",
    "emit",
    "executable",
    "make",
    "make_fp8",
    "read_json",
    "use",
    "weights",
]

PACK = OUT / "cuda-pack"
EMULATOR = {
    "NSRT_CUDA_LIBRARY": "libcuda.so.1",
    "NSRT_CUBLASLT_LIBRARY": "libcublasLt.so.13",
    "NSRT_CUDNN_PLUGIN": "libnsrt-cudnn.so",
    "NSRT_CUDNN_LIBRARY": "libnsrt-cudnn.so",
}
# model: batch, timm's arguments. The first one is for trying the program's own flow; then what matters most.
MODELS = {
    "tiny": (
        "vit_tiny_patch16_224",
        4,
        (("img_size", 32), ("num_classes", 1000), ("patch_size", 8), ("embed_dim", 64), ("num_heads", 4), ("depth", 2)),
    ),
    "vit_base_patch16_224": ("vit_base_patch16_224", 64, ()),
    "vit_tiny_patch16_224": ("vit_tiny_patch16_224", 64, ()),
    "vit_small_patch16_224": ("vit_small_patch16_224", 64, ()),
    "vit_large_patch16_224": ("vit_large_patch16_224", 64, ()),
}


# What is timed with cuDNN's attention and with FP8, too: heads and tokens of the other ViTs are the same.
VARIANT_MODELS = ("tiny", "vit_base_patch16_224")
CUDNN_KINDS = ("synth", "finetune")


def make(model: str, kind: str, device: str = "cuda") -> Problem:
    name, batch, options = MODELS[model]
    return Problem(name, kind, batch, "bf16", options=options, device=device)


def make_fp8(problem: Problem) -> Problem:
    """The synthesis step whose products by frozen weights are in FP8."""
    return dataclasses.replace(problem, precision="fp8")


def emit(problem: Problem) -> str:
    """What has the entries of this kind of step; the forward pass in bfloat16 is synthesis' `clean_logits`."""
    return "synth" if problem.kind == "forward" else problem.emit


def executable(problem: Problem, pack: pathlib.Path = PACK, attention: str = "expanded") -> pathlib.Path:
    name = [problem.name, f"b{problem.batch}", problem.precision, emit(problem)]
    return pack / "-".join(name + ([attention] if attention != "expanded" else []))


def weights(problem: Problem) -> pathlib.Path:
    """timm's own initial weights under seed 0, written by whoever asks first."""
    path = OUT / f"cuda-{problem.name}.safetensors"
    if not path.exists():
        import safetensors.torch
        from peers import timm_common

        state = timm_common.build(problem).cpu().state_dict()
        draft = path.with_suffix(".draft")
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, draft)
        draft.replace(path)
    return path


def use(pack: pathlib.Path) -> None:
    """Our library is the pack's; what it links is this machine's where that is there, else the pack's. (A loader's path would give the old ones
    to PyTorch, too.)"""
    if (pack / "site").exists():
        sys.path.append(str(pack / "site"))
    os.environ.setdefault("VIRTUAL_ENV", sys.prefix)  # where libnsrt looks for the wheels of cuBLASLt and cuDNN
    os.environ["NSRT_LIBRARY"] = str(pack / "lib" / "libnsrt.so")
    for variable, name in EMULATOR.items():
        if (pack / "emulator" / name).exists():
            os.environ.setdefault(variable, str(pack / "emulator" / name))
    for path in sorted((pack / "lib").glob("*.so.*")):
        try:
            ctypes.CDLL(path.name)
        except OSError:
            ctypes.CDLL(str(path))


def read_json(path: pathlib.Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}
