"""Iterative attacks of `evaluate` against the same algorithms in PyTorch, float64, from the clean image: who falls must agree
wherever the reference's own outcome is no matter of rounding."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, run, write_npz
from test_evaluate import measurements, outcomes

COUNT = 40


def project(y, x, eps, norm):
    if norm == "linf":
        return torch.minimum(torch.maximum(y, x - eps), x + eps).clamp(0, 1)
    delta = y - x
    size = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (x + delta * (eps / size.clamp_min(1e-12)).clamp_max(1)).clamp(0, 1)


def direction(g, norm):
    return g.sign() if norm == "linf" else g / (g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-10)


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def dlr(logits, labels):
    ranked = logits.sort(dim=1).values
    return margin(logits, labels).neg() / (ranked[:, -1] - ranked[:, -3] + 1e-12)


def targeted_dlr(targets):
    def loss(logits, labels):
        ranked, rows = logits.sort(dim=1).values, torch.arange(len(logits))
        spread = ranked[:, -1] - 0.5 * ranked[:, -3] - 0.5 * ranked[:, -4] + 1e-12
        return -(logits[rows, labels] - logits[rows, targets]) / spread

    return loss


def differentiate(model, y, labels, loss=cross_entropy):
    """Losses, gradients, and margins of the right class."""
    y = y.detach().requires_grad_()
    logits = model(y)
    losses = loss(logits, labels)
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


def apgd(model, x, labels, eps, steps, norm="linf", rho=0.75, function=cross_entropy):
    """Auto-PGD (Croce and Hein 2020): the smallest margin over all iterates."""
    y = x.clone()
    loss, g, least = differentiate(model, y, labels, function)
    old, best, best_g, best_loss, checked = y.clone(), y.clone(), g.clone(), loss.clone(), loss.clone()
    size = torch.full((len(x), 1, 1, 1), 2.0 * eps, dtype=x.dtype)
    history, reduced, k, counter = [], torch.ones(len(x), dtype=torch.bool), max(int(0.22 * steps), 1), 0
    for i in range(steps):
        moved, old = y - old, y.clone()
        share = 0.75 if i else 1.0
        ahead = project(y + size * direction(g, norm), x, eps, norm)
        y = project(y + share * (ahead - y) + (1 - share) * moved, x, eps, norm)
        loss, g, margins = differentiate(model, y, labels, function)
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


def wrong_classes(model, x, count):
    """The second to the count + first likeliest class."""
    with torch.no_grad():
        order = model(x).sort(dim=1)[1]
    return [order[:, -rank] for rank in range(2, count + 2)]


def apgd_targeted(model, x, labels, eps, steps, count):
    runs = [
        apgd(model, x, labels, eps, steps, function=targeted_dlr(targets)) for targets in wrong_classes(model, x, count)
    ]
    return torch.stack(runs).amin(0)


def carlini_wagner(model, x, labels, c, steps, lr, kappa=0.0, search=0):
    """Carlini and Wagner 2017, image by image: the smallest margin over all iterates, and the nearest distances."""
    least, nearest = [], []
    for image, label in zip(x, labels[:, None]):
        weight, low, high, best, lowest = c, 0.0, np.inf, np.inf, np.inf
        for _ in range(max(search, 1)):
            w = torch.atanh((2 * image[None] - 1) * 0.999999).requires_grad_()
            adam, last, fell = torch.optim.Adam([w], lr=lr), np.inf, False
            for step in range(steps):
                y = (torch.tanh(w) / 0.999999 + 1) / 2
                m = margin(model(y), label)
                distance = (y - image).square().sum()
                cost = distance + weight * m.clamp(min=-kappa).sum()
                lowest = min(lowest, m.item())
                if m.item() < 0:
                    fell, best = True, min(best, distance.item())
                if step % max(steps // 10, 1) == 0:
                    if cost.item() > last:
                        break
                    last = cost.item()
                adam.zero_grad()
                cost.backward()
                adam.step()
            low, high = (low, weight) if fell else (weight, high)
            weight = 10 * weight if np.isinf(high) else (low + high) / 2
        least.append(lowest)
        nearest.append(np.sqrt(best))
    return torch.tensor(least), np.array(nearest)


def projection(x, normal, offset, norm):
    """The smallest step from x to normal . z = offset within [0, 1]^n, by bisection; to a corner where the box does not reach it."""
    excess = (normal * x).sum(1) - offset
    w = normal * torch.where(excess >= 0, 1.0, -1.0)[:, None]
    room = torch.where(w > 0, x, 1 - x)
    step = lambda level: torch.minimum(level[:, None] * (w.abs() if norm == "l2" else 1), room) * (w != 0)
    low, high = torch.zeros(len(x), dtype=x.dtype), (room / w.abs()).nan_to_num(0, 0, 0).amax(1).clamp_min(1)
    for _ in range(200):
        middle = (low + high) / 2
        enough = (step(middle) * w.abs()).sum(1) >= excess.abs()
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return -step(high) * w.sign()


def fab_targeted(model, x, labels, eps, steps, count, norm="linf"):
    """FAB-T (Croce and Hein 2020): how much further than eps the nearest boundary is, relative to eps."""
    size = lambda d: d.flatten(1).abs().amax(1) if norm == "linf" else d.flatten(1).norm(dim=1)
    rows, nearest = torch.arange(len(x)), torch.full((len(x),), torch.inf, dtype=x.dtype)
    for targets in wrong_classes(model, x, count):
        y = x.clone()
        for _ in range(steps):
            difference, g, _ = differentiate(model, y, labels, lambda z, own: z[rows, targets] - z[rows, own])
            flat, offset = g.flatten(1), (g * y).flatten(1).sum(1) - difference
            here, away = (projection(point.flatten(1), flat, offset, norm).view_as(x) for point in (y, x))
            a, b = (size(d).clamp_min(1e-8) for d in (here, away))
            alpha = (a / (a + b)).clamp(0, 0.1).view(-1, 1, 1, 1)
            y = ((y + 1.05 * here) * (1 - alpha) + (x + 1.05 * away) * alpha).clamp(0, 1)
            with torch.no_grad():
                fools = model(y).argmax(1) != labels
            nearest = torch.where(fools, torch.minimum(nearest, size(y - x)), nearest)
            y = torch.where(fools.view(-1, 1, 1, 1), x + 0.9 * (y - x), y)
    return nearest / eps - 1


ATTACKS = {
    "bim:eps=0.25/255,alpha=0.1/255,steps=6": lambda *a: iterate(*a, 0.25 / 255, 0.1 / 255, 6),
    "bim:eps=0.4,alpha=0.1,steps=8,norm=l2": lambda *a: iterate(*a, 0.4, 0.1, 8, norm="l2"),
    "pgd:eps=0.25/255,alpha=0.1/255,steps=6,start=clean": lambda *a: iterate(*a, 0.25 / 255, 0.1 / 255, 6),
    "mim:eps=0.25/255,alpha=0.1/255,steps=6,decay=0.9": lambda *a: iterate(*a, 0.25 / 255, 0.1 / 255, 6, decay=0.9),
    "apgd-ce:eps=2/255,steps=25,start=clean": lambda *a: apgd(*a, 2 / 255, 25),
    "apgd-ce:eps=0.3,steps=25,start=clean,norm=l2": lambda *a: apgd(*a, 0.3, 25, norm="l2"),
    "apgd-dlr:eps=0.25/255,steps=12,start=clean": lambda *a: apgd(*a, 0.25 / 255, 12, function=dlr),
    "apgd-t:eps=0.25/255,steps=12,targets=3,start=clean": lambda *a: apgd_targeted(*a, 0.25 / 255, 12, 3),
    "cw:c=0.02,steps=12,lr=0.005": lambda *a: carlini_wagner(*a, 0.02, 12, 0.005)[0],
    "cw:c=0.002,steps=10,lr=0.005,kappa=0.1,search=3": lambda *a: carlini_wagner(*a, 0.002, 10, 0.005, 0.1, 3)[0],
    "fab-t:eps=0.25/255,steps=6,targets=3": lambda *a: fab_targeted(*a, 0.25 / 255, 6, 3),
    "fab-t:eps=0.05,steps=6,targets=2,norm=l2": lambda *a: fab_targeted(*a, 0.05, 6, 2, norm="l2"),
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
    # Six to twenty-five steps of signs of gradients spread rounding: look where the margin is more than that. Carlini and Wagner's
    # steps are smooth, and end near the boundary.
    decided = np.abs(margins) > (5e-4 if name.startswith("cw") else 5e-3)
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


AUTO = "eps=0.25/255,steps=8,targets=2,queries=60"


def measurement(folder, kind):
    (found,) = [m for m in measurements(folder) if m["kind"] == kind]
    return found


def test_autoattack_is_its_parts_on_what_stands(small, tmp_path):
    *_, x, y = write_npz(tmp_path / "data.npz", small.info, train=4, val=COUNT)
    with torch.no_grad():
        y = small.golden()(x).argmax(1)
    np.savez(tmp_path / "data.npz", **dict(np.load(tmp_path / "data.npz")) | {"y_val": y.numpy()})
    executable = compile_model(small, "evaluate", "--batch=8")
    first, auto = "apgd-ce:eps=0.25/255,steps=8", f"autoattack:{AUTO}"
    data = ["--data-dir", tmp_path / "data.npz", "--output", tmp_path / "out"]
    run([executable, *data, "--attack", first, "--attack", auto])
    found = outcomes(tmp_path / "out")
    parameters = measurement(tmp_path / "out", "autoattack")["parameters"]
    shares = list(parameters["standing_after"].values())
    assert list(parameters["standing_after"]) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert shares == sorted(shares, reverse=True) and 0 < shares[-1] < shares[0] < 1
    assert shares[0] == pytest.approx(found[first].mean()) and shares[-1] == pytest.approx(found[auto].mean())
    assert (found[auto] <= found[first]).all()
    assert not [flag for flag in parameters["flags"] if "square" not in flag]


def test_autoattack_flags_a_model_without_slope(small, tmp_path):
    """A head of zeros with one 1 in its bias: no gradient, and outputs that look like probabilities."""
    from safetensors.torch import load_file, save_file

    weights = load_file(small.weights)
    weights["head.weight"].zero_()
    weights["head.bias"].zero_()[0] = 1
    save_file(weights, tmp_path / "flat.safetensors")
    write_npz(tmp_path / "data.npz", small.info, train=4, val=8)
    arrays = dict(np.load(tmp_path / "data.npz"))
    np.savez(tmp_path / "data.npz", **arrays | {"y_val": np.zeros_like(arrays["y_val"])})
    executable = compile_model(small, "evaluate", "--batch=8")
    data = ["--data-dir", tmp_path / "data.npz", "--output", tmp_path / "out", "--weights", tmp_path / "flat.safetensors"]
    result = run([executable, *data, "--attack", f"autoattack:{AUTO}"])
    flags = measurement(tmp_path / "out", "autoattack")["parameters"]["flags"]
    assert any("gradient of 8 of 8 images is zero" in flag for flag in flags) and any("probabilities" in flag for flag in flags)
    assert all(flag in result.stderr for flag in flags)
