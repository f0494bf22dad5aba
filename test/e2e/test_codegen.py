"""What ns-compile makes of a step: library calls, kernels, instructions, symbols; and its arithmetic in odd shapes and on special values."""

import collections
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import BUILD, compile_model, images, run, tool
from test_gradients import compare

VIT = "timm:vit_tiny_patch16_224"
SMALL = dict(patch_size=8, embed_dim=64, num_heads=4)


def vit(cases, img_size=32, num_classes=10, **model_kwargs):
    """A small ViT whose attention matters."""
    return cases(
        VIT,
        scale=4.0,
        img_size=img_size,
        num_classes=num_classes,
        model_kwargs=SMALL | model_kwargs,
    )


def need(program):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program}")
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Library calls and kernels of a step
# ---------------------------------------------------------------------------------------------------------------------


def entry_ops(case, emit, entry, tmp_path):
    """(op, layer, result is read) of the ops that run in an entry of the plan."""
    plan = tmp_path / f"{emit}.mlir"
    run(
        [
            tool("ns-compile"),
            case.mlir,
            f"--emit={emit}",
            "--batch=2",
            "--compile-to=plan",
            "-o",
            plan,
        ]
    )
    body = re.search(rf"^  func\.func @{entry}\(.*?^  }}", plan.read_text(), re.M | re.S)[0]
    ops = []
    for line in body.splitlines():
        if match := re.match(r"\s*%\S+ = (rt\.(?:gemm|fused|attention|attention_grad)) ", line):
            layer = re.search(r'nn\.layer = "([^"]*)"', line)
            ops.append((match[1], layer and layer[1]))
    return ops


# Calls for each linear layer: forward, gradient by the input, gradient by the weight. In the last block the queries of the class token
# are a product of their own.
FORWARD = {"attn.qkv": 1, "attn.proj": 1, "mlp.fc1": 1, "mlp.fc2": 1}
LAST = FORWARD | {"attn.qkv": 2}


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize(
    "emit, entry, passes, patches, head",
    [("synth", "synth_step", 2, 1, 2), ("finetune", "finetune_step", 3, 2, 3)],
)
def test_library_calls_are_those_of_the_linear_layers(cases, tmp_path, emit, entry, passes, patches, head, depth):
    """Frozen weights have no weight gradient, and no gradient goes below the noise or the first weights."""
    ops = entry_ops(vit(cases, depth=depth), emit, entry, tmp_path)
    expected = collections.Counter({"patch_embed.proj": patches, "head": head})
    for block in range(depth):
        for layer, calls in (LAST if block == depth - 1 else FORWARD).items():
            expected[f"blocks.{block}.{layer}"] = calls * passes
    assert collections.Counter(layer for op, layer in ops if op == "rt.gemm") == expected


@pytest.mark.parametrize(
    "emit, entry, kernels",
    [("synth", "synth_step", (1, 1, 6)), ("finetune", "finetune_step", (1, 1, 26))],
)
def test_kernels_of_a_block(cases, tmp_path, emit, entry, kernels):
    """What two more blocks add: attention, its gradient, and a fixed number of fused kernels a block."""
    counts = [
        collections.Counter(op for op, _ in entry_ops(vit(cases, depth=depth), emit, entry, tmp_path))
        for depth in (2, 4)
    ]
    added = [(counts[1][op] - counts[0][op]) / 2 for op in ("rt.attention", "rt.attention_grad", "rt.fused")]
    assert tuple(added) == kernels


SIZES = {"f32": 4, "f64": 8, "i32": 4}


