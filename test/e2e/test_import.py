"""ns-import against PyTorch in float64, without the compiler; and its behaviour on exports that are damaged or foreign."""

import json
import random
import re
import zipfile

import pytest
import torch
from conftest import ROOT, images, imports_or_explains, make_case, run, tool
from nn_reference import Network
from nullspace import sources
from nullspace.export import export

FIXTURES = sorted((ROOT / "test/Import/Inputs").glob("*.pt2"))
TINY = dict(patch_size=8, embed_dim=48, depth=2, num_heads=3)

# name: (source, arguments of the tiny model, arguments of the full one); None: no full one
MODELS = {
    "vit_tiny_patch16_224": ("timm:vit_tiny_patch16_224", TINY, {}),
    "vit_small_patch16_224": ("timm:vit_small_patch16_224", TINY | dict(num_heads=6), {}),
    "vit_base_patch16_224": ("timm:vit_base_patch16_224", TINY | dict(num_heads=4), {}),
    "vit_base_patch32_224": ("timm:vit_base_patch32_224", TINY | dict(patch_size=16), {}),
    "deit_tiny_patch16_224": ("timm:deit_tiny_patch16_224", TINY, {}),
    "deit_tiny_distilled": ("timm:deit_tiny_distilled_patch16_224", TINY, {}),
    "deit3_small": ("timm:deit3_small_patch16_224", TINY, {}),
    "registers": ("timm:vit_small_patch14_reg4_dinov2", TINY, dict(num_classes=100)),
    "average_pooling_with_registers": ("timm:vit_little_patch16_reg4_gap_256", TINY, {}),
    "average_pooling": ("timm:vit_tiny_patch16_224", TINY | dict(global_pool="avg", class_token=False), None),
    "average_without_class_token": ("timm:vit_tiny_patch16_224", TINY | dict(global_pool="avg"), None),
    "qk_norm": ("timm:vit_tiny_patch16_224", TINY | dict(qk_norm=True), dict(qk_norm=True)),
    "attention_and_mlp_norm": (
        "timm:vit_tiny_patch16_224",
        TINY | dict(qk_norm=True, scale_attn_norm=True, scale_mlp_norm=True),
        None,
    ),
    "pre_norm_without_biases": (
        "timm:vit_tiny_patch16_224",
        TINY | dict(pre_norm=True, qkv_bias=False, proj_bias=False),
        None,
    ),
    "one_head_one_block": ("timm:vit_tiny_patch16_224", TINY | dict(num_heads=1, depth=1, mlp_ratio=1.5), None),
    "without_final_norm": ("timm:vit_tiny_patch16_224", TINY | dict(final_norm=False), None),
    "tanh_gelu": ("timm:vit_tiny_patch16_224", TINY | dict(act_layer="gelu_tanh"), None),
    "one_channel": ("timm:vit_tiny_patch16_224", TINY | dict(in_chans=1), None),
    "resampled_to_its_own_size": ("timm:vit_tiny_patch16_224", TINY | dict(dynamic_img_size=True), None),
    "timm_test_vit": ("timm:test_vit", dict(dynamic_img_pad=False), {}),
    "rectangular": ("timm:vit_tiny_patch16_224", TINY | dict(img_size=(24, 40)), None),
}


@pytest.mark.parametrize("name", MODELS)
def test_network_equals_pytorch(full, tmp_path, name):
    source, tiny, real = MODELS[name]
    size = {} if "img_size" in tiny else {"img_size": 32}
    request = dict(model_kwargs=tiny, num_classes=10, **size)
    if full and real is not None:
        request = dict(model_kwargs=real)
    case = make_case(tmp_path, source, scale=4.0, **request)
    image = images(3, case.info)
    with torch.no_grad():
        golden, found = case.golden()(image), Network(case.mlir)(image)
    assert found.shape == golden.shape
    assert (found - golden).abs().max() <= 1e-12 * golden.abs().max()
    assert golden.std() > 1e-3  # not a constant


def test_identity_head_gives_features(tmp_path):
    case = make_case(tmp_path, "timm:vit_tiny_patch16_224", img_size=32, model_kwargs=TINY | dict(num_classes=0))
    assert case.info.classes == 48
    image = images(2, case.info)
    with torch.no_grad():
        assert (Network(case.mlir)(image) - case.golden()(image)).abs().max() < 1e-12


