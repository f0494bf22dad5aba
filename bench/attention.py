"""Generated attention alone, forward and backward, against PyTorch's scaled_dot_product_attention on the same shapes.

    python bench/attention.py [--shape NAME ...] [--tools BUILD/bin ...] [--seconds 2] [--threads 2]

An artefact with one entry, `rt.attention` or `rt.attention_grad`, is run by a host of a few lines. With several --tools their
artefacts are timed against one another. Rounds are interleaved; the figures are medians, the ratios medians of ratios.
"""

import argparse
import ctypes
import dataclasses
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOST = ROOT / "test/Inputs/kernel_host.c"


@dataclasses.dataclass(frozen=True)
class Shape:
    """queries x keys scores for each of `heads` heads of `dim` channels of each of `windows` windows of each of `images` images."""

    images: int
    heads: int
    queries: int
    keys: int
    dim: int
    windows: int = 1
    bias: bool = False  # of q, k and v
    score_bias: bool = False
    mask: bool = False
    scores_grad: bool = False
    dtype: str = "f32"

    @property
    def width(self):
        return self.heads * self.dim

    @property
    def packed(self):
        """q, k and v side by side in one tensor."""
        return self.queries == self.keys

    def flops(self, backward):
        return (5 if backward else 2) * 2 * self.images * self.windows * self.queries * self.keys * self.width


SHAPES = {
    "vit_ti": Shape(16, 3, 197, 197, 64, bias=True),
    "vit_b": Shape(8, 12, 197, 197, 64, bias=True),
    "deit_s_384": Shape(2, 6, 577, 577, 64, bias=True),
    "class_token": Shape(16, 3, 1, 197, 64, bias=True),
    "cifar_vit": Shape(64, 3, 65, 65, 64, bias=True),
    "swin_t_1": Shape(8, 3, 49, 49, 32, windows=64, bias=True, score_bias=True, mask=True),
    "swin_t_3": Shape(8, 12, 49, 49, 32, windows=4, bias=True, score_bias=True, mask=True),
}


