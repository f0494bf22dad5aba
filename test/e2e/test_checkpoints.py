"""--weights: checkpoints of every kind and naming scheme give a compiled library the logits that PyTorch computes from them."""

import argparse
import copy
import json

import families
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import compile_model, images, run, tool, write_npz

TOLERANCE = 1e-5  # of the largest logit: some hundred float32 roundings


@pytest.fixture(scope="module")
def runtime():
    return pytest.importorskip("nullspace.runtime")


@pytest.fixture(scope="module")
def other(small):
    """The architecture of `small` with other weights."""
    return families.wake(copy.deepcopy(small.model), seed=5)


def check(runtime, library, info, golden, weights, **options):
    """`library` with the weights of a file computes what the module `golden` computes."""
    model = runtime.Model(library)
    model.load_weights(weights, **options)
    image = images(3, info)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (info.mean, info.std))
    with torch.no_grad():
        expected = golden((image - mean) / std)
    expected = getattr(expected, "logits", expected).numpy()
    found = np.array(model.forward(image.numpy()))
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def _strided(state: dict) -> dict:
    """Matrices as transposed views, the rest as slices of one storage."""
    views = {}
    flat = torch.cat([torch.full((7,), float("nan"))] + [v.reshape(-1) for v in state.values()])
    offset = 7
    for name, value in state.items():
        views[name] = flat[offset : offset + value.numel()].view(value.shape)
        offset += value.numel()
        if value.dim() == 2:
            views[name] = value.t().contiguous().t()
    return views


def _cast(model: torch.nn.Module, dtype) -> torch.nn.Module:
    return copy.deepcopy(model).to(dtype).float()


FORMS = {
    "ordered_dict": lambda m: m.state_dict(),
    "dict": lambda m: dict(m.state_dict()),
    "parameters": lambda m: dict(m.named_parameters()),
    "nested": lambda m: {"epoch": 3, "arch": "vit", "state_dict": m.state_dict(), "metric": 0.5},
    "module_prefix": lambda m: {"state_dict": {f"module.{k}": v for k, v in m.state_dict().items()}},
    "compiled_prefix": lambda m: {f"_orig_mod.{k}": v for k, v in m.state_dict().items()},
    "both_prefixes": lambda m: {f"_orig_mod.module.{k}": v for k, v in m.state_dict().items()},
    "namespace": lambda m: {
        "model": m.state_dict(),
        "args": argparse.Namespace(lr=0.1, data="x", sizes=[1, (2, 3)]),
        "optimizer": torch.optim.AdamW(m.parameters()).state_dict(),
    },
    "ema": lambda m: {"state_dict": m.state_dict() | {"head.bias": torch.zeros(10)}, "state_dict_ema": m.state_dict()},
    "model_ema": lambda m: {"model_ema": m.state_dict(), "model": {"x": torch.zeros(1)}},
    "strided": lambda m: _strided(m.state_dict()),
}


@pytest.mark.parametrize("form", FORMS)
def test_pytorch_checkpoints(runtime, small, other, tmp_path, form):
    torch.save(FORMS[form](other), tmp_path / "c.pth")
    check(runtime, compile_model(small, "library", "--batch=2"), small.info, other, tmp_path / "c.pth")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_precisions(runtime, small, other, tmp_path, dtype, suffix):
    file, dtype = tmp_path / f"c.{suffix}", getattr(torch, dtype)
    state = {k: v.to(dtype) for k, v in other.state_dict().items()}
    (torch.save if suffix == "pth" else safetensors.torch.save_file)(state, file)
    check(runtime, compile_model(small, "library", "--batch=2"), small.info, _cast(other, dtype), file)


