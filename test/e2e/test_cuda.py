"""--target=cuda: the whole path, from PyTorch's model to captured and replayed graphs, against PyTorch and the CPU target.

`emulator`: the emulated driver and cuBLASLt run the device code of the same optimised IR on the CPU. `gpu`: the same tests on an NVIDIA GPU, skipped
where there is none; `ctest -L cuda` runs these alone.
"""

import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import torch
from conftest import BUILD, compile_model, images, run, small_vit, write_npz
from cuda_machine import why_no_gpu
from test_bf16 import Autocast

runtime = pytest.importorskip("nullspace.runtime")
BATCH = 3
# The emulated driver opens it when this process first uses it, in whichever test that is.
RECORD = pathlib.Path(tempfile.gettempdir()) / f"nullspace-record-{os.getpid()}"
EMULATOR = BUILD / "lib" / "emulator"
EMULATED = {
    "NSRT_CUDA_LIBRARY": str(EMULATOR / "libcuda.so.1"),
    "NSRT_CUBLASLT_LIBRARY": str(EMULATOR / "libcublasLt.so.13"),
    "NSEMU_RECORD": str(RECORD),
}


def use_emulator(patch, variables=EMULATED):
    """libnsrt finds the emulated libraries that `variables` name, all of them built."""
    for name, path in variables.items():
        if name != "NSEMU_RECORD" and not pathlib.Path(path).exists():
            pytest.skip(f"the emulator is not built: no {path}")
        patch.setenv(name, path)


