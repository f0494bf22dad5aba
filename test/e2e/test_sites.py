"""Where noise enters: the compiled forward with noise at each site against PyTorch with a hook on the module that the site stands for."""

import numpy as np
import pytest
import torch
from conftest import Case, compile_model, export_and_import, images
from families import build

# family, site, module, and whether the noise joins its result or its argument
SITES = [
    ("timm_vit", "tokens", "patch_embed", "result"),
    ("timm_vit", "block.1", "blocks.1", "argument"),
    ("timm_swin", "tokens", "patch_embed.norm", "result"),
    ("timm_swin", "block.1", "layers.0.blocks.1", "argument"),
    ("timm_resnet18", "stem", "maxpool", "result"),
    ("timm_resnet18", "block.2", "layer3.0", "argument"),
    ("timm_convnext", "tokens", "stem", "result"),
    ("timm_convnext", "block.1", "stages.1.blocks.0", "argument"),
    ("hf_swin", "tokens", "swin.embeddings.norm", "result"),
    ("torchvision_resnet50", "auto", "maxpool", "result"),
    ("own_cnn", "stem", "branch", "residual"),
]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    known = {}

    def get(name) -> Case:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            model, info, _ = build(name, folder)
            known[name] = export_and_import(model, info, folder)
        return known[name]

    return get


def laid_out_as(noise: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Noise 1 x N x D as B x N x D, B x H x W x D or B x D x H x W: whichever `like` is."""
    if like.dim() == 4 and like.shape[1] == noise.shape[2]:
        return noise.mT.reshape(1, *like.shape[1:])
    return noise.reshape(1, *like.shape[1:])


@pytest.mark.parametrize("name, site, module, where", SITES, ids=lambda value: str(value))
def test_noise_enters_where_pytorchs_hook_adds_it(family, name, site, module, where):
    runtime = pytest.importorskip("nullspace.runtime")
    case = family(name)
    model = runtime.Model(compile_model(case, "library", "--batch=2", "--cpu=native", f"--site={site}"))
    torch.manual_seed(1)
    noise = 0.5 * torch.randn(model.slot("noise").shape, dtype=torch.float64)
    golden, image = case.golden(), images(2, case.info)
    layer = golden.net.get_submodule(module)
    add = lambda value: value + laid_out_as(noise, value)
    if where == "argument":
        layer.register_forward_pre_hook(lambda module, args: (add(args[0]), *args[1:]))
    elif where == "result":
        layer.register_forward_hook(lambda module, args, result: add(result))
    with torch.no_grad():
        clean = case.golden()(image)
        if where == "residual":  # the module is one branch of x + f(x)
            net, x = golden.net, add(torch.relu(golden.net.norm(golden.net.stem((image - golden.mean) / golden.std))))
            expected = net.head((x + torch.nn.functional.gelu(net.branch(x))).mean((2, 3)))
        else:
            expected = golden(image)
    found = np.array(model.forward(image.numpy(), noise=noise.numpy()))
    scale = expected.abs().max().item()
    assert (expected - clean).abs().max() > 1e-3 * scale
    assert np.abs(found - expected.numpy()).max() <= 1e-5 * scale