def test_pickle_protocols_and_checksums(runtime, small, other, tmp_path):
    library = compile_model(small, "library", "--batch=2")
    for protocol in (2, 3, 4, 5):
        torch.save(other.state_dict(), tmp_path / "c.pth", pickle_protocol=protocol)
        check(runtime, library, small.info, other, tmp_path / "c.pth")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(other.state_dict(), tmp_path / "c.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    check(runtime, library, small.info, other, tmp_path / "c.pth")


def test_no_ema(runtime, small, other, tmp_path):
    """Averaged weights are preferred, unless the user says not."""
    torch.save({"state_dict": other.state_dict(), "state_dict_ema": small.model.state_dict()}, tmp_path / "c.pth")
    library = compile_model(small, "library", "--batch=2")
    check(runtime, library, small.info, small.model, tmp_path / "c.pth")
    check(runtime, library, small.info, other, tmp_path / "c.pth", ema=False)
    run([tool("ns-import"), small.pt2, "-o", tmp_path / "a.mlir", "--weights", tmp_path / "c.pth", "--no-ema"])
    written = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(written[k], v) for k, v in other.state_dict().items())


def test_import_with_weights(small, other, tmp_path):
    """ns-import --weights writes the checkpoint's elements, converted to the export's types."""
    state = {k: v.to(torch.bfloat16) for k, v in other.state_dict().items()}
    torch.save({"model": state}, tmp_path / "c.pth")
    run([tool("ns-import"), small.pt2, "-o", tmp_path / "a.mlir", "--weights", tmp_path / "c.pth"])
    written = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert written.keys() == state.keys()
    assert all(written[k].dtype == torch.float32 and torch.equal(written[k], v.float()) for k, v in state.items())
    strip = lambda text: [line for line in text.splitlines() if "nn.weights" not in line]
    assert strip((tmp_path / "a.mlir").read_text()) == strip(small.mlir.read_text())


def test_executables_take_checkpoints(small, other, tmp_path):
    """evaluate --weights FILE.pth --save-logits."""
    *_, x_val, _ = write_npz(tmp_path / "data.npz", small.info, train=4, val=5)
    torch.save({"state_dict": other.state_dict()}, tmp_path / "c.pth.tar")
    run(
        [
            compile_model(small, "evaluate", "--batch=4"),
            "--data-dir",
            tmp_path / "data.npz",
            "--output",
            tmp_path / "out",
        ]
        + ["--weights", tmp_path / "c.pth.tar", "--save-logits", tmp_path / "logits.npy"]
    )
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (small.info.mean, small.info.std))
    with torch.no_grad():
        golden = other((x_val - mean) / std).numpy()
    assert np.abs(np.load(tmp_path / "logits.npy") - golden).max() <= TOLERANCE * np.abs(golden).max()


# ---------------------------------------------------------------------------------------------------------------------
# Google's .npz
# ---------------------------------------------------------------------------------------------------------------------


