"""What ns-compile makes of a step: library calls, kernels, memory, instructions, symbols."""

import collections
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import BUILD, compile_model, run, small_vit, tool


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
    ops = entry_ops(small_vit(cases, depth=depth), emit, entry, tmp_path)
    expected = collections.Counter({"patch_embed.proj": patches, "head": head})
    for block in range(depth):
        for layer, calls in (LAST if block == depth - 1 else FORWARD).items():
            expected[f"blocks.{block}.{layer}"] = calls * passes
    assert collections.Counter(layer for op, layer in ops if op == "rt.gemm") == expected


@pytest.mark.parametrize(
    "emit, entry, kernels",
    # Three of finetuning's: GELU and both norms once more, for the gradients of weights (nn-recompute).
    [("synth", "synth_step", (1, 1, 6)), ("finetune", "finetune_step", (1, 1, 16))],
)
def test_kernels_of_a_block(cases, tmp_path, emit, entry, kernels):
    """What two more blocks add: attention, its gradient, and a fixed number of fused kernels a block."""
    counts = [
        collections.Counter(op for op, _ in entry_ops(small_vit(cases, depth=depth), emit, entry, tmp_path))
        for depth in (2, 4)
    ]
    added = [(counts[1][op] - counts[0][op]) / 2 for op in ("rt.attention", "rt.attention_grad", "rt.fused")]
    assert tuple(added) == kernels


SIZES = {"f32": 4, "f64": 8, "i32": 4}


VALUE = re.compile(r"%\w+(?:#\d+)?")


def results_of(name, rest):
    """(value, shape, element type, the value it is written into or None) of each result of an op's line."""
    into = re.search(r"into(?:\(([^:]*) :| (%\S+))", rest)
    destinations = VALUE.findall(into[1] or into[2]) if into else []
    numbers = re.search(r"\) \[([-\d, ]+)\] maps", rest)
    numbers = [int(n) for n in numbers[1].split(",")] if numbers else ([0] if into else [])
    signature = re.split(r" -> | : ", rest.split(" attributes ")[0].removesuffix("{"))[-1]
    types = re.findall(r"tensor<([\dx]*)(f32|f64|i32)>", signature)
    for i, (shape, element) in enumerate(types):
        written = destinations[numbers[i]] if i < len(numbers) and numbers[i] >= 0 else None
        yield f"{name}#{i}" if len(types) > 1 else name, shape, element, written


def arena(body):
    """Name, first byte and end, line it is made on, line of its last read of each value in region work; `single`: a program of one
    pass makes it."""
    buffers, owner, inner, current, tiles = [], {}, False, 0, None
    for at, line in enumerate(body.splitlines()):
        if line == "    }":
            tiles = None
        line = line.strip()
        if tiles is not None:  # its members lie in scratch: what they read lives until the tiles end
            for operand in VALUE.findall(line):
                if operand in owner:
                    buffers[owner[operand]]["last"] = tiles
            continue
        if "rt.tiles" in line:
            tiles = at
        inner = inner or line.startswith("^bb0")
        head = re.match(r"(%\w+)(?::\d+)? = (rt\.\w+)(.*)", line)
        if inner and line == "}":
            inner = False
        if inner and "rt.row_reduce" in line:
            for buffer in buffers:
                buffer["single"] &= buffer["made"] != current
        if inner or not head:
            continue
        current = at
        name, op, rest = head.groups()
        operands = VALUE.findall(rest)
        for operand in operands:
            if operand in owner:
                buffers[owner[operand]]["last"] = at
        if op == "rt.view" and operands[0] in owner:
            owner[name] = owner[operands[0]]
        if not (offsets := re.search(r"rt\.offsets = array<i64: ([-\d, ]+)>", rest)):
            continue
        single = op == "rt.fused"
        starts = [int(n) for n in offsets[1].split(",")]
        for start, (value, shape, element, written) in zip(starts, results_of(name, rest), strict=True):
            if written is not None:
                if written in owner:
                    owner[value] = owner[written]
                continue
            if op == "rt.tiles" and start == -1:  # a member writes it into its destination
                continue
            assert start >= 0 and start % 64 == 0
            size = SIZES[element] * int(np.prod([int(n) for n in shape.split("x") if n]))
            owner[value] = len(buffers)
            buffers.append(dict(value=value, start=start, end=start + size, made=at, last=at, single=single))
    return buffers


@pytest.mark.parametrize("emit", ["library", "synth"])
def test_values_that_live_at_once_do_not_overlap(cases, tmp_path, emit):
    """Read from the plan: two values share bytes only where one is dead before the other is made, or dies in the program of one pass over it."""
    plan = tmp_path / "plan.mlir"
    run(
        [
            tool("ns-compile"),
            small_vit(cases, depth=2).mlir,
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
    code = disassembly(compile_model(small_vit(cases, depth=2), "library", "--batch=2", f"--cpu={cpu}"))
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
    library = compile_model(small_vit(cases, depth=2), "library", "--batch=2", f"--cpu={cpu}")
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


@pytest.mark.parametrize("emit", ["library", "synth"])
def test_compiling_twice_gives_the_same_file(cases, tmp_path, emit):
    case = small_vit(cases, depth=2)
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
