"""A GPU's plan on the CPU: attention as batched products and row programs, and in bfloat16 results of products rounded in memory, against PyTorch.

--attention=expanded --product-results=rounded give the numbers that a GPU's plan asks for; only the order of sums within a product is the library's.
"""

import families
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import compile_model, export_and_import, images, run, small_vit, tool
from test_bf16 import Autocast, as_good, distance
from test_gradients import compare

runtime = pytest.importorskip("nullspace.runtime")
BATCH = 3
# A class token and a packed input; windows with bias and mask; a bias of its own for each token pair; queries and keys of their own norm, positions that rotate.
FAMILIES = ["timm_vit", "timm_swin", "timm_beit", "timm_eva02"]


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    model, info, _ = families.build(request.param, folder)
    case = export_and_import(model, info, folder)
    return case, runtime.Model(compile_model(case, "library", f"--batch={BATCH}", "--site=image", "--attention=expanded"))


def test_logits_and_gradients(setting):
    case, model = setting
    golden, image = case.golden(), images(BATCH, case.info)
    labels = torch.arange(BATCH) % case.info.classes
    variable = image.double().requires_grad_()
    logits = golden(variable)
    F.cross_entropy(logits, labels).backward()
    found = torch.from_numpy(np.array(model.forward(image.numpy())))
    assert (found - logits).abs().max() <= 1e-5 * logits.abs().max()
    for slot, value in dict(image=image, labels=labels, weights=torch.full((BATCH,), 1 / BATCH)).items():
        model.slot(slot)[:] = value.numpy()
    model.slot("accumulate")[:] = 0
    model.run("value_and_grad")
    compare({"image": model.slot("image_grad")}, {"image": variable.grad})
    model.run("finetune_step")
    compare(model.param_grads(), {n: p.grad for n, p in golden.net.named_parameters() if p.grad is not None})


@pytest.fixture(scope="module")
def narrow(cases):
    """A ViT whose attention, activations and their gradients are bfloat16 in memory."""
    case = small_vit(cases, depth=2)
    flags = ("--precision=bf16", "--attention=expanded", "--product-results=rounded")
    return case, runtime.Model(compile_model(case, "library", f"--batch={BATCH}", *flags))


def test_narrow_logits(narrow):
    case, model = narrow
    image = images(BATCH, case.info)
    golden = case.golden()(image).detach()
    as_good(model.clean_logits(image.numpy()), Autocast(case.model, case.info)(image), golden)
    assert distance(model.forward(image.numpy()), golden) < 1e-6  # what is measured stays float32


def test_narrow_synthesis_gradient(narrow):
    case, model = narrow
    image = images(BATCH, case.info)
    noise = 0.5 * torch.randn(model.slot("noise").shape, generator=torch.Generator().manual_seed(5))
    grads = []
    for reference, dtype in ((case.golden(), torch.float64), (Autocast(case.model, case.info), torch.float32)):
        variable = noise.clone().to(dtype).requires_grad_()
        (reference(image, variable) - reference(image).detach()).square().sum(1).mean().backward()
        grads.append(variable.grad)
    clean = model.clean_logits(image.numpy())
    _, grad = model.synth_gradient(image.numpy(), clean, noise.numpy())
    as_good(grad, grads[1].float(), grads[0])
    loss, grad = model.synth_gradient(image.numpy(), clean, 0 * noise.numpy())
    assert loss == 0 and not grad.any()  # the clean pass rounds as the noised one


def test_narrow_finetune_gradients(narrow):
    case, model = narrow
    image, labels = images(BATCH, case.info), torch.arange(BATCH) % case.info.classes
    grads = []
    for reference in (case.golden(), Autocast(case.model, case.info)):
        F.cross_entropy(reference(image), labels).backward()
        grads.append({name: p.grad.double() for name, p in reference.net.named_parameters()})
    _, found = model.finetune_gradients(image.numpy(), labels.numpy(), None)
    flat = lambda tensors: torch.cat([torch.as_tensor(np.asarray(tensors[name])).double().flatten() for name in grads[0]])
    as_good(flat(found), flat(grads[1]), flat(grads[0]))


def test_bad_choices(narrow, tmp_path):
    case, _ = narrow
    for flag, message in (
        ("--attention=fused", "--attention"),
        ("--product-results=f16", "--product-results"),
    ):
        result = run([tool("ns-compile"), case.mlir, flag, "-o", tmp_path / "out"], check=False)
        assert result.returncode == 2 and message in result.stderr
