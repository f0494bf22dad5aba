"""Generated matrix products against numpy in float64: odd shapes, transposes, accumulation, special values, the same bits for any sharing."""

import ctypes
import pathlib
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT, run, tool
from test_kernels import llvm

HOST = ROOT / "test/Inputs/kernel_host.c"

# m, n, k, A transposed, B transposed. Rows on both sides of the number from which threads share rows, not panels; panels of one, two, three
# and four vectors, whole and not; k of one pass, of several, less than one round of the loop, not a multiple of it.
SHAPES = [
    (1, 10, 3, False, True),
    (3, 17, 5, True, False),
    (16, 16, 16, False, False),
    (37, 65, 23, True, True),
    (13, 49, 777, False, False),
    (65, 1000, 192, False, True),
    (100, 33, 1600, True, True),
    (197, 64, 33, False, False),
    (209, 96, 3072, False, True),
]
GUARD = 64  # elements behind each matrix that nobody may write


def tensor(element, *extents):
    return f"tensor<{''.join(f'{n}x' for n in extents)}{element}>"


def module(element, accumulate):
    """One entry for each shape: c = a b, or c = s c + a b, where a b that is not transposed is packed out of its packed transpose; all in
    region io, one slot behind the other. Also the slots' offsets."""
    size = 4 if element == "f32" else 8
    slots, entries, places, offset = [], [], [], 0
    for i, (m, n, k, ta, tb) in enumerate(SHAPES):
        shapes = {"a": (k, m) if ta else (m, k), "b": (n, k) if tb else (k, n), "c": (m, n), "s": ()}
        place = {}
        for name, shape in shapes.items():
            slots.append(f'{{name = "{name}{i}", offset = {offset} : i64}}')
            place[name] = (offset, shape)
            offset += -(-(int(np.prod(shape)) + GUARD) * size // 64) * 64
        places.append(place)
        types = {name: tensor(element, *shape) for name, shape in shapes.items()}
        lines = [f'%{name} = rt.slot io "{name}{i}" : {types[name]}' for name in shapes]
        into, extra = (" accumulate %s", f", {types['s']}") if accumulate else ("", "")
        right, type = "%b" + " trans_b" * tb, types["b"]
        if accumulate and not tb:
            across, type = tensor(element, n, -(-k // 16) * 16), tensor(element, k, -(-n // 16) * 16)
            lines.append(f"%t = rt.pack [{k}, {n}] %b trans_b : {types['b']} -> {across}")
            lines.append(f"%p = rt.pack [{n}, {k}] %t packed : {across} -> {type}")
            right = "%p packed"
        lines.append(
            f"%r = rt.gemm [{m}, {n}, {k}] %a{' trans_a' * ta}, {right} into %c{into} : "
            f"({types['a']}, {type}, {types['c']}{extra}) -> {types['c']}"
        )
        entries.append(f"func.func @entry{i}() {{\n" + "\n".join(lines) + "\nreturn\n}")
    layout = f"{{params = [], state = [], io = [{', '.join(slots)}]}}"
    return f"module attributes {{rt.layout = {layout}}} {{\n" + "\n".join(entries) + "\n}\n", places, offset


@pytest.fixture(scope="module", params=[("f32", 512), ("f32", 256), ("f64", 512)], ids=["v4", "v3", "f64"])
def products(request, tmp_path_factory):
    """products(accumulate): the entry point of a library of all shapes, the slots' places, bytes of region io, the element type."""
    element, bits = request.param
    folder = tmp_path_factory.mktemp("gemm")
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    level = 4 if bits == 512 else 3
    if level == 4 and "avx512vl" not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("no AVX-512")
    known = {}

    def get(accumulate):
        if accumulate not in known:
            text, places, size = module(element, accumulate)
            files = {
                suffix: folder / f"{accumulate}.{suffix}" for suffix in ("mlir", "llvm.mlir", "ll", "bc", "o", "so")
            }
            files["mlir"].write_text(text)
            passes = ["--pass-pipeline=builtin.module(rt-pack-operands{products=generated},func.func(rt-plan-memory),"]
            passes[0] += f"ns-emit-pipeline{{vector-bits={bits}}})"
            run([tool("ns-opt"), files["mlir"], *passes, "-o", files["llvm.mlir"]])
            run([llvm("mlir-translate"), "--mlir-to-llvmir", files["llvm.mlir"], "-o", files["ll"]])
            flags = ["-O2", f"-mcpu=x86-64-v{level}", "-relocation-model=pic", "-filetype=obj"]
            run([llvm("opt"), "-O3", f"-mcpu=x86-64-v{level}", files["ll"], "-o", files["bc"]])
            run([llvm("llc"), *flags, files["bc"], "-o", files["o"]])
            run([compiler, "-shared", "-fPIC", f"-I{ROOT}/include", HOST, files["o"], "-o", files["so"]])
            entry = ctypes.CDLL(str(files["so"])).run
            entry.library = files["so"]
            known[accumulate] = entry, places, size, np.dtype(element.replace("f", "float"))
        return known[accumulate]

    return get


def multiply(library, shape, a, b, c, scale=None, pieces=1):
    """C of an entry, given what C held."""
    entry, places, size, dtype = library
    io = np.zeros(size // dtype.itemsize, dtype)
    work = np.zeros(1 << 22, np.uint8)
    views = {}
    for name, value in (("a", a), ("b", b), ("c", c), ("s", scale)):
        start, extents = places[shape][name]
        start //= dtype.itemsize
        count = int(np.prod(extents))
        views[name] = io[start : start + count]
        if value is not None:
            views[name][:] = np.ravel(value)
        io[start + count : start + count + GUARD] = 7
    before = {name: view.copy() for name, view in views.items()}
    aligned = -work.ctypes.data % 64
    pointers = [io.ctypes.data_as(ctypes.c_char_p), ctypes.c_char_p(work.ctypes.data + aligned)]
    assert entry(shape, pieces, 1, *pointers) == 0
    for name in views:
        start, extents = places[shape][name]
        end = start // dtype.itemsize + int(np.prod(extents))
        assert (io[end : end + GUARD] == 7).all(), f"written past {name}"
        assert name == "c" or np.array_equal(views[name], before[name], equal_nan=True)
    return views["c"].reshape(c.shape).copy()


def operands(library, shape, seed=0):
    rng = np.random.default_rng(seed)
    _, places, _, dtype = library
    m, n, k, ta, tb = SHAPES[shape]
    a, b, c = (rng.standard_normal(places[shape][name][1]).astype(dtype) for name in "abc")
    product = (a.T if ta else a).astype(np.float64) @ (b.T if tb else b).astype(np.float64)
    return a, b, c, product


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=lambda i: "x".join(map(str, SHAPES[i][:3])))
def test_product(products, shape):
    library = products(False)
    a, b, c, product = operands(library, shape)
    tolerance = 4 * np.finfo(a.dtype).eps * np.sqrt(SHAPES[shape][2]) * np.sqrt(SHAPES[shape][2])
    found = multiply(library, shape, a, b, np.full_like(c, np.nan))  # what C held is not read
    assert np.abs(found - product).max() <= tolerance
    for pieces in (2, 3, 7):
        assert np.array_equal(found, multiply(library, shape, a, b, c, pieces=pieces))


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=lambda i: "x".join(map(str, SHAPES[i][:3])))
def test_accumulation(products, shape):
    library = products(True)
    a, b, c, product = operands(library, shape)
    tolerance = 8 * np.finfo(a.dtype).eps * SHAPES[shape][2]
    found = multiply(library, shape, a, b, c, scale=0.5)
    assert np.abs(found - (product + 0.5 * c.astype(np.float64))).max() <= tolerance
    fresh = multiply(library, shape, a, b, np.full_like(c, np.nan), scale=0.0)
    assert np.abs(fresh - product).max() <= tolerance


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=lambda i: "x".join(map(str, SHAPES[i][:3])))
def test_special_values_stay_in_their_rows_and_columns(products, shape):
    """NaN and infinity reach exactly the elements whose sums they are in: nothing comes from the padding of the last panel."""
    library = products(False)
    m, n, k, ta, tb = SHAPES[shape]
    a, b, c, product = operands(library, shape)
    (a.T if ta else a)[m // 2, k - 1] = np.nan
    (b.T if tb else b)[0, n - 1] = np.inf
    found = multiply(library, shape, a, b, c)
    expected = np.full((m, n), True)
    expected[m // 2, :] = expected[:, n - 1] = False
    assert np.array_equal(np.isfinite(found), expected)
    assert np.isnan(found[m // 2]).all()


def loops(function):
    """The instructions of each loop of a disassembled function: from the target of a jump back to the jump."""
    lines = [(int(m[1], 16), m[2]) for m in re.finditer(r"^ *([0-9a-f]+):\s*(.*)$", function, re.M)]
    for at, text in lines:
        jump = re.match(r"j\w+\s+0x([0-9a-f]+)", text)
        if jump and int(jump[1], 16) <= at:
            yield [other for place, other in lines if int(jump[1], 16) <= place <= at]


def test_sums_stay_in_registers(products):
    """No loop over k moves a vector from or to the stack."""
    entry, *_ = products(False)
    text = run([llvm("llvm-objdump"), "-d", "--no-show-raw-insn", entry.library]).stdout
    tiles = [f for f in text.split("\n\n") if "gemm_tile_" in f.split("\n", 1)[0]]
    found = [loop for tile in tiles for loop in loops(tile) if any("vfmadd" in line for line in loop)]
    assert len(found) > 20
    for loop in found:
        assert not [line for line in loop if re.search("%[xyz]mm.*%rsp|%rsp.*%[xyz]mm", line)]
