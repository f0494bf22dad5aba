"""Weights back into the framework they came from, for every family: a few steps in our executable, `python -m nullspace.load`, the
framework's own reader, and its logits against those that the executable computes with the same weights."""

import numpy as np
import pytest
import torch
from conftest import compile_model, export_and_import, python_module, run, write_npz
from families import FAMILIES, build

TOLERANCE = 1e-5  # of the largest logit
STEPS = ["--arm", "none", "--rounds", "1", "--steps-per-round", "3", "--aug", "none", "--batch-size", "8", "--lr", "1e-3"]

# One family for each way a checkpoint goes back; the others under --full.
QUICK = ["timm_vit", "timm_swin", "timm_resnet18", "timm_convnext", "hf_vit", "hf_dinov2", "torchvision_vit", "own_cnn"]


def pytest_generate_tests(metafunc):
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", FAMILIES if metafunc.config.getoption("--full") else QUICK)


@pytest.fixture
def imported(family, tmp_path):
    """The family's model, exported and imported, with the request that builds it again."""
    model, info, source = build(family, tmp_path)
    return export_and_import(model, info, tmp_path), source


def flags(request) -> list[str]:
    """The command line of a request."""
    words = [request.source]
    for option in ("img_size", "num_classes"):
        if getattr(request, option):
            words += ["--" + option.replace("_", "-"), str(getattr(request, option))]
    for option in ("mean", "std"):
        if getattr(request, option):
            words += ["--" + option, ",".join(map(str, getattr(request, option)))]
    return words + ["--model-kwargs", *(f"{key}={value}" for key, value in request.model_kwargs.items())]


def read_back(request, checkpoint) -> torch.nn.Module:
    """What a user of the framework does with the checkpoint; no part of Nullspace in it but the constructor of `py:` models."""
    kind, _, name = request.source.partition(":")
    if kind == "hf":
        import transformers

        return transformers.AutoModelForImageClassification.from_pretrained(checkpoint, **request.model_kwargs)
    if kind == "timm":
        import timm

        return timm.create_model(name, checkpoint_path=str(checkpoint), **request.constructor_arguments())
    import families

    model = getattr(families, name.rpartition(":")[2])()
    model.load_state_dict(torch.load(checkpoint, weights_only=True), strict=True)
    return model


def test_logits_after_training(imported, tmp_path):
    case, request = imported
    *_, x_val, _ = write_npz(tmp_path / "data.npz", case.info, train=32, val=5)
    data, tuned = ["--data-dir", tmp_path / "data.npz"], tmp_path / "tuned"
    run([compile_model(case, "finetune", "--batch=4", "--cpu=native"), *data, "--output", tuned, *STEPS])
    weights, logits = tuned / "last.safetensors", tmp_path / "logits.npy"
    evaluate = compile_model(case, "evaluate", "--batch=4", "--cpu=native")
    run([evaluate, *data, "--output", tmp_path / "ev", "--weights", weights, "--save-logits", logits])

    checkpoint = tmp_path / ("back" if request.source.startswith("hf:") else "back.pth")
    python_module("nullspace.load", *flags(request), "--weights", weights, "-o", checkpoint)
    model = read_back(request, checkpoint).eval()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (case.info.mean, case.info.std))
    with torch.no_grad():
        golden = model((x_val - mean) / std)
        untrained = case.model((x_val - mean) / std)
    golden = getattr(golden, "logits", golden).double().numpy()
    assert np.abs(golden - untrained.numpy()).max() > 1e-3 * np.abs(golden).max()  # the steps did something
    assert np.abs(np.load(logits) - golden).max() <= TOLERANCE * np.abs(golden).max()
