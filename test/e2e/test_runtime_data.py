"""libnsrt's readers, loops and C interface, on the linear model of test/Unit/Runtime/FakeArtifact.c: no compiler needed."""

import csv
import json
import math
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import time

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
from conftest import BUILD, ROOT, tool

SOURCE = ROOT / "test" / "Unit" / "Runtime" / "FakeArtifact.c"
CLASSES, SIDE = 5, 4


def compile_fake(path: pathlib.Path, emit: str, *defines: str) -> pathlib.Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    command = [compiler, "-O1", "-shared", "-fPIC", f'-DEMIT="{emit}"', *defines, "-I", ROOT / "include", SOURCE]
    subprocess.run([*map(str, command), "-o", str(path), "-lm"], check=True)
    return path


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fakes")
    return {emit: compile_fake(folder / f"{emit}.so", emit) for emit in ("synth", "finetune", "evaluate", "library")}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    rng = np.random.default_rng(1)
    values = {
        "head.weight": rng.normal(size=(CLASSES, 3 * SIDE * SIDE)).astype(np.float32),
        "head.bias": rng.normal(size=CLASSES).astype(np.float32),
    }
    path = tmp_path_factory.mktemp("weights") / "linear.safetensors"
    safetensors.numpy.save_file(values, path)
    return path, values


def logits_of(values, pixels):
    """pixels: N x H x W x 3, uint8"""
    flat = (pixels.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    return flat @ values["head.weight"].T + values["head.bias"]


def arrays(n=30, seed=0):
    rng = np.random.default_rng(seed)
    make = lambda k: (rng.integers(0, 256, (k, SIDE, SIDE, 3), dtype=np.uint8), rng.integers(0, CLASSES, k))  # noqa: E731
    (x_train, y_train), (x_val, y_val) = make(n), make(n)
    return dict(x_train=x_train, y_train=y_train, x_val=x_val, y_val=y_val)


def drive(artefact, *flags, **kwargs):
    command = [tool("nsrt-driver"), artefact, *flags]
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **kwargs)


def evaluate(fakes, weights, data, output, *flags, artefact=None):
    return drive(artefact or fakes["evaluate"], "--data-dir", data, "--output", output, "--weights", weights[0], *flags)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("labels", ["int64", "uint8", "int32"])
def test_npz_stored_and_deflated(fakes, weights, tmp_path, save, labels):
    data = arrays()
    data["y_val"] = data["y_val"].astype(labels)
    save(tmp_path / "d.npz", **data)
    result = evaluate(fakes, weights, tmp_path / "d.npz", tmp_path / "out", "--save-logits", tmp_path / "l.npy")
    assert result.returncode == 0, result.stderr
    golden = logits_of(weights[1], data["x_val"])
    np.testing.assert_allclose(np.load(tmp_path / "l.npy"), golden, rtol=1e-5, atol=1e-5)
    clean = json.loads((tmp_path / "out" / "results.json").read_text())["measurements"][0]
    assert clean["kind"] == "clean" and clean["value"] == np.mean(golden.argmax(1) == data["y_val"])


def bad(**changes):
    return {key: value for key, value in (arrays() | changes).items() if value is not None}


@pytest.mark.parametrize(
    "data, expected",
    [
        (bad(x_val=None), "x_val"),
        (bad(y_val=None), "y_val"),
        (bad(y_val=np.full(30, 5)), "y_val[0]: expected a class in 0 .. 4, found 5"),
        (bad(y_val=np.full(30, -1)), "found -1"),
        (bad(y_val=np.zeros(29, int)), "expected 30 integer labels"),
        (bad(y_val=np.zeros(30)), "integer labels"),
        (bad(y_val=np.array(["a"] * 30)), "y_val"),
        (bad(x_val=np.zeros((30, 3, 4, 4), np.uint8)), "N x H x W x 3"),
        (bad(x_val=np.zeros((30, 4, 4, 3), np.float32)), "uint8"),
        (bad(x_val=np.asfortranarray(arrays()["x_val"])), "fortran"),
        (bad(x_val=np.zeros((0, 4, 4, 3), np.uint8), y_val=np.zeros(0, int)), "x_val"),
    ],
)
def test_wrong_npz_contents_are_named(fakes, weights, tmp_path, data, expected):
    np.savez(tmp_path / "d.npz", **data)
    result = evaluate(fakes, weights, tmp_path / "d.npz", tmp_path / "out")
    assert result.returncode == 1 and expected in result.stderr and "d.npz" in result.stderr, result.stderr
    assert not (tmp_path / "out" / "results.json").exists()


