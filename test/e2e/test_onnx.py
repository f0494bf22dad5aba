"""ns-import on ONNX models of torch.onnx: against PyTorch in float64, and its behaviour on files that are damaged or hostile."""

import random
import re
import shutil
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from conftest import BUILD, Case, compile_model, images, imports_or_explains, run, tool
from families import FAMILIES, build
from nn_reference import Network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

# What torch.onnx itself cannot export with a dynamic batch.
UNSUPPORTED = {"timm_beit", "hf_swin"}
# Flags of a model whose file states no normalisation, as none does.
NORMALISED = "--mean=0,0,0"
QUICK = ["timm_vit", "timm_swin", "timm_resnet18", "timm_convnext", "hf_vit_eager", "hf_dinov2", "torchvision_vit"]

# In these families optimisation computes some parameters into others (batch norms into convolutions, tables into biases, q and v
# biases into one), which cannot be taken apart again: names that keep no parameter, or hold other values.
COMPUTED = re.compile(
    r"relative_position_bias_table$|\.gamma$|layer_scale$|q_bias$|v_bias$|mask_token$|"
    r"(conv|bn|norm|downsample|stem|layer)\S*\.(weight|bias)$"
)
TOLERANCE = {
    "hf_vit_eager": 1e-6,
    "hf_dinov2_eager": 1e-6,
    "hf_swin_eager": 1e-6,
    "timm_eva02": 1e-5,
}  # softmax or positions in float32 in the model


def export(model, info, path, opset=23, optimize=True, external_data=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, *info.image),),
            dynamo=True,
            opset_version=opset,
            optimize=optimize,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            verbose=False,
        )
    program.save(str(path), external_data=external_data)


def import_model(path, info, folder=None) -> Case:
    """The model of a file, with the normalisation that the file lacks."""
    case = Case(None, info, path, (folder or path.parent) / f"{path.stem}.mlir")
    join = lambda numbers: ",".join(map(str, numbers))
    run([tool("ns-import"), path, "-o", case.mlir, f"--mean={join(info.mean)}", f"--std={join(info.std)}"])
    return case


def weights_of(case) -> dict:
    return safetensors.torch.load_file(case.mlir.with_suffix(".safetensors"))


def trainable(case) -> set[str]:
    lines = re.findall(r'^\s*nn\.param @"?([^\s":]+)"?(.*)$', case.mlir.read_text(), re.M)
    return {name for name, rest in lines if " buffer" not in rest}


def parameters(optimize):
    return [pytest.param(name, optimize, 23) for name in FAMILIES if name not in UNSUPPORTED]


@pytest.mark.parametrize(
    "name, optimize, opset",
    parameters(False) + parameters(True) + [pytest.param("timm_vit", True, 18), pytest.param("hf_vit", False, 18)],
)
def test_network_equals_pytorch(full, tmp_path, name, optimize, opset):
    if name not in QUICK and not full:
        pytest.skip("--full runs every family")
    model, info, _ = build(name, tmp_path)
    export(model, info, tmp_path / "model.onnx", opset, optimize)
    case = import_model(tmp_path / "model.onnx", info)
    case.model = model
    image = images(3, info)
    with torch.no_grad():
        golden, found = case.golden()(image), Network(case.mlir)(image)
    folded = optimize and FAMILIES[name].batch_norm
    tolerance = 1e-6 if folded else TOLERANCE.get(name, 1e-12)
    assert (found - golden).abs().max() <= tolerance * golden.abs().max()
    assert golden.std() > 1e-3  # not a constant

    # Every parameter has its own name and, but for extents of 1, its own shape and value.
    state, weights, missing = model.state_dict(), weights_of(case), []
    for key, _ in model.named_parameters():
        if key not in weights or weights[key].numel() != state[key].numel():
            missing.append(key)
        else:
            assert torch.equal(weights[key].flatten(), state[key].flatten()), key
    missing = [key for key in missing if not (optimize and COMPUTED.search(key)) and "mask_token" not in key]
    assert not missing
    if not optimize:
        assert trainable(case) <= {key for key, _ in model.named_parameters()}


