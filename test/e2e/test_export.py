"""nullspace.export: what is in the archive, and what it says to wrong input."""

import json
import zipfile

import pytest
import torch
from conftest import SHARED, python_module
from nullspace import UserError, sources
from nullspace.export import export

TINY = dict(img_size=32, num_classes=5, model_kwargs=dict(patch_size=8, embed_dim=32, depth=1, num_heads=2))
TINY_FLAGS = [
    "--img-size",
    "32",
    "--num-classes",
    "5",
    "--model-kwargs",
    "patch_size=8",
    "embed_dim=32",
    "depth=1",
    "num_heads=2",
]


def record(path):
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("extra/nullspace.json"))
        return json.loads(archive.read(name))


def test_command_writes_graph_weights_and_record(tmp_path):
    output = tmp_path / "model.pt2"
    python_module("nullspace.export", "timm:deit_tiny_patch16_224", *TINY_FLAGS, "-o", output)
    found = record(output)
    assert found["image"] == [3, 32, 32] and found["classes"] == 5
    assert found["mean"] == [0.485, 0.456, 0.406] and found["std"] == [0.229, 0.224, 0.225]
    assert found["no_weight_decay"] == ["cls_token", "pos_embed"]
    assert found["source"] == "timm:deit_tiny_patch16_224" and found["versions"]["torch"] == torch.__version__
    program = torch.export.load(output)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.scaled_dot_product_attention.default" in targets  # attention stays one op
    assert program.module()(torch.zeros(3, 3, 32, 32)).shape == (3, 5)  # any batch
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]


def test_same_seed_same_weights():
    first, second, other = (
        sources.build(sources.Request("timm:vit_tiny_patch16_224", seed=seed, **TINY))[0].state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_mean_and_std_can_be_given(tmp_path):
    request = sources.Request("timm:vit_tiny_patch16_224", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], **TINY)
    export(*sources.build(request), str(tmp_path / "model.pt2"))
    assert record(tmp_path / "model.pt2")["std"] == [0.4, 0.5, 0.6]


def test_own_module(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\ndef small(width=4):\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, width))\n"
    )
    request = sources.Request(f"py:{file}:small", img_size=8, model_kwargs={"width": 6})
    info = export(*sources.build(request), str(tmp_path / "model.pt2"))
    assert info.classes == 6 and info.mean == [0, 0, 0]


def test_own_module_of_transformers(tmp_path):
    file = tmp_path / "own.py"
    config = (
        "num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8"
    )
    file.write_text(
        "import transformers as t\n"
        f"def deit():\n    return t.DeiTForImageClassificationWithTeacher(t.DeiTConfig({config}, num_labels=3))\n"
    )
    request = sources.Request(f"py:{file}:deit", img_size=16)
    assert export(*sources.build(request), str(tmp_path / "model.pt2")).classes == 3


def vit_folder(folder, **processor):
    """A transformers folder without weights."""
    import transformers

    config = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, patch_size=8)
    transformers.ViTConfig(image_size=32, num_labels=5, **config).save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return f"hf:{folder}"


def test_transformers_folder_without_weights(tmp_path):
    processor = dict(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=3, do_center_crop=True)
    source = vit_folder(tmp_path, size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, **processor)
    first, again, other = (sources.build(sources.Request(source, seed=seed)) for seed in (3, 3, 4))
    weight = lambda built: built[0].state_dict()["classifier.weight"]
    assert torch.equal(weight(first), weight(again)) and not torch.equal(weight(first), weight(other))
    info = export(*first, str(tmp_path / "model.pt2"))
    assert (info.image, info.classes, info.name) == ([3, 32, 32], 5, tmp_path.name)
    assert (info.mean, info.std) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (info.interpolation, info.crop_pct) == ("bicubic", 0.8)
    targets = [str(node.target) for node in torch.export.load(tmp_path / "model.pt2").graph.nodes]
    assert "aten.scaled_dot_product_attention.default" in targets


def test_transformers_constructor_arguments(tmp_path):
    arguments = dict(attn_implementation="eager", num_hidden_layers=2)
    request = sources.Request(vit_folder(tmp_path), num_classes=7, model_kwargs=arguments)
    model, info = sources.build(request)
    assert export(model, info, str(tmp_path / "model.pt2")).classes == 7 and info.mean == [0.5] * 3
    targets = [str(node.target) for node in torch.export.load(tmp_path / "model.pt2").graph.nodes]
    assert targets.count("aten.softmax.int") == 2


