"""A trained ViT on CIFAR-10: synthesis meets eps with a large noise, and it is the noise's direction that the model ignores."""

import json
import sys

import pytest
import safetensors
from conftest import ROOT, SHARED, python_module, run, tool

ARCHIVE, CHECKPOINT = SHARED / "data" / "cifar10-train.tar.xz", SHARED / "models" / "vit_cifar10.safetensors"
TOKEN_NORM = 33.5  # mean norm of the token tensor, where --lim auto starts; 31 to 35 by the images it is taken from


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """The model's .mlir, and an .npz of 3,000 training and 2,000 val images."""
    if not (ARCHIVE.exists() and CHECKPOINT.exists()):
        pytest.skip(f"needs {ARCHIVE} and {CHECKPOINT}")
    sys.path.insert(0, str(ROOT / "bench"))
    from cifar10 import prepare_data

    folder = tmp_path_factory.mktemp("cifar10")
    prepare_data(ARCHIVE, folder / "data.npz", train=3000, val=2000)
    python_module("nullspace.export", f"py:{ROOT}/bench/vit_cifar10.py:model", "--checkpoint", CHECKPOINT,
                  "--mean", ".5,.5,.5", "--std", ".5,.5,.5", "-o", folder / "vit.pt2")  # fmt: skip
    run([tool("ns-import"), folder / "vit.pt2", "-o", folder / "vit.mlir"])
    return folder


def compiled(folder, emit):
    run([tool("ns-compile"), folder / "vit.mlir", f"--emit={emit}", "--batch=64", "-o", folder / emit])
    return folder / emit


@pytest.fixture(scope="module")
def synthesised(cifar):
    run([compiled(cifar, "synth"), "--data-dir", cifar / "data.npz", "--output", cifar / "noise", "--lim", "auto",
         "--reg", "fixed_norm", "--norm", 27, "--steps", 160, "--batch-size", 64, "--train-fraction", "0.8",
         "--eval-every", 20, "--eps", 0.022])  # fmt: skip
    return cifar / "noise" / "noise.safetensors"


def test_synthesis_meets_eps_with_a_large_noise(synthesised):
    with safetensors.safe_open(synthesised, "np") as file:
        told = file.metadata()
        norm = (file.get_tensor("noise") ** 2).sum() ** 0.5
    assert float(told["start_norm"]) == pytest.approx(TOKEN_NORM, rel=0.1)
    assert norm >= 0.5 * TOKEN_NORM and norm == pytest.approx(float(told["norm"]), rel=1e-4)
    assert told["converged"] == "yes" and float(told["stop_value"]) < 0.03 and int(told["stop_images"]) == 512


def test_learned_noise_keeps_more_predictions_than_permuted(cifar, synthesised):
    run([compiled(cifar, "evaluate"), "--data-dir", cifar / "data.npz", "--output", cifar / "out", "--noise", synthesised])
    found = json.loads((cifar / "out" / "results.json").read_text())["measurements"]
    kept = {m["parameters"]["noise"]: m for m in found if m["kind"] == "noise_same_argmax"}
    (clean,) = (m for m in found if m["kind"] == "clean")
    (mcnemar,) = (m for m in found if m["kind"] == "noise_mcnemar_p")
    assert clean["value"] == pytest.approx(0.64, abs=0.02)
    assert kept["learned"]["n"] == 2000
    assert kept["learned"]["value"] >= kept["permuted"]["value"] + 0.10
    assert mcnemar["value"] < 0.01
