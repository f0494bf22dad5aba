"""Generated matrix products against the library's on the shapes of a step: GFLOP/s, medians of interleaved runs.

    bench/gemm.py [--threads=2] [M,N,K,transA,transB ...]

Needs mlir-translate and llc of LLVM 22 and a C compiler. Without shapes: those of ViT-Ti at batch 16 and ViT-B at batch 8.
"""

import argparse
import ctypes
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[1]
LLVM = pathlib.Path("/usr/lib/llvm-22/bin")
SHAPES = [
    "3152,576,192,0,1",
    "3152,192,192,0,1",
    "3152,768,192,0,1",
    "3152,192,768,0,1",
    "3152,192,576,0,0",
    "1576,2304,768,0,1",
    "1576,768,768,0,1",
    "1576,3072,768,0,1",
    "1576,768,3072,0,1",
    "1576,768,2304,0,0",
    "576,192,3152,1,0",
    "192,768,3152,1,0",
    "2304,768,1576,1,0",
    "3072,768,1576,1,0",
]
HOST = ROOT / "test/Inputs/kernel_host.c"


def module(m, n, k, ta, tb):
    """Two entries: B packed at each call, and packed before. Offsets of a, b, c and packed b in region io."""
    columns = -(-n // 16) * 16
    shapes = {"a": (k, m) if ta else (m, k), "b": (n, k) if tb else (k, n), "c": (m, n), "p": (k, columns)}
    types = {name: f"tensor<{r}x{c}xf32>" for name, (r, c) in shapes.items()}
    offsets, end = {}, 0
    for name, (r, c) in shapes.items():
        offsets[name] = end
        end += -(-r * c * 4 // 4096) * 4096 + 4096
    slots = ", ".join(f'{{name = "{name}", offset = {at} : i64}}' for name, at in offsets.items())
    slot = "\n".join(f'%{name} = rt.slot io "{name}" : {types[name]}' for name in shapes)
    text = f"module attributes {{rt.layout = {{params = [], state = [], io = [{slots}]}}}} {{\n"
    pack = f"%q = rt.pack [{n}, {k}] %b{' trans_b' * tb} : {types['b']} -> {types['p']}\n"
    for name, before, operand in (("both", pack, "%q"), ("product", "", "%p")):
        text += f"func.func @{name}() {{\n{slot}\n{before}"
        text += f"%r = rt.gemm [{m}, {n}, {k}] %a{' trans_a' * ta}, {operand} packed into %c : "
        text += f"({types['a']}, {types['p']}, {types['c']}) -> {types['c']}\nreturn\n}}\n"
    return text + "}\n", offsets, shapes, end


def build(folder, text):
    files = {suffix: folder / f"x.{suffix}" for suffix in ("mlir", "llvm", "ll", "o", "so")}
    files["mlir"].write_text(text)
    pipeline = "--pass-pipeline=builtin.module(func.func(rt-plan-memory),ns-emit-pipeline{vector-bits=512})"
    llc = [LLVM / "llc", "-O3", "-mcpu=x86-64-v4", "-relocation-model=pic", "-filetype=obj", files["ll"], "-o", files["o"]]
    for command in (
        [ROOT / "build/bin/ns-opt", files["mlir"], pipeline, "-o", files["llvm"]],
        [LLVM / "mlir-translate", "--mlir-to-llvmir", files["llvm"], "-o", files["ll"]],
        llc,
        ["cc", "-O2", "-fopenmp", "-shared", "-fPIC", f"-I{ROOT}/include", HOST, files["o"], "-o", files["so"]],
    ):
        subprocess.run(command, check=True)
    return ctypes.CDLL(str(files["so"])).run


def aligned(size):
    memory = np.zeros(size + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:size]


def measure(folder, shape, threads):
    m, n, k, ta, tb = shape
    text, offsets, shapes, size = module(*shape)
    run = build(folder, text)
    io, work = aligned(size), aligned(4 * k * (n + 16) + 4096)
    views = {
        name: torch.from_numpy(io[at : at + 4 * r * c].view(np.float32).reshape(r, c))
        for (name, at), (r, c) in zip(offsets.items(), shapes.values(), strict=True)
    }
    for name in "ab":
        views[name].normal_()
    a, b = views["a"].T if ta else views["a"], views["b"].T if tb else views["b"]
    other = torch.empty(m, n)
    pointers = [ctypes.c_void_p(io.ctypes.data), ctypes.c_void_p(work.ctypes.data)]
    flops = 2 * m * n * k
    times = max(1, int(5e8 * threads / flops))

    def library():
        for _ in range(times):
            torch.mm(a, b, out=other)

    library()
    run(0, threads, 1, *pointers)
    assert (views["c"] - other).abs().max() <= 1e-5 * k, "the products differ"
    views["p"].view(-1)[:] = torch.from_numpy(work[: 4 * views["p"].numel()].view(np.float32))
    runs = [lambda: run(0, threads, times, *pointers), lambda: run(1, threads, times, *pointers), library]
    seconds = [[], [], []]
    for _ in range(7):
        for i, f in enumerate(runs):
            start = time.perf_counter()
            f()
            seconds[i].append(time.perf_counter() - start)
    return [flops * times / statistics.median(s) / 1e9 for s in seconds]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not shutil.which("cc") or not (LLVM / "llc").exists():
        raise SystemExit("bench/gemm.py: expected cc and the tools of LLVM 22")
    torch.set_num_threads(options.threads)
    print("GFLOP/s  m,n,k,transA,transB: generated, packing included | packed before | library")
    with tempfile.TemporaryDirectory() as folder:
        for i, shape in enumerate(options.shapes):
            place = pathlib.Path(folder, str(i))
            place.mkdir()
            both, product, library = measure(place, tuple(int(x) for x in shape.split(",")), options.threads)
            print(f"{shape:>20}: {both:5.0f} | {product:5.0f} | {library:5.0f}   best {max(both, product, library):5.0f}")


if __name__ == "__main__":
    main()
