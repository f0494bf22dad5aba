"""--attention=library: cuDNN's attention in a GPU's artefacts, against PyTorch and the same artefacts with attention as products and row programs.

`emulator`: the emulated driver, cuBLASLt and cuDNN; `gpu`: the real ones, skipped where there is none.
"""

import ctypes
import json
import os
import re

import numpy as np
import pytest
import safetensors.numpy
import torch
import torch.nn.functional as F
from conftest import BUILD, column, compile_model, few_images, images, run, small_vit
from cuda_machine import why_no_gpu
from test_bf16 import Autocast, as_good
from test_cuda import EMULATED, EMULATOR, RECORD, use_emulator

runtime = pytest.importorskip("nullspace.runtime")
BATCH = 3
CUDNN = EMULATOR / "libnsrt-cudnn.so"
LIBRARIES = EMULATED | {"NSRT_CUDNN_PLUGIN": str(CUDNN), "NSRT_CUDNN_LIBRARY": str(CUDNN)}
PLUGIN = BUILD / "lib" / "libnsrt-cudnn.so"


def why_no_plugin() -> str:
    return "" if PLUGIN.exists() else f"no {PLUGIN}: scripts/setup.sh --cudnn, then build"


@pytest.fixture(scope="module", params=["emulator", pytest.param("gpu", marks=pytest.mark.gpu)])
def where(request, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("cache")
    patch.setenv("XDG_CACHE_HOME", str(folder))
    if request.param == "gpu":
        if reason := why_no_gpu() or why_no_plugin():
            pytest.skip(reason)
        yield ["--target=cuda", "--precision=bf16"]
    else:
        use_emulator(patch, LIBRARIES)
        yield ["--target=cuda", "--precision=bf16", "--device-code=emulate"]
    patch.undo()


@pytest.fixture(scope="module")
def case(cases):
    return small_vit(cases, depth=2)


@pytest.fixture(scope="module")
def models(case, where):
    """Attention by cuDNN, and as products and programs."""
    return [
        runtime.Model(compile_model(case, "library", f"--batch={BATCH}", *where, f"--attention={kind}"))
        for kind in ("library", "expanded")
    ]


def calls(entry, kind):
    return sum(op["kind"] == kind for op in entry["ops"])


def test_which_entries_call_it(models):
    """What trains and attacks in bfloat16 calls it where more than one token asks; what measures is float32 and does not."""
    called, expanded = (model.metadata for model in models)
    entries = {entry["name"]: entry for entry in called["entries"]}
    for name in ("forward", "forward_noised", "stop_test"):
        assert calls(entries[name], "attention") == calls(entries[name], "attention_gradient") == 0, name
    # Two blocks, the second of which is asked by the class token alone; clean and noised images are one batch.
    assert [calls(entries["clean_logits"], kind) for kind in ("attention", "attention_gradient")] == [1, 0]
    for name in ("synth_step", "finetune_step", "value_and_grad", "attack_grad"):
        assert [calls(entries[name], kind) for kind in ("attention", "attention_gradient")] == [1, 1], name
    attention = called["device"]["attention"]
    assert attention["library"] == "cudnn" and attention["workspace"] > 0
    assert "attention" not in expanded["device"]
    assert called["regions"]["work"] < expanded["regions"]["work"]  # no scores


def gradient_of_noise(model, image, noise, dtype):
    delta = noise.clone().to(dtype).requires_grad_()
    (model(image, delta) - model(image).detach()).square().sum(1).mean().backward()
    return delta.grad


def test_synthesis_gradient(case, models):
    image = images(BATCH, case.info)
    noise = 0.5 * torch.randn(models[0].slot("noise").shape, generator=torch.Generator().manual_seed(5))
    golden = gradient_of_noise(case.golden(), image, noise, torch.float64)
    autocast = gradient_of_noise(Autocast(case.model, case.info), image, noise, torch.float32)
    for model in models:
        clean = model.clean_logits(image.numpy())
        for turn in range(3):  # as it is called, captured, replayed
            _, found = model.synth_gradient(image.numpy(), clean, noise.numpy())
            as_good(found, autocast.float(), golden)
        loss, found = model.synth_gradient(image.numpy(), clean, 0 * noise.numpy())
        assert loss == 0 and not found.any()  # the clean pass rounds as the noised one


def test_gradients_of_weights_and_images(case, models):
    image, labels = images(BATCH, case.info), torch.arange(BATCH) % case.info.classes
    weights, pixels = [], []
    for reference, dtype in ((case.golden(), torch.float64), (Autocast(case.model, case.info), torch.float32)):
        variable = image.clone().to(dtype).requires_grad_()
        F.cross_entropy(reference(variable), labels).backward()
        weights.append({name: p.grad.double() for name, p in reference.net.named_parameters()})
        pixels.append(variable.grad.double() * BATCH)
    flat = lambda tensors: torch.cat([torch.as_tensor(np.asarray(tensors[n])).double().flatten() for n in weights[0]])
    for model in models:
        _, found = model.finetune_gradients(image.numpy(), labels.numpy(), None)
        as_good(flat(found), flat(weights[1]), flat(weights[0]))
        *_, found = model.value_and_grad(image.numpy(), labels.numpy())
        as_good(found, pixels[1].float(), pixels[0])


def test_a_replayed_step_calls_it_and_allocates_nothing(models, where):
    if "--device-code=emulate" not in where:
        pytest.skip("the recorder is the emulator's")
    for turn in range(3):
        before = len(RECORD.read_text().splitlines())
        models[0].run("finetune_step")
        lines = RECORD.read_text().splitlines()[before:]
        assert not any(line.startswith("cuMemAlloc") for line in lines)
    entry = next(e for e in models[0].metadata["entries"] if e["name"] == "finetune_step")
    launches = [line for line in lines if line.startswith("cuGraphLaunch")]
    assert len(launches) == 1 and re.match(rf"cuGraphLaunch stream \d+ {len(entry['ops'])} nodes", launches[0])


def test_the_real_plugin_speaks_the_interface():
    """Where it is built: it loads without a GPU, and refuses other versions."""
    if reason := why_no_plugin():
        pytest.skip(reason)
    query = ctypes.CDLL(str(PLUGIN)).nsrt_attention_query
    query.restype = ctypes.POINTER(ctypes.c_uint32)
    assert query(2).contents.value == 2 and not query(1)


def executable(case, where, emit, kind):
    return compile_model(case, emit, "--batch=4", *where, f"--attention={kind}")


@pytest.fixture(scope="module")
def data(case, tmp_path_factory):
    return few_images(case, tmp_path_factory.mktemp("data"))


def test_executables_synthesize(case, where, data, tmp_path):
    flags = ["--steps", 6, "--rounds", 1, "--batch-size", 8, "--train-fraction", 1, "--stop-samples", 0, "--lim", ".5"]
    noises = []
    for kind in ("library", "expanded"):
        exe, output = executable(case, where, "synth", kind), tmp_path / kind
        result = run([exe, "--data-dir", data, "--output", output, *flags], check=False)
        assert result.returncode in (0, 3), result.stderr
        assert column(output / "summary.csv", "loss")[-1] < column(output / "summary.csv", "loss")[0]
        noises.append(safetensors.numpy.load_file(output / "noise.safetensors")["noise"])
    assert np.linalg.norm(noises[0] - noises[1]) <= 0.1 * np.linalg.norm(noises[1])


def test_executables_finetune(case, where, data, tmp_path):
    flags = [
        "--rounds",
        1,
        "--steps-per-round",
        3,
        "--batch-size",
        8,
        "--lr",
        "1e-3",
        "--holdout-samples",
        2,
        "--noise-steps",
        2,
    ]
    flags += ["--noise-batch-size", 8, "--stop-samples", 4, "--lim", ".5", "--train-fraction", ".5"]
    losses = []
    for kind in ("library", "expanded"):
        exe, output = executable(case, where, "finetune", kind), tmp_path / kind
        result = run([exe, "--data-dir", data, "--output", output, *flags], check=False)
        assert result.returncode in (0, 3), result.stderr
        losses.append(column(output / "summary.csv", "loss"))
    np.testing.assert_allclose(*losses, rtol=3e-2)


@pytest.mark.parametrize(
    "missing, said",
    [
        (
            {"NSRT_CUDNN_PLUGIN": "/nowhere/p.so"},
            "NSRT_CUDNN_PLUGIN: expected the cuDNN plugin, found none: /nowhere/p.so",
        ),
        ({"NSRT_CUDNN_LIBRARY": "/nowhere/c.so"}, "NSRT_CUDNN_LIBRARY: expected cuDNN, found none: /nowhere/c.so"),
        ({"NSRT_CUDNN_LIBRARY": ""}, "cannot find cuDNN (libcudnn.so.9): looked in the loader's path and in"),
    ],
)
def test_without_cudnn_it_says_what_is_missing(case, where, data, tmp_path, missing, said):
    """Before any work, with what was looked for and two ways out."""
    if "--device-code=emulate" not in where:
        pytest.skip("a machine with cuDNN in its path")
    exe = executable(case, where, "synth", "library")
    result = run([exe, "--data-dir", data, "--output", tmp_path / "o"], check=False, env=os.environ | missing)
    assert result.returncode == 1 and said in result.stderr, result.stderr
    assert "its attention is cuDNN's" in result.stderr and "--attention=expanded" in result.stderr
    assert not (tmp_path / "o" / "noise.safetensors").exists()
    facts = json.loads(run([exe, "--info"], env=os.environ | missing).stdout)
    assert facts["device"]["attention"]["library"] == "cudnn"
