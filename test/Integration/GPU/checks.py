"""The GPU tests of a pack: each takes its description and its folder, and raises AssertionError, or Skip, with a reason."""

import csv
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

import numpy as np

# Of float32, in another order than float64's: of the largest entry, and of the norm.
LARGEST, NORM = 5e-5, 2e-4
AUTOCAST = 1.5  # times PyTorch's own distance under autocast
STATUS = (0, 3)  # 3: eps was not met


class Skip(Exception):
    """Why a test cannot run here."""


def norm_distance(found, golden) -> float:
    found, golden = (np.asarray(a, np.float64).ravel() for a in (found, golden))
    assert found.shape == golden.shape, (found.shape, golden.shape)
    return float(np.linalg.norm(found - golden) / np.linalg.norm(golden))


def library(test: dict, folder: pathlib.Path) -> str:
    """Logits and all gradients, three times: as they are called, captured, replayed."""
    from nullspace import runtime

    expected = np.load(folder / "expected.npz")
    narrow = test["precision"] != "f32"
    model = runtime.Model(folder / test["file"])
    image, labels = expected["in:image"], expected["in:labels"]
    worst = {}

    def compare(name: str, found, golden):
        error = norm_distance(found, golden)
        allowed = AUTOCAST * float(expected[f"autocast:{name}"]) + 1e-4 if narrow else NORM
        assert error <= allowed, f"{name}: differs by {error:.2e}, allowed {allowed:.2e}"
        if not narrow:
            largest = np.abs(np.asarray(found).ravel() - np.asarray(golden).ravel()).max() / np.abs(golden).max()
            assert largest <= LARGEST * (10 if name != "logits" else 1), f"{name}: an entry differs by {largest:.2e}"
        worst[name] = max(worst.get(name, 0.0), error)

    for _ in range(3):
        compare("logits", model.forward(image), expected["logits"])
        compare("image_grad", model.value_and_grad(image, labels)[2], expected["image_grad"])
        _, found = model.finetune_gradients(image, labels)
        names = [n.removeprefix("grad:") for n in expected if n.startswith("grad:")]
        flat = lambda arrays: np.concatenate([np.asarray(arrays(n), np.float64).ravel() for n in names])
        compare("gradients", flat(lambda n: found[n]), flat(lambda n: expected[f"grad:{n}"]))
        if "in:noise" in expected:
            _, gradient = model.synth_gradient(image, model.forward(image), expected["in:noise"])
            compare("noise_grad", gradient, expected["noise_grad"])
    return ", ".join(f"{name} {error:.1e}" for name, error in worst.items())


def column(path: pathlib.Path, name: str) -> np.ndarray:
    with open(path, newline="") as file:
        return np.array([float(row[name] or "nan") for row in csv.DictReader(file)])


def execute(folder: pathlib.Path, command, seconds: float = 300) -> subprocess.CompletedProcess:
    """Runs an executable of the folder with the libraries of the pack. What carried the pack here may have lost its files' modes."""
    for part in command:
        if (
            isinstance(part, pathlib.Path)
            and part.parent == folder
            and not part.suffix
            and not os.access(part, os.X_OK)
        ):
            part.chmod(0o755)
    paths = [os.environ.get("LD_LIBRARY_PATH", ""), str(folder.parents[1] / "lib")]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(p for p in paths if p)}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds, env=environment)


def loop(test: dict, folder: pathlib.Path) -> str:
    """An executable writes what the CPU's wrote."""
    expected = folder / f"{test['emit']}-expected"
    with tempfile.TemporaryDirectory() as output:
        command = [folder / test["emit"], "--data-dir", folder / "data.npz", "--output", output]
        done = execute(folder, [*command, *shlex.split(test["flags"])])
        assert done.returncode in STATUS, f"status {done.returncode}: {done.stderr[-1000:]}"
        written = pathlib.Path(output)
        if test["emit"] == "evaluate":
            ours, theirs = ((f / "outcomes.csv").read_text().splitlines() for f in (written, expected))
            different = sum(a != b for a, b in zip(ours, theirs))
            assert len(ours) == len(theirs) and different <= 1, f"{different} of {len(theirs)} images end otherwise"
            return f"{different} of {len(theirs)} images end otherwise"
        norm = "norm" if test["emit"] == "synth" else "noise_norm"
        for name in ("loss", norm):
            ours, theirs = (column(f / "summary.csv", name) for f in (written, expected))
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6, err_msg=name)
        return f"{len(ours)} steps"


def runs(test: dict, folder: pathlib.Path) -> str:
    """An executable whose arithmetic is its own: it ends well and its losses are numbers."""
    with tempfile.TemporaryDirectory() as output:
        command = [folder / test["file"], "--data-dir", folder / "data.npz", "--output", output]
        done = execute(folder, [*command, *shlex.split(test["flags"])])
        assert done.returncode in STATUS, f"status {done.returncode}: {done.stderr[-1000:]}"
        losses = column(pathlib.Path(output) / "summary.csv", "loss")
        assert len(losses) > 0 and np.isfinite(losses).all(), losses
    return f"{len(losses)} steps"


def sanitizer(test: dict, folder: pathlib.Path) -> str:
    """compute-sanitizer finds nothing in synthesis, finetuning and attacks."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(program):
        raise Skip("no compute-sanitizer")
    loops = {
        "synth": "--steps 2 --rounds 1",
        "finetune": "--rounds 1 --steps-per-round 2 --batch-size 8 --noise-steps 1 --train-fraction .5",
        "evaluate": "--attack pgd:eps=1/255,steps=2 --max-samples 4",
    }
    for emit, flags in loops.items():
        with tempfile.TemporaryDirectory() as output:
            command = [program, "--tool", test["tool"], "--error-exitcode", "9", folder / emit]
            done = execute(folder, [*command, "--data-dir", folder / "data.npz", "--output", output, *flags.split()])
        said = done.stdout + done.stderr
        if "Device not supported" in said or "Unable to find" in said:
            raise Skip(f"compute-sanitizer does not work on this machine: {said.strip().splitlines()[-1]}")
        assert done.returncode in STATUS, f"{emit}: status {done.returncode}: {said[-1500:]}"
    return ", ".join(loops)


CHECKS = {f.__name__: f for f in (library, loop, runs, sanitizer)}