class Attention:
    """The entry `name` = "forward" or "backward" of one shape, in a library of its own. `passes`: what runs on it before the plan."""

    def __init__(self, shape: Shape, backward: bool, tools: pathlib.Path, folder: pathlib.Path, vector_bits: int = 512,
                 passes: tuple = ()):
        import numpy as np

        self.numpy, self.shape, self.backward, self.passes = np, shape, backward, passes
        s, stacks = shape, shape.windows * shape.images
        tokens = lambda count, width: [s.images, s.windows * count, width]
        inputs = {"qkv": tokens(s.keys, 3 * s.width)} if s.packed else {
            "q": tokens(s.queries, s.width), "k": tokens(s.keys, s.width), "v": tokens(s.keys, s.width)}
        biases = {f"{name}_bias": extents[-1:] for name, extents in inputs.items()} if s.bias else {}
        self.operands = {"grad": tokens(s.queries, s.width)} if backward else {}
        self.operands |= inputs | biases
        added = [("score_bias", s.score_bias, [s.heads, s.queries, s.keys]), ("mask", s.mask, [s.windows, s.queries, s.keys])]
        self.operands |= {name: extents for name, there, extents in added if there}
        self.results = {f"d_{name}": e for name, e in inputs.items()} if backward else {"out": tokens(s.queries, s.width)}
        if backward and s.scores_grad:
            self.results["d_scores"] = [stacks, s.heads * s.queries, s.keys]
        self.offsets, self.bytes = {}, 0
        for name, extents in (self.operands | self.results).items():
            self.offsets[name] = self.bytes
            self.bytes += (int(np.prod(extents)) * self.itemsize + 63) // 64 * 64
        self.load(tools, folder, vector_bits, list(inputs), list(biases))

    @property
    def itemsize(self):
        return 8 if self.shape.dtype == "f64" else 4

    def text(self, inputs, biases):
        s = self.shape
        kind = lambda extents: f"tensor<{'x'.join(map(str, extents))}x{s.dtype}>"
        slots = ", ".join(f'{{name = "{n}", offset = {o} : i64}}' for n, o in self.offsets.items())
        point = "affine_map<(r, k, c) -> (r, c)>"
        lines = [f'%{n} = rt.slot io "{n}" : {kind(e)}' for n, e in self.operands.items()]
        names = lambda group: ", ".join(f"%{n}" for n in group)
        op = "attention_grad" if self.backward else "attention"
        clauses = names((["grad"] if self.backward else []) + inputs) + (f" bias {names(biases)}" if biases else "")
        clauses += "".join(f" {n} %{n}" for n in ("score_bias", "mask") if n in self.operands)
        clauses += f" heads {s.heads} scale {s.dim**-0.5!r}" + (f" window {s.queries}" if s.windows > 1 else "")
        types = f"({', '.join(map(kind, self.operands.values()))}) -> "
        results = ", ".join(map(kind, self.results.values()))
        types += f"({results})" if len(self.results) > 1 else results
        count = f":{len(self.results)}" if len(self.results) > 1 else ""
        lines.append(f"%r{count} = rt.{op} {clauses} : {types}")
        for i, (name, e) in enumerate(self.results.items() if self.passes else ()):  # to places that no pass changes
            lines.append(f'%{name} = rt.slot io "{name}" : {kind(e)}')
            value = f"%r#{i}" if count else "%r"
            lines.append(
                f"rt.fused [{e[0] * e[1]}, 1, {e[2]}] ins({value} : {kind(e)}) into(%{name} : {kind(e)}) [0] "
                f"maps [{point}] -> [{point}] : {kind(e)} {{\n^bb0(%x: {s.dtype}):\nrt.yield %x : {s.dtype}\n}}")
        body = "\n".join(lines)
        return f"module attributes {{rt.layout = {{params = [], state = [], io = [{slots}]}}}} {{\nfunc.func @entry() {{\n{body}\nreturn\n}}\n}}"

    def load(self, tools, folder, vector_bits, inputs, biases):
        """ns-opt, mlir-translate, llc and the C compiler."""
        stem = folder / f"attention_{len(list(folder.glob('*.so')))}"
        source, planned, lowered, ir, code, host, library = (
            stem.with_suffix(suffix) for suffix in (".mlir", ".plan.mlir", ".llvm.mlir", ".ll", ".o", ".host.o", ".so"))
        call = lambda *command: subprocess.run([str(part) for part in command], check=True)
        source.write_text(self.text(inputs, biases))
        call(tools / "ns-opt", source, *self.passes, "--rt-plan-memory", "-o", planned)
        plan = planned.read_text()
        if not self.passes:
            offsets = plan.split("rt.offsets = array<i64: ")[1].split(">")[0]
            self.places = dict(zip(self.results, map(int, offsets.split(",")), strict=True))
        self.work_bytes = int(plan.split("rt.work_bytes = ")[1].split(" ")[0])
        call(tools / "ns-opt", planned, f"--ns-emit-pipeline=vector-bits={vector_bits}", "-o", lowered)
        llvm = lambda name: shutil.which(name, path="/usr/lib/llvm-22/bin") or shutil.which(f"{name}-22") or name
        call(llvm("mlir-translate"), "--mlir-to-llvmir", lowered, "-o", ir)
        call(llvm("opt"), "-O2", "-S", ir, "-o", ir)
        cpu = f"-mcpu=x86-64-v{4 if vector_bits == 512 else 3}"
        call(llvm("llc"), "-O3", cpu, "-relocation-model=pic", "-filetype=obj", ir, "-o", code)
        # OpenMP's symbols are those of the libgomp that torch has loaded: one pool of threads.
        call("cc", "-O2", "-fPIC", "-fopenmp", f"-I{ROOT / 'include'}", "-c", HOST, "-o", host)
        call("cc", "-shared", host, code, "-o", library)
        self.entry = ctypes.CDLL(str(library)).run
        self.library = library
        self.io, self.work = self.aligned(self.bytes), self.aligned(self.work_bytes)

    def aligned(self, size):
        raw = self.numpy.zeros(size + 64, self.numpy.uint8)
        start = -raw.ctypes.data % 64
        return raw[start : start + size]

    def view(self, name):
        """An operand or a result, as an array."""
        in_io = name in self.operands or self.passes
        region, place = (self.io, self.offsets) if in_io else (self.work, self.places)
        extents = (self.operands | self.results)[name]
        size = int(self.numpy.prod(extents)) * self.itemsize
        kind = self.numpy.float64 if self.itemsize == 8 else self.numpy.float32
        return region[place[name] : place[name] + size].view(kind).reshape(extents)

    def run(self, threads=1):
        io, work = (a.ctypes.data_as(ctypes.c_char_p) for a in (self.io, self.work))
        assert self.entry(0, threads, 1, io, work) == 0

    def fill(self, seed=0):
        random = self.numpy.random.default_rng(seed)
        for name in self.operands:
            self.view(name)[:] = random.standard_normal(self.operands[name])

    def heads(self, tensor):
        """B x tokens x C as (B, windows) x heads x tokens x dim."""
        s = self.shape
        return tensor.unflatten(1, (s.windows, -1)).unflatten(-1, (s.heads, s.dim)).flatten(0, 1).transpose(1, 2)

    def torch_inputs(self, dtype):
        """q, k, v by head, biases added, and what is added to the scores or None."""
        import torch

        load = lambda name: torch.from_numpy(self.view(name)).to(dtype)
        s = self.shape
        names = ["qkv"] if s.packed else ["q", "k", "v"]
        parts = [load(n) + (load(f"{n}_bias") if s.bias else 0) for n in names]
        q, k, v = (self.heads(t) for t in (parts[0].chunk(3, -1) if s.packed else parts))
        added = torch.zeros(1, 1, 1, 1, dtype=dtype)
        if s.score_bias:
            added = added + load("score_bias")
        if s.mask:
            added = added + load("mask").repeat(s.images, 1, 1).unsqueeze(1)
        return q, k, v, added if s.score_bias or s.mask else None


