"""Iterative attacks of `evaluate` against the same algorithms in PyTorch, float64, from the clean image: who falls must agree
wherever the reference's own outcome is no matter of rounding."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, run, write_npz
from test_evaluate import outcomes

COUNT = 40


def project(y, x, eps, norm):
    if norm == "linf":
        return torch.minimum(torch.maximum(y, x - eps), x + eps).clamp(0, 1)
    delta = y - x
    size = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (x + delta * (eps / size.clamp_min(1e-12)).clamp_max(1)).clamp(0, 1)


def direction(g, norm):
    return g.sign() if norm == "linf" else g / (g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-10)


def differentiate(model, y, labels):
    """Losses, gradients, and margins of the right class."""
    y = y.detach().requires_grad_()
    logits = model(y)
    losses = F.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), y)
    return losses.detach(), gradient, margin(logits.detach(), labels)


def margin(logits, labels):
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def iterate(model, x, labels, eps, alpha, steps, decay=0.0, norm="linf"):
    """BIM and PGD without a random start; with a decay MIM. The last iterate's margins."""
    y, momentum = x, torch.zeros_like(x)
    for _ in range(steps):
        _, g, _ = differentiate(model, y, labels)
        if decay:
            g = momentum = decay * momentum + g / g.abs().mean((1, 2, 3), keepdim=True)
        y = project(y + alpha * direction(g, norm), x, eps, norm)
    return differentiate(model, y, labels)[2]


def apgd(model, x, labels, eps, steps, norm="linf", rho=0.75):
    """Auto-PGD (Croce and Hein 2020) on cross-entropy: the smallest margin over all iterates."""
    y = x.clone()
    loss, g, least = differentiate(model, y, labels)
    old, best, best_g, best_loss, checked = y.clone(), y.clone(), g.clone(), loss.clone(), loss.clone()
    size = torch.full((len(x), 1, 1, 1), 2.0 * eps, dtype=x.dtype)
    history, reduced, k, counter = [], torch.ones(len(x), dtype=torch.bool), max(int(0.22 * steps), 1), 0
    for i in range(steps):
        moved, old = y - old, y.clone()
        share = 0.75 if i else 1.0
        ahead = project(y + size * direction(g, norm), x, eps, norm)
        y = project(y + share * (ahead - y) + (1 - share) * moved, x, eps, norm)
        loss, g, margins = differentiate(model, y, labels)
        least = torch.minimum(least, margins)
        history.append(loss)
        better = loss > best_loss
        best, best_g = (torch.where(better.view(-1, 1, 1, 1), new, kept) for new, kept in ((y, best), (g, best_g)))
        best_loss = torch.maximum(best_loss, loss)
        counter += 1
        if counter == k:
            before = [torch.zeros_like(loss), *history]
            rises = sum((history[j] > before[j]).long() for j in range(i, i - k, -1))
            flags = (rises <= k * rho) | (~reduced & (checked >= best_loss))
            reduced, checked = flags, best_loss.clone()
            at = flags.view(-1, 1, 1, 1)
            size, y, g = torch.where(at, size / 2, size), torch.where(at, best, y), torch.where(at, best_g, g)
            k, counter = max(k - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)), 0
    return least


ATTACKS = {
    "bim:eps=0.25/255,alpha=0.1/255,steps=6": lambda *a: iterate(*a, 0.25 / 255, 0.1 / 255, 6),
    "bim:eps=0.4,alpha=0.1,steps=8,norm=l2": lambda *a: iterate(*a, 0.4, 0.1, 8, norm="l2"),
    "pgd:eps=0.25/255,alpha=0.1/255,steps=6,start=clean": lambda *a: iterate(*a, 0.25 / 255, 0.1 / 255, 6),
    "mim:eps=0.25/255,alpha=0.1/255,steps=6,decay=0.9": lambda *a: iterate(*a, 0.25 / 255, 0.1 / 255, 6, decay=0.9),
    "apgd-ce:eps=2/255,steps=25,start=clean": lambda *a: apgd(*a, 2 / 255, 25),
    "apgd-ce:eps=0.3,steps=25,start=clean,norm=l2": lambda *a: apgd(*a, 0.3, 25, norm="l2"),
}


@pytest.fixture(scope="module")
def attacked(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    *_, x, y = write_npz(folder / "data.npz", small.info, train=4, val=COUNT)
    golden = small.golden()
    with torch.no_grad():  # the model's own predictions for most images: something to attack
        y = torch.where(torch.arange(COUNT) % 13 == 0, y, golden(x).argmax(1))
    np.savez(folder / "data.npz", **dict(np.load(folder / "data.npz")) | {"y_val": y.numpy()})
    random = ["apgd-ce:eps=2/255,steps=10", "apgd-ce:eps=2/255,steps=10,restarts=3", "pgd:eps=2/255,alpha=1/255,steps=10"]
    flags = [flag for name in [*ATTACKS, *random] for flag in ("--attack", name)]
    executable = compile_model(small, "evaluate", "--batch=8")
    run([executable, "--data-dir", folder / "data.npz", "--output", folder / "out", *flags])
    return outcomes(folder / "out"), golden, x.double(), y


@pytest.mark.parametrize("name", ATTACKS)
def test_who_falls_is_pytorchs(attacked, name):
    found, golden, x, y = attacked
    clean = found["clean"] == 1
    margins = ATTACKS[name](golden, x, y).numpy()
    expected = clean & (margins > 0)
    # Six to twenty-five steps of signs of gradients spread rounding: look where the margin is more than that.
    decided = np.abs(margins) > 0.005
    assert (found[name] == expected)[decided].all()
    assert decided.sum() >= 0.9 * COUNT and 0 < expected.sum() < clean.sum(), "all or nothing falls: nothing is tested"


def test_more_restarts_and_a_better_attack_leave_less(attacked):
    found, *_ = attacked
    once, thrice = found["apgd-ce:eps=2/255,steps=10"], found["apgd-ce:eps=2/255,steps=10,restarts=3"]
    assert (thrice <= once).all() and once.sum() <= found["pgd:eps=2/255,alpha=1/255,steps=10"].sum()


@pytest.mark.parametrize(
    "text", ["apgd:eps=1", "apgd-ce:rho=0", "mim:norm=l2", "bim:start=random", "apgd-ce:steps=0", "pgd:start=far"]
)
def test_bad_attacks_are_usage_errors(small, tmp_path, text):
    executable = compile_model(small, "evaluate", "--batch=8")
    failed = run([executable, "--data-dir", tmp_path, "--output", tmp_path / "out", "--attack", text], check=False)
    assert failed.returncode == 2 and f"--attack {text}" in failed.stderr
