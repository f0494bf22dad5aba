"""Corruptions against the published generator's formulas (Hendrycks and Dietterich, 2019), here in NumPy, SciPy and Pillow.

Kinds without random numbers must agree pixel by pixel; the others in statistics over several draws: the random numbers differ.
"""

import io
import json

import numpy as np
import pytest
from conftest import compile_model, run, write_npz
from PIL import Image
from scipy import ndimage

SIDE = 96


def tables(side):
    """Parameters of a few kinds by image side: ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C."""
    column = 0 if side >= 128 else 1 if side >= 48 else 2
    table = {
        "gaussian_noise": ([0.08, 0.12, 0.18, 0.26, 0.38], [0.04, 0.08, 0.12, 0.15, 0.18], [0.04, 0.06, 0.08, 0.09, 0.10]),
        "shot_noise": ([60, 25, 12, 5, 3], [250, 100, 50, 30, 15], [500, 250, 100, 75, 50]),
        "impulse_noise": ([0.03, 0.06, 0.09, 0.17, 0.27], [0.01, 0.02, 0.05, 0.08, 0.14], [0.01, 0.02, 0.03, 0.05, 0.07]),
        "speckle_noise": ([0.15, 0.2, 0.35, 0.45, 0.6], [0.15, 0.2, 0.25, 0.3, 0.35], [0.06, 0.1, 0.12, 0.16, 0.2]),
        "gaussian_blur": ([1, 2, 3, 4, 6], [0.5, 0.75, 1, 1.25, 1.5], [0.4, 0.6, 0.7, 0.8, 1]),
        "zoom_blur": (
            [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
            [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
            [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        ),
        "brightness": ([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5], [0.05, 0.1, 0.15, 0.2, 0.3]),
        "contrast": ([0.4, 0.3, 0.2, 0.1, 0.05], [0.4, 0.3, 0.2, 0.1, 0.05], [0.75, 0.5, 0.4, 0.3, 0.15]),
        "pixelate": ([0.6, 0.5, 0.4, 0.3, 0.25], [0.9, 0.8, 0.7, 0.6, 0.5], [0.95, 0.9, 0.85, 0.75, 0.65]),
        "jpeg_compression": ([25, 18, 15, 10, 7], [65, 58, 50, 40, 25], [80, 65, 58, 50, 40]),
        "fog": (
            [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
            [(0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
            [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        ),
    }  # fmt: skip
    return {kind: columns[column] for kind, columns in table.items()}


def picture(side, seed=0):
    """Smooth colours with edges, no photograph at hand."""
    random = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(random.uniform(size=(side, side, 3)), (side / 12, side / 12, 0))
    image = (image - image.min()) / (image.max() - image.min())
    image[side // 4 : side // 2, side // 3 : side // 2] = [0.9, 0.2, 0.4]
    return np.uint8(255 * image)


def to_bytes(x):
    return np.uint8(255 * np.clip(x, 0, 1))


def zoomed(x, factor):
    crop = int(np.ceil(len(x) / factor))
    top = (len(x) - crop) // 2
    x = ndimage.zoom(x[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
    trim = (len(x) - SIDE) // 2
    return x[trim : trim + SIDE, trim : trim + SIDE]


def exact(kind, image, c):
    """The generator's picture of the kinds without random numbers."""
    x = image / 255.0
    if kind == "gaussian_blur":
        return to_bytes(ndimage.gaussian_filter(x, (c, c, 0), mode="nearest"))
    if kind == "zoom_blur":
        factors = np.arange(1, *c)
        return to_bytes((x + sum(zoomed(x, f) for f in factors)) / (len(factors) + 1))
    if kind == "brightness":
        value = x.max(2, keepdims=True)
        return to_bytes(np.where(value > 0, x / np.maximum(value, 1e-9), 1) * np.clip(value + c, 0, 1))
    if kind == "contrast":
        mean = x.mean((0, 1), keepdims=True)
        return to_bytes((x - mean) * c + mean)
    if kind == "pixelate":
        small = Image.fromarray(image).resize((int(SIDE * c), int(SIDE * c)), Image.BOX)
        return np.array(small.resize((SIDE, SIDE), Image.BOX))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=c)
    return np.array(Image.open(buffer))


def drawn(kind, image, c, random):
    """One draw of the generator."""
    x = image / 255.0
    if kind == "gaussian_noise":
        return to_bytes(x + random.normal(size=x.shape, scale=c))
    if kind == "speckle_noise":
        return to_bytes(x + x * random.normal(size=x.shape, scale=c))
    if kind == "shot_noise":
        return to_bytes(random.poisson(x * c) / c)
    flipped, salt = random.uniform(size=x.shape) < c, random.uniform(size=x.shape) < 0.5
    return to_bytes(np.where(flipped, salt, x))


@pytest.fixture(scope="module")
def corrupt():
    return pytest.importorskip("nullspace.runtime").corrupt


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("kind", ["gaussian_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"])
def test_kinds_without_random_numbers_are_the_generators(corrupt, kind, severity):
    image = picture(SIDE)
    found = corrupt(image, kind, severity).astype(int)
    expected = exact(kind, image, tables(SIDE)[kind][severity - 1]).astype(int)
    # Rounding down makes one of what float32 and float64 put on two sides of an integer.
    assert np.abs(found - expected).max() <= 1 and np.mean(found != expected) < 0.05
    assert np.abs(found - image).mean() > 0.2


@pytest.mark.parametrize("side", [224, 64, 32])
@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noises_have_the_generators_statistics(corrupt, kind, side):
    image, random = picture(side), np.random.default_rng(1)
    draws = max(4, 200_000 // image.size)
    for severity in (1, 5):
        c = tables(side)[kind][severity - 1]
        found = np.stack([corrupt(image, kind, severity, seed=s) for s in range(draws)]).astype(float)
        expected = np.stack([drawn(kind, image, c, random) for _ in range(draws)]).astype(float)
        difference, spread = found - image, (expected - image).std()
        assert difference.mean() == pytest.approx((expected - image).mean(), abs=6 * spread / found.size**0.5)
        assert difference.std() == pytest.approx(spread, rel=0.05)  # impulses are few
        assert np.mean(difference == 0) == pytest.approx(np.mean(expected == image), abs=0.01)


def test_fog_adds_the_generators_share(corrupt):
    """White noise by diamond-square: its mean follows from the image's maximum and the strength."""
    image = picture(SIDE)
    strength = tables(SIDE)["fog"][2][0]
    means = [corrupt(image, "fog", 3, seed=s).mean() / 255 for s in range(30)]
    largest = image.max() / 255
    fog = np.mean(means) * (largest + strength) / largest - (image / 255).mean()
    assert 0.35 < fog / strength < 0.65 and np.std(means) > 0.005


def test_every_kind_gets_worse_with_severity_and_depends_on_its_arguments_alone(corrupt):
    from nullspace.runtime import CORRUPTIONS

    image = picture(SIDE)
    assert len(CORRUPTIONS) == 19
    random_kinds = set(CORRUPTIONS) - {"gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate",
                                       "jpeg_compression", "saturate"}  # fmt: skip
    for kind in CORRUPTIONS:
        distance = [np.mean([np.abs(corrupt(image, kind, severity, seed=s).astype(int) - image).mean() for s in range(4)])
                    for severity in (1, 5)]  # fmt: skip
        assert distance[0] > 0 and (distance[1] > distance[0] or kind in ("elastic_transform", "saturate")), kind
        first, again = corrupt(image, kind, 3, seed=7, name="a"), corrupt(image, kind, 3, seed=7, name="a")
        assert (first == again).all(), kind
        for other in (corrupt(image, kind, 3, seed=8, name="a"), corrupt(image, kind, 3, seed=7, name="b")):
            assert (first == other).all() == (kind not in random_kinds), kind


def test_snow_glass_and_motion_keep_their_marks(corrupt):
    flat = np.full((SIDE, SIDE, 3), 100, np.uint8)
    assert (corrupt(flat, "glass_blur", 5) >= 99).all(), "a copy of neighbours leaves a flat image flat"
    assert (corrupt(flat, "motion_blur", 5) == 100).all() and (corrupt(flat, "defocus_blur", 5) >= 99).all()
    snow = corrupt(flat, "snow", 5).astype(int)
    assert (np.abs(snow[..., 0] - snow[..., 2]) <= 1).all() and snow.mean() > 110
    line = np.zeros((SIDE, SIDE, 3), np.uint8)
    line[:, SIDE // 2] = 255
    blurred = corrupt(line, "motion_blur", 5)
    assert blurred[SIDE // 2].max() < 128 and int(blurred.sum()) == pytest.approx(int(line.sum()), rel=0.1)


def test_bad_arguments(corrupt, tmp_path):
    from nullspace.runtime import NullspaceError

    for arguments, message in [(("rain", 1), "rain"), (("snow", 0), "severity 0"), (("snow", 6), "severity 6")]:
        with pytest.raises(NullspaceError, match=message):
            corrupt(picture(32), *arguments)
    with pytest.raises(NullspaceError, match="16 x 16"):
        corrupt(picture(15), "snow", 1)
    with pytest.raises(NullspaceError, match="frost-dir"):
        corrupt(picture(32), "frost", 1, frost_dir=tmp_path)
    with pytest.raises(ValueError, match="uint8"):
        corrupt(np.zeros((32, 32, 3), np.float32), "snow", 1)


def test_frost_lays_the_given_pictures_over_the_image(corrupt, tmp_path):
    for i in range(1, 6):
        Image.new("RGB", (600, 500), (200, 200, 200)).save(tmp_path / f"frost{i}.png")
    image = picture(224)
    found = corrupt(image, "frost", 2, frost_dir=tmp_path)
    assert np.abs(found - np.clip(0.8 * image + 0.6 * 200, 0, 255)).max() <= 1.01


@pytest.fixture(scope="module")
def evaluated(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corruptions")
    write_npz(folder / "data.npz", small.info, train=4, val=11)
    flags = ["--data-dir", folder / "data.npz", "--corruption", "all", "--corruption", "spatter:2", "--corruption", "contrast:1"]
    executable = compile_model(small, "evaluate", "--batch=8")
    run([executable, *flags, "--output", folder / "out", "--save-corrupted", folder / "images"])
    return executable, folder


def test_evaluation_streams_what_it_saves(evaluated, small):
    """Accuracy on the streamed images is PyTorch's on the images that were written."""
    _, folder = evaluated
    results = json.loads((folder / "out" / "results.json").read_text())["measurements"]
    found = {(m["parameters"]["corruption"], m["parameters"]["severity"]): m for m in results if m["kind"] == "corruption"}
    assert len(found) == 15 * 5 + 1
    labels, golden = np.load(folder / "data.npz")["y_val"], small.golden()
    import torch

    for (kind, severity), measurement in list(found.items())[::7]:
        right = 0
        for i, label in enumerate(labels):
            path = next((folder / "images" / kind / str(severity) / str(label)).glob(f"{i}.png"))
            x = torch.tensor(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
            right += int(golden(x).argmax(1).item() == label)
        assert measurement["value"] == pytest.approx(right / len(labels)), (kind, severity)
        assert measurement["n"] == 11 and measurement["parameters"]["table"] in ("cifar-10-c", "tiny-imagenet-c")
    mean = next(m for m in results if m["kind"] == "corruption_mean_error")
    common = [m["value"] for (kind, _), m in found.items() if kind != "spatter"]
    assert mean["value"] == pytest.approx(1 - np.mean(common))
    assert not any(m["kind"] == "mce" for m in results), "AlexNet's errors are not for images of this size"


def test_evaluation_does_not_depend_on_threads_or_company(evaluated):
    executable, folder = evaluated
    run([executable, "--data-dir", folder / "data.npz", "--corruption", "snow:4", "--corruption", "snow:4", "--threads", "1",
         "--output", folder / "single", "--save-corrupted", folder / "single-images"])  # fmt: skip
    for path in sorted((folder / "single-images").rglob("*.png")):
        other = folder / "images" / path.relative_to(folder / "single-images")
        assert path.read_bytes() == other.read_bytes()
    assert len(list((folder / "single-images").rglob("*.png"))) == 11


@pytest.mark.parametrize("flag", ["rain", "snow:6", "snow:", "all:x"])
def test_unknown_corruptions_are_usage_errors(evaluated, flag):
    executable, folder = evaluated
    failed = run([executable, "--data-dir", folder / "data.npz", "--output", folder / "none", "--corruption", flag], check=False)
    assert failed.returncode == 2 and "--corruption" in failed.stderr and not (folder / "none").exists()
