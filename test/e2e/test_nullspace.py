"""The exact nullspace of the first layer: dimensions, residuals, and invariance of PyTorch's own logits."""

import math
import re

import pytest
import safetensors.torch
import torch
from conftest import Case, export_and_import, images, run, tool
from families import build

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


@pytest.fixture
def family_case(tmp_path):
    """family_case(name): a family's small model, exported and imported."""

    def make(name) -> Case:
        model, info, _ = build(name, tmp_path)
        return export_and_import(model, info, tmp_path)

    return make


def compute_basis(case, folder, **options):
    """Runs ns-compute-basis; returns its remark and the tensors of its file."""
    file = folder / "basis.safetensors"
    options = " ".join(f"{key}={value}" for key, value in {"file": file, **options}.items())
    result = run([tool("ns-opt"), case.mlir, f"--ns-compute-basis={options}", "-o", folder / "out.mlir"])
    return re.search("remark: (.*)", result.stderr)[1], safetensors.torch.load_file(file)


def unchanged(case, noise) -> float:
    """How far `noise` moves the logits of PyTorch in float64, as a share of the largest."""
    image, golden = images(2, case.info).double(), case.golden()
    with torch.no_grad():
        clean, moved = golden(image), golden(image + noise)
    return ((moved - clean).abs().max() / clean.abs().max()).item()


@pytest.mark.parametrize("name", ["own_cnn", "timm_vit", "timm_convnext"])
def test_image_of_the_nullspace_changes_nothing(family_case, tmp_path, name):
    """Of overlapping windows (own_cnn: 16 channels at stride 4), and of patches."""
    case = family_case(name)
    _, tensors = compute_basis(case, tmp_path, norm=100)
    noise = tensors["nullspace_image"]
    assert list(noise.shape) == case.info.image and abs(noise.norm() - 100) < 1e-9
    assert unchanged(case, noise) <= 1e-7
    assert unchanged(case, noise.flip(2)) > 1e-2  # the same numbers elsewhere do change them


def test_projection_of_a_picture(family_case, tmp_path):
    """What is left of a picture is in the nullspace, and what was taken away is orthogonal to it."""
    case = family_case("own_cnn")
    picture = images(1, case.info, seed=3)[0].double()
    safetensors.torch.save_file({"image": picture}, tmp_path / "picture.safetensors")
    _, tensors = compute_basis(case, tmp_path, image=tmp_path / "picture.safetensors")
    part = tensors["nullspace_image"]
    assert part.norm() > 0.1 * picture.norm()
    assert unchanged(case, 10 * part) <= 1e-7
    assert abs((part * (picture - part)).sum()) <= 1e-6 * picture.norm() ** 2


def test_dimension_of_an_image_map(family_case, tmp_path):
    """By its shape and by the noise that is left, against the rank of the matrix."""
    case = family_case("own_cnn")
    remark, tensors = compute_basis(case, tmp_path)
    std = torch.tensor(case.info.std, dtype=torch.float64).view(1, -1, 1, 1)
    basis = torch.eye(3 * 32 * 32, dtype=torch.float64).view(-1, 3, 32, 32)
    weight = case.model.stem.weight.detach().double()
    matrix = torch.nn.functional.conv2d(basis / std, weight, stride=4, padding=3).flatten(1).T
    values = torch.linalg.svdvals(matrix)
    nullity = matrix.shape[1] - int((values > 1e-9 * values[0]).sum())
    assert f"({matrix.shape[0]} x {matrix.shape[1]}): nullity at least {nullity}," in remark
    estimate, spread = map(float, re.search(r"leaves nullity (\d+) \+- (\d+)", remark).groups())
    assert abs(estimate - nullity) <= 4 * spread
    largest, smallest = tensors["singular_values"]
    assert abs(largest - values[0]) <= 1e-6 * values[0] and smallest >= values[-1] * (1 - 1e-9)


@pytest.mark.parametrize("name", ["timm_resnet50", "timm_swin"])
def test_no_nullspace_is_an_answer(family_case, tmp_path, name):
    remark, tensors = compute_basis(family_case(name), tmp_path)
    assert "nullity 0 (" in remark or "nullity at least 0," in remark and "nothing of the image" in remark
    assert "nullspace_image" not in tensors