@pytest.fixture(scope="module", params=["emulator", pytest.param("gpu", marks=pytest.mark.gpu)])
def where(request, tmp_path_factory):
    """Flags of ns-compile; libnsrt finds the emulator, or the real driver."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    if request.param == "gpu":
        if reason := why_no_gpu():
            pytest.skip(reason)
        yield ["--target=cuda"]
    else:
        use_emulator(patch)
        yield ["--target=cuda", "--device-code=emulate"]
    patch.undo()


@pytest.fixture(scope="module")
def case(cases):
    return small_vit(cases, depth=2)


@pytest.fixture(scope="module")
def cpu(case):
    return runtime.Model(compile_model(case, "library", f"--batch={BATCH}"))


@pytest.fixture(scope="module")
def gpu(case, where):
    return runtime.Model(compile_model(case, "library", f"--batch={BATCH}", *where))


@pytest.fixture(scope="module")
def inputs(case, cpu):
    """Images, labels and a noise; more images than a batch has, and not a multiple."""
    torch.manual_seed(5)
    count = 2 * BATCH + 1
    return (
        images(count, case.info).numpy(),
        np.arange(count) % case.info.classes,
        0.5 * torch.randn(cpu.slot("noise").shape).numpy(),
    )


def near(found, expected, tolerance=2e-5):
    found, expected = np.asarray(found), np.asarray(expected)
    scale = np.abs(expected).max()
    assert found.shape == expected.shape and scale > 0
    assert np.abs(found - expected).max() <= tolerance * scale


def test_forward_is_pytorchs(case, gpu, inputs):
    x, _, noise = inputs
    golden = case.golden()
    for turn in range(3):  # as it is called, captured, replayed
        near(gpu.forward(x), golden(torch.from_numpy(x)).detach())
        near(gpu.forward(x, noise=noise), golden(torch.from_numpy(x), torch.from_numpy(noise).double()).detach())


def test_synthesis_gradient(case, cpu, gpu, inputs):
    x, _, noise = inputs
    golden, delta = case.golden(), torch.from_numpy(noise).double().requires_grad_()
    clean = golden(torch.from_numpy(x)).detach()
    expected = (golden(torch.from_numpy(x), delta) - clean).square().sum(1).mean()
    expected.backward()
    for turn in range(2):
        loss, gradient = gpu.synth_gradient(x, clean.float().numpy(), noise)
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        near(gradient.reshape(delta.shape), delta.grad, 1e-4)


def test_finetune_gradients(case, cpu, gpu, inputs):
    x, labels, noise = inputs
    for given in (None, noise):
        expected_loss, expected = cpu.finetune_gradients(x, labels, noise=given)
        loss, found = gpu.finetune_gradients(x, labels, noise=given)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert found.keys() == expected.keys()
        largest = max(np.abs(g).max() for g in expected.values())
        for name, gradient in expected.items():
            assert np.abs(found[name] - gradient).max() <= 1e-4 * largest, name


def test_updates_stay_on_the_device(cpu, gpu, inputs):
    """Three steps of noise and weights: state and parameters are never copied between them."""
    x, labels, noise = inputs
    results = []
    for model in (cpu, gpu):
        model.load_weights()
        model._set_noise(noise)
        for name in ("noise.m", "noise.v", "params.m", "params.v"):
            model.slot(name)[...] = 0
            model.changed(name)
        for step in range(1, 4):
            model.slot("image")[:], model.slot("labels")[:] = x[:BATCH], labels[:BATCH]
            model.slot("weights")[:], model.slot("accumulate")[...] = 1 / BATCH, 0
            rates = (0.01, 0.9, 0.999, 1e-8, 0.0, 1 - 0.9**step, 1 - 0.999**step)
            model.slot("hyper")[:] = rates
            model.slot("noise_hyper")[:] = (*rates, 0.0, 0.0)
            model.start("finetune_step_noised")
            model.start("finetune_update")
            model.slot("clean_logits")[:] = 0
            model.start("synth_step")
            model.start("synth_update")
        results.append(
            (
                float(model.slot("noise_norm")[0]),
                np.array(model.slot("noise")),
                {n: np.array(p) for n, p in model.params().items()},
            )
        )
        model.load_weights()
    (norm, delta, weights), (found_norm, found_delta, found_weights) = results
    assert found_norm == pytest.approx(norm, rel=1e-3)
    near(found_delta, delta, 2e-2)  # AdamW's first steps are signs
    for name, value in weights.items():
        assert np.abs(found_weights[name] - value).mean() <= 2e-3, name
    assert any(np.abs(found_weights[n] - p).max() > 0 for n, p in gpu.params().items())


def test_value_and_grad_and_attacks(case, cpu, gpu, inputs):
    x, labels, _ = inputs
    for found, expected in zip(gpu.value_and_grad(x, labels), cpu.value_and_grad(x, labels)):
        near(found, expected, 1e-4)
    pixels = (x.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
    predicted = cpu.forward(x).argmax(1)
    assert (
        gpu.attack("pgd:eps=8/255,alpha=2/255,steps=3,start=clean", pixels, predicted)
        == cpu.attack("pgd:eps=8/255,alpha=2/255,steps=3,start=clean", pixels, predicted)
    ).all()


def test_a_captured_step_is_its_list_of_ops(gpu, where, inputs):
    """The recorder: what a graph of the whole step launches, against what the artefact says of itself."""
    if "--device-code=emulate" not in where:
        pytest.skip("the recorder is the emulator's")
    entry = next(e for e in gpu.metadata["entries"] if e["name"] == "synth_step_l2")
    before = len(RECORD.read_text().splitlines())
    gpu._set_noise(inputs[2])
    for turn in range(3):
        gpu.run("synth_step_l2")
    lines = RECORD.read_text().splitlines()[before:]
    captured = lines[lines.index("cuStreamBeginCapture stream 0") + 1 :]
    end = next(i for i, line in enumerate(captured) if line.startswith("cuStreamEndCapture"))
    calls = [line.split()[1] if line.startswith("cuLaunchKernel") else line.split()[0] for line in captured[:end]]
    assert calls == [op.get("kernel", "cublasLtMatmul") for op in entry["ops"]]
    launches = [line for line in lines if line.startswith("cuGraphLaunch")]
    assert launches == [f"cuGraphLaunch stream 0 {len(calls)} nodes"] * 2
    assert not any("cuMemAlloc" in line for line in lines)


def test_inputs_travel_when_they_were_asked_for(gpu, where, inputs):
    if "--device-code=emulate" not in where:
        pytest.skip("the recorder is the emulator's")

    def uploads(call):
        before = len(RECORD.read_text().splitlines())
        call("forward")
        return sum(line.startswith("cuMemcpyHtoD") for line in RECORD.read_text().splitlines()[before:])

    gpu.slot("image")[:] = inputs[0][:BATCH]
    assert [uploads(gpu.start), uploads(gpu.start)] == [1, 0]
    gpu.slot("image")[:] = 0.5
    assert [uploads(gpu.start), uploads(gpu.start)] == [1, 0]
    assert [uploads(gpu.run), uploads(gpu.run)] == [1, 1]  # a view from before may have been written


def test_saved_weights_are_the_devices(case, cpu, gpu, inputs, tmp_path):
    gpu.load_weights()
    name = next(iter(gpu.params()))
    gpu.param(name)[...] += 1
    gpu.changed(name)
    gpu.save_weights(tmp_path / "w.safetensors")
    other = runtime.Model(compile_model(case, "library", f"--batch={BATCH}"), weights=tmp_path / "w.safetensors")
    near(gpu.forward(inputs[0]), other.forward(inputs[0]))
    gpu.load_weights()


def test_bfloat16(case, cpu, where, inputs):
    """A gradient no farther from float64 than that of PyTorch under autocast; what measures stays float32."""
    x, _, noise = inputs
    narrow = runtime.Model(compile_model(case, "library", f"--batch={BATCH}", "--precision=bf16", *where))
    near(narrow.forward(x), cpu.forward(x))

    def gradient(model, dtype):
        delta = torch.from_numpy(noise).to(dtype).requires_grad_()
        clean = model(torch.from_numpy(x)).detach()
        (model(torch.from_numpy(x), delta) - clean).square().sum(1).mean().backward()
        return delta.grad

    golden = gradient(case.golden(), torch.float64)
    distance = lambda found: float(
        (torch.as_tensor(found).double().reshape(golden.shape) - golden).norm() / golden.norm()
    )
    autocast = distance(gradient(Autocast(case.model, case.info), torch.float32))
    for turn in range(2):
        _, found = narrow.synth_gradient(x, narrow.clean_logits(x), noise)
        assert 1e-6 < distance(found) <= 1.5 * autocast


def test_executables_synthesize_and_evaluate(case, where, tmp_path):
    """The loops themselves: the same noise as the CPU's executable finds."""
    data = tmp_path / "data.npz"
    write_npz(data, case.info, 8, 4)
    norms = []
    for flags in ([], where):
        exe = compile_model(case, "synth", "--batch=4", *flags)
        output = tmp_path / f"out-{len(norms)}"
        run(
            [
                exe,
                "--data-dir",
                data,
                "--output",
                output,
                "--steps",
                "4",
                "--rounds",
                "1",
                "--train-fraction",
                "1",
                "--stop-samples",
                "0",
                "--batch-size",
                "8",
            ],
            check=False,
        )
        import safetensors.numpy

        saved = sorted(output.rglob("*.safetensors"))
        assert saved, list(output.rglob("*"))
        norms.append(np.linalg.norm(safetensors.numpy.load_file(saved[-1])["noise"]))
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_information_needs_no_driver(case, where):
    exe = compile_model(case, "synth", "--batch=4", *where)
    said = run([exe, "--info"], env=os.environ | {"NSRT_CUDA_LIBRARY": "/nonexistent/libcuda.so.1"})
    assert json.loads(said.stdout)["target"] == "cuda"


