"""Attention families, in every spelling that their libraries have: the imported network in float64, the compiled logits and the gradients,
against PyTorch; and what the importer says to attention that no op stands for."""

import dataclasses
import re

import families
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Case, compile_model, export_and_import, images, run, tool
from families import CLASSES, SIDE
from nn_reference import Network
from nullspace import sources
from nullspace.export import export
from test_gradients import compare

VIT = dict(patch_size=8, embed_dim=64, depth=2, num_heads=4)
SWIGLU = families._config(
    "Dinov2Config",
    patch_size=8,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    mlp_ratio=2,
    use_swiglu_ffn=True,
)

# Beside those of families.py: layers that only some sizes of a family have.
MORE = {
    "timm_eva02_separate": families._timm(
        "eva02_base_patch14_448", **VIT
    ),  # queries, keys, values apart; a norm in the MLP
    "timm_beitv2": families._timm("beitv2_base_patch16_224", **VIT),
    "timm_dinov2_swiglu": families._timm("vit_giant_patch14_dinov2", **VIT | dict(embed_dim=48)),
    "timm_siglip_gap": families._timm("vit_base_patch16_siglip_gap_224", **VIT),
    "hf_dinov2_swiglu": families._hf(SWIGLU),
}
FAMILIES = {
    name: family
    for name, family in (families.FAMILIES | MORE).items()
    if not re.search("swin|resnet|convnext|cnn", name) and name not in ("timm_vit_gap", "timm_deit3")
}
# Attention in single calls, as timm spells it without its fused form: `name_eager`.
UNFUSED = ["timm_vit", "timm_beit", "timm_eva02", "timm_siglip"]
NAMES = [*FAMILIES, *(f"{name}_eager" for name in UNFUSED)]
# One spelling of each: test_spellings_give_one_network compares the others' text.
COMPILED = [name for name in NAMES if not name.endswith("_eager")]

# Sizes that people use, under --full.
REAL = [
    "timm:beit_base_patch16_224",
    "timm:eva02_tiny_patch14_224",
    "timm:eva02_small_patch14_224",
    "timm:vit_base_patch16_siglip_224",
    "timm:vit_small_patch14_reg4_dinov2",
    "torchvision:vit_b_16",
]
REAL_CONFIGURATIONS = {
    "ViTConfig sdpa": {},
    "ViTConfig eager": {},
    "DeiTConfig sdpa": dict(architectures=["DeiTForImageClassificationWithTeacher"]),
    "Dinov2Config eager": dict(image_size=224, patch_size=14),
    "Dinov2WithRegistersConfig sdpa": dict(image_size=224, patch_size=14),
}
BATCH = 3


