"""Entries attack_update, attack_update_l2 and attack_update_momentum: the steps of attacks against their formulas."""

import numpy as np
import pytest
from conftest import compile_model
from nullspace import runtime

SIZE, EPS, DECAY = 1.5 / 255, 4 / 255, 0.9


@pytest.fixture(scope="module", params=[["--batch=2"], ["--batch=5", "--precision=f64"]], ids=["f32", "f64"])
def model(request, small):
    return runtime.Model(compile_model(small, "library", *request.param))


@pytest.fixture
def inputs(model):
    """Iterates near clean images, some at the bounds; gradients with zeros, one image's all zero, as that of padding."""
    random, shape = np.random.default_rng(1), model.slot("image").shape
    clean = random.uniform(-0.2, 1.2, shape).clip(0, 1)
    image = (clean + random.uniform(-EPS, EPS, shape)).clip(0, 1)
    grad = random.normal(size=shape) * (random.uniform(size=shape) > 0.1)
    grad[1] = 0
    dtype = model.slot("image").dtype
    return [array.astype(dtype) for array in (image, clean, grad)]


def step(model, entry, inputs, eps, decay=0.0, **slots):
    for name, value in zip(("image", "clean_image", "image_grad"), inputs):
        model.slot(name)[:] = value
    for name, value in slots.items():
        model.slot(name)[:] = value
    model.slot("attack_hyper")[:] = SIZE, eps, decay
    model.run(entry)
    return np.array(model.slot("image"))


def norms(x):
    return np.sqrt(np.square(x, dtype=np.float64).sum((1, 2, 3), keepdims=True))


def ascend(image, clean, direction, eps, norm="linf"):
    size, eps = image.dtype.type(SIZE), image.dtype.type(eps)
    if norm == "linf":
        return np.clip(np.clip(image + size * np.sign(direction), clean - eps, clean + eps), 0, 1)
    delta = image + SIZE * direction / (norms(direction) + 1e-10) - clean
    return np.clip(clean + np.minimum(1, eps / norms(delta)) * delta, 0, 1)


def near(model, found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if found.dtype == np.float32 else 1e-14)


def test_linf_to_the_bit(model, inputs):
    found = step(model, "attack_update", inputs, EPS)
    np.testing.assert_array_equal(found, ascend(*inputs, EPS))
    np.testing.assert_array_equal(found[1], inputs[0][1])  # no gradient: as it was


@pytest.mark.parametrize("eps", [0.02, 100])
def test_l2_on_the_sphere_and_inside(model, inputs, eps):
    near(model, step(model, "attack_update_l2", inputs, eps), ascend(*inputs, eps, norm="l2"))


def test_momentum_begins_anew_with_decay_0(model, inputs):
    image, clean, grad = inputs
    mean = np.maximum(np.abs(grad, dtype=np.float64).mean((1, 2, 3), keepdims=True), 1e-30)
    moved = step(model, "attack_update_momentum", inputs, EPS, momentum=np.nan)
    momentum = np.array(model.slot("momentum"))
    np.testing.assert_allclose(momentum, grad / mean, rtol=1e-5)
    np.testing.assert_array_equal(moved, ascend(image, clean, grad, EPS))
    again = step(model, "attack_update_momentum", (moved, clean, -0.5 * grad), EPS, decay=DECAY)
    near(model, np.array(model.slot("momentum")), DECAY * momentum - grad / mean)
    np.testing.assert_array_equal(again, ascend(moved, clean, np.array(model.slot("momentum")), EPS))


def test_nan_stays_where_it_is(model, inputs):
    """A NaN pixel of the iterate stays one; a NaN of the gradient moves nothing."""
    image, clean, grad = (array.copy() for array in inputs)
    image[0, 0, 0, 0], grad[0, 0, 0, 1] = np.nan, np.nan
    found = step(model, "attack_update", (image, clean, grad), EPS)
    assert np.isnan(found).sum() == 1 and np.isnan(found[0, 0, 0, 0])
    assert found[0, 0, 0, 1] == image[0, 0, 0, 1]


@pytest.mark.parametrize("entry", ["attack_update_l2", "attack_update_momentum"])
def test_threads_do_not_matter(model, inputs, entry):
    found = []
    for threads in (1, 2):
        model.set_threads(threads)
        found.append(step(model, entry, inputs, EPS))
    np.testing.assert_array_equal(*found)
