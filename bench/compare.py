"""One comparison: all peers take turns in one process; and the library's own product speed over the step's shapes."""

import importlib
import re
import subprocess
import time

import machine
import numpy as np
import peers
from peers import OURS
from problem import BIN, OUT, Problem

TOLERANCE = {"f32": 1e-3, "bf16": 5e-2}  # of the largest entry; f32: float32 in another order
# An attack takes signs of gradients, and one about 0 may have either: the share of pixels that may differ. PGD goes on from there.
DIFFERENT_PIXELS = {
    "f32": {"fgsm": 1e-3, "pgd": 2e-2, "mim": 2e-2},
    "bf16": {"fgsm": 1e-2, "pgd": 1e-1, "mim": 1e-1},  # ViT-Ti: 2.5e-3, 2.8e-2
}


class Disagreement(Exception):
    """A peer computed something else."""


def quartiles(values) -> list[float]:
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])]


def error_of(name: str, found: np.ndarray, golden: np.ndarray) -> float:
    """The largest difference relative to the largest entry; of attacked images the share of pixels that differ."""
    if name == "adversarial" and len(found) < len(golden):
        golden = golden[-len(found) :]  # a slot holds the images of the last micro-batch
    if found.shape != golden.shape:
        found = found.reshape(golden.shape)
    if name == "adversarial":
        return float((np.abs(found - golden) > 1e-4).mean())
    return float(np.abs(found - golden).max() / max(np.abs(golden).max(), 1e-30))


def check_equal(result: dict, golden: dict, problem: Problem) -> float:
    """The largest error of a peer's first step; raises Disagreement where it is too large."""
    worst = 0.0
    for name, expected in golden.items():
        error = error_of(name, result[name], expected)
        allowed = (
            DIFFERENT_PIXELS[problem.precision][problem.kind] if name == "adversarial" else TOLERANCE[problem.precision]
        )
        if not error <= allowed:
            raise Disagreement(f"{name} differs by {error:.1e}, allowed {allowed:.0e}")
        worst = max(worst, error)
    return worst


def set_up(problem: Problem, names) -> tuple[dict, dict, dict, dict]:
    """The peers that are there and agree, ready to step; seconds of their first step; their errors; why others are not there.
    The first of `names` beside ours is the golden one. Raises Disagreement where ours does not agree."""
    work, first_seconds, errors, missing, results = {}, {}, {}, {}, {}
    for name in names:
        try:
            module = importlib.import_module(f"peers.{name}")
            module.load()
            work[name] = module.prepare(problem)
            start = time.perf_counter()
            work[name].step()
            first_seconds[name] = time.perf_counter() - start
            results[name] = work[name].result()
        except (ImportError, NotImplementedError, RuntimeError, FileNotFoundError) as error:
            if name == OURS:
                raise
            work.pop(name, None)
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    golden = next((name for name in work if name != OURS), None)
    if golden is None:
        raise Disagreement(f"{problem.name} {problem.kind}: no peer to compare with: {missing}; nothing was timed")
    for name in list(work):
        try:
            errors[name] = check_equal(results[name], results[golden], problem)
        except Disagreement as error:
            if name == OURS:
                raise Disagreement(f"{problem.name} {problem.kind}: ours against {golden}: {error}; nothing was timed")
            del work[name]
            missing[name] = f"not timed: {error}"
    return work, first_seconds, errors, missing


def take_turns(work: dict, pairs: int, seconds: float) -> tuple[dict, float]:
    """One step of each peer, `pairs` times or until the time is up (but 3 times); and how many cores others kept busy."""
    for w in work.values():  # warm caches and allocators
        w.step()
    times, others, begin = {peer: [] for peer in work}, machine.OtherWork(), time.perf_counter()
    order = list(work)
    for turn in range(pairs):
        for peer in order[turn % len(order) :] + order[: turn % len(order)]:  # nobody always follows the same one
            start = time.perf_counter()
            work[peer].step()
            times[peer].append(time.perf_counter() - start)
        if turn >= 2 and (time.perf_counter() - begin) * (turn + 2) / (turn + 1) > seconds:
            break
    return times, others.cores()


