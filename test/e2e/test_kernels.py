"""The arithmetic of generated code: elementary functions, special values, odd shapes, the same bits."""

import ctypes
import pathlib
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, compile_model, images, run, small_vit, tool
from test_gradients import compare

# ---------------------------------------------------------------------------------------------------------------------
# Elementary functions
# ---------------------------------------------------------------------------------------------------------------------

LLVM = pathlib.Path("/usr/lib/llvm-22/bin")
ROWS, COLUMNS = 64, 1000  # a tail of 8 in vectors of 16
HOST = ROOT / "test/Inputs/kernel_host.c"


def llvm(program):
    path = shutil.which(program, path=LLVM) or shutil.which(f"{program}-22") or shutil.which(program)
    return path or pytest.skip(f"no {program}")


def program(name, body, space, write, result):
    """A module with one entry: a row program over x at (r + k, c), written to y."""
    x = f"tensor<{ROWS}x{COLUMNS}xf32>"
    return f"""
module attributes {{rt.layout = {{params = [], state = [], io = [{{name = "x", offset = 0 : i64}}, {{name = "y", offset = {ROWS * COLUMNS * 4} : i64}}]}}}} {{
func.func @{name}() {{
  %x = rt.slot io "x" : {x}
  %y = rt.slot io "y" : {result}
  %0 = rt.fused {space} ins(%x : {x}) into(%y : {result}) [0] maps [affine_map<(r, k, c) -> (r + k, c)>] -> [affine_map<(r, k, c) -> {write}>] : {result} {{
  ^bb0(%a: f32):
    %b = {body} %a : f32
    rt.yield %b : f32
  }}
  return
}}
}}
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """generated(name, text)(x): y after the entry of the module `text` ran on float32 numbers x."""
    folder = tmp_path_factory.mktemp("generated")
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    known = {}

    def get(name, text):
        if name in known:
            return known[name]
        source = folder / f"{name}.mlir"
        source.write_text(text)
        ir, code, library = (folder / f"{name}.{suffix}" for suffix in ("ll", "o", "so"))
        lowered = folder / f"{name}.llvm.mlir"
        lower = ["--nn-to-rt"] if "nn." in text else []
        run([tool("ns-opt"), source, *lower, "--rt-plan-memory", "--ns-emit-pipeline=vector-bits=256", "-o", lowered])
        run([llvm("mlir-translate"), "--mlir-to-llvmir", lowered, "-o", ir])
        flags = ["-O2", "-mcpu=x86-64-v3", "-relocation-model=pic", "-filetype=obj"]
        run([llvm("llc"), *flags, ir, "-o", code])
        run([compiler, "-shared", "-fPIC", f"-I{ROOT}/include", HOST, code, "-o", library])
        entry = ctypes.CDLL(str(library)).run

        def call(x):
            io = np.zeros((2, ROWS * COLUMNS), np.float32)
            io[0, : x.size] = x
            assert entry(0, 1, 1, io.ctypes.data_as(ctypes.c_char_p), None) == 0
            return io[1, : x.size].copy()

        known[name] = call
        return call

    return get


@pytest.fixture(scope="module")
def elementary(generated):
    """elementary(name)(x): math.NAME of float32 numbers by a generated kernel."""
    point = f"[{ROWS}, 1, {COLUMNS}]", "(r, c)", f"tensor<{ROWS}x{COLUMNS}xf32>"
    return lambda name: generated(name, program(name, f"math.{name}", *point))


def ulps(found, exact):
    """Errors in units of the last place of the exact result rounded to float32; what is below the normal range counts in its units."""
    spacing = np.spacing(np.maximum(np.abs(exact), np.finfo(np.float32).tiny).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / spacing


# name: (reference in float64, range, largest error in units of the last place)
FUNCTIONS = {
    "exp": (torch.exp, (-86.9, 88.7), 1.03),
    "erfc": (torch.erfc, (-2.0, 2.0), 6.2),
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


@pytest.mark.parametrize("op", ["gelu %x", "gelu_grad %x, %x"])
def test_accuracy_of_gelu(generated, op):
    """A dense sweep against float64: no further off than PyTorch is (1.3e-6, and 3e-7 in the derivative)."""
    x = f"tensor<1x{ROWS}x{COLUMNS}xf32>"
    kernel = generated(
        op.split()[0],
        f"""
func.func @f(%x: {x} {{ns.name = "x"}}) -> ({x} {{ns.name = "y"}}) attributes {{ns.entry}} {{
  %y = nn.{op} approximate none : {x}
  return %y : {x}
}}
""",
    )
    worst = 0.0
    for low in np.arange(-14, 14, 0.5):
        values = np.linspace(low, low + 0.5, ROWS * COLUMNS).astype(np.float32)
        exact = torch.from_numpy(values).double().requires_grad_()
        y = F.gelu(exact)
        if "grad" in op:  # x f'(x): its error is that of f' where |x| <= 1, and |x| times that elsewhere
            (slope,) = torch.autograd.grad(y.sum(), exact)
            y = exact * slope
        error = np.abs(kernel(values) - y.detach().numpy())
        worst = max(worst, (error / np.maximum(np.abs(values), 1)).max() if "grad" in op else error[np.abs(values) <= 6].max(initial=0))
    assert worst <= (2e-7 if "grad" in op else 4e-7)


@pytest.mark.parametrize(
    "name, body, write, result",
    [
        ("columns", "arith.negf", "(0, c)", f"tensor<{COLUMNS}xf32>"),
        ("rows", "rt.row_reduce add", "(0, 0)", "tensor<1xf32>"),
    ],
)
def test_long_sums_are_taken_in_blocks(generated, name, body, write, result):
    """1, then numbers that each vanish beside it: a serial sum of all rows is 1; in blocks of 8 all but the first block's count."""
    small = 2.0**-25
    x = np.zeros((ROWS, COLUMNS), np.float32)
    x[0], x[1:] = 1, small
    if name == "rows":
        x[:, 1:] = 0
    found = generated(name, program(name, body, f"[1, {ROWS}, {COLUMNS}]", write, result))(x.ravel())
    found = found[: COLUMNS if name == "columns" else 1].astype(np.float64)
    np.testing.assert_array_equal(np.abs(found), 1 + (ROWS - 8) * small)


# ---------------------------------------------------------------------------------------------------------------------
# Special values in a network
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(cases):
    """(case, model): a model of its own for each test, which may change its weights."""
    runtime = pytest.importorskip("nullspace.runtime")
    case = small_vit(cases, depth=2)
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
    case = small_vit(cases, size, classes, **dict(depth=2) | arguments)
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
    case = small_vit(cases, depth=2)
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
    case = small_vit(cases, depth=2)
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