def test_text_parses_and_uses_the_packed_forms(small):
    run([tool("ns-opt"), small.mlir])
    text = small.mlir.read_text()
    assert len(re.findall(r"nn\.attention %\S+ heads 4", text)) == 2
    assert "slice" not in text
    assert 'nn.layer = "blocks.1.mlp.fc2"' in text


def test_decay_marks_follow_timm(small):
    from timm.optim import param_groups_weight_decay

    params = dict(small.model.named_parameters())
    groups = param_groups_weight_decay(small.model, 0.05, no_weight_decay_list=small.model.no_weight_decay())
    frozen = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    marked = set(re.findall(r"nn\.param @(\S+) no_decay", small.mlir.read_text()))
    assert marked == {name for name, p in params.items() if id(p) in frozen}


class Foreign(torch.nn.Module):
    """Holds what exports may hold: a tied pair, a transposed view, a slice of a storage, buffers of other types."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Conv2d(3, 16, 8, 8)
        self.first, self.second, self.head = (torch.nn.Linear(16, n) for n in (16, 16, 5))
        self.second.weight = self.first.weight
        self.head.weight = torch.nn.Parameter(torch.randn(16, 5).t())
        self.register_buffer("shift", torch.randn(3, 16, 16)[1:2])
        self.register_buffer("steps", torch.tensor(7))

    def forward(self, image):
        tokens = self.embed(image).flatten(2).transpose(1, 2) + self.shift
        q, k, v = (x.reshape(-1, 16, 2, 8).transpose(1, 2) for x in (self.first(tokens), self.second(tokens), tokens))
        tokens = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2)
        return self.head(tokens.mean(1) * 2 / 3)


def test_plain_export_with_ties_strides_and_buffers(tmp_path):
    torch.manual_seed(0)
    model = Foreign().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "plain.pt2")
    command = [tool("ns-import"), tmp_path / "plain.pt2", "-o", tmp_path / "m.mlir"]
    refused = run(command, check=False)
    assert refused.returncode == 1 and "give --mean=a,b,c" in refused.stderr
    run([*command, "--mean=0.5,0.25,0", "--std=1,2,0.5"])
    image = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    normalized = (image - torch.tensor([0.5, 0.25, 0]).view(3, 1, 1)) / torch.tensor([1, 2, 0.5]).view(3, 1, 1)
    network = Network(tmp_path / "m.mlir")
    with torch.no_grad():
        assert (network(image) - model.double()(normalized)).abs().max() < 1e-12
    assert ("first.weight" in network.declared) != ("second.weight" in network.declared)
    assert "nn.param @shift buffer" in (tmp_path / "m.mlir").read_text()


def test_every_op_outside_the_family_is_listed(tmp_path):
    model, info = sources.build(
        sources.Request(
            "timm:vit_tiny_patch16_224",
            img_size=32,
            num_classes=10,
            model_kwargs=TINY | dict(act_layer="mish", global_pool="avgmax"),
        )
    )
    export(model, info, str(tmp_path / "m.pt2"))
    result = run([tool("ns-import"), tmp_path / "m.pt2", "-o", tmp_path / "m.mlir"], check=False)
    assert result.returncode == 1
    assert "3 ops are outside the supported families" in result.stderr
    for part in (
        "blocks.0.mlp.act: torch.ops.aten.mish",
        "blocks.1.mlp.act: torch.ops.aten.mish",
        "(model): torch.ops.aten.amax",
    ):
        assert part in result.stderr
    assert not list(tmp_path.glob("m.[ms]*")) and not list(tmp_path.glob("*.tmp"))


def test_100_truncated_or_flipped_exports(small, tmp_path):
    whole = small.pt2.read_bytes()
    healthy = run([tool("ns-import"), small.pt2, "-o", tmp_path / "m.mlir"])
    assert healthy.stderr == ""
    weights = (tmp_path / "m.safetensors").read_bytes()
    chance = random.Random(0)
    broken = tmp_path / "broken.pt2"
    with zipfile.ZipFile(small.pt2) as archive:
        json_entry = next(i for i in archive.infolist() if i.filename.endswith("model.json"))
    for trial in range(100):
        data = bytearray(whole)
        if trial < 30:
            data = data[: chance.randrange(len(data))]
        else:  # anywhere, in the directory at the end, or in the graph
            low, high = [
                (0, len(data)),
                (len(data) - 12000, len(data)),
                (json_entry.header_offset, json_entry.header_offset + json_entry.file_size),
            ][trial % 3]
            for _ in range(chance.choice((1, 1, 4))):
                data[chance.randrange(low, high)] ^= 1 << chance.randrange(8)
        broken.write_bytes(data)
        result = imports_or_explains(tmp_path, broken)
        if trial < 30:
            assert result.returncode == 1
        if result.returncode == 0:  # bytes that carry nothing, such as padding and dates
            assert (tmp_path / "out" / "m.safetensors").read_bytes() == weights


def rewrite(source, target, change, compression=zipfile.ZIP_STORED):
    """Copies an archive, with `change(name, bytes)` applied to its entries, and checksums that fit."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            data = change(entry.filename.split("/", 1)[1], old.read(entry))
            if data is not None:
                new.writestr(zipfile.ZipInfo(entry.filename), data, compression)