def compare(problem: Problem, pairs: int, seconds: float, names=None) -> dict:
    work, first_seconds, errors, missing = set_up(
        problem, (OURS, *(names or peers.of(problem.kind, problem.precision)))
    )
    times, others = take_turns(work, pairs, seconds)
    ours = np.array(times[OURS])
    ratios = {peer: np.array(times[peer]) / ours for peer in times if peer != OURS}
    return {
        "model": problem.name,
        "kind": problem.kind,
        "batch": problem.batch,
        "per_call": problem.per_call,
        "precision": problem.precision,
        "threads": problem.threads,
        "pairs": len(ours),
        "seconds": times,
        "seconds_quartiles": {p: quartiles(t) for p, t in times.items()},
        "ratio_quartiles": {p: quartiles(r) for p, r in ratios.items()},
        "first_call_s": first_seconds,
        "relative_difference": errors,
        "missing": missing,
        "other_work_cores": others,
    }


STEP_ENTRY = {"synth": "synth_step", "finetune": "finetune_step_noised", "forward": "forward"}
GEMM = re.compile(r"rt\.gemm(?:_\w+)? \[(\d+), (\d+), (\d+)\]([^{:]*)")


def product_shapes(problem: Problem) -> dict[tuple, int]:
    """How often the step's entry multiplies each shape: (m, n, k, A transposed, B transposed): count."""
    command = [BIN / "ns-compile", problem.mlir, f"--emit={problem.emit}", f"--batch={problem.per_call}"]
    plan = OUT / "plan.mlir"
    command += ["--compile-to=plan", "-o", plan]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    text = plan.read_text()
    body = re.search(rf"func\.func @{STEP_ENTRY[problem.kind]}\(.*?(?=\n  func\.func|\Z)", text, re.S)[0]
    shapes = {}
    for m, n, k, rest in GEMM.findall(body):
        shape = int(m), int(n), int(k), "trans_a" in rest, "trans_b" in rest
        shapes[shape] = shapes.get(shape, 0) + 1
    return shapes


def sgemm_speeds(shapes, repetitions: int = 3) -> dict[tuple, float]:
    """GFLOP/s of the library's sgemm (through torch.mm, into a matrix that is there) for each shape: best of a few turns over all."""
    import torch

    operands, best = {}, dict.fromkeys(shapes, 0.0)
    for shape in shapes:
        m, n, k, a_transposed, b_transposed = shape
        a = torch.rand((k, m) if a_transposed else (m, k))
        b = torch.rand((n, k) if b_transposed else (k, n))
        operands[shape] = (a.T if a_transposed else a, b.T if b_transposed else b, torch.empty(m, n))
    for _ in range(repetitions + 1):
        for shape, (a, b, c) in operands.items():
            start = time.perf_counter()
            torch.mm(a, b, out=c)
            speed = 2e-9 * shape[0] * shape[1] * shape[2] / (time.perf_counter() - start)
            best[shape] = max(best[shape], speed)
    return best


def against_sgemm(problem: Problem, step_seconds: float) -> dict:
    """Useful FLOPs per second of the step, and the library's speed over its product shapes: the best one, and all as often as they occur."""
    from nullspace import runtime

    metadata = runtime.Model(str(problem.executable)).metadata
    entry = next(e for e in metadata["entries"] if e["name"] == STEP_ENTRY[problem.kind])
    useful = entry["flops"] * (problem.batch // problem.per_call) / 1e9
    shapes = product_shapes(problem)
    speeds = sgemm_speeds(shapes)
    large = max(2 * m * n * k for m, n, k, *_ in shapes) / 100  # speeds of tiny products are noise
    work = {s: 2e-9 * s[0] * s[1] * s[2] * count for s, count in shapes.items()}
    return {
        "useful_gflop": useful,
        "useful_gflop_per_s": useful / step_seconds,
        "best_sgemm_gflop_per_s": max(v for s, v in speeds.items() if 2 * s[0] * s[1] * s[2] >= large),
        "mixed_sgemm_gflop_per_s": sum(work.values()) / sum(work[s] / speeds[s] for s in shapes),
        "products_gflop": sum(work.values()) * (problem.batch // problem.per_call),
        "shapes": [{"shape": list(s), "count": shapes[s], "gflop_per_s": speeds[s]} for s in shapes],
    }