def test_without_a_driver_it_says_what_is_missing(case, where, tmp_path):
    write_npz(tmp_path / "data.npz", case.info, 4, 4)
    exe = compile_model(case, "synth", "--batch=4", *where)
    missing = {"NSRT_CUDA_LIBRARY": "/nonexistent/libcuda.so.1"}
    said = run(
        [exe, "--data-dir", tmp_path / "data.npz", "--output", tmp_path / "o"], check=False, env=os.environ | missing
    )
    assert said.returncode == 1
    assert "NSRT_CUDA_LIBRARY: expected the NVIDIA driver" in said.stderr


@pytest.mark.gpu
def test_compute_sanitizer(case, tmp_path):
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if reason := why_no_gpu():
        pytest.skip(reason)
    if not os.path.exists(sanitizer):
        pytest.skip("no compute-sanitizer")
    write_npz(tmp_path / "data.npz", case.info, 4, 4)
    exe = compile_model(case, "synth", "--batch=4", "--target=cuda")
    step = [exe, "--data-dir", tmp_path / "data.npz", "--output", tmp_path / "o", "--steps", "2", "--rounds", "1"]
    for checker in ("memcheck", "racecheck", "synccheck"):
        said = run([sanitizer, "--tool", checker, "--error-exitcode", "9", *step], check=False)
        assert said.returncode in (0, 3), (checker, said.stdout[-3000:])


def test_a_whole_vit_tiny_step(cases, where):
    """ViT-Ti of full size: one synthesis step, all kernels and products, as the CPU target computes it."""
    model = cases("timm:vit_tiny_patch16_224")
    x = images(2, model.info).numpy()
    losses, gradients = [], []
    for flags in ([], where):
        compiled = runtime.Model(compile_model(model, "synth", "--batch=2", *flags))
        noise = np.random.default_rng(3).uniform(-0.5, 0.5, compiled.slot("noise").shape).astype(np.float32)
        for turn in range(2 if flags else 1):
            loss, gradient = compiled.synth_gradient(x, compiled.forward(x), noise)
        losses.append(loss)
        gradients.append(gradient)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    near(gradients[1], gradients[0], 1e-4)