def mutate(content, chance):
    """Changes one value of a JSON tree, or its presence, to something an attacker might try."""
    while isinstance(content, (dict, list)) and content:
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = chance.choice(keys)
        if isinstance(content[key], (dict, list)) and content[key] and chance.random() < 0.95:
            content = content[key]
            continue
        values = list(content.values() if isinstance(content, dict) else content)
        action = chance.randrange(4)
        if action == 0:
            del content[key]
        elif action == 1:
            content[key] = chance.choice([0, -1, 1, 2, 3, 2**31, 2**62, -(2**63), 1e300, None, True, "", "x", [], {}])
        elif action == 2:
            content[key] = chance.choice(values)
        elif isinstance(content, list):
            content.insert(key, chance.choice(values))
        return


def test_100_mutated_graphs(small, tmp_path):
    """Well-formed archives whose graph or weights table says something else."""
    chance = random.Random(1)
    for _ in range(100):
        name = chance.choice([MODEL, MODEL, MODEL, WEIGHTS, "extra/nullspace.json"])

        def edit(content):
            target = content["graph_module"] if name == MODEL else content
            if name == MODEL and chance.random() < 0.5:
                target = chance.choice(nodes(content))
            for _ in range(chance.choice((1, 2, 5))):
                mutate(target, chance)

        rewrite(small.pt2, tmp_path / "mutant.pt2", with_json(name, edit))
        imports_or_explains(tmp_path, tmp_path / "mutant.pt2")


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_graphs_with_other_calls(tmp_path, fixture):
    """Calls of another op of the graph, on other tensors, in another place."""
    chance = random.Random(2)
    for _ in range(10):

        def edit(content):
            for _ in range(chance.choice((1, 2))):
                call, other = chance.sample(nodes(content), 2)
                action = chance.randrange(4)
                if action < 3:
                    key = ("target", "inputs", "outputs")[action]
                    call[key], other[key] = other[key], call[key]
                else:
                    mutate(call["inputs"], chance)

        rewrite(fixture, tmp_path / "mutant.pt2", with_json(MODEL, edit))
        imports_or_explains(tmp_path, tmp_path / "mutant.pt2")


def with_json(name, edit):
    def change(entry, data):
        if entry != name:
            return data
        content = json.loads(data)
        edit(content)
        return json.dumps(content).encode()

    return change


def nodes(content):
    return content["graph_module"]["graph"]["nodes"]


