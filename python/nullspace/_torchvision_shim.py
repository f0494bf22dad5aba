"""Lets `import torchvision`, and so `import timm`, work beside a CPU-only PyTorch.

PyPI's torchvision is linked against a CUDA build of PyTorch. Beside the CPU build its extension `_C.so` does not load,
so the schemas of its two unconditional operators are missing and its import fails in `register_fake`. Where
the extension loads this module does nothing; elsewhere it defines the two schemas, without kernels (classification
models never call them).
"""

import importlib.util
import pathlib

import torch

_library = None  # a collected Library takes its operators away again


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")  # finds, does not import
    if spec is None:
        return True
    for root in spec.submodule_search_locations or ():
        for path in pathlib.Path(root).glob("_C*.so"):
            try:
                torch.ops.load_library(str(path))
                return True
            except (ImportError, OSError):
                return False
    return False


def install() -> bool:
    """Defines the schemas where they are missing; returns whether that was needed. Must run before torchvision's import."""
    global _library
    if _library is None:
        if torch._C._dispatch_has_kernel("torchvision::nms") or _extension_loads():
            return False
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return True


install()
