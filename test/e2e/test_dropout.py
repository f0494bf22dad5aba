"""Dropout and stochastic depth of finetuning against PyTorch, with masks made by the formula of docs/abi.md."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, images, run, tool, write_npz
from test_gradients import compare

BATCH, DROPOUT, DROP_PATH = 4, 0.15, 0.4


def mix(x):
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def mask(shape, rate, seed, stream):
    """What nn.dropout multiplies by: 0, or 1 / (1 - rate)."""
    with np.errstate(over="ignore"):
        key = mix(np.array([np.uint32(seed & 0xFFFFFFFF) + np.uint32(0x9E3779B9) * np.uint32(stream + 1)], np.uint32))
        index = np.arange(np.prod(shape), dtype=np.uint64).astype(np.uint32)
        draw = mix(mix(index ^ key) + key)
    return torch.tensor((draw >= np.uint32(int(rate * 2**32))) / (1 - rate)).reshape(shape)


class Masked(torch.nn.Module):
    """Stands for a dropout of the model; `image`: drops whole images."""

    def __init__(self, stream, rate, image=False):
        super().__init__()
        self.stream, self.rate, self.image, self.seed = stream, rate, image, None

    def forward(self, x):
        shape = (x.shape[0],) + (1,) * (x.dim() - 1) if self.image else x.shape
        return x * mask(shape, self.rate, self.seed, self.stream)


def with_dropout(model):
    """The timm model with our masks in its own dropouts, numbered in the order of the network; returns those modules."""
    made = []

    def masked(rate, image=False):
        made.append(Masked(len(made), rate, image))
        return made[-1]

    model.pos_drop = masked(DROPOUT)
    for depth, block in enumerate(model.blocks):
        rate = DROP_PATH * depth / (len(model.blocks) - 1)
        block.attn.proj_drop = masked(DROPOUT)
        if rate:
            block.drop_path1 = masked(rate, image=True)
        block.mlp.drop1, block.mlp.drop2 = masked(DROPOUT), masked(DROPOUT)
        if rate:
            block.drop_path2 = masked(rate, image=True)
    return made


@pytest.fixture(scope="module")
def setting(small):
    runtime = pytest.importorskip("nullspace.runtime")
    flags = [f"--batch={BATCH}", f"--dropout={DROPOUT}", f"--drop-path={DROP_PATH}"]
    model = runtime.Model(compile_model(small, "library", *flags))
    golden = small.golden()
    return model, golden, with_dropout(golden.net), small


@pytest.mark.parametrize("seed", [1, -123456789])
def test_loss_and_gradients_are_pytorchs(setting, seed):
    model, golden, dropouts, case = setting
    image, labels = images(BATCH, case.info), torch.tensor([3, 1, 4, 1])
    for name, value in dict(image=image.numpy(), labels=labels.numpy(), weights=1 / BATCH, accumulate=0).items():
        model.slot(name)[...] = value
    model.slot("dropout_seed")[...] = seed
    model.run("finetune_step")
    for module in dropouts:
        module.seed = seed
    golden.net.zero_grad()
    loss = F.cross_entropy(golden(image), labels)
    loss.backward()
    assert model.slot("loss")[0] == pytest.approx(loss.item(), rel=1e-5)
    compare(model.param_grads(), {name: p.grad for name, p in golden.net.named_parameters()})


def test_the_halves_of_a_noised_batch_draw_their_own_masks(setting):
    """Without noise the two halves differ by their masks alone, and other seeds give other losses."""
    model, _, dropouts, case = setting
    image = images(BATCH, case.info)
    for name, value in dict(image=image.numpy(), labels=2, weights=1 / BATCH, accumulate=0, noise=0).items():
        model.slot(name)[...] = value
    losses = []
    for seed in (5, 6):
        model.slot("dropout_seed")[...] = seed
        model.run("finetune_step")
        clean = float(model.slot("loss")[0])
        model.run("finetune_step_noised")
        losses += [clean, float(model.slot("loss")[0]) - clean]
    assert len({round(loss, 6) for loss in losses}) == 4


def test_shares_are_the_rates():
    for stream in range(4):
        assert np.mean(mask((200_000,), 0.3, 9, stream).numpy() == 0) == pytest.approx(0.3, abs=0.005)
    first, second = (mask((200_000,), 0.5, 9, stream).numpy() for stream in (0, 1))
    assert np.mean(first == second) == pytest.approx(0.5, abs=0.005)


def test_other_entries_drop_nothing(setting, small):
    model, *_ = setting
    plain = pytest.importorskip("nullspace.runtime").Model(compile_model(small, "library", f"--batch={BATCH}"))
    image = images(BATCH, small.info).numpy()
    assert (model.forward(image) == plain.forward(image)).all()
    assert model.metadata["options"]["dropout"] == DROPOUT and "dropout_seed" not in plain._slots


def test_finetuning_with_dropout_is_reproducible_and_differs_by_seed(small, tmp_path):
    write_npz(tmp_path / "data.npz", small.info, train=40, val=4)
    exe = compile_model(small, "finetune", "--batch=8", f"--drop-path={DROP_PATH}")
    losses = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run([exe, "--data-dir", tmp_path / "data.npz", "--output", tmp_path / name, "--arm", "none", "--rounds", 1, "--aug", "none",
             "--steps-per-round", 4, "--batch-size", 16, "--holdout-samples", 0, "--no-shuffle", "--seed", seed])  # fmt: skip
        losses[name] = [line.split(",")[2] for line in (tmp_path / name / "summary.csv").read_text().splitlines()[1:]]
    assert losses["a"] == losses["b"] != losses["c"]
    assert json.loads(run([exe, "--info"]).stdout)["options"]["drop_path"] == DROP_PATH


def test_rates_outside_their_range_are_usage_errors(small):
    for flag in ("--dropout=1", "--drop-path=-0.1", "--dropout=nan"):
        failed = run([tool("ns-compile"), small.mlir, "--emit=finetune", flag, "-o", "/dev/null"], check=False)
        assert failed.returncode == 2 and flag.split("=")[0] in failed.stderr