def _flax(model: torch.nn.Module, kind: str) -> dict[str, np.ndarray]:
    """Random arrays under the names and in the layouts of the published checkpoints ("plain", "opt/target/"), of big_vision
    ("params/"), or of big_vision with all blocks in one array ("scan")."""
    big = kind in ("params/", "scan")
    attention, mlp, norm2 = (0, 0, 1) if big else (1, 3, 2)
    random = np.random.default_rng(3)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32) / (np.prod(shape[:-1]) or 1) ** 0.5
    width, heads = model.embed_dim, model.blocks[0].attn.num_heads
    hidden, depth = model.blocks[0].mlp.fc1.out_features, len(model.blocks)
    arrays = {
        "embedding/kernel": normal(*model.patch_embed.patch_size, 3, width),
        "embedding/bias": normal(width),
        "cls": normal(1, 1, width),
        "pos_embedding" if big else "Transformer/posembed_input/pos_embedding": normal(*model.pos_embed.shape),
        "Transformer/encoder_norm/scale": 1 + normal(width),
        "Transformer/encoder_norm/bias": normal(width),
        "head/kernel": normal(width, model.num_classes),
        "head/bias": normal(model.num_classes),
    }
    for i in range(depth):
        block = {}
        for name in ("query", "key", "value"):
            block[f"MultiHeadDotProductAttention_{attention}/{name}/kernel"] = 4 * normal(width, heads, width // heads)
            block[f"MultiHeadDotProductAttention_{attention}/{name}/bias"] = normal(heads, width // heads)
        block[f"MultiHeadDotProductAttention_{attention}/out/kernel"] = normal(heads, width // heads, width)
        block[f"MultiHeadDotProductAttention_{attention}/out/bias"] = normal(width)
        for name in ("LayerNorm_0", f"LayerNorm_{norm2}"):
            block[f"{name}/scale"], block[f"{name}/bias"] = 1 + normal(width), normal(width)
        for name, inputs, outputs in (("Dense_0", width, hidden), ("Dense_1", hidden, width)):
            block[f"MlpBlock_{mlp}/{name}/kernel"] = normal(inputs, outputs)
            block[f"MlpBlock_{mlp}/{name}/bias"] = normal(outputs)
        arrays |= {f"Transformer/encoderblock_{i}/{k}": v for k, v in block.items()}
    if kind == "scan":
        names = [k.split("/", 2)[2] for k in arrays if k.startswith("Transformer/encoderblock_0/")]
        stacked = {
            f"Transformer/encoderblock/{n}": np.stack(
                [arrays.pop(f"Transformer/encoderblock_{i}/{n}") for i in range(depth)]
            )
            for n in names
        }
        arrays |= stacked
    prefix = {"plain": "", "scan": "params/"}.get(kind, kind)
    return {prefix + name: value for name, value in arrays.items()}


@pytest.mark.parametrize("kind", ["plain", "opt/target/", "params/", "scan"])
def test_google_npz_as_timm_reads_it(runtime, small, tmp_path, kind):
    np.savez(tmp_path / "c.npz", **_flax(small.model, kind))
    golden = copy.deepcopy(small.model)
    golden.load_pretrained(str(tmp_path / "c.npz"))
    assert not torch.equal(golden.head.weight, small.model.head.weight)
    check(runtime, compile_model(small, "library", "--batch=2"), small.info, golden, tmp_path / "c.npz")


def test_npz_of_a_state_dict(runtime, small, other, tmp_path):
    np.savez(tmp_path / "c.npz", **{k: v.numpy() for k, v in other.state_dict().items()})
    check(runtime, compile_model(small, "library", "--batch=2"), small.info, other, tmp_path / "c.npz")


# ---------------------------------------------------------------------------------------------------------------------
# Names: a library compiled from one framework's model takes the checkpoint of another's
# ---------------------------------------------------------------------------------------------------------------------

PIXELS = dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])
VIT = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, patch_size=8)


