"""nullspace.load: weights back into timm, strictly; and the hardened model there computes what the executable computed."""

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import compile_model, python_module, run, write_npz
from nullspace import UserError
from nullspace.load import load, save

SOURCE = "timm:vit_tiny_patch16_224"
OPTIONS = dict(img_size=32, num_classes=10, model_kwargs=dict(patch_size=8, embed_dim=64, depth=2, num_heads=4))
FLAGS = [
    "--img-size",
    "32",
    "--num-classes",
    "10",
    "--model-kwargs",
    "patch_size=8",
    "embed_dim=64",
    "depth=2",
    "num_heads=4",
]


def test_command_writes_a_checkpoint_timm_reads(small, tmp_path):
    import timm

    weights, output = tmp_path / "w.safetensors", tmp_path / "checkpoint.pth"
    save(small.model, weights)
    python_module("nullspace.load", SOURCE, *FLAGS, "--weights", weights, "-o", output)
    model = timm.create_model(
        "vit_tiny_patch16_224", checkpoint_path=str(output), img_size=32, num_classes=10, **OPTIONS["model_kwargs"]
    )
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in small.model.state_dict().items())


def test_every_missing_and_extra_name_is_listed(small, tmp_path):
    state = dict(small.model.state_dict())
    del state["blocks.1.mlp.fc2.bias"], state["cls_token"]
    state["left.over"] = torch.zeros(3)
    state["head.bias"] = torch.zeros(11)
    path = str(tmp_path / "w.safetensors")
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    with pytest.raises(UserError) as error:
        load(SOURCE, path, **OPTIONS)
    for part in (
        path,
        "missing: blocks.1.mlp.fc2.bias, expected 64",
        "missing: cls_token, expected 1x1x64",
        "not in the model: left.over, found 3",
        "head.bias: expected 10, found 11",
    ):
        assert part in str(error.value)


def test_imported_weights_are_the_models_own(small):
    """ns-import changes no weight and no name."""
    model = load(SOURCE, str(small.weights), **OPTIONS)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in small.model.state_dict().items())


def test_hardened_weights_compute_the_same_logits_in_timm(small, tmp_path):
    """Finetune a little, load into timm, and compare with evaluate --save-logits."""
    data = tmp_path / "data.npz"
    *_, x_val, _ = write_npz(data, small.info, train=64, val=9)
    tuned, logits = tmp_path / "tuned", tmp_path / "logits.npy"
    run(
        [
            compile_model(small, "finetune", "--batch=8"),
            "--data-dir",
            data,
            "--output",
            tuned,
            "--arm",
            "none",
            "--rounds",
            "1",
            "--steps-per-round",
            "4",
            "--lr",
            "1e-3",
            "--aug",
            "none",
            "--batch-size",
            "16",
        ]
    )
    run(
        [
            compile_model(small, "evaluate", "--batch=4"),
            "--data-dir",
            data,
            "--output",
            tmp_path / "ev",
            "--weights",
            tuned / "last.safetensors",
            "--save-logits",
            logits,
        ]
    )
    model = load(SOURCE, str(tuned / "last.safetensors"), **OPTIONS)
    assert not torch.equal(model.head.weight, small.model.head.weight)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (small.info.mean, small.info.std))
    with torch.no_grad():
        golden = model((x_val - mean) / std).numpy()
    assert np.abs(np.load(logits) - golden).max() <= 1e-5 * np.abs(golden).max()
