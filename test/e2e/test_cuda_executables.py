"""The executables of --target=cuda over the emulated driver: their loops give what the CPU's executables give, on the same model, data and flags."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
from conftest import BUILD, column, compile_model, few_images, run, write_npz

BATCH = 4
EMULATE = ["--target=cuda", "--device-code=emulate"]
TOLERANCE = {"rtol": 2e-4, "atol": 1e-6}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    """The environment in which libnsrt finds a driver and a cuBLASLt."""
    folder = BUILD / "lib" / "emulator"
    driver, blas = folder / "libcuda.so.1", folder / "libcublasLt.so.13"
    if not driver.exists() or not blas.exists():
        pytest.skip(f"no emulator in {folder}")
    cache = tmp_path_factory.mktemp("cache")
    return dict(os.environ, NSRT_CUDA_LIBRARY=str(driver), NSRT_CUBLASLT_LIBRARY=str(blas), XDG_CACHE_HOME=str(cache))


@pytest.fixture(scope="module")
def pair(small, emulator, tmp_path_factory):
    """Runs an executable of one mode on both targets; the folders with what each wrote."""
    data = tmp_path_factory.mktemp("data") / "data.npz"
    write_npz(data, small.info, train=24, val=10)

    def get(folder, emit, *flags):
        for name, target in [("cpu", []), ("cuda", EMULATE)]:
            binary = compile_model(small, emit, f"--batch={BATCH}", *target)
            result = run([binary, "--data-dir", data, "--output", folder / name, *flags], env=emulator, check=False)
            assert result.returncode in (0, 3), (name, result.stderr)  # 3: eps was not met
        return folder / "cpu", folder / "cuda"

    return get


def tensors(path):
    return safetensors.numpy.load_file(path)


def test_synthesis(pair, tmp_path):
    """Micro-batches, a stop test between steps, and steps whose images were sent ahead."""
    cpu, cuda = pair(
        tmp_path, "synth", "--steps", 6, "--rounds", 9, "--batch-size", 8, "--train-fraction", ".6", "--stop-samples", 6,
        "--eval-every", 3, "--lim", ".5", "--eps", "1e-9",
    )  # fmt: skip
    for name in ("loss", "norm", "lr"):
        np.testing.assert_allclose(column(cuda / "summary.csv", name), column(cpu / "summary.csv", name), **TOLERANCE)
    a, b = (tensors(folder / "noise.safetensors")["noise"] for folder in (cpu, cuda))
    assert np.linalg.norm(a - b) <= 1e-3 * np.linalg.norm(a)


def test_finetuning_and_resuming(pair, tmp_path):
    """Rounds of noise and steps with a holdout and checkpoints. The second run has all steps behind it: it reads the state back
    to the device and saves it again."""
    flags = [
        "--rounds", 2, "--steps-per-round", 3, "--batch-size", 8, "--lr", "1e-3", "--holdout-samples", 2, "--noise-steps", 2,
        "--noise-batch-size", 8, "--stop-samples", 4, "--lim", ".5", "--train-fraction", ".5",
    ]  # fmt: skip
    cpu, cuda = pair(tmp_path, "finetune", *flags)
    for name in ("loss", "noise_norm"):
        np.testing.assert_allclose(column(cuda / "summary.csv", name), column(cpu / "summary.csv", name), rtol=1e-3)
    a, b = tensors(cpu / "last.safetensors"), tensors(cuda / "last.safetensors")
    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith("qkv.bias"):  # an exact gradient of 0 in its key third: Adam divides noise by noise
            assert np.linalg.norm(a[name] - b[name]) <= 5e-3 * max(np.linalg.norm(a[name]), 1), name
    pair(tmp_path, "finetune", *flags, "--resume")
    for name, tensor in tensors(cuda / "last.safetensors").items():
        np.testing.assert_array_equal(tensor, b[name], err_msg=name)


def test_evaluation(pair, tmp_path):
    """The same predictions, and the same images fooled by attacks."""
    cpu, cuda = pair(tmp_path, "evaluate", "--attack", "fgsm:eps=2/255", "--attack", "pgd:eps=1/255,steps=3")
    assert (cpu / "outcomes.csv").read_text() == (cuda / "outcomes.csv").read_text()


def record(small, emulator, data, folder, emit, *flags):
    """The driver's calls of a run on stream 0, a letter each: Launch of a graph, wait for an Event, wait for all of the Stream."""
    letters = {"cuGraphLaunch stream 0": "L", "cuEventSynchronize stream 0": "E", "cuStreamSynchronize stream 0": "S"}
    binary = compile_model(small, emit, f"--batch={BATCH}", *EMULATE)
    folder.mkdir()
    calls = folder / "calls"
    run([binary, "--data-dir", data, "--output", folder / "out", *flags], env=emulator | {"NSEMU_RECORD": str(calls)})
    lines = calls.read_text().splitlines()
    return "".join(letter for line in lines for name, letter in letters.items() if line.startswith(name))


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    return few_images(small, tmp_path_factory.mktemp("steps"))


