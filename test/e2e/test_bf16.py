"""--precision=bf16: products of bfloat16 operands in the steps, float32 in everything else and in what is measured.

The oracle is float64. bfloat16 has 8 bits, so no fixed tolerance says whether a kernel is right: what is asked is an error no larger than that of
PyTorch under autocast, which rounds the same operands, and the products' results besides.
"""

import csv
import json
import os
import pathlib
import subprocess
import sys

import families
import numpy as np
import pytest
import safetensors
import torch
import torch.nn.functional as F
from conftest import Pixels, compile_model, export_and_import, images, run, small_vit, tool, write_npz

runtime = pytest.importorskip("nullspace.runtime")
BATCH = 4
# Our error over autocast's: below 1 on the whole, since results of products stay float32; single tensors scatter.
FACTOR = 1.5


class Autocast(Pixels):
    """The float32 model over images in [0, 1], its products under autocast."""

    def __init__(self, model, info):
        super().__init__(model, info)
        self.float()

    def forward(self, image, noise=None):
        with torch.autocast("cpu", torch.bfloat16):
            image = ((image - self.mean) / self.std).float()
            if noise is None:
                return self.net(image).float()
            handle = self.net.patch_embed.register_forward_hook(lambda module, args, tokens: tokens.float() + noise)
            try:
                return self.net(image).float()
            finally:
                handle.remove()


@pytest.fixture(scope="module")
def case(cases, full):
    if full:
        return cases("timm:vit_tiny_patch16_224", scale=4.0)
    return small_vit(cases, depth=2)


@pytest.fixture(scope="module")
def narrow(case):
    return runtime.Model(compile_model(case, "library", f"--batch={BATCH}", "--precision=bf16"))


@pytest.fixture(scope="module")
def wide(case):
    return runtime.Model(compile_model(case, "library", f"--batch={BATCH}"))


@pytest.fixture(scope="module")
def inputs(case, wide):
    """Images, labels and a noise."""
    torch.manual_seed(5)
    noise = 0.5 * torch.randn(wide.slot("noise").shape)
    return images(BATCH, case.info), torch.randint(case.info.classes, (BATCH,)), noise


def distance(found, golden):
    return float((torch.as_tensor(np.asarray(found)).double() - golden).norm() / golden.norm())


def as_good(found, eager, golden, factor=FACTOR):
    """Both errors are those of bfloat16, and ours is the smaller or not much larger."""
    ours, theirs = distance(found, golden), distance(eager.detach(), golden)
    assert 1e-6 < ours <= factor * theirs, f"error {ours:.2e}, PyTorch's {theirs:.2e}"


def test_logits(case, narrow, inputs):
    image, *_ = inputs
    golden = case.golden()(image).detach()
    as_good(narrow.clean_logits(image.numpy()), Autocast(case.model, case.info)(image), golden)


def synthesis(model, dtype, inputs):
    """PyTorch's loss and gradient of the noise."""
    image, _, noise = inputs
    variable = noise.clone().to(dtype).requires_grad_()
    loss = (model(image, variable) - model(image).detach()).square().sum(1).mean()
    loss.backward()
    return loss.item(), variable.grad


def test_synthesis_gradient(case, narrow, inputs):
    image, _, noise = inputs
    models = (case.golden(), torch.float64), (Autocast(case.model, case.info), torch.float32)
    losses, grads = zip(*(synthesis(model, dtype, inputs) for model, dtype in models))
    loss, grad = narrow.synth_gradient(image.numpy(), narrow.clean_logits(image.numpy()), noise.numpy())
    as_good(grad, grads[1].float(), grads[0])
    assert abs(loss - losses[0]) <= 0.02 * losses[0]