def hf_model(kind: str, **config) -> torch.nn.Module:
    """A model of transformers with woken weights and timm's epsilon."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    made = getattr(transformers, kind.split("For")[0] + "Config")(image_size=32, num_labels=10, **config)
    return families.wake(getattr(transformers, kind)(made), seed=9).eval()


def hf_vit() -> torch.nn.Module:
    return hf_model("ViTForImageClassification", layer_norm_eps=1e-6, **VIT)


def torchvision_vit() -> torch.nn.Module:
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=256, num_classes=10)
    return families.wake(model, seed=7).eval()


def test_transformers_folder(runtime, small, tmp_path):
    """model.safetensors under the old names, shards of it with their index, pytorch_model.bin."""
    golden, library = hf_vit(), compile_model(small, "library", "--batch=2")
    golden.save_pretrained(tmp_path / "whole")
    golden.save_pretrained(tmp_path / "shards", max_shard_size="60kB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    (tmp_path / "bin").mkdir()
    torch.save(safetensors.torch.load_file(tmp_path / "whole/model.safetensors"), tmp_path / "bin/pytorch_model.bin")
    for place in ("whole", "shards", "bin", "whole/model.safetensors", "shards/model.safetensors.index.json"):
        check(runtime, library, small.info, golden, tmp_path / place)
    torch.save(golden.state_dict(), tmp_path / "modules.pth")  # under the names of the modules
    check(runtime, library, small.info, golden, tmp_path / "modules.pth")


def test_torchvision_names(runtime, small, tmp_path):
    golden = torchvision_vit()
    torch.save(golden.state_dict(), tmp_path / "tv.pth")
    check(runtime, compile_model(small, "library", "--batch=2"), small.info, golden, tmp_path / "tv.pth")


def test_index_leaves_its_folder_alone(runtime, small, tmp_path):
    library = compile_model(small, "library", "--batch=2")
    for name in ("../small.safetensors", "/etc/passwd", "..", "a\\b", "", 3):
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"head.bias": name}}))
        with pytest.raises(runtime.NullspaceError, match="expected the name of a file in the same folder"):
            runtime.Model(library, tmp_path)


def _family(name: str, **overrides):
    """A woken model of families.py; `overrides` are further arguments of its constructor."""
    from nullspace import sources

    chosen = families.FAMILIES[name]
    options = chosen.options | {"model_kwargs": chosen.options.get("model_kwargs", {}) | overrides}
    return families.wake(sources.build(sources.Request(chosen.source, **options))[0], seed=4)


TWO_LAYERS = dict(patch_size=8, hidden_size=64, num_hidden_layers=2, num_attention_heads=4)
SWIN = dict(embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4, patch_size=2)
RESNET50 = dict(embedding_size=64, hidden_sizes=[32, 64, 64, 64], depths=[1, 2, 1, 1])
CONVNEXT = dict(num_stages=4, hidden_sizes=[16, 24, 32, 48], depths=[1, 2, 1, 1])

# The compiled family, and the model whose checkpoint it takes.
PAIRS = {
    "hf_vit<-timm": ("hf_vit", lambda: _family("timm_vit", mlp_ratio=2)),
    "hf_vit<-torchvision": ("hf_vit", lambda: _family("torchvision_vit")),
    "torchvision_vit<-hf": (
        "torchvision_vit",
        lambda: hf_model("ViTForImageClassification", **TWO_LAYERS, intermediate_size=128),
    ),
    "torchvision_vit<-timm": ("torchvision_vit", lambda: _family("timm_vit", mlp_ratio=2)),
    "timm_deit_distilled<-hf": (
        "timm_deit_distilled",
        lambda: hf_model("DeiTForImageClassificationWithTeacher", **TWO_LAYERS, intermediate_size=256),
    ),
    "hf_dinov2<-itself": ("hf_dinov2", lambda: hf_model("Dinov2ForImageClassification", **TWO_LAYERS, mlp_ratio=2)),
    "timm_swin<-hf": ("timm_swin", lambda: hf_model("SwinForImageClassification", **SWIN)),
    "hf_swin<-timm": ("hf_swin", lambda: _family("timm_swin")),
    "torchvision_swin<-timm": ("torchvision_swin", lambda: _family("timm_swin")),
    "timm_resnet50<-hf": ("timm_resnet50", lambda: hf_model("ResNetForImageClassification", **RESNET50)),
    "torchvision_resnet18<-itself": ("torchvision_resnet18", lambda: _family("torchvision_resnet18")),
    "timm_convnext<-hf": ("timm_convnext", lambda: hf_model("ConvNextForImageClassification", **CONVNEXT)),
    "torchvision_convnext<-itself": ("torchvision_convnext", lambda: _family("torchvision_convnext")),
}


@pytest.fixture(scope="module")
def exported(cases, tmp_path_factory):
    """The imported small model of a family."""

    def get(family: str):
        _, _, request = families.build(family, tmp_path_factory.mktemp(family))
        given = {"img_size": request.img_size, "num_classes": request.num_classes, "model_kwargs": request.model_kwargs}
        return cases(request.source, **{k: v for k, v in given.items() if v is not None}, **PIXELS)

    return get


@pytest.mark.parametrize("pair", PAIRS)
def test_names_of_other_frameworks(runtime, exported, tmp_path, pair):
    family, make = PAIRS[pair]
    golden, case = make().eval(), exported(family)
    if hasattr(golden, "save_pretrained"):
        golden.save_pretrained(tmp_path / "checkpoint")
    else:
        torch.save(golden.state_dict(), tmp_path / "checkpoint")
    site = ["--site=image"] if "resnet" in family else []  # which has no patch embedding
    check(runtime, compile_model(case, "library", "--batch=2", *site), case.info, golden, tmp_path / "checkpoint")