def torch_step(attention, backward):
    """PyTorch's forward, or forward and backward less forward where that is what is timed."""
    import torch
    import torch.nn.functional as F

    q, k, v, added = attention.torch_inputs(torch.float32)
    q, k, v = (t.detach().requires_grad_(backward) for t in (q, k, v))
    if not backward:
        def forward():
            with torch.no_grad():
                F.scaled_dot_product_attention(q, k, v, added)
        return forward
    out = F.scaled_dot_product_attention(q, k, v, added)
    grad = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True)


def measure(steps, seconds):
    """Rounds of one call each, in turn; seconds by step."""
    times = {name: [] for name in steps}
    for step in steps.values():
        step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 5:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=SHAPES, help="default: all")
    parser.add_argument("--tools", action="append", type=pathlib.Path, help="folders of ns-opt (default: build/bin)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each shape and direction")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the generated code")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or pathlib.Path(temporary)
        cases = []
        for name in args.shape or SHAPES:
            for backward in (False, True):
                made = {str(t): Attention(SHAPES[name], backward, t, folder) for t in args.tools or [ROOT / "build/bin"]}
                for attention in made.values():
                    attention.fill()
                cases.append((name, backward, made))
        for name, backward, made in cases:
            steps = {tools: lambda a=a: a.run(args.threads) for tools, a in made.items()}
            steps["torch"] = torch_step(next(iter(made.values())), backward)
            times = measure(steps, args.seconds)
            row = {"shape": name, "direction": "backward" if backward else "forward"}
            for label, seconds in times.items():
                median = statistics.median(seconds)
                row[label] = {"ms": round(median * 1e3, 3), "GF/s": round(SHAPES[name].flops(backward) / median / 1e9)}
                ratios = [t / s for t, s in zip(times["torch"], seconds, strict=True)]
                row[label]["torch / this"] = round(statistics.median(ratios), 2)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
