"""The exact nullspace of the patch embedding: dimensions, residuals, and invariance of PyTorch's own logits."""

import math
import re

import pytest
import safetensors.torch
import torch
from conftest import images, run, tool

# name: (source, reduced arguments, nullity, structural part)
MODELS = {
    "vit_tiny_16": ("timm:vit_tiny_patch16_224", 576, 576),
    "deit_tiny_16": ("timm:deit_tiny_patch16_224", 576, 576),  # standard deviations differ between channels
    "vit_base_32": ("timm:vit_base_patch32_224", 2304, 2304),
    "vit_base_16": (
        "timm:vit_base_patch16_224",
        None,
        0,
    ),  # as many outputs as inputs: only what the numbers happen to lack
}


def basis_of(case, folder):
    """Runs ns-compute-basis; returns the numbers of the ns.basis op and the basis Q as columns (c r r x k)."""
    file = folder / "basis.safetensors"
    result = run([tool("ns-opt"), case.mlir, f"--ns-compute-basis=file={file}"])
    assert "remark: nullspace of patch_embed.proj.weight" in result.stderr
    op = re.search(r"ns\.basis[^\n]*", result.stdout).group()
    fields = {key: float(value) for key, value in re.findall(r"(\w+) = ([-+.\dE]+) : ", op)}
    tensors = safetensors.torch.load_file(file)
    assert tensors["basis"].dtype == torch.float64
    return fields, tensors["basis"].T


def pixel_matrix(case):
    """W' = W diag(1/std): the patch embedding as it acts on pixels, d x (c r r)."""
    weight = case.model.patch_embed.proj.weight.detach().double()
    return (weight / torch.tensor(case.info.std, dtype=torch.float64).view(1, -1, 1, 1)).flatten(1)


@pytest.mark.parametrize("name", MODELS)
def test_dimensions_and_residual(cases, tmp_path, name):
    source, nullity, structural = MODELS[name]
    case = cases(source, model_kwargs=dict(depth=1))
    fields, basis = basis_of(case, tmp_path)
    matrix = pixel_matrix(case)
    values = torch.linalg.svdvals(matrix)
    tolerance = max(matrix.shape) * torch.finfo(torch.float32).eps * values[0]
    rank = int((values > tolerance).sum())
    assert fields["rank"] == rank and fields["nullity"] == matrix.shape[1] - rank
    assert max(0, matrix.shape[1] - matrix.shape[0]) == structural
    if nullity is not None:
        assert fields["nullity"] == nullity
    assert fields["structural"] == structural
    if structural:
        assert basis.shape == (matrix.shape[1], int(fields["nullity"]))
        assert (matrix @ basis).abs().max() < 1e-10 and fields["residual"] < 1e-10
        assert (basis.T @ basis - torch.eye(basis.shape[1], dtype=torch.float64)).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["vit_tiny_16", "deit_tiny_16"])
def test_pixel_noise_of_norm_100_changes_nothing(cases, tmp_path, name):
    case = cases(MODELS[name][0], model_kwargs=dict(depth=1))
    _, basis = basis_of(case, tmp_path)
    _, height, width = case.info.image
    side = int(math.isqrt(basis.shape[0] // 3))
    torch.manual_seed(2)
    patches = torch.randn((height // side) * (width // side), basis.shape[1], dtype=torch.float64) @ basis.T
    noise = torch.nn.functional.fold(patches.T[None], (height, width), side, stride=side)
    noise *= 100 / noise.norm()
    image, golden = images(2, case.info).double(), case.golden()
    with torch.no_grad():
        clean, moved = golden(image), golden(image + noise)
    assert (moved - clean).abs().max() <= 1e-5 * clean.abs().max()