def test_transformers_weights_at_another_size(tmp_path):
    """The table of positions is resampled as transformers does in its forward."""
    import transformers

    source = vit_folder(tmp_path)
    reference = transformers.ViTForImageClassification(transformers.ViTConfig.from_pretrained(tmp_path)).eval()
    with torch.no_grad():
        reference.vit.embeddings.position_embeddings.normal_()
    reference.save_pretrained(tmp_path)
    model, info = sources.build(sources.Request(source, img_size=48))
    assert info.image == [3, 48, 48]
    image = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        expected = reference(image, interpolate_pos_encoding=True).logits
        assert torch.allclose(model(image), expected, atol=1e-6)
    assert export(model, info, str(tmp_path / "model.pt2")).classes == 5


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("config.json", "{", "config.json: "),
        ("config.json", '{"model_type": "bert"}', "cannot be built: ValueError"),
        ("model.safetensors", "rubbish", "cannot be built"),
        ("preprocessor_config.json", "[1]", "preprocessor_config.json: expected an image processor's settings"),
        ("preprocessor_config.json", '{"image_mean": [0.5, 0.5]}', "expected 3 numbers, one for each channel, found 2"),
    ],
)
def test_broken_transformers_folders(tmp_path, file, content, message):
    source = vit_folder(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError) as error:
        sources.build(sources.Request(source))
    assert message in str(error.value)


def test_torchvision_settings():
    """Those of the weights that torchvision has for the model; no weights are fetched."""
    _, info = sources.build(sources.Request("torchvision:resnet18", num_classes=5))
    assert (info.image, info.interpolation, info.crop_pct) == ([3, 224, 224], "bilinear", 224 / 256)
    assert info.mean == [0.485, 0.456, 0.406] and info.std == [0.229, 0.224, 0.225]
    _, info = sources.build(sources.Request("torchvision:swin_t", img_size=64))
    assert (info.image, info.interpolation, info.crop_pct) == ([3, 64, 64], "bicubic", 224 / 232)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_checkpoint(tmp_path, suffix):
    model, _ = sources.build(sources.Request("timm:vit_tiny_patch16_224", seed=5, **TINY))
    path = str(tmp_path / ("w" + suffix))
    if suffix == ".pth":
        torch.save({"state_dict": {"module." + k: v for k, v in model.state_dict().items()}, "epoch": 3}, path)
    else:
        from nullspace.load import save

        save(model, path)
    loaded, _ = sources.build(sources.Request("timm:vit_tiny_patch16_224", checkpoint=path, **TINY))
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.skipif(not SHARED.exists(), reason="no shared folder with a trained model")
def test_trained_model(tmp_path):
    kwargs = dict(patch_size=8, embed_dim=128, depth=6, num_heads=4)
    request = sources.Request(
        "timm:vit_tiny_patch16_224",
        checkpoint=str(SHARED / "models/vit_cifar10.safetensors"),
        img_size=64,
        num_classes=10,
        model_kwargs=kwargs,
    )
    assert export(*sources.build(request), str(tmp_path / "model.pt2")).classes == 10


@pytest.mark.parametrize(
    "source, request_options, message",
    [
        ("vit_tiny", {}, "expected timm:NAME"),
        ("timm:no_such_model", {}, "timm has no model 'no_such_model'"),
        ("timm:vit_tiny_patch16_224", {"model_kwargs": {"depht": 1}}, "unexpected keyword argument 'depht'"),
        ("timm:vit_tiny_patch16_224", {"checkpoint": "/nowhere.pth"}, "/nowhere.pth: no such file"),
        ("timm:vit_tiny_patch16_224", {"std": [1.0, 2.0]}, "expected 3 numbers, one for each channel, found 2"),
        ("timm:vit_tiny_patch16_224", {"std": [1.0, 0.0, 1.0]}, "expected positive numbers"),
        ("py:/nowhere.py:f", {}, "existing file"),
        ("hf:/nowhere", {}, ""),
        ("torchvision:nope", {}, "torchvision has no model 'nope'"),
    ],
)
def test_wrong_requests(source, request_options, message):
    with pytest.raises(UserError, match=None) as error:
        sources.build(sources.Request(source, **request_options))
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"\x80\x02}q\x00.", b"not a checkpoint"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_broken_checkpoints_are_user_errors(tmp_path, suffix, content):
    path = tmp_path / ("w" + suffix)
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        sources.build(sources.Request("timm:vit_tiny_patch16_224", checkpoint=str(path), **TINY))
    assert str(path) in str(error.value)


def test_errors_leave_nothing_and_exit_with_1(tmp_path):
    result = python_module("nullspace.export", "timm:nope", "-o", tmp_path / "m.pt2", check=False)
    assert result.returncode == 1 and result.stderr.startswith("nullspace.export: error: ")
    result = python_module("nullspace.export", "timm:vit_tiny_patch16_224", "-o", tmp_path / "m.mlir", check=False)
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []
