"""Gradients of the compiled entries against PyTorch's autograd in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, images, small_vit

# A tensor's error may be 1e-4 of its own largest entry, or of 1e-5 of the largest gradient of all.
RELATIVE, FLOOR = 1e-4, 1e-5
BATCH = 4

VARIANTS = {
    "class_token": {},
    "layer_scale_registers": dict(init_values=1e-5, reg_tokens=3),
    "average_pooling_qk_norm": dict(class_token=False, global_pool="avg", qk_norm=True),
}


@pytest.fixture(scope="module", params=VARIANTS)
def setting(request, cases, full):
    """A compiled library with padding in its batch: three images, weight 0 for the fourth."""
    runtime = pytest.importorskip("nullspace.runtime")
    if full:
        case = cases("timm:vit_tiny_patch16_224", scale=4.0, model_kwargs=VARIANTS[request.param])
    else:
        case = small_vit(cases, depth=2, **VARIANTS[request.param])
    model = runtime.Model(compile_model(case, "library", f"--batch={BATCH}"))
    torch.manual_seed(5)
    image = images(BATCH, case.info)
    labels = torch.randint(case.info.classes, (BATCH,))
    weights = torch.tensor([1, 1, 1, 0], dtype=torch.float64) / 3
    noise = 0.5 * torch.randn(model.slot("noise").shape)
    model.slot("image")[:] = image.numpy()
    model.slot("labels")[:] = labels.numpy()
    model.slot("weights")[:] = weights.numpy()
    model.slot("accumulate")[:] = 0
    model.slot("noise")[:] = noise.numpy()
    return case.golden(), model, image, labels, weights, noise.double()


def compare(found: dict, golden: dict):
    largest = max(g.abs().max().item() for g in golden.values())
    bad = []
    for name, expected in golden.items():
        error = np.abs(np.asarray(found[name], dtype=np.float64) - expected.numpy()).max()
        own = expected.abs().max().item()
        allowed = RELATIVE * max(own, FLOOR * largest)
        if not error <= allowed:
            bad.append(f"{name}: error {error:.2e}, allowed {allowed:.2e}")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("entry", ["synth_step", "synth_step_l2"])
def test_synthesis_loss_by_noise(setting, entry):
    golden, model, image, _, weights, noise = setting
    clean = golden(image).detach()
    variable = noise.clone().requires_grad_()
    square = (golden(image, variable) - clean).square().sum(1)
    loss = (weights * (square if entry == "synth_step" else square.sqrt())).sum()
    loss.backward()
    model.slot("clean_logits")[:] = clean.numpy()
    model.run(entry)
    assert abs(float(np.ravel(model.slot("loss"))[0]) - loss.item()) <= 1e-5 * abs(loss.item())
    compare({"noise": model.slot("noise.grad")}, {"noise": variable.grad})


@pytest.mark.parametrize("entry", ["finetune_step", "finetune_step_noised"])
def test_finetune_loss_by_every_parameter(setting, entry):
    golden, model, image, labels, weights, noise = setting
    golden.zero_grad()
    losses = F.cross_entropy(golden(image), labels, reduction="none")
    if entry == "finetune_step_noised":
        losses = losses + F.cross_entropy(golden(image, noise), labels, reduction="none")
    loss = (weights * losses).sum()
    loss.backward()
    model.run(entry)
    assert abs(float(np.ravel(model.slot("loss"))[0]) - loss.item()) <= 1e-5 * abs(loss.item())
    compare(model.param_grads(), {name: p.grad for name, p in golden.net.named_parameters()})


def test_accumulated_halves_equal_the_whole(setting):
    """Two micro-batches, the second with accumulate = 1, add up to one step over both."""
    golden, model, image, labels, _, _ = setting
    golden.zero_grad()
    F.cross_entropy(golden(torch.cat([image, image.flip(0)])), torch.cat([labels, labels.flip(0)])).backward()
    saved = {name: np.array(model.slot(name)) for name in ("image", "labels", "weights")}
    try:
        model.slot("weights")[:] = 1 / (2 * BATCH)
        model.run("finetune_step")
        model.slot("image")[:] = saved["image"][::-1]
        model.slot("labels")[:] = saved["labels"][::-1]
        model.slot("accumulate")[:] = 1
        model.run("finetune_step")
        compare(model.param_grads(), {name: p.grad for name, p in golden.net.named_parameters()})
    finally:
        model.slot("accumulate")[:] = 0
        for name, value in saved.items():
            model.slot(name)[:] = value


def test_cross_entropy_by_image(setting):
    golden, model, image, labels, weights, _ = setting
    variable = image.double().requires_grad_()
    logits = golden(variable)
    losses = F.cross_entropy(logits, labels, reduction="none")
    (weights * losses).sum().backward()
    model.run("value_and_grad")
    assert np.abs(model.slot("losses") - losses.detach().numpy()).max() <= 1e-5 * losses.abs().max()
    assert np.abs(model.slot("logits") - logits.detach().numpy()).max() <= 1e-5 * logits.abs().max()
    compare({"image": model.slot("image_grad")}, {"image": variable.grad})


def test_stop_test_measures(setting):
    golden, model, image, _, _, noise = setting
    with torch.no_grad():
        clean, noised = golden(image), golden(image, noise)
        p, q = clean.softmax(1), noised.softmax(1)
        expected = {
            "logit_sq": (noised - clean).square().sum(1),
            "prob_sq": (q - p).square().sum(1),
            "conf_diff": (q.max(1).values - p.max(1).values).abs(),
            "same_argmax": (clean.argmax(1) == noised.argmax(1)).double(),
        }
    model.slot("clean_logits")[:] = clean.numpy()
    model.run("stop_test")
    for name, value in expected.items():
        np.testing.assert_allclose(model.slot(name), value.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)