def test_no_step_waits_for_the_one_before(small, emulator, data, tmp_path):
    """A step's two pieces are started before the losses of the step before it are asked for (and its norm, in synthesis); then its update. Nothing
    waits for the whole stream from the fourth step on, when all graphs are there."""
    flags = "--batch-size 8 --train-fraction .5 --stop-samples 0".split()
    synth = "--steps 9 --rounds 9".split()
    assert "LLEEEL" * 5 in record(small, emulator, data, tmp_path / "s", "synth", *flags, *synth)
    tune = "--rounds 1 --steps-per-round 9 --holdout-samples 0 --noise-steps 1".split()
    assert "LLEEL" * 5 in record(small, emulator, data, tmp_path / "f", "finetune", *flags, *tune)


def test_a_step_whose_loss_is_not_finite_changes_nothing(small, emulator, data, tmp_path):
    """The device has started its update by the time that the loss is read. The first update makes the noise infinite."""
    noises = []
    for name, target in [("cpu", []), ("cuda", EMULATE)]:
        binary = compile_model(small, "synth", f"--batch={BATCH}", *target)
        flags = "--steps 6 --batch-size 4 --train-fraction .5 --stop-samples 0 --lr 1e30 --weight-decay 1e30".split()
        said = run([binary, "--data-dir", data, "--output", tmp_path / name, *flags], env=emulator, check=False)
        assert said.returncode == 1 and "the loss of step 2 is not finite" in said.stderr, said.stderr
        noises.append(tensors(tmp_path / name / "noise.safetensors")["noise"])
        assert column(tmp_path / name / "summary.csv", "step").tolist() == [1]
    assert np.isinf(noises[0]).any() and not np.isnan(noises[0]).any()
    np.testing.assert_array_equal(noises[1], noises[0])


def test_profile_by_op(small, emulator, data, tmp_path):
    """Each op of each call but an entry's first, which chooses algorithms: its kernel or product, its place, its time inside of the entry's."""
    binary = compile_model(small, "synth", f"--batch={BATCH}", *EMULATE)
    flags = "--steps 4 --batch-size 4 --train-fraction .5 --stop-samples 0".split()
    flags += ["--profile", tmp_path / "trace.json"]
    said = run([binary, "--data-dir", data, "--output", tmp_path / "out", *flags], env=emulator)
    trace = json.loads((tmp_path / "trace.json").read_text())
    step = next(e for e in trace["nullspace"]["entries"] if e["name"] == "synth_step")
    assert step["calls"] == 3 and all(op["calls"] == 3 for op in step["ops"])
    kernels = {op["kernel"] for op in step["ops"] if op["kind"] == "rows"}
    assert len(kernels) > 8 and all(op.get("kernel") or op["kind"] != "rows" for op in step["ops"])
    assert any(op["layer"] == "blocks.0.mlp.fc1" and op["kind"] == "product" and op["flops"] > 0 for op in step["ops"])
    assert 0 < sum(op["seconds"] for op in step["ops"]) <= step["seconds"]
    assert "first runs of entries" in {item["name"] for item in trace["nullspace"]["host"]}
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == 0]
    calls = [(e["ts"], e["ts"] + e["dur"]) for e in spans if e["cat"] == "entry" and e["name"] == "synth_step"]
    ops = [e for e in spans if e.get("args", {}).get("kernel") in kernels]
    inside = [any(b - 0.002 <= e["ts"] and e["ts"] + e["dur"] <= d + 0.002 for b, d in calls) for e in ops]
    assert sum(inside) >= 3 * len(kernels)
    assert all(f" {kernel} " in said.stdout for kernel in kernels) and "\nsynth_step: 3 calls" in said.stdout


def test_information_names_target_and_gpu(small, emulator):
    binary = compile_model(small, "synth", f"--batch={BATCH}", *EMULATE)
    facts = json.loads(run([binary, "--info"], env=emulator).stdout)
    assert facts["target"] == "cuda" and facts["device"]["code"] == "emulate" and facts["host"]["arch"].startswith("sm_")
    without = json.loads(run([binary, "--info"], env=emulator | {"NSRT_CUDA_LIBRARY": "/nowhere/libcuda.so.1"}).stdout)
    assert without["host"]["gpu"] is None and "/nowhere/libcuda.so.1" in without["host"]["problem"]
