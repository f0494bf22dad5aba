"""Networks on grids (Swin, ResNet, ConvNeXt) from timm, transformers and torchvision: imported, compiled and differentiated
against PyTorch in float64, and given back to PyTorch by name."""

import random
import re

import families
import numpy as np
import pytest
import test_import
import torch
import torch.nn.functional as F
from conftest import Case, compile_model, export_and_import, images, imports_or_explains, run, tool
from nn_reference import Network
from nullspace import load as giving_back
from nullspace import sources
from nullspace.export import export
from test_gradients import compare
from torch import nn

NAMES = [name for name in families.FAMILIES if any(part in name for part in ("swin", "resnet", "convnext"))]
LOGITS = 1e-5  # of the largest logit: some hundred float32 roundings
BATCH = 4


@pytest.fixture(scope="module")
def grid_cases(tmp_path_factory):
    """grid_cases(name): the family's small model, exported and imported once; with the request that builds it again."""
    known = {}

    def get(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            model, info, request = families.build(name, folder / "source")
            known[name] = export_and_import(model, info, folder), request
        return known[name]

    return get


def golden_of(case: Case) -> nn.Module:
    golden = case.golden()
    if hasattr(golden.net, "config"):  # transformers takes its explicit softmax in float32, whatever the model's type
        golden.net.config._attn_implementation = "sdpa"
    return golden


@pytest.mark.parametrize("name", NAMES)
def test_imported_network_equals_pytorch(grid_cases, name):
    case, _ = grid_cases(name)
    image = images(3, case.info)
    with torch.no_grad():
        golden, found = golden_of(case)(image), Network(case.mlir)(image)
    assert (found - golden).abs().max() <= 1e-12 * golden.abs().max()
    assert golden.std() > 1e-2  # not a constant


def operations(case: Case) -> dict[str, int]:
    found = re.findall(r"= nn\.(\w+)", case.mlir.read_text())
    return {op: found.count(op) for op in set(found) - {"load_param"}}


@pytest.mark.parametrize("name", [name for name in NAMES if "swin" in name])
def test_windows_are_moves_of_tokens(grid_cases, name):
    """Each block: windows and back, one shift and back; patch merging once; attention in windows, each with its bias."""
    case, _ = grid_cases(name)
    found, text = operations(case), case.mlir.read_text()
    assert (found["permute_tokens"], found["reshape_tokens"], found["roll_tokens"]) == (9, 1, 4)
    assert len(re.findall(r"nn\.attention .* bias .* window 16 ", text)) == 4
    assert len(re.findall(r"nn\.attention .* mask .* window 16 ", text)) == 2
    assert found["relative_bias"] == 4 and found["mean_tokens"] == 1 and found["patch_embed"] == 1
    assert not any(op.startswith(("slice", "concat", "expand")) for op in found)


def test_layouts_leave_no_op(grid_cases):
    """ConvNeXt permutes between channels first and last around every block."""
    for name in ("timm_convnext", "torchvision_convnext"):
        found = operations(grid_cases(name)[0])
        expected = {
            "normalize",
            "patch_embed",
            "layer_norm",
            "conv",
            "linear",
            "gelu",
            "layer_scale",
            "add",
            "mean_tokens",
        }
        assert set(found) == expected
    found = operations(grid_cases("timm_resnet50")[0])
    expected = {
        "normalize",
        "image_to_tokens",
        "conv",
        "batch_norm",
        "activation",
        "max_pool",
        "add",
        "mean_tokens",
        "linear",
    }
    assert set(found) == expected


def test_both_forms_of_attention_agree(tmp_path):
    """timm's Swin with fused attention and with the explicit softmax is one network."""
    import timm

    texts = []
    try:
        for fused in (True, False):
            model, info, _ = families.build("timm_swin", tmp_path / "source")
            timm.layers.set_fused_attn(fused, experimental=fused)
            for module in model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = fused
            export(model, info, str(tmp_path / f"{fused}.pt2"))
            run([tool("ns-import"), tmp_path / f"{fused}.pt2", "-o", tmp_path / "m.mlir"])
            text = re.sub(r"%[\w.$-]+", "%", (tmp_path / "m.mlir").read_text())  # values are called after their calls
            texts.append([line for line in text.splitlines() if " nn." in line and "nn.weights" not in line])
    finally:
        timm.layers.set_fused_attn(True)
    assert texts[0] == texts[1]


class Plain(nn.Module):
    """What the families leave out: batch norms that stay one call, of features too, and with a momentum; a pool with its
    default stride; dilation; linear layers between permutes; a mean of which the dimensions stay."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, (2, 1), (1, 2))
        self.norm = nn.BatchNorm2d(8, momentum=0.01)
        self.pool = nn.MaxPool2d(2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
        self.mix = nn.Linear(8, 6)
        self.last = nn.BatchNorm1d(6, eps=1e-3)
        self.head = nn.Linear(6, 5)

    def forward(self, image):
        x = self.depthwise(self.pool(self.norm(self.stem(image)).relu()))
        x = F.silu(self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return self.head(self.last(x.mean((-1, -2), keepdim=True).flatten(1)))


def test_plain_layers(tmp_path):
    torch.manual_seed(0)
    model = families.wake(Plain().eval())
    info = sources.ModelInfo("plain", "py:plain", [3, 20, 16], [0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    case = export_and_import(model, info, tmp_path)
    image = images(3, case.info)
    with torch.no_grad():
        golden, found = case.golden()(image), Network(case.mlir)(image)
    assert (found - golden).abs().max() <= 1e-12 * golden.abs().max()
    momenta = re.findall(r"nn\.batch_norm .*?\{(.*?)\}", case.mlir.read_text())
    assert ["nn.momentum = 1.000000e-02" in text for text in momenta] == [True, False]


# ---------------------------------------------------------------------------------------------------------------------
# Compiled
# ---------------------------------------------------------------------------------------------------------------------


def library(case: Case):
    runtime = pytest.importorskip("nullspace.runtime")
    return runtime.Model(compile_model(case, "library", f"--batch={BATCH}", "--site=image"))


@pytest.mark.parametrize("name", NAMES)
def test_logits_match_pytorch(grid_cases, name):
    case, _ = grid_cases(name)
    model, image = library(case), images(BATCH + 1, case.info)  # one full batch and a partial one
    with torch.no_grad():
        golden = golden_of(case)(image)
    logits = torch.from_numpy(np.array(model.forward(image.numpy())))
    assert logits.shape == golden.shape
    assert (logits - golden).abs().max() <= LOGITS * golden.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_autograd(grid_cases, name):
    """By every parameter and by the image, with padding in the batch."""
    case, _ = grid_cases(name)
    model, golden = library(case), golden_of(case)
    torch.manual_seed(5)
    image, labels = images(BATCH, case.info), torch.randint(case.info.classes, (BATCH,))
    weights = torch.tensor([1, 1, 1, 0], dtype=torch.float64) / 3
    for slot, value in dict(image=image, labels=labels, weights=weights, accumulate=torch.zeros(())).items():
        model.slot(slot)[:] = value.numpy()
    variable = image.double().requires_grad_()
    loss = (weights * F.cross_entropy(golden(variable), labels, reduction="none")).sum()
    loss.backward()
    model.run("finetune_step")
    assert abs(float(np.ravel(model.slot("loss"))[0]) - loss.item()) <= 1e-5 * abs(loss.item())
    found = model.param_grads()  # torchvision's layer scales C x 1 x 1 are vectors
    compare(found, {name: p.grad.reshape(found[name].shape) for name, p in golden.net.named_parameters()})
    model.run("value_and_grad")
    compare({"image": model.slot("image_grad")}, {"image": variable.grad})


# ---------------------------------------------------------------------------------------------------------------------
# Given back
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_weights_go_back_by_name(grid_cases, name, tmp_path):
    """Index tables, masks and counters of batches are in the import's weights where the model has them, and load complains of
    nothing."""
    case, request = grid_cases(name)
    restored = giving_back.load(weights=str(case.weights), **vars(request))
    expected = case.model.state_dict()
    found = restored.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


# ---------------------------------------------------------------------------------------------------------------------
# Outside
# ---------------------------------------------------------------------------------------------------------------------


class Outside(nn.Module):
    """What no nn op stands for, once each."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(3, 8, 3, 2, 1)
        self.in_groups = nn.Conv2d(8, 8, 3, 1, 1, groups=2)
        self.to_seven = nn.AdaptiveAvgPool2d(7)
        self.ceiling = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.plain = nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(8, 5)

    def forward(self, image):
        x = self.grouped(image)
        branches = [self.in_groups(x), self.to_seven(x), self.ceiling(x), self.plain(x), F.pad(x, (0, 1, 0, 1))]
        return self.head(sum(branch.mean((2, 3)) for branch in branches))


def refusal(model: nn.Module, info: sources.ModelInfo, folder) -> str:
    export(model, info, str(folder / "m.pt2"))
    result = run([tool("ns-import"), folder / "m.pt2", "-o", folder / "m.mlir"], check=False)
    assert result.returncode == 1 and not (folder / "m.mlir").exists()
    return result.stderr


def test_what_is_outside_is_listed_with_its_layer(tmp_path):
    info = sources.ModelInfo("outside", "py:outside", [3, 32, 32], [0.0] * 3, [1.0] * 3)
    found = refusal(Outside().eval(), info, tmp_path)
    assert "5 ops are outside the supported families" in found
    for part in (
        "in_groups: torch.ops.aten.conv2d.default: a convolution in groups (2 for 8 to 8 channels)",
        "to_seven: torch.ops.aten.adaptive_avg_pool2d.default: adaptive pooling to 7x7, expected to one mean",
        "ceiling: torch.ops.aten.max_pool2d.default: a maximum over windows with dilation or rounded up",
        "plain: torch.ops.aten.",
        "a batch normalisation without weight",
        "pads ?x8x16x16: windows or patches that do not tile the grid",
    ):
        assert part in found


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        (
            "swinv2_tiny_window8_256",
            dict(img_size=32, patch_size=2, window_size=4, embed_dim=32, depths=(2, 2), num_heads=(2, 4)),
            "layers.0.blocks.0.attn",
        ),
        (
            "resnext50_32x4d",
            {},
            "16 ops are outside the supported families:\n"
            "  layer1.0.conv2: torch.ops.aten.conv2d.default: a convolution in groups (32 for 128 to 128 channels)",
        ),
        # 7x7 windows do not tile 16x16 tokens
        (
            "swin_tiny_patch4_window7_224",
            dict(img_size=32, patch_size=2, window_size=7, embed_dim=32, depths=(2,), num_heads=(2,)),
            "layers.0.blocks.0: torch.ops.aten.pad.default: pads ?x16x16x32",
        ),
    ],
    ids=["swin_v2", "resnext", "padded_windows"],
)
def test_foreign_families_are_refused(tmp_path, name, arguments, message):
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **arguments).eval()
    info = sources.ModelInfo(name, f"timm:{name}", [3, 32, 32], [0.0] * 3, [1.0] * 3)
    assert message in refusal(model, info, tmp_path)


