"""Entry attack_grad: the losses that attacks climb, and their gradients by the pixels, against PyTorch and central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model

BATCH = 5
NAMES = ("cross_entropy", "dlr", "targeted_dlr", "margin", "target")


def losses_of(logits, labels, targets, objective):
    """ns.attack_loss as AutoAttack's and torchattacks' code write its terms."""
    rows = torch.arange(len(logits))
    own, aimed = logits[rows, labels], logits[rows, targets]
    ranked, order = logits.sort(dim=1)
    first = (order[:, -1] == labels).to(logits.dtype)
    dlr = -(own - ranked[:, -2] * first - ranked[:, -1] * (1 - first)) / (ranked[:, -1] - ranked[:, -3] + 1e-12)
    targeted = -(own - aimed) / (ranked[:, -1] - 0.5 * ranked[:, -3] - 0.5 * ranked[:, -4] + 1e-12)
    other = logits.scatter(1, labels[:, None], -torch.inf).max(1).values
    margin = -torch.clamp(own - other, min=-objective[:, 5])
    terms = torch.stack([F.cross_entropy(logits, labels, reduction="none"), dlr, targeted, margin, aimed - own], 1)
    return (objective[:, :5] * terms).sum(1)


@pytest.fixture(scope="module")
def attacked(small, tmp_path_factory):
    from nullspace import runtime

    model = runtime.Model(str(compile_model(small, "library", f"--batch={BATCH}", "--precision=f64")))
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(BATCH, *small.info.image, generator=generator, dtype=torch.float64)
    golden = small.golden()
    with torch.no_grad():
        order = golden(image).argsort(1, descending=True)
    labels = torch.where(torch.arange(BATCH) % 2 == 0, order[:, 0], order[:, 2])  # right and wrong predictions
    return model, golden, image, labels, order[:, 3]


def run(model, image, labels, targets, objective):
    for name, value in (("image", image), ("labels", labels), ("targets", targets), ("objective", objective)):
        model.slot(name)[:] = value.numpy()
    model.slot("weights")[:] = 1
    model.run("attack_grad")
    return np.array(model.slot("losses")), np.array(model.slot("image_grad"))


def objectives():
    infinite = torch.full((BATCH, 1), torch.inf, dtype=torch.float64)
    for i, name in enumerate(NAMES):
        yield name, torch.cat([F.one_hot(torch.full((BATCH,), i), 5).double(), infinite], 1)
    mixed = torch.rand(BATCH, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64) - 0.3
    yield "mixed", mixed
    capped = torch.zeros(BATCH, 6, dtype=torch.float64)
    capped[:, 3], capped[:, 5] = -2.5, torch.linspace(-0.5, 0.5, BATCH)  # Carlini and Wagner's, capped for some
    yield "capped", capped


@pytest.mark.parametrize("name, objective", list(objectives()))
def test_losses_and_gradients_are_pytorchs(attacked, name, objective):
    model, golden, image, labels, targets = attacked
    variable = image.clone().requires_grad_()
    expected = losses_of(golden(variable), labels, targets, objective)
    (gradient,) = torch.autograd.grad(expected.sum(), variable)
    losses, found = run(model, image, labels, targets, objective)
    assert np.abs(losses - expected.detach().numpy()).max() <= 1e-9 * max(1, expected.abs().max().item())
    assert np.abs(found - gradient.numpy()).max() <= 1e-8 * gradient.abs().max().item()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name, objective", list(objectives()))
def test_gradients_are_central_differences(attacked, name, objective):
    model, _, image, labels, targets = attacked
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-6
    _, gradient = run(model, image, labels, targets, objective)
    above, _ = run(model, image + step * direction, labels, targets, objective)
    below, _ = run(model, image - step * direction, labels, targets, objective)
    expected = (gradient * direction.numpy()).sum((1, 2, 3))
    assert np.abs((above - below) / (2 * step) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_terms_of_weight_zero_do_no_harm(attacked):
    """Equal logits make the ratio infinite; a cap of infinity times 0 would be NaN."""
    model, _, image, labels, targets = attacked
    objective = torch.zeros(BATCH, 6, dtype=torch.float64)
    objective[:, 5] = torch.inf
    losses, gradient = run(model, image, labels, targets, objective)
    assert (losses == 0).all() and (gradient == 0).all()
