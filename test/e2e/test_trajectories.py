"""Whole runs of the executables against PyTorch scripts: same start, same data, same options."""

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from conftest import adamw, column, compile_model, cosine, moved_elsewhere, run, write_npz

BATCH, TRAIN = 8, 32


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npz"
    return path, write_npz(path, small.info, train=TRAIN, val=8)


@pytest.fixture(scope="module")
def start_noise(small, tmp_path_factory):
    golden = small.golden()
    shape = golden.tokens(torch.zeros(1, *small.info.image)).shape
    noise = torch.empty(shape).uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(11))
    path = tmp_path_factory.mktemp("noise") / "start.safetensors"
    safetensors.torch.save_file({"noise": noise}, path)
    return path, noise


def test_fifty_synthesis_steps_follow_pytorch(small, data, start_noise, tmp_path):
    steps, lr = 50, 0.05
    path, (x_train, *_) = data
    run(
        [
            compile_model(small, "synth", f"--batch={BATCH}"),
            "--data-dir",
            path,
            "--output",
            tmp_path,
            "--init",
            start_noise[0],
            "--steps",
            steps,
            "--rounds",
            100,
            "--train-fraction",
            "1",
            "--batch-size",
            BATCH,
            "--stop-samples",
            "0",
            "--no-shuffle",
            "--lr",
            lr,
            "--weight-decay",
            "0",
        ]
    )

    golden = small.golden().requires_grad_(False)
    clean = golden(x_train)
    noise = start_noise[1].double().requires_grad_()
    optimizer = torch.optim.AdamW([noise], lr=lr, weight_decay=0)
    losses, norms = [], []
    for step in range(steps):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % TRAIN
        loss = (golden(x_train[rows], noise) - clean[rows]).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = cosine(step, steps, lr)
        optimizer.step()
        losses.append(loss.item())
        norms.append(noise.detach().norm().item())
    np.testing.assert_allclose(column(tmp_path / "summary.csv", "loss"), losses, rtol=1e-4)
    found = safetensors.torch.load_file(tmp_path / "noise.safetensors")["noise"].double()
    assert (found - noise.detach()).norm() <= 1e-3 * noise.detach().norm()


@pytest.mark.parametrize("arm", ["none", "nullspace"])
def test_twenty_finetune_steps_follow_pytorch(small, start_noise, tmp_path, arm):
    """The training part is one batch, so the order of the data is no matter."""
    steps, lr, decay = 20, 1e-3, 0.05
    x_train, y_train, *_ = write_npz(tmp_path / "data.npz", small.info, train=BATCH, val=8)
    command = [
        compile_model(small, "finetune", f"--batch={BATCH}"),
        "--data-dir",
        tmp_path / "data.npz",
        "--output",
        tmp_path / "run",
        "--arm",
        arm,
        "--rounds",
        "1",
        "--steps-per-round",
        steps,
        "--lr",
        lr,
        "--weight-decay",
        decay,
        "--min-lr",
        0.1 * lr,
        "--batch-size",
        BATCH,
        "--aug",
        "none",
        "--holdout-samples",
        "0",
    ]
    run(command + (["--noise", start_noise[0]] if arm == "nullspace" else []))

    golden = small.golden()
    noise = start_noise[1].double()
    optimizer = adamw(golden.net, small.info, lr, decay)
    start = {name: p.detach().clone() for name, p in golden.net.named_parameters()}
    losses = []
    for step in range(steps):
        loss = F.cross_entropy(golden(x_train), y_train)
        if arm == "nullspace":
            loss = loss + F.cross_entropy(golden(x_train, noise), y_train)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, steps, lr, low=0.1 * lr)
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(column(tmp_path / "run" / "summary.csv", "loss"), losses, rtol=1e-4)
    found = safetensors.torch.load_file(tmp_path / "run" / "last.safetensors")
    assert not (wrong := moved_elsewhere(golden.net, start, found, tolerance=1e-2)), "\n".join(wrong)