def test_damaged_npz_never_crashes(fakes, weights, tmp_path):
    """Truncations and flipped bits: an error or, where the data survive, a result."""
    np.savez_compressed(tmp_path / "good.npz", **arrays(8))
    good = (tmp_path / "good.npz").read_bytes()
    rng = np.random.default_rng(2)
    variants = [good[:n] for n in range(0, len(good), len(good) // 20)]
    for _ in range(40):
        bent = bytearray(good)
        for at in rng.integers(0, len(good), 3):
            bent[at] ^= 1 << int(rng.integers(8))
        variants.append(bytes(bent))
    for index, content in enumerate(variants):
        path = tmp_path / "bent.npz"
        path.write_bytes(content)
        result = evaluate(fakes, weights, path, tmp_path / "out")
        assert result.returncode in (0, 1), f"{index}: {result.returncode} {result.stderr}"
        assert result.returncode == 0 or "bent.npz" in result.stderr


def test_npz_that_promises_too_much(fakes, weights, tmp_path):
    """A member of a few bytes that claims to unpack to 2 GB."""
    np.savez_compressed(tmp_path / "d.npz", **arrays(4))
    content = bytearray((tmp_path / "d.npz").read_bytes())
    at = content.find(b"PK\1\2")
    while at >= 0:
        content[at + 24 : at + 28] = struct.pack("<I", 2**31)
        at = content.find(b"PK\1\2", at + 4)
    (tmp_path / "d.npz").write_bytes(content)
    result = evaluate(fakes, weights, tmp_path / "d.npz", tmp_path / "out")
    assert result.returncode == 1 and "promises" in result.stderr


def write_folder(root, pictures):
    for index, (picture, kind) in enumerate(pictures):
        folder = root / "val" / f"c{index % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{index:03d}.{kind}", **({"quality": 90} if kind == "jpg" else {}))


def timm_transform(picture, size, crop_pct, filter):
    """timm's evaluation transform, by Pillow itself."""
    picture = picture.convert("RGB")
    if picture.size == (size, size):
        return np.asarray(picture)
    target, (w, h) = math.floor(size / crop_pct), picture.size
    shape = (target, int(target * h / w)) if w <= h else (int(target * w / h), target)
    picture = picture.resize(shape, filter)
    left, top = (int(round((extent - size) / 2.0)) for extent in picture.size)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize(
    "interpolation, crop_pct", [("bicubic", 0.9), ("bilinear", 0.5), ("bicubic", 1.0), ("lanczos", 0.25)]
)
def test_pictures_are_read_and_resized_as_pillow_does(weights, tmp_path, interpolation, crop_pct):
    """To the last bit: one level of one pixel would move a logit by 4e-3."""
    defines = [f'-DINTERPOLATION="{interpolation}"', f'-DCROP="{crop_pct}"']
    artefact = compile_fake(tmp_path / "evaluate.so", "evaluate", *defines)
    rng = np.random.default_rng(3)
    pictures = []
    for width, height in [(32, 32), (57, 33), (33, 57), (4, 4), (3, 5), (101, 7), (640, 480)]:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        smooth = PIL.Image.fromarray(noise).resize((8, 8)).resize((width, height))
        pictures += [(PIL.Image.fromarray(noise), "png"), (smooth, "jpg")]
    rgba = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    pictures += [
        (PIL.Image.fromarray(rgba), "png"),
        (pictures[0][0].convert("L"), "png"),
        (pictures[0][0].convert("L"), "jpg"),
        (pictures[0][0].convert("P"), "png"),
        (pictures[1][0].convert("CMYK"), "jpg"),
    ]
    write_folder(tmp_path / "data", pictures)
    result = drive(artefact, "--data-dir", tmp_path / "data", "--output", tmp_path / "out", "--weights", weights[0],
                   "--save-logits", tmp_path / "l.npy")  # fmt: skip
    assert result.returncode == 0, result.stderr
    with open(tmp_path / "out" / "outcomes.csv", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    filter = getattr(PIL.Image.Resampling, interpolation.upper())
    opened = [PIL.Image.open(tmp_path / "data" / "val" / name) for name in names]
    golden = logits_of(weights[1], np.stack([timm_transform(p, SIDE, crop_pct, filter) for p in opened]))
    error = np.abs(np.load(tmp_path / "l.npy") - golden).max(1)
    assert error.max() < 1e-4, {name: e for name, e in zip(names, error) if e >= 1e-4}


def test_damaged_picture_is_named(fakes, weights, tmp_path):
    picture = PIL.Image.fromarray(arrays()["x_val"][0]).resize((40, 40))
    write_folder(tmp_path, [(picture, kind) for kind in ("jpg", "png", "jpg", "png", "jpg")])
    for name in ("c0/000.jpg", "c1/001.png"):
        path = tmp_path / "val" / name
        content = path.read_bytes()
        for cut in (content[: len(content) // 2], b"", b"not a picture"):
            path.write_bytes(cut)
            result = evaluate(fakes, weights, tmp_path, tmp_path / "out")
            assert result.returncode == 1 and name in result.stderr, result.stderr
        path.write_bytes(content)
    assert evaluate(fakes, weights, tmp_path, tmp_path / "out").returncode == 0


def test_statuses_of_the_driver(fakes, weights, tmp_path):
    np.savez(tmp_path / "d.npz", **arrays())
    flags = ["--data-dir", tmp_path / "d.npz", "--output", tmp_path / "out", "--weights", weights[0]]
    assert drive(fakes["synth"], "--help").returncode == 0
    assert json.loads(drive(fakes["synth"], "--info").stdout)["emit"] == "synth"
    assert drive(fakes["synth"], "--nonsense").returncode == 2
    assert drive(fakes["synth"]).returncode == 2
    assert drive(fakes["library"], *flags).returncode == 2
    assert drive(fakes["synth"], *flags, "--steps", 2, "--lim", 9, "--lr", 0).returncode == 3
    assert drive(fakes["synth"], *flags, "--weights", "/nowhere").returncode == 1
    assert drive(fakes["synth"], *flags, "--output", fakes["synth"] / "x").returncode == 1
    assert drive(tmp_path / "d.npz", *flags).returncode == 1
    again = drive(fakes["synth"], "--config", tmp_path / "out" / "args.yaml", "--steps", 1)
    assert again.returncode == 3, again.stderr


def test_a_blas_that_cannot_be_loaded_is_named(fakes, weights, tmp_path):
    """It is loaded on the side: the error comes out before the first entry runs."""
    if b"libtorch_cpu.so" not in (BUILD / "lib" / "libnsrt.so").read_bytes():
        pytest.skip("built for another BLAS than LibTorch's")
    np.savez(tmp_path / "d.npz", **arrays())
    (tmp_path / "libtorch_cpu.so").write_bytes(b"")
    flags = ["--data-dir", tmp_path / "d.npz", "--output", tmp_path / "out", "--weights", weights[0]]
    result = drive(fakes["evaluate"], *flags, env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)})
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: cannot load the BLAS: .*libtorch_cpu\.so: .*; set NSRT_TORCH_LIB to .*\n", result.stderr
    )


@pytest.mark.parametrize("mode", ["synth", "finetune"])
def test_sigterm_saves_and_leaves_with_143(fakes, weights, tmp_path, mode):
    np.savez(tmp_path / "d.npz", **arrays(200))
    flags = ["--data-dir", tmp_path / "d.npz", "--output", tmp_path / "out", "--weights", weights[0]]
    own = ["--steps", 10**8, "--stop-samples", 0] if mode == "synth" else ["--arm", "none", "--steps-per-round", 10**8]
    command = [tool("nsrt-driver"), fakes[mode], *flags, *own]
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "out" / "summary.csv").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    with open(tmp_path / "out" / "summary.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(1, len(steps) + 1)) and steps
    if mode == "synth":
        with safetensors.safe_open(tmp_path / "out" / "noise.safetensors", "np") as noise:
            assert int(noise.metadata()["steps"]) == steps[-1]
    else:
        with safetensors.safe_open(tmp_path / "out" / "optimizer.safetensors", "np") as state:
            assert int(state.metadata()["step"]) == steps[-1]
    assert not list((tmp_path / "out").glob("*.tmp.*"))


def test_a_file_that_cannot_grow_leaves_nothing_half_written(fakes, weights, tmp_path):
    """The shell's file size limit stands for a full disk: logits of 300 images do not fit into 1 kB."""
    np.savez(tmp_path / "d.npz", **arrays(300))
    command = [tool("nsrt-driver"), fakes["evaluate"], "--data-dir", tmp_path / "d.npz", "--output", tmp_path / "out",
               "--weights", weights[0], "--save-logits", tmp_path / "l.npy"]  # fmt: skip
    line = "ulimit -f 2; exec " + " ".join(f"'{c}'" for c in command)
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "l.npy" in result.stderr, result.stderr
    assert not (tmp_path / "l.npy").exists() and not list(tmp_path.glob("l.npy.tmp*"))


@pytest.fixture(scope="module")
def model(fakes, weights):
    runtime = pytest.importorskip("nullspace.runtime")
    if not any(path.exists() for path in runtime.library_paths()):
        pytest.skip("libnsrt.so is not built")
    return runtime.Model(fakes["library"], weights=weights[0], threads=2)


def test_runtime_pads_and_loops_over_batches(model, weights):
    images = np.random.default_rng(5).random((11, 3, SIDE, SIDE), dtype=np.float32)
    flat = images.reshape(11, -1).astype(np.float64)
    golden = flat @ weights[1]["head.weight"].T + weights[1]["head.bias"]
    np.testing.assert_allclose(model.forward(images), golden, rtol=1e-4, atol=1e-4)
    labels = np.arange(11) % CLASSES
    p = np.exp(golden - golden.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    onehot = np.eye(CLASSES)[labels]
    losses, logits, grads = model.value_and_grad(images, labels)
    np.testing.assert_allclose(losses, -np.log((p * onehot).sum(1)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(grads.reshape(11, -1), (p - onehot) @ weights[1]["head.weight"], rtol=1e-3, atol=1e-4)
    loss, gradients = model.finetune_gradients(images, labels)
    assert abs(loss - losses.mean()) < 1e-4
    np.testing.assert_allclose(gradients["head.bias"], (p - onehot).mean(0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(gradients["head.weight"], (p - onehot).T @ flat / 11, rtol=1e-3, atol=1e-5)
    noise = np.random.default_rng(6).normal(size=48)
    shift = noise @ weights[1]["head.weight"].T
    loss, gradient = model.synth_gradient(images, model.forward(images), noise)
    assert abs(loss - (shift**2).sum()) < 1e-3 * loss
    np.testing.assert_allclose(gradient.ravel(), 2 * shift @ weights[1]["head.weight"], rtol=1e-3, atol=1e-3)


def test_runtime_views_outlive_the_model(fakes, weights):
    runtime = pytest.importorskip("nullspace.runtime")
    view = runtime.Model(fakes["library"], weights=weights[0]).param("head.weight")
    import gc

    gc.collect()
    np.testing.assert_array_equal(view, weights[1]["head.weight"])


def test_runtime_errors_are_exceptions(model, fakes, tmp_path):
    from nullspace import runtime

    with pytest.raises(runtime.NullspaceError, match="nowhere.so"):
        runtime.Model(tmp_path / "nowhere.so")
    with pytest.raises(runtime.NullspaceError, match="linear.safetensors"):
        runtime.Model(fakes["library"])
    with pytest.raises(runtime.NullspaceError, match="no slot"):
        model.slot("nothing")
    with pytest.raises(runtime.NullspaceError, match="backward"):
        model.run("backward")
    with pytest.raises(ValueError, match="expected images"):
        model.forward(np.zeros((2, 3, 5, 5)))
