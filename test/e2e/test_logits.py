"""Logits of the compiled forward against PyTorch in float64, over the plain ViT family of timm."""

import numpy as np
import pytest
import torch
from conftest import compile_model, images, run, write_npz

TOLERANCE = 1e-5  # of the largest logit: some hundred float32 roundings

# name: (source, arguments of the reduced model)
MODELS = {
    "vit_tiny": ("timm:vit_tiny_patch16_224", dict(depth=2)),
    "vit_small": ("timm:vit_small_patch16_224", dict(depth=1)),
    "vit_base": ("timm:vit_base_patch16_224", dict(depth=1)),
    "vit_base_32": ("timm:vit_base_patch32_224", dict(depth=1)),
    "deit_tiny": ("timm:deit_tiny_patch16_224", dict(depth=2)),
    "deit_tiny_distilled": ("timm:deit_tiny_distilled_patch16_224", dict(depth=2)),
    "deit3_small": ("timm:deit3_small_patch16_224", dict(depth=2)),
    "registers": ("timm:vit_small_patch14_reg4_dinov2", dict(depth=2)),
    "average_pooling": ("timm:vit_little_patch16_reg4_gap_256", dict(depth=2)),
    "qk_norm": ("timm:vit_tiny_patch16_224", dict(depth=2, qk_norm=True, mlp_ratio=3)),
}


def options(name, full):
    source, reduced = MODELS[name]
    request = dict(model_kwargs={"qk_norm": True} if full and name == "qk_norm" else {} if full else reduced)
    if name == "registers":
        request |= dict(img_size=224 if full else 112, num_classes=100)  # made for 518, without a head
    return source, request


@pytest.mark.parametrize("scale", [1.0, 4.0], ids=["timm_init", "blocks_x4"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_match_pytorch(cases, full, name, scale):
    runtime = pytest.importorskip("nullspace.runtime")
    source, request = options(name, full)
    case = cases(source, scale=scale, **request)
    model = runtime.Model(compile_model(case, "library", "--batch=2"))
    image = images(3, case.info)  # one full batch and a partial one
    with torch.no_grad():
        golden = case.golden()(image)
    logits = torch.from_numpy(np.array(model.forward(image.numpy())))
    assert logits.shape == golden.shape
    assert (logits - golden).abs().max() <= TOLERANCE * golden.abs().max()


def test_saved_logits_with_partial_last_batch(small, tmp_path):
    """The evaluate executable writes one row for each image, whatever the batch."""
    *_, x_val, y_val = write_npz(tmp_path / "data.npz", small.info, train=4, val=11)
    exe = compile_model(small, "evaluate", "--batch=4")
    run(
        [
            exe,
            "--data-dir",
            tmp_path / "data.npz",
            "--output",
            tmp_path / "out",
            "--save-logits",
            tmp_path / "logits.npy",
        ]
    )
    with torch.no_grad():
        golden = small.golden()(x_val)
    logits = torch.from_numpy(np.load(tmp_path / "logits.npy"))
    assert logits.shape == golden.shape
    assert (logits - golden).abs().max() <= TOLERANCE * golden.abs().max()


def test_double_precision(small):
    runtime = pytest.importorskip("nullspace.runtime")
    model = runtime.Model(compile_model(small, "library", "--batch=2", "--precision=f64"))
    image = images(2, small.info)
    with torch.no_grad():
        golden = small.golden()(image)
    logits = torch.from_numpy(np.array(model.forward(image.double().numpy())))
    assert (logits - golden).abs().max() <= 1e-12 * golden.abs().max()