def compared_gradients(case, model, inputs, noised, factor):
    """(name, float64's gradient, ours, autocast's) of every parameter, when all of them together are as good as autocast's."""
    image, labels, noise = inputs
    grads = []
    for network, dtype in ((case.golden(), torch.float64), (Autocast(case.model, case.info), torch.float32)):
        loss = F.cross_entropy(network(image), labels)
        if noised:
            loss = loss + F.cross_entropy(network(image, noise.to(dtype)), labels)
        loss.backward()
        grads.append({name: p.grad.double() for name, p in network.net.named_parameters()})
    golden, eager = grads
    _, found = model.finetune_gradients(image.numpy(), labels.numpy(), noise.numpy() if noised else None)
    found = {name: torch.as_tensor(np.asarray(found[name])).double() for name in golden}
    flat = lambda tensors: torch.cat([tensors[name].flatten() for name in golden])
    as_good(flat(found), flat(eager), flat(golden), factor)
    return [(name, golden[name], found[name], eager[name]) for name in golden]


@pytest.mark.parametrize("noised", [False, True])
def test_finetune_gradients(case, narrow, inputs, noised):
    compared = compared_gradients(case, narrow, inputs, noised, factor=1.2)
    # Tensor by tensor; small gradients of a bias that attention cancels out are noise in both.
    largest = max(golden.abs().max() for _, golden, _, _ in compared)
    for name, golden, ours, theirs in compared:
        assert (ours - golden).norm() <= 2 * (theirs - golden).norm() + 1e-4 * largest, name


def test_gradients_of_convolutions(tmp_path):
    """A ReLU turns where rounding carries its argument over zero, and single gradients move by several percent: under autocast as here."""
    torch.manual_seed(0)
    model, info, _ = families.build("timm_resnet18", tmp_path / "source")
    case = export_and_import(families.wake(model), info, tmp_path)
    library = runtime.Model(compile_model(case, "library", f"--batch={BATCH}", "--precision=bf16", "--site=image"))
    inputs = images(BATCH, case.info), torch.randint(families.CLASSES, (BATCH,)), None
    compared_gradients(case, library, inputs, False, FACTOR)


def test_image_gradient(case, narrow, inputs):
    image, labels, _ = inputs
    grads = []
    for model, dtype in ((case.golden(), torch.float64), (Autocast(case.model, case.info), torch.float32)):
        variable = image.clone().to(dtype).requires_grad_()
        F.cross_entropy(model(variable), labels, reduction="sum").backward()
        grads.append(variable.grad)
    _, _, grad = narrow.value_and_grad(image.numpy(), labels.numpy())
    as_good(grad, grads[1], grads[0])


def test_what_is_measured_is_float32(narrow, wide, inputs):
    """The very bits of the float32 artefact: the same code."""
    image, _, noise = (x.numpy() for x in inputs)
    clean = wide.forward(image)
    np.testing.assert_array_equal(narrow.forward(image), clean)
    np.testing.assert_array_equal(narrow.forward(image, noise), wide.forward(image, noise))
    expected = wide.stop_test(image, clean, noise)
    for name, values in narrow.stop_test(image, clean, noise).items():
        np.testing.assert_array_equal(values, expected[name])


def test_the_loss_has_no_floor(narrow, inputs):
    """Without noise the noised pass gives the clean logits to the bit; against those of float32 it does not."""
    image, _, noise = (x.numpy() for x in inputs)
    loss, grad = narrow.synth_gradient(image, narrow.clean_logits(image), 0 * noise)
    assert loss == 0 and not grad.any()
    floor, _ = narrow.synth_gradient(image, narrow.forward(image), 0 * noise)
    assert floor > 0


def test_nan_is_kept(narrow, inputs):
    image, labels, noise = (x.copy() for x in (inputs[0].numpy(), inputs[1].numpy(), inputs[2].numpy()))
    image[1, 0, 3, 3] = np.nan
    logits = narrow.clean_logits(image)
    assert np.isnan(logits[1]).all() and np.isfinite(logits[[0, 2, 3]]).all()