def arena(body):
    """(name, first byte, bytes, line it is made on, line of its last read, op that makes it) of the values in region work."""
    lines = [line.strip() for line in body.splitlines()]
    buffers, owner, inner, current = [], {}, False, 0
    for at, line in enumerate(lines):
        inner = inner or line.startswith("^bb0")
        head = re.match(r"(%\w+)(?::\d+)? = (rt\.\w+) (.*)", line)
        if inner and line == "}":
            inner = False
        if inner and "rt.row_reduce" in line:
            for buffer in buffers:
                buffer["single"] &= buffer["made"] != current
        if inner or not head:
            continue
        current = at
        name, op, rest = head.groups()
        operands = re.findall(r"%\w+(?:#\d+)?", rest)
        for operand in operands:
            if operand in owner:
                buffers[owner[operand]]["last"] = at
        if op == "rt.view" and operands[0] in owner:
            owner[name] = owner[operands[0]]
        if not (offsets := re.search(r"rt\.offsets = array<i64: ([-\d, ]+)>", rest)):
            continue
        into = re.search(r"into(?:\(([^:]*) :| (%\S+))", rest)
        destinations = re.findall(r"%\w+(?:#\d+)?", into[1] or into[2]) if into else []
        numbers = re.search(r"\) \[([-\d, ]+)\] maps", rest)
        numbers = [int(n) for n in numbers[1].split(",")] if numbers else ([0] if into else [])
        types = re.findall(
            r"tensor<([\dx]*)(f32|f64|i32)>",
            re.split(r" -> | : ", rest.removesuffix("{"))[-1],
        )
        single = op == "rt.fused" and "1" == rest.split(",")[1].strip()
        starts = [int(n) for n in offsets[1].split(",")]
        for i, (start, (shape, element)) in enumerate(zip(starts, types, strict=True)):
            value = f"{name}#{i}" if len(starts) > 1 else name
            written = destinations[numbers[i]] if i < len(numbers) and numbers[i] >= 0 else None
            if written is not None:
                if written in owner:
                    owner[value] = owner[written]
                continue
            assert start >= 0 and start % 64 == 0
            size = SIZES[element] * int(np.prod([int(n) for n in shape.split("x") if n]))
            owner[value] = len(buffers)
            buffers.append(
                dict(
                    value=value,
                    start=start,
                    end=start + size,
                    made=at,
                    last=at,
                    single=single,
                )
            )
    return buffers


@pytest.mark.parametrize("emit", ["library", "synth"])
def test_values_that_live_at_once_do_not_overlap(cases, tmp_path, emit):
    """Read from the plan: two values share bytes only where one is dead before the other is made, or dies in the program of one pass over it."""
    plan = tmp_path / "plan.mlir"
    run(
        [
            tool("ns-compile"),
            vit(cases, depth=2).mlir,
            f"--emit={emit}",
            "--batch=2",
            "--compile-to=plan",
            "-o",
            plan,
        ]
    )
    shared = 0
    for entry in re.finditer(
        r"^  func\.func @(\w+)\(.*?rt\.work_bytes = (\d+).*?^  }",
        plan.read_text(),
        re.M | re.S,
    ):
        buffers = arena(entry[0])
        assert max((b["end"] for b in buffers), default=0) <= int(entry[2])
        for i, late in enumerate(buffers):
            for early in buffers[:i]:
                if early["start"] < late["end"] and late["start"] < early["end"]:
                    shared += 1
                    dies_in_it = early["last"] == late["made"] and late["single"] and early["start"] == late["start"]
                    assert early["last"] < late["made"] or dies_in_it, (
                        entry[1],
                        early,
                        late,
                    )
    assert shared > 100  # memory is used again at all


# ---------------------------------------------------------------------------------------------------------------------
# Machine code
# ---------------------------------------------------------------------------------------------------------------------


