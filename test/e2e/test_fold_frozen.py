"""Artefacts whose weights took scales and shifts over (nn-fold-frozen) against PyTorch in float64, and against the library, which keeps them."""

import struct
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, images, run, write_npz

BATCH = 2
# name: (source, arguments of the reduced model, norms folded, scales folded)
MODELS = {
    "plain": ("timm:vit_tiny_patch16_224", dict(depth=2), 5, 0),
    "layer_scale": ("timm:deit3_small_patch16_224", dict(depth=2), 5, 4),
    "distilled": ("timm:deit_tiny_distilled_patch16_224", dict(depth=2), 5, 0),
    "qk_norm": ("timm:vit_tiny_patch16_224", dict(depth=2, qk_norm=True), 5, 0),
    "average_pooling": ("timm:vit_little_patch16_reg4_gap_256", dict(depth=2), 5, 4),
}


def artefact(executable):
    """The shared object at the end of an executable (docs/abi.md), as a file of its own."""
    data = executable.read_bytes()
    size, magic = struct.unpack("<Q8s", data[-16:])
    assert magic == b"NSRTEXE1"
    path = executable.with_name(executable.name + "-artefact.so")
    path.write_bytes(data[-16 - size : -16])
    return path


@pytest.fixture(scope="module", params=MODELS)
def folded(request, cases):
    """(case, model arguments) with every norm and LayerScale away from its start."""
    pytest.importorskip("nullspace.runtime")
    source, arguments, *counts = MODELS[request.param]
    return cases(source, scale=4.0, num_classes=20, model_kwargs=arguments), counts


def open_emit(case, emit, *flags):
    from nullspace import runtime

    path = compile_model(case, emit, f"--batch={BATCH}", *flags)
    return runtime.Model(path if emit == "library" else artefact(path))


def close(found, expected, tolerance):
    expected = np.asarray(expected, dtype=np.float64)
    assert np.abs(np.asarray(found, dtype=np.float64) - expected).max() <= tolerance * np.abs(expected).max()


def test_every_norm_and_scale_is_folded(folded):
    """In an artefact that trains no parameter; what an entry trains is left alone."""
    case, (norms, scales) = folded
    original = {name: parameter.detach().numpy() for name, parameter in case.model.named_parameters()}
    for emit, expected in (("evaluate", norms + scales + hasattr(case.model, "head_dist")), ("library", 0)):
        model = open_emit(case, emit, "--products=library")  # generated ones would lie packed
        assert ("prepare" in [entry["name"] for entry in model.metadata["entries"]]) == (emit == "evaluate")
        changed = [name for name, value in original.items() if not np.array_equal(model.param(name), value)]
        # The last norm of a distilled model feeds two heads.
        assert sum(name.endswith(".weight") for name in changed) == expected, changed


def test_logits_and_image_gradient(folded):
    case, _ = folded
    model, golden = open_emit(case, "evaluate"), case.golden()
    image, labels = images(BATCH, case.info), torch.tensor([3, 7])
    variable = image.double().requires_grad_()
    logits = golden(variable)
    losses = F.cross_entropy(logits, labels, reduction="none")
    losses.sum().backward()
    close(model.forward(image.numpy()), logits.detach(), 1e-5)
    model.slot("image")[:], model.slot("labels")[:], model.slot("weights")[:] = image.numpy(), labels.numpy(), 1
    model.run("value_and_grad")
    close(model.slot("losses"), losses.detach(), 1e-5)
    close(model.slot("image_grad"), variable.grad, 1e-4)


def test_double_precision_is_exact(folded):
    """In float64 the fold leaves no more than float64's rounding."""
    case, _ = folded
    model, image = open_emit(case, "evaluate", "--precision=f64"), images(BATCH, case.info)
    with torch.no_grad():
        close(model.forward(image.numpy()), case.golden()(image), 1e-12)


def test_noise_gradient_of_synth_is_the_librarys(folded):
    case, _ = folded
    golden, image = case.golden(), images(BATCH, case.info, seed=3)
    with torch.no_grad():
        clean = golden(image).numpy()
    noise = 0.3 * torch.randn(golden.tokens(image[:1]).shape, generator=torch.Generator().manual_seed(5))
    grads = {}
    for emit in ("synth", "library"):
        model = open_emit(case, emit)
        model.slot("image")[:], model.slot("clean_logits")[:], model.slot("weights")[:] = image.numpy(), clean, 1 / BATCH
        model.slot("noise")[:] = noise.numpy()
        model.slot("accumulate")[...] = 0
        model.run("synth_step")
        grads[emit] = float(np.ravel(model.slot("loss"))[0]), np.array(model.slot("noise.grad"))
    assert grads["synth"][0] == pytest.approx(grads["library"][0], rel=1e-5)
    close(grads["synth"][1], grads["library"][1], 1e-4)


def test_loading_again_folds_once(folded):
    """Weights are read anew before they are folded, so a second load changes nothing."""
    case, _ = folded
    model, image = open_emit(case, "evaluate"), images(BATCH, case.info).numpy()
    first = np.array(model.forward(image))
    model.load_weights(case.weights)
    assert np.array_equal(first, model.forward(image))


def test_folded_weights_are_not_saved(folded, tmp_path):
    from nullspace import runtime

    model = open_emit(folded[0], "evaluate")
    with pytest.raises(runtime.NullspaceError, match="folds weights while loading"):
        model.save_weights(tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


FORWARD = """
import sys
from nullspace import runtime
model = runtime.Model(sys.argv[1])
model.run("forward")
print([line for line in open("/proc/self/maps") if "libtorch_cpu" in line])
"""


def test_frozen_weights_lie_packed_and_no_library_is_loaded(cases):
    from nullspace import runtime

    source, arguments, *_ = MODELS["plain"]
    case = cases(source, scale=4.0, num_classes=20, model_kwargs=arguments)
    model = open_emit(case, "evaluate")
    packed = {param["name"] for param in model.metadata["params"] if param.get("packed")}
    weights = {name for name, value in case.model.named_parameters() if value.ndim > 1 and not name.endswith(("embed", "token"))}
    assert packed == weights - {"blocks.1.attn.qkv.weight"}  # attention taps read all queries there, logits one
    with pytest.raises(runtime.NullspaceError, match="head.weight.*packs its weights"):
        model.param("head.weight")
    assert model.param("head.bias").shape == (20,)
    assert model.metadata["blas"] is False and open_emit(case, "library").metadata["blas"] is True
    path = artefact(compile_model(case, "evaluate", f"--batch={BATCH}"))
    assert run([sys.executable, "-c", FORWARD, path]).stdout.strip() == "[]"


def test_saved_logits_of_the_executable(folded, tmp_path):
    case, _ = folded
    *_, x_val, _ = write_npz(tmp_path / "data.npz", case.info, train=2, val=5)
    run([compile_model(case, "evaluate", f"--batch={BATCH}"), "--data-dir", tmp_path / "data.npz", "--output", tmp_path / "out",
         "--save-logits", tmp_path / "logits.npy"])  # fmt: skip
    with torch.no_grad():
        close(np.load(tmp_path / "logits.npy"), case.golden()(x_val), 1e-5)