def test_same_bits_for_any_number_of_threads(narrow, inputs):
    image, _, noise = (x.numpy() for x in inputs)
    found = []
    for threads in (1, 2):
        narrow.set_threads(threads)
        found.append(narrow.synth_gradient(image, narrow.clean_logits(image), noise)[1])
    np.testing.assert_array_equal(*found)


SCRIPT = """
import sys, numpy as np
from nullspace import runtime
library, data, out = sys.argv[1:]
data = np.load(data)
model = runtime.Model(library)
clean = model.clean_logits(data["image"])
np.savez(out, clean=clean, grad=model.synth_gradient(data["image"], clean, data["noise"])[1])
"""


def in_a_process(library, inputs, folder, **environment):
    """Clean logits and gradient of the noise, and what the process said on stderr."""
    np.savez(folder / "in.npz", image=inputs[0].numpy(), noise=inputs[2].numpy())
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, library, folder / "in.npz", folder / "out.npz"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert result.returncode == 0 or environment.get("NSRT_BF16") == "wrong", result.stderr
    return (dict(np.load(folder / "out.npz")) if result.returncode == 0 else None), result.stderr


def assert_alike(found, expected, golden):
    """Sums in another order tip the rounding of some later operands: less of a change than bfloat16 itself makes."""
    apart, error = distance(found, torch.as_tensor(expected).double()), distance(expected, golden)
    assert apart <= 0.5 * error, f"{apart:.2e} apart, bfloat16's error is {error:.2e}"


def test_emulated_products_are_as_exact(case, inputs, tmp_path):
    """Exact products and float32 sums, in another order."""
    library = compile_model(case, "library", f"--batch={BATCH}", "--precision=bf16")
    emulated, said = in_a_process(library, inputs, tmp_path, NSRT_BF16="emulate")
    assert "emulated in float32" in said
    if "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no bfloat16 products to compare with")
    native, said = in_a_process(library, inputs, tmp_path)
    assert "emulated" not in said
    golden = {"clean": case.golden()(inputs[0]).detach(), "grad": synthesis(case.golden(), torch.float64, inputs)[1]}
    for name, exact in golden.items():
        assert_alike(emulated[name], native[name], exact)
    assert (emulated["clean"] != native["clean"]).any()  # the variable did something


def test_bad_environment(case, inputs, tmp_path):
    library = compile_model(case, "library", f"--batch={BATCH}", "--precision=bf16")
    _, said = in_a_process(library, inputs, tmp_path, NSRT_BF16="wrong")
    assert "NSRT_BF16: expected 'emulate' or none, found 'wrong'" in said


def test_older_processors_round_alike(case, narrow, inputs):
    """x86-64-v3 rounds by integer instructions; its sums are of 8 lanes."""
    older = runtime.Model(compile_model(case, "library", f"--batch={BATCH}", "--precision=bf16", "--cpu=x86-64-v3"))
    image = inputs[0].numpy()
    golden = case.golden()(inputs[0]).detach()
    assert_alike(older.clean_logits(image), narrow.clean_logits(image), golden)


def test_frozen_weights_are_narrow_once(case, narrow, inputs, tmp_path):
    """synth copies the weights after loading; the copies are those that a library makes in each step."""
    path = compile_model(case, "synth", f"--batch={BATCH}", "--precision=bf16")
    info = json.loads(run([path, "--info"]).stdout)
    assert info["precision"] == "bf16" and info["bf16_products"] in ("native", "emulated")
    assert {"prepare", "clean_logits", "forward"} <= {entry["name"] for entry in info["entries"]}
    synth = runtime.Model(path)
    image, _, noise = (x.numpy() for x in inputs)
    for model in (synth, narrow):
        assert model.synth_gradient(image, model.clean_logits(image), 0 * noise)[0] == 0
    golden = case.golden()(inputs[0]).detach()
    # Folded scales are rounded after the fold: another rounding, no larger an error.
    assert distance(synth.clean_logits(image), golden) <= 2 * distance(narrow.clean_logits(image), golden)


