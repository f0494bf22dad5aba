"""The loops around compiled entries: attacks and noise measures against PyTorch, and runs that are stopped and resumed."""

import csv
import json
import signal
import subprocess
import time

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from conftest import compile_model, run, write_npz

BATCH, EPS = 8, 4 / 255


def outcomes(folder):
    with open(folder / "outcomes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([int(row[name]) for row in rows]) for name in rows[0]}


def measurements(folder):
    return json.loads((folder / "results.json").read_text())["measurements"]


@pytest.fixture(scope="module")
def evaluated(small, tmp_path_factory):
    """27 images with the labels that the model itself gives most of them, so that there is something to attack."""
    folder = tmp_path_factory.mktemp("evaluate")
    *_, x_val, y_val = write_npz(folder / "data.npz", small.info, train=4, val=27)
    golden = small.golden()
    with torch.no_grad():
        y_val = torch.where(torch.arange(27) % 9 == 0, y_val, golden(x_val).argmax(1))
    arrays = dict(np.load(folder / "data.npz")) | {"y_val": y_val.numpy()}
    np.savez(folder / "data.npz", **arrays)
    noise = 0.3 * torch.randn(golden.tokens(x_val[:1]).shape, generator=torch.Generator().manual_seed(2))
    safetensors.torch.save_file({"noise": noise.float()}, folder / "noise.safetensors")
    run([compile_model(small, "evaluate", f"--batch={BATCH}"), "--data-dir", folder / "data.npz", "--output", folder / "out",
         "--noise", folder / "noise.safetensors", "--attack", "fgsm:eps=4/255", "--attack", "pgd:eps=4/255,alpha=1/255,steps=10",
         "--attack", "pgd:eps=0.5,alpha=0.2,norm=l2", "--attack", "square:eps=4/255,queries=50"])  # fmt: skip
    return folder / "out", golden, x_val, y_val, noise.double()


def test_clean_and_fgsm_outcomes_are_pytorchs(evaluated):
    folder, golden, x, y, _ = evaluated
    found = outcomes(folder)
    image = x.double().requires_grad_()
    logits = golden(image)
    F.cross_entropy(logits, y, reduction="sum").backward()
    clean = (logits.argmax(1) == y).numpy()
    assert (found["clean"] == clean).all()
    with torch.no_grad():
        attacked = golden((image + EPS * image.grad.sign()).clamp(0, 1))
    margin = attacked.topk(2).values.diff().abs().squeeze(1).numpy()
    expected = clean & (attacked.argmax(1) == y).numpy()
    decided = margin > 1e-3  # the sign of a gradient of about 0 is not the same in float32
    assert (found["fgsm:eps=4/255"] == expected)[decided].all() and decided.sum() > 20


def test_stronger_attacks_leave_less(evaluated):
    folder, *_ = evaluated
    value = {m["kind"] + m["parameters"].get("norm", ""): m["value"] for m in measurements(folder) if "noise" not in m["kind"]}
    assert value["pgdlinf"] <= value["fgsm"] + 0.04 and value["pgdlinf"] <= value["square"] <= value["clean"]
    assert value["pgdlinf"] < value["clean"] and value["pgdl2"] < value["clean"]


def test_noise_measures_are_pytorchs(evaluated):
    folder, golden, x, _, noise = evaluated
    found = {m["kind"]: m for m in measurements(folder) if m["parameters"].get("noise") == "learned"}
    with torch.no_grad():
        clean, noised = golden(x), golden(x, noise)
    p, q = clean.softmax(1), noised.softmax(1)
    expected = {
        "noise_logit_sq": (noised - clean).square().sum(1).mean(),
        "noise_prob_sq": (q - p).square().sum(1).mean(),
        "noise_conf_diff": (q.amax(1) - p.amax(1)).abs().mean(),
        "noise_same_argmax": (clean.argmax(1) == noised.argmax(1)).double().mean(),
    }
    for kind, value in expected.items():
        assert found[kind]["value"] == pytest.approx(value.item(), rel=1e-3, abs=1e-6), kind
        assert found[kind]["n"] == 27 and found[kind]["interval"][0] <= value <= found[kind]["interval"][1]
        assert found[kind]["parameters"]["norm"] == pytest.approx(noise.norm().item(), rel=1e-5)


def test_stopped_and_resumed_finetuning_gives_the_same_bits(small, tmp_path):
    """SIGTERM wherever it comes: in a synthesis or in a step."""
    write_npz(tmp_path / "data.npz", small.info, train=64, val=8)
    exe = compile_model(small, "finetune", f"--batch={BATCH}")
    flags = ["--data-dir", tmp_path / "data.npz", "--rounds", 4, "--steps-per-round", 6, "--batch-size", 16, "--lr", "1e-3",
             "--noise-steps", 10, "--noise-batch-size", 16, "--train-fraction", "0.5", "--lim", "auto"]  # fmt: skip
    run([exe, *flags, "--output", tmp_path / "whole"])
    for delay in (0.0, 0.3):
        output = tmp_path / f"stopped-{delay}"
        process = subprocess.Popen([str(c) for c in [exe, *flags, "--output", output]], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        while process.poll() is None and not (output / "optimizer.safetensors").exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) in (0, 143)
        run([exe, *flags, "--output", output, "--resume"])
        for name in ("last.safetensors", "best.safetensors", "noise/round-004.safetensors"):
            assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), f"{delay}: {name}"