def disassembly(library):
    return subprocess.run(
        [need("objdump"), "-d", "--no-show-raw-insn", library],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def symbols(library, *flags):
    out = subprocess.run([need("nm"), "-D", *flags, library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines()}


@pytest.mark.parametrize("cpu, wide", [("x86-64-v4", True), ("x86-64-v3", False)])
def test_vector_instructions(cases, cpu, wide):
    code = disassembly(compile_model(vit(cases, depth=2), "library", "--batch=2", f"--cpu={cpu}"))
    register = "zmm" if wide else "ymm"
    assert ("%zmm" in code) == wide
    assert len(re.findall(rf"vfn?m(?:add|sub)\d+ps .*%{register}", code)) > 100
    assert len(re.findall(rf"vmulps .*%{register}", code)) > 100
    # exp, erf and tanh are arithmetic, not calls; a dynamic call would go through the PLT.
    assert {name.split("@")[0] for name in re.findall(r"call\s+\S+ <([^>+]+@plt)>", code)} <= {
        "memset",
        "memcpy",
        "memmove",
    }


@pytest.mark.parametrize("cpu", ["portable", "x86-64-v4", "x86-64-v3"])
def test_symbols_of_an_artefact(cases, cpu):
    library = compile_model(vit(cases, depth=2), "library", "--batch=2", f"--cpu={cpu}")
    assert symbols(library, "--defined-only") == {"nsrt_artifact_query"}
    assert symbols(library, "--undefined-only") <= {"memset", "memcpy", "memmove"}
    sections = subprocess.run([need("objdump"), "-h", library], capture_output=True, text=True, check=True).stdout
    assert ".text" in sections and not re.search(r"\.(init_array|ctors|init|fini_array)\b", sections)


def test_runtime_library_holds_no_network_kernels():
    """Layer norm, GELU and softmax are generated: libnsrt neither has them nor takes LibTorch's."""
    library = BUILD / "lib" / "libnsrt.so"
    if not library.exists():
        pytest.skip("libnsrt is not built")
    assert [
        name for name in symbols(library) if re.search("layer_?norm|gelu|softmax|batch_?norm|dropout", name, re.I)
    ] == []


# ---------------------------------------------------------------------------------------------------------------------
# Elementary functions
# ---------------------------------------------------------------------------------------------------------------------

LLVM = pathlib.Path("/usr/lib/llvm-22/bin")
ROWS, COLUMNS = 64, 1000  # a tail of 8 in vectors of 16
HOST = """
#include "ns/Runtime/Abi.h"
#include <string.h>
static void all(void *context, nsrt_task task, void *arg, int64_t count, int64_t grain) { task(arg, 0, count); }
int run(char *io) {
  nsrt_host host;
  memset(&host, 0, sizeof host);
  host.struct_size = sizeof host;
  host.abi_version = NSRT_ABI_VERSION;
  host.parallel_for = all;
  char *regions[NSRT_NUM_REGIONS] = {0, 0, io, 0};
  extern const nsrt_artifact *nsrt_artifact_query(uint32_t, uint32_t);
  return nsrt_artifact_query(NSRT_ABI_VERSION, 4)->entries[0].run(&host, regions);
}
"""


def llvm(program):
    path = shutil.which(program, path=LLVM) or shutil.which(f"{program}-22") or shutil.which(program)
    return path or pytest.skip(f"no {program}")


@pytest.fixture(scope="module")
def elementary(tmp_path_factory):
    """elementary(name)(x): math.NAME of float32 numbers by a generated kernel."""
    import ctypes

    folder = tmp_path_factory.mktemp("elementary")
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    known = {}

    def get(name):
        if name in known:
            return known[name]
        text = f"""
#point = affine_map<(r, k, c) -> (r, c)>
module attributes {{rt.layout = {{params = [], state = [], io = [{{name = "x", offset = 0 : i64}}, {{name = "y", offset = {ROWS * COLUMNS * 4} : i64}}]}}}} {{
func.func @{name}() {{
  %x = rt.slot io "x" : tensor<{ROWS}x{COLUMNS}xf32>
  %y = rt.slot io "y" : tensor<{ROWS}x{COLUMNS}xf32>
  %0 = rt.fused [{ROWS}, 1, {COLUMNS}] ins(%x : tensor<{ROWS}x{COLUMNS}xf32>) into(%y : tensor<{ROWS}x{COLUMNS}xf32>) [0] maps [#point] -> [#point] : tensor<{ROWS}x{COLUMNS}xf32> {{
  ^bb0(%a: f32):
    %b = math.{name} %a : f32
    rt.yield %b : f32
  }}
  return
}}
}}
"""
        source, host = folder / f"{name}.mlir", folder / "host.c"
        source.write_text(text)
        host.write_text(HOST)
        ir, code, library = (folder / f"{name}.{suffix}" for suffix in ("ll", "o", "so"))
        lowered = run(
            [
                tool("ns-opt"),
                source,
                "--rt-plan-memory",
                "--ns-emit-pipeline=vector-bits=256",
            ]
        ).stdout
        ir.write_text(
            subprocess.run(
                [llvm("mlir-translate"), "--mlir-to-llvmir"],
                input=lowered,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        run(
            [
                llvm("llc"),
                "-O2",
                "-mcpu=x86-64-v3",
                "-relocation-model=pic",
                "-filetype=obj",
                ir,
                "-o",
                code,
            ]
        )
        include = pathlib.Path(__file__).resolve().parents[2] / "include"
        run([compiler, "-shared", "-fPIC", f"-I{include}", host, code, "-o", library])
        entry = ctypes.CDLL(str(library)).run

        def call(x):
            io = np.zeros((2, ROWS * COLUMNS), np.float32)
            io[0, : x.size] = x
            assert entry(io.ctypes.data_as(ctypes.c_char_p)) == 0
            return io[1, : x.size].copy()

        known[name] = call
        return call

    return get


def ulps(found, exact):
    """Errors in units of the last place of the exact result rounded to float32; what is below the normal range counts in its units."""
    spacing = np.spacing(np.maximum(np.abs(exact), np.finfo(np.float32).tiny).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / spacing


# name: (reference in float64, range, largest error in units of the last place)
FUNCTIONS = {
    "exp": (torch.exp, (-87.0, 88.0), 1.0),
    "erf": (torch.erf, (-6.0, 6.0), 4.8),
    "tanh": (torch.tanh, (-10.0, 10.0), 4.9),
    "log": (torch.log, (1e-30, 1e30), 0.85),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy_of_elementary_functions(elementary, name):
    reference, (low, high), bound = FUNCTIONS[name]
    generator = np.random.default_rng(3)
    worst = 0.0
    for sample in range(8):
        x = generator.uniform(low, high, ROWS * COLUMNS)
        if name == "log":
            x = np.exp(generator.uniform(np.log(low), np.log(high), ROWS * COLUMNS))
        elif sample % 2:  # small numbers of both signs
            x = generator.choice([-1, 1], x.size) * np.exp(generator.uniform(-20, np.log(-low), x.size))
        x = x.astype(np.float32)
        exact = reference(torch.from_numpy(x).double()).numpy()
        worst = max(worst, ulps(elementary(name)(x), exact).max())
    assert worst <= bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_of_elementary_functions(elementary, name):
    """As PyTorch: NaN stays, infinities and zeros map to their limits; the neighbours in the vector do not matter."""
    x = np.array(
        [
            np.nan,
            0.5,
            np.inf,
            -np.inf,
            0.0,
            -0.0,
            1.0,
            -1.0,
            200.0,
            -200.0,
            1e-30,
            3e38,
            -3e38,
        ],
        np.float32,
    )
    expected = FUNCTIONS[name][0](torch.from_numpy(x)).numpy()
    found = elementary(name)(x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-37)


# ---------------------------------------------------------------------------------------------------------------------
# Special values in a network
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(cases):
    """(case, model): a model of its own for each test, which may change its weights."""
    runtime = pytest.importorskip("nullspace.runtime")
    case = vit(cases, depth=2)
    return case, runtime.Model(compile_model(case, "library", "--batch=4"))


def test_nan_image_gives_nan_logits_of_that_image(library):
    case, model = library
    image = images(4, case.info).numpy()
    clean = np.array(model.forward(image))
    image[2, 1, 5, 7] = np.nan
    logits = np.array(model.forward(image))
    assert np.isnan(logits[2]).all()
    np.testing.assert_array_equal(logits[[0, 1, 3]], clean[[0, 1, 3]])
    loss, gradients = model.finetune_gradients(image, np.zeros(4, np.int32))
    assert np.isnan(loss) and all(np.isnan(g).any() for g in gradients.values())
    losses, _, image_grad = model.value_and_grad(image, np.zeros(4, np.int32))
    assert np.isnan(losses).tolist() == [False, False, True, False]
    assert np.isnan(image_grad).any(axis=(1, 2, 3)).tolist() == [
        False,
        False,
        True,
        False,
    ]
    # What a NaN left behind does not outlive the step.
    image[2, 1, 5, 7] = 0
    loss, gradients = model.finetune_gradients(image, np.zeros(4, np.int32))
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_losses_of_infinite_logits(library, value):
    """The head's bias makes one class's logit infinite: losses, gradients and measures equal PyTorch's, NaN where its are."""
    case, model = library
    model.param("head.bias")[3] = value
    image, labels = images(4, case.info), torch.tensor([3, 0, 1, 3])
    golden = case.golden().float()
    with torch.no_grad():
        golden.net.head.bias[3] = float(value)
    golden.forward = lambda x: golden.net((x - golden.mean) / golden.std)
    logits = golden(image)
    leaf = logits.detach().requires_grad_()
    expected = F.cross_entropy(leaf, labels, reduction="none")
    losses, found, _ = model.value_and_grad(image.numpy(), labels.numpy())
    np.testing.assert_allclose(found, logits.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    expected.sum().backward()
    _, gradients = model.finetune_gradients(image.numpy(), labels.numpy())
    np.testing.assert_allclose(gradients["head.bias"], leaf.grad.sum(0).numpy() / 4, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------------

# name: (arguments of the model, image, classes, batch)
SHAPES = {
    "narrow_tails": (dict(embed_dim=60, num_heads=3, mlp_ratio=2.5), 32, 7, 3),
    "odd_head_dim": (dict(embed_dim=42, num_heads=6), 24, 13, 2),
    "one_channel_heads": (dict(embed_dim=6, num_heads=6), 16, 2, 2),
    "one_token": (dict(class_token=False, global_pool="avg"), 8, 10, 2),
    "two_tokens": (dict(), 8, 10, 2),
    "batch_1": (dict(), 32, 10, 1),
    "batch_64": (dict(), 16, 10, 64),
    "rows_of_many_vectors": (dict(embed_dim=1284, num_heads=12, depth=1), 16, 1003, 2),
    "many_tokens": (dict(patch_size=2, embed_dim=18, num_heads=2, depth=1), 38, 10, 1),
    "wide_patches": (dict(patch_size=20, depth=1), 40, 10, 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(cases, name):
    """Forward, synthesis gradient and every parameter's gradient against float64."""
    runtime = pytest.importorskip("nullspace.runtime")
    arguments, size, classes, batch = SHAPES[name]
    case = vit(cases, size, classes, **dict(depth=2) | arguments)
    model, golden = (
        runtime.Model(compile_model(case, "library", f"--batch={batch}", "--cpu=native")),
        case.golden(),
    )
    image = images(batch, case.info)
    labels = torch.arange(batch) % classes
    noise = 0.5 * torch.randn(model.slot("noise").shape, generator=torch.Generator().manual_seed(2))
    clean = golden(image).detach()
    assert np.abs(model.forward(image.numpy()) - clean.numpy()).max() <= 1e-5 * clean.abs().max()

    variable = noise.double().requires_grad_()
    loss = (golden(image, variable) - clean).square().sum(1).mean()
    loss.backward()
    found, gradient = model.synth_gradient(image.numpy(), clean.numpy(), noise.numpy())
    assert abs(found - loss.item()) <= 1e-5 * abs(loss.item())
    compare({"noise": gradient}, {"noise": variable.grad})

    golden.zero_grad()
    loss = F.cross_entropy(golden(image), labels)
    loss.backward()
    found, gradients = model.finetune_gradients(image.numpy(), labels.numpy())
    assert abs(found - loss.item()) <= 1e-5 * abs(loss.item())
    compare(gradients, {name: p.grad for name, p in golden.net.named_parameters()})


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4"])
def test_processor_levels_agree(cases, cpu):
    """Vectors of 8 and of 16 sum in another order, no more."""
    runtime = pytest.importorskip("nullspace.runtime")
    case = vit(cases, depth=2)
    path = compile_model(case, "library", "--batch=2", f"--cpu={cpu}")
    try:
        model = runtime.Model(path)
    except runtime.NullspaceError as error:
        pytest.skip(str(error))
    image = images(2, case.info)
    golden = case.golden()(image).detach()
    assert np.abs(model.forward(image.numpy()) - golden.numpy()).max() <= 1e-5 * golden.abs().max()


# ---------------------------------------------------------------------------------------------------------------------
# The same bits
# ---------------------------------------------------------------------------------------------------------------------


def test_bits_do_not_depend_on_threads_or_run(cases):
    runtime = pytest.importorskip("nullspace.runtime")
    case = vit(cases, depth=2)
    path = compile_model(case, "library", "--batch=16")
    image = images(16, case.info).numpy()
    labels = np.arange(16, dtype=np.int32) % 10

    def everything(threads):
        model = runtime.Model(path, threads=threads)
        noise = np.linspace(-1, 1, model.slot("noise").size, dtype=np.float32)
        logits = model.forward(image)
        loss, gradient = model.synth_gradient(image, logits, noise)
        results = {"logits": logits, "loss": np.float64(loss), "noise.grad": gradient}
        loss, gradients = model.finetune_gradients(image, labels)
        return results | {"finetune loss": np.float64(loss)} | gradients

    first, again, two = everything(1), everything(1), everything(2)
    for other in (again, two):
        assert [name for name, value in first.items() if value.tobytes() != other[name].tobytes()] == []


@pytest.mark.parametrize("emit", ["library", "synth"])
def test_compiling_twice_gives_the_same_file(cases, tmp_path, emit):
    case = vit(cases, depth=2)
    files = []
    for name in ("first", "second"):
        run(
            [
                tool("ns-compile"),
                case.mlir,
                f"--emit={emit}",
                "--batch=2",
                "-o",
                tmp_path / name,
            ]
        )
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