def last(path, name):
    with open(path, newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_synthesis_and_finetuning_run(case, wide, tmp_path):
    write_npz(tmp_path / "data.npz", case.info, train=40, val=8)
    common = ["--data-dir", tmp_path / "data.npz", "--seed", "3"]
    norms = {}
    for precision in ("f32", "bf16"):
        program = compile_model(case, "synth", f"--batch={BATCH}", f"--precision={precision}")
        out = tmp_path / precision
        options = ["--steps", 20, "--train-fraction", "0.5", "--stop-samples", 8, "--lr", "0.05", "--batch-size", 4]
        run([program, *common, "--output", out, *options])
        losses = last(out / "summary.csv", "loss")
        assert losses[-1] < 0.5 * losses[0]
        norms[precision] = last(out / "summary.csv", "norm")[-1]
    assert abs(norms["bf16"] - norms["f32"]) <= 0.02 * norms["f32"]
    # What the run says of its noise is what the float32 artefact says of it.
    with safetensors.safe_open(tmp_path / "bf16" / "noise.safetensors", "np") as file:
        said, noise = file.metadata(), file.get_tensor("noise")
    assert said["precision"] == "bf16"
    measured = tmp_path / "measured"
    program = compile_model(case, "synth", f"--batch={BATCH}")
    options = ["--steps", 1, "--lr", "0", "--weight-decay", "0", "--train-fraction", "0.5", "--stop-samples", 8]
    run([program, *common, "--output", measured, *options, "--init", tmp_path / "bf16" / "noise.safetensors"])
    with safetensors.safe_open(measured / "noise.safetensors", "np") as file:
        assert float(file.metadata()["stop_value"]) == pytest.approx(float(said["stop_value"]), rel=1e-6)
        np.testing.assert_array_equal(file.get_tensor("noise"), noise)

    program = compile_model(case, "finetune", f"--batch={BATCH}", "--precision=bf16")
    options = ["--arm", "nullspace", "--rounds", 1, "--steps-per-round", 6, "--noise-steps", 4, "--batch-size", 4]
    run([program, *common, "--output", tmp_path / "tuned", *options, "--holdout-samples", 4, "--lr", "1e-4"])
    assert np.isfinite(last(tmp_path / "tuned" / "summary.csv", "loss")).all()
    tuned = runtime.Model(
        compile_model(case, "library", f"--batch={BATCH}"), weights=tmp_path / "tuned/last.safetensors"
    )
    assert any((tuned.param(name) != wide.param(name)).any() for name in wide.params())


@pytest.mark.parametrize("attack", ["fgsm:eps=4/255", "apgd-ce:eps=4/255,steps=3"])
def test_attacks_are_measured_in_float32(case, tmp_path, attack):
    write_npz(tmp_path / "data.npz", case.info, train=4, val=12)
    shares = {}
    for precision in ("f32", "bf16"):
        program = compile_model(case, "evaluate", f"--batch={BATCH}", f"--precision={precision}")
        out = tmp_path / precision
        run([program, "--data-dir", tmp_path / "data.npz", "--output", out, "--attack", attack])
        shares[precision] = [m["value"] for m in json.loads((out / "results.json").read_text())["measurements"]]
    assert shares["bf16"][0] == shares["f32"][0]  # clean accuracy: the same code
    assert len(shares["bf16"]) == len(shares["f32"])


def test_the_artefact_needs_nothing_of_its_host(case, tmp_path):
    """Rounding is instructions: no call of a compiler's run-time library."""
    path = tmp_path / "v4.o"
    flags = ["--emit=synth", "--precision=bf16", "--emit-object", f"--batch={BATCH}", "-o", path]
    for cpu in ("x86-64-v3", "x86-64-v4"):
        run([tool("ns-compile"), case.mlir, f"--cpu={cpu}", *flags])
        symbols = run(["nm", "--undefined-only", path]).stdout.split()
        assert {s for s in symbols if s != "U"} <= {"memset", "memcpy", "memmove"}