WEIGHTS, MODEL = "data/weights/model_weights_config.json", "models/model.json"
FAULTS = {
    "version": (
        with_json(MODEL, lambda c: c["schema_version"].update(major=9)),
        "expected export schema 8, found 9: re-export",
    ),
    "layout": (lambda n, d: b"7" if n == "archive_version" else d, "entry 'archive_version': expected '0', found '7'"),
    "missing_entry": (lambda n, d: None if n == MODEL else d, "models/model.json' is missing"),
    "missing_weight": (lambda n, d: None if n == "data/weights/weight_3" else d, "weight_3' is missing"),
    "short_weight": (lambda n, d: d[:-4] if n == "data/weights/weight_3" else d, "reach beyond entry 'weight_3' of"),
    "deep_json": (
        lambda n, d: b'{"graph_module":' + b"[" * 100000 + b"]" * 100000 + b"}" if n == MODEL else d,
        "nested deeper than 100 levels",
    ),
    "not_json": (lambda n, d: d[: len(d) // 2] if n == MODEL else d, "entry 'models/model.json'"),
    "huge_size": (
        with_json(WEIGHTS, lambda c: c["config"]["head.weight"]["tensor_meta"]["sizes"][0].update(as_int=2**62)),
        "weight 'head.weight': its extents",
    ),
    "negative_stride": (
        with_json(WEIGHTS, lambda c: c["config"]["head.weight"]["tensor_meta"]["strides"][0].update(as_int=-64)),
        "weight 'head.weight': its extents",
    ),
    "other_type": (with_json(WEIGHTS, lambda c: c["config"]["head.bias"]["tensor_meta"].update(dtype=5)), "head.bias"),
    "unknown_type": (
        with_json(WEIGHTS, lambda c: c["config"]["head.bias"]["tensor_meta"].update(dtype=77)),
        "unknown element type 77",
    ),
    "pickled": (
        with_json(WEIGHTS, lambda c: c["config"]["head.bias"].update(use_pickle=True)),
        "expected raw bytes, found a pickled object",
    ),
    "escaping_path": (
        with_json(WEIGHTS, lambda c: c["config"]["head.bias"].update(path_name="../../../../etc/passwd")),
        "etc/passwd' is missing",
    ),
    "undefined_value": (with_json(MODEL, lambda c: nodes(c).pop(1)), "which no earlier node computes"),
    "wrong_shape": (
        with_json(MODEL, lambda c: c["graph_module"]["graph"]["tensor_values"]["linear"]["sizes"][2].update(as_int=7)),
        "by the archive",
    ),
    "huge_shape": (
        with_json(
            MODEL, lambda c: c["graph_module"]["graph"]["tensor_values"]["linear"]["sizes"][2].update(as_int=2**62)
        ),
        "value 'linear'",
    ),
    "wrong_json_type": (with_json(MODEL, lambda c: nodes(c)[1].update(inputs=3)), "expected array"),
    "other_classes": (with_json("extra/nullspace.json", lambda c: c.update(classes=11)), "expected 10 classes"),
    "zero_std": (
        with_json("extra/nullspace.json", lambda c: c.update(std=[1, 0, 1])),
        "std: expected finite positive numbers",
    ),
    "two_means": (
        with_json("extra/nullspace.json", lambda c: c.update(mean=[1, 0])),
        "expected 3 numbers, one for each channel, found 2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_explained(small, tmp_path, fault):
    change, message = FAULTS[fault]
    rewrite(small.pt2, tmp_path / "bad.pt2", change)
    result = imports_or_explains(tmp_path, tmp_path / "bad.pt2")
    assert result.returncode == 1 and message in result.stderr


def test_compressed_and_foreign_archives_are_explained(small, tmp_path):
    bad = tmp_path / "bad.pt2"
    rewrite(small.pt2, bad, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert "expected stored bytes (method 0), found compression method 8" in imports_or_explains(tmp_path, bad).stderr
    torch.save({"a": torch.zeros(3)}, bad)
    assert "found a PyTorch checkpoint" in imports_or_explains(tmp_path, bad).stderr
    for content in (b"", b"PK", b"\x89PNG" * 1000):
        bad.write_bytes(content)
        assert "expected a zip archive" in imports_or_explains(tmp_path, bad).stderr
    bad.unlink()
    assert "cannot be read" in imports_or_explains(tmp_path, bad).stderr


def test_usage_errors(small, tmp_path):
    importer = tool("ns-import")
    for arguments in (
        [],
        [small.pt2],
        [small.pt2, "-o", tmp_path / "m.txt"],
        [small.pt2, "-o", tmp_path / "m.mlir", "--mean=x"],
        [small.pt2, "-o", tmp_path / "m.mlir", "--nonsense"],
    ):
        assert run([importer, *arguments], check=False).returncode == 2
    result = run([importer, small.pt2, "-o", tmp_path / "no" / "m.mlir"], check=False)
    assert result.returncode == 1 and "cannot be written" in result.stderr
    static = torch.export.export(torch.nn.Flatten(), (torch.zeros(2, 3, 8, 8),))
    torch.export.save(static, tmp_path / "s.pt2")
    result = run([importer, tmp_path / "s.pt2", "-o", tmp_path / "m.mlir", "--mean=0,0,0", "--std=1,1,1"], check=False)
    assert result.returncode == 1 and "expected a dynamic batch" in result.stderr