class Chain(nn.Module):
    """Two layers that no nn op stands for, the second on what the first makes, through layers that are inside."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=2)
        self.norm, self.mix = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.second, self.head = nn.Conv2d(8, 8, 3, 2, 1, groups=4), nn.Linear(8, 5)

    def forward(self, image):
        x = self.stem(image)
        x = x + self.mix(torch.relu(self.norm(self.first(x))))
        y = torch.cummax(self.second(x), 2)[0]
        return self.head(y.mean((2, 3)))


def test_problems_are_listed_together_and_their_consequences_are_not(tmp_path):
    info = sources.ModelInfo("chain", "py:chain", [3, 16, 16], [0.0] * 3, [1.0] * 3)
    lines = refusal(Chain().eval(), info, tmp_path).splitlines()
    assert "3 ops are outside" in lines[0] and len(lines) == 4
    for line, part in zip(lines[1:], ("first: torch.ops.aten.conv2d", "second: torch.ops.aten.conv2d", "aten.cummax")):
        assert part in line


@pytest.mark.parametrize("name", ["timm_swin", "torchvision_resnet18"])
def test_20_mutated_graphs(grid_cases, tmp_path, name):
    """Arguments of calls and claimed shapes that say something else: an import, or one message."""
    case, _ = grid_cases(name)
    chance = random.Random(3)
    for _ in range(20):

        def edit(content):
            shapes = content["graph_module"]["graph"]["tensor_values"]
            test_import.mutate(chance.choice([chance.choice(test_import.nodes(content))["inputs"], shapes]), chance)

        change = test_import.with_json(test_import.MODEL, edit)
        test_import.rewrite(case.pt2, tmp_path / "mutant.pt2", change)
        imports_or_explains(tmp_path, tmp_path / "mutant.pt2")


# ---------------------------------------------------------------------------------------------------------------------
# The sizes that people use
# ---------------------------------------------------------------------------------------------------------------------

REAL = ("swin_tiny_patch4_window7_224", "resnet18", "resnet50", "convnext_tiny")


@pytest.mark.parametrize("name", REAL)
def test_real_sizes(full, tmp_path, name):
    if not full:
        pytest.skip("a model of full size: give --full")
    model, info = sources.build(sources.Request(f"timm:{name}"))
    case = export_and_import(families.wake(model), info, tmp_path)
    image = images(1, case.info)
    with torch.no_grad():
        golden, reference = case.golden()(image), Network(case.mlir)(image)
    assert (reference - golden).abs().max() <= 1e-12 * golden.abs().max()
    runtime = pytest.importorskip("nullspace.runtime")
    model = runtime.Model(compile_model(case, "library", "--batch=1", "--site=image"))
    logits = torch.from_numpy(np.array(model.forward(image.numpy())))
    assert (logits - golden).abs().max() <= LOGITS * golden.abs().max()