def test_merged_parameters_part(tmp_path):
    """At its start a model has equal biases and norms, which the optimizer merges: they must be parameters of their own."""
    import timm

    class Info:
        image, mean, std = (3, 16, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    options = dict(patch_size=8, embed_dim=16, depth=2, num_heads=2)
    model = timm.create_model("deit3_small_patch16_224", img_size=16, num_classes=4, **options).eval()
    export(model, Info, tmp_path / "m.onnx")
    assert len(onnx.load(tmp_path / "m.onnx").graph.initializer) < len(list(model.parameters()))
    case = import_model(tmp_path / "m.onnx", Info)
    weights = weights_of(case)
    assert trainable(case) == set(weights) == {key for key, _ in model.named_parameters()}
    for key, value in model.named_parameters():
        assert torch.equal(weights[key], value), key


@pytest.mark.parametrize("optimize", [False, True])
def test_compiled_logits_and_gradients(tmp_path, optimize):
    runtime = pytest.importorskip("nullspace.runtime")
    model, info, _ = build("timm_vit", tmp_path)
    export(model, info, tmp_path / "model.onnx", optimize=optimize)
    case = import_model(tmp_path / "model.onnx", info)
    case.model = model
    compiled = runtime.Model(compile_model(case, "library", "--batch=4"))
    golden, image = case.golden(), images(4, info)
    labels = torch.arange(4)
    logits = golden(image)
    found = torch.from_numpy(np.array(compiled.forward(image.numpy())))
    assert (found - logits).abs().max() <= 1e-5 * logits.abs().max()
    F.cross_entropy(logits, labels).backward()
    compiled.slot("image")[:] = image.numpy()
    compiled.slot("labels")[:] = labels.numpy()
    compiled.slot("weights")[:] = 0.25
    compiled.slot("accumulate")[:] = 0
    compiled.run("finetune_step")
    gradients = compiled.param_grads()
    expected = {name: parameter.grad for name, parameter in golden.net.named_parameters()}
    assert set(gradients) == set(expected)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        error = np.abs(np.asarray(gradients[name], dtype=np.float64) - gradient.numpy()).max()
        assert error <= 1e-4 * max(gradient.abs().max().item(), 1e-5 * largest), name


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model with its weights inside, and one with them beside it."""
    folder = tmp_path_factory.mktemp("onnx")
    model, info, _ = build("timm_vit", folder)
    export(model, info, folder / "inside.onnx")
    export(model, info, folder / "beside.onnx", external_data=True)
    return folder, info


def test_external_data(small, tmp_path):
    folder, info = small
    assert (folder / "beside.onnx.data").stat().st_size > (folder / "beside.onnx").stat().st_size
    inside, beside = (import_model(folder / f"{name}.onnx", info, tmp_path) for name in ("inside", "beside"))
    assert inside.mlir.with_suffix(".safetensors").read_bytes() == beside.mlir.with_suffix(".safetensors").read_bytes()
    # A relative path without a folder, and data that is missing.
    run([tool("ns-import"), "beside.onnx", "-o", tmp_path / "m.mlir"], cwd=folder)
    shutil.copy(folder / "beside.onnx", tmp_path)
    result = imports_or_explains(tmp_path, tmp_path / "beside.onnx", NORMALISED)
    assert result.returncode == 1 and "file 'beside.onnx.data': cannot be read" in result.stderr


def test_100_truncated_and_100_flipped_models(small, tmp_path):
    whole = (small[0] / "inside.onnx").read_bytes()
    chance = random.Random(0)
    # Flips go where the graph is: the weights, most of the file, carry any bits.
    text = [match.start() for match in re.finditer(rb"pkg\.torch|val_|blocks\.|node_", whole)]
    broken = tmp_path / "broken.onnx"
    for trial in range(200):
        data = bytearray(whole)
        if trial < 100:
            data = data[: chance.randrange(len(data))]
        else:
            for _ in range(chance.choice((1, 1, 4))):
                at = max(0, chance.choice(text) - chance.randrange(40)) if trial % 2 else chance.randrange(len(data))
                data[at] ^= 1 << chance.randrange(8)
        broken.write_bytes(data)
        result = imports_or_explains(tmp_path, broken, NORMALISED)
        assert trial >= 100 or result.returncode == 1


def test_100_mutated_graphs(small, tmp_path):
    """Well-formed files whose graph says something else."""
    chance = random.Random(1)
    names = [name for node in onnx.load(small[0] / "inside.onnx").graph.node for name in (*node.input, *node.output)]
    numbers = [0, -1, 1, 2, 3, 7, 2**31, 2**62, -(2**63)]
    for _ in range(100):
        model = onnx.load(small[0] / "inside.onnx")
        graph = model.graph
        for _ in range(chance.choice((1, 2, 5))):
            node, tensor, info = (chance.choice(part) for part in (graph.node, graph.initializer, graph.value_info))
            action = chance.randrange(9)
            if action == 0 and node.input:
                node.input[chance.randrange(len(node.input))] = chance.choice([*names, ""])
            elif action == 1:
                node.output[0] = chance.choice(names)
            elif action == 2 and node.attribute:
                attribute = chance.choice(node.attribute)
                attribute.i = chance.choice(numbers)
                attribute.ints[:] = [chance.choice(numbers) for _ in attribute.ints]
            elif action == 3:
                node.op_type = chance.choice([other.op_type for other in graph.node])
            elif action == 4 and tensor.dims:
                tensor.dims[0] = chance.choice(numbers)
            elif action == 5 and tensor.data_type == onnx.TensorProto.INT64:
                tensor.raw_data = b"".join(
                    chance.choice(numbers).to_bytes(8, "little", signed=True) for _ in range(len(tensor.raw_data) // 8)
                )
            elif action == 6 and info.type.tensor_type.shape.dim:
                info.type.tensor_type.shape.dim[0].dim_value = chance.choice(numbers)
            elif action == 7:
                graph.node.remove(node)
            elif action == 8:
                tensor.data_type = chance.randrange(20)
        (tmp_path / "mutant.onnx").write_bytes(model.SerializeToString())
        imports_or_explains(tmp_path, tmp_path / "mutant.onnx", NORMALISED)


def test_other_kinds_of_models_are_explained(small, tmp_path):
    folder, info = small
    model = onnx.load(folder / "inside.onnx")
    bad = tmp_path / "bad.onnx"

    def expect(message, change):
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        change(changed)
        bad.write_bytes(changed.SerializeToString())
        result = imports_or_explains(tmp_path, bad, NORMALISED)
        assert result.returncode == 1 and message in result.stderr, result.stderr

    batch = lambda m: m.graph.input[0].type.tensor_type.shape.dim[0]
    expect("expected a dynamic batch", lambda m: (batch(m).ClearField("dim_param"), setattr(batch(m), "dim_value", 2)))
    height = lambda m: m.graph.input[0].type.tensor_type.shape.dim[2]
    expect("expected only the batch to be dynamic", lambda m: setattr(height(m), "dim_param", "height"))
    expect("expected an opset from 13", lambda m: setattr(m.opset_import[0], "version", 9))
    expect("float32", lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10))
    expect("expected one result", lambda m: m.graph.output.add(name="other"))
    expect(
        "expected one input", lambda m: m.graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info("y", 1, [2]))
    )


def test_large_models_are_mapped_not_read(small):
    """Anonymous memory stays small beside the weights."""
    if not (BUILD / "bin" / "ns-import").exists():
        pytest.skip("ns-import is not built")
    import resource

    import timm

    class Info:
        image, mean, std = (3, 32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    folder, _ = small
    options = dict(img_size=32, patch_size=8, embed_dim=1024, depth=4, num_heads=8)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=4, **options).eval()
    export(model, Info, folder / "large.onnx", external_data=True)
    size = (folder / "large.onnx.data").stat().st_size
    limit = 128 << 20  # of data segments and anonymous maps; the file's own pages do not count
    assert size > limit
    run(
        [tool("ns-import"), folder / "large.onnx", "-o", folder / "large.mlir"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