def built(name, folder):
    families.FAMILIES.update(MORE)
    model, info, _ = families.build(name.removesuffix("_eager") if name.startswith("timm") else name, folder)
    if name.startswith("timm") and name.endswith("_eager"):
        for module in model.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
    return model, dataclasses.replace(info, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


def golden(case) -> torch.nn.Module:
    """In float64, which transformers' eager attention leaves for its softmax: the same by its other path."""
    reference = case.golden()
    if hasattr(reference.net, "config"):
        reference.net.config._attn_implementation = "sdpa"
    return reference


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Each model is made once."""
    cases = {}

    def get(name) -> Case:
        if name not in cases:
            folder = tmp_path_factory.mktemp(name)
            cases[name] = export_and_import(*built(name, folder), folder)
        return cases[name]

    return get


def operations(case) -> list[str]:
    """The ops of the network with their attributes, without names."""
    text = re.sub(r'nn\.layer = "[^"]*"', "", case.mlir.read_text())
    return re.findall(r"= nn\.(.*)", re.sub(r"%[\w.$-]+", "%", text))


@pytest.mark.parametrize("name", NAMES)
def test_network_equals_pytorch(known, name):
    case = known(name)
    image = images(BATCH, case.info)
    with torch.no_grad():
        expected, found = golden(case)(image), Network(case.mlir)(image)
    assert expected.shape == (BATCH, CLASSES) and expected.std() > 1e-3  # not a constant
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("fused", [*UNFUSED, "hf_vit", "hf_dinov2"])
def test_spellings_give_one_network(known, fused):
    assert operations(known(fused)) == operations(known(f"{fused}_eager"))


def test_torchvision_gives_the_network_of_timm(known):
    """Rows in the order N x B x C leave no trace."""
    kinds = lambda name: [op.split()[0] for op in operations(known(name))]
    assert sorted(kinds("torchvision_vit")) == sorted(kinds("timm_vit"))


@pytest.mark.parametrize("name", COMPILED)
def test_logits(known, name):
    runtime = pytest.importorskip("nullspace.runtime")
    case = known(name)
    model = runtime.Model(compile_model(case, "library", f"--batch={BATCH}"))
    image = images(BATCH, case.info)
    with torch.no_grad():
        expected = golden(case)(image)
    logits = torch.from_numpy(np.array(model.forward(image.numpy())))
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", COMPILED)
def test_gradients(known, name):
    """Of the cross-entropy, by the image and by every parameter; where the true gradient is 0 (a key bias), what is found is small."""
    runtime = pytest.importorskip("nullspace.runtime")
    case = known(name)
    model = runtime.Model(compile_model(case, "library", f"--batch={BATCH}"))
    reference, image = golden(case), images(BATCH, case.info)
    labels = torch.arange(BATCH) % CLASSES
    weights = torch.full((BATCH,), 1 / BATCH, dtype=torch.float64)
    for slot, value in (("image", image), ("labels", labels), ("weights", weights)):
        model.slot(slot)[:] = value.numpy()
    model.slot("accumulate")[:] = 0
    variable = image.double().requires_grad_()
    (weights * F.cross_entropy(reference(variable), labels, reduction="none")).sum().backward()
    model.run("value_and_grad")
    compare({"image": model.slot("image_grad")}, {"image": variable.grad})
    model.run("finetune_step")
    read = {name: p.grad for name, p in reference.net.named_parameters() if p.grad is not None}
    compare(model.param_grads(), read)


@pytest.mark.parametrize("source", [*REAL, *REAL_CONFIGURATIONS])
def test_real_sizes(full, tmp_path, source):
    if not full:
        pytest.skip("real sizes are for --full")
    options = dict(mean=[0.5] * 3, std=[0.25] * 3)
    if source in REAL_CONFIGURATIONS:
        import transformers

        kind, attention = source.split()
        getattr(transformers, kind)(num_labels=1000, **REAL_CONFIGURATIONS[source]).save_pretrained(tmp_path)
        source, options["model_kwargs"] = f"hf:{tmp_path}", {"attn_implementation": attention}
    elif "dinov2" in source:  # made for images of 518, without a head
        options |= dict(num_classes=10, img_size=224)
    model, info = sources.build(sources.Request(source, **options))
    case = export_and_import(families.wake(model), info, tmp_path)
    image = images(2, case.info)
    with torch.no_grad():
        expected, found = golden(case)(image), Network(case.mlir)(image)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


# ---------------------------------------------------------------------------------------------------------------------
# What is outside
# ---------------------------------------------------------------------------------------------------------------------


def refusal(model, info, folder) -> str:
    export(model, info, str(folder / "model.pt2"))
    result = run([tool("ns-import"), folder / "model.pt2", "-o", folder / "model.mlir"], check=False)
    assert result.returncode == 1 and not (folder / "model.mlir").exists()
    return result.stderr


def test_another_index_of_positions_is_reported(tmp_path):
    model, info = built("timm_beit", tmp_path)
    index = model.blocks[1].attn.relative_position_index
    index[3, 5], index[3, 6] = index[3, 6].clone(), index[3, 5].clone()
    message = refusal(model, info, tmp_path)
    assert "1 op is outside" in message
    assert (
        "blocks.1.attn: torch.ops.aten.scaled_dot_product_attention.default: a bias whose index is not that of relative"
        in message
    )


class Attention(torch.nn.Module):
    """One layer of attention whose scores and heads go through `scores(scores, image)` and `heads(heads)`."""

    def __init__(self, scores=lambda s, x: s.softmax(-1), heads=lambda q: q):
        super().__init__()
        self.scores, self.heads = scores, heads
        self.embed, self.qkv, self.head = (
            torch.nn.Conv2d(3, 32, 8, 8),
            torch.nn.Linear(32, 96),
            torch.nn.Linear(32, CLASSES),
        )
        for name, shape in (("sin", (16, 16)), ("cos", (16, 16)), ("mask", (1, 16, 16))):
            self.register_buffer(name, torch.randn(shape))

    def forward(self, image):
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(-1, 16, 3, 2, 16).permute(2, 0, 3, 1, 4).unbind(0)
        p = self.scores(self.heads(self, q) @ k.transpose(-2, -1) * 0.25, self)
        return self.head((p @ v).transpose(1, 2).flatten(2).mean(1))


def pairs(x):
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)


def halves(x):
    return torch.cat([-x[..., 8:], x[..., :8]], -1)


HEADS = lambda m, q: q
INSIDE = {
    "rotary_without_prefix": (lambda s, m: s.softmax(-1), lambda m, q: q * m.cos + pairs(q) * m.sin),
    "rotary_with_operands_exchanged": (lambda s, m: s.softmax(-1), lambda m, q: m.sin * pairs(q) + m.cos * q),
    "mask_of_all_heads": (lambda s, m: (s + m.mask).softmax(-1), HEADS),
    "scale_in_two_places": (lambda s, m: (s / 2).softmax(-1), lambda m, q: q * 1.5),
    "mask_from_sizes": (lambda s, m: (s + torch.zeros(16, 16)).softmax(-1), HEADS),
}
OUTSIDE = {
    "softmax_over_queries": (lambda s, m: s.softmax(-2), HEADS, "a softmax outside attention"),
    "no_softmax": (lambda s, m: s, HEADS, "a product of two computed tensors outside attention"),
    "scaled_probabilities": (lambda s, m: s.softmax(-1) * 2, HEADS, "scales attention scores after their softmax"),
    "scaled_bias": (
        lambda s, m: ((s + m.mask) * 2).softmax(-1),
        HEADS,
        "scales attention scores after their softmax or bias",
    ),
    "two_masks": (lambda s, m: (s + m.mask + m.mask).softmax(-1), HEADS, "expected one bias or mask for all images"),
    "activation_of_scores": (lambda s, m: s.relu().softmax(-1), HEADS, "its 'self' is attention scores"),
    "rotary_halves": (lambda s, m: s.softmax(-1), lambda m, q: q * m.cos + halves(q) * m.sin, "torch.ops.aten"),
    "rotary_of_another_sign": (
        lambda s, m: s.softmax(-1),
        lambda m, q: q * m.cos - pairs(q) * m.sin,
        "torch.ops.aten.sub.Tensor: no nn op stands for it",
    ),
    "product_alone": (
        lambda s, m: s.softmax(-1),
        lambda m, q: q * m.cos,
        "a product of two computed tensors outside attention",
    ),
}


def small_info():
    return sources.ModelInfo("attention", "test", [3, SIDE, SIDE], [0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize("name", INSIDE)
def test_other_spellings(tmp_path, name):
    torch.manual_seed(0)
    case = export_and_import(Attention(*INSIDE[name]).eval(), small_info(), tmp_path)
    image = images(BATCH, case.info)
    with torch.no_grad():
        expected, found = golden(case)(image), Network(case.mlir)(image)
    # What the graph computes in float32 from sizes alone it also does in the float64 copy.
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
    assert sum(op.startswith("attention") for op in operations(case)) == 1


@pytest.mark.parametrize("name", OUTSIDE)
def test_attention_that_no_op_stands_for(tmp_path, name):
    *parts, expected = OUTSIDE[name]
    message = refusal(Attention(*parts).eval(), small_info(), tmp_path)
    assert expected in message and "(model): torch.ops.aten." in message
