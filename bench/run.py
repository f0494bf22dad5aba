"""Times our steps against PyTorch, on an idle machine; writes bench/out/cpu.json and prints a table.

All peers of a comparison take turns in one process, so that they see the same machine; ratios are taken pair by pair. Memory
and first-step times come from fresh processes. Results are compared for equality before anything is timed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import importlib

import machine
import numpy as np
from problem import BIN, KINDS, MODELS, OUT, ROOT, SIDE, Problem, peak_kilobytes, threads
from rich.console import Console
from rich.table import Table

OURS, PEERS = "nullspace_executable", ("eager", "compiled", "published")
TOLERANCE = 1e-3  # of the largest entry; float32 in another order
console = Console(highlight=False)


def peers_of(kind: str) -> tuple[str, ...]:
    return PEERS if kind != "forward" else PEERS[:2]


def quartiles(values) -> list[float]:
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])]


def run(*command, **kwargs) -> subprocess.CompletedProcess:
    command = [str(part) for part in command]
    result = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if result.returncode not in (0, 3):
        sys.exit(f"bench: {' '.join(command)} ended with status {result.returncode}\n{result.stderr[-3000:]}")
    return result


def compile_model(model: str, batch: int, kinds) -> dict:
    """Export, import, compile; returns the seconds of ns-compile, by what it emits."""
    OUT.mkdir(parents=True, exist_ok=True)
    problems = [Problem(model, kind, batch) for kind in dict.fromkeys(["synth", *kinds])]
    pt2 = OUT / f"{model}.pt2"
    run(sys.executable, "-m", "nullspace.export", f"timm:{model}", "-o", pt2)
    run(BIN / "ns-import", pt2, "-o", problems[0].mlir)
    seconds = {}
    for problem in problems:
        start = time.perf_counter()
        run(BIN / "ns-compile", problem.mlir, f"--emit={problem.emit}", f"--batch={batch}", "-o", problem.executable)
        seconds[problem.emit] = time.perf_counter() - start
    return seconds


def check_equal(results: dict[str, dict[str, np.ndarray]], problem: Problem) -> dict[str, float]:
    """The largest difference from careful eager, relative to the largest entry. Stops the benchmark where they disagree."""
    worst = {}
    for peer, found in results.items():
        for name, golden in results["eager"].items():
            error = float(np.abs(found[name] - golden).max() / np.abs(golden).max())
            worst[peer] = max(worst.get(peer, 0.0), error)
            if not error <= TOLERANCE:
                sys.exit(
                    f"bench: {problem.model} {problem.kind}: {name} of {peer} differs from eager by {error:.1e} of its largest entry; nothing was timed"
                )
    return worst


def compare(problem: Problem, pairs: int) -> dict:
    """Takes turns: one step of each peer, `pairs` times."""
    work, first_seconds = {}, {}
    for peer in (OURS, *peers_of(problem.kind)):
        work[peer] = importlib.import_module(f"peers.{peer}").prepare(problem)
        start = time.perf_counter()
        work[peer].step()
        first_seconds[peer] = time.perf_counter() - start
    differences = check_equal({peer: w.result() for peer, w in work.items()}, problem)
    for w in work.values():  # warm caches and allocators
        w.step()
    times, others = {peer: [] for peer in work}, machine.OtherWork()
    order = list(work)
    for turn in range(pairs):
        for peer in order[turn % len(order) :] + order[: turn % len(order)]:  # nobody always follows the same one
            start = time.perf_counter()
            work[peer].step()
            times[peer].append(time.perf_counter() - start)
    ours = np.array(times[OURS])
    ratios = {peer: np.array(times[peer]) / ours for peer in times if peer != OURS}
    return {
        "model": problem.model,
        "kind": problem.kind,
        "batch": problem.batch,
        "pairs": pairs,
        "seconds": times,
        "seconds_quartiles": {p: quartiles(t) for p, t in times.items()},
        "ratio_quartiles": {p: quartiles(r) for p, r in ratios.items()},
        "first_call_s": first_seconds,
        "relative_difference": differences,
        "other_work_cores": others.cores(),
    }


def fresh_process(peer: str, problem: Problem, steps: int) -> dict:
    start = time.perf_counter()
    result = run(sys.executable, ROOT / "bench" / "worker.py", peer, problem.model, problem.kind, problem.batch, steps)
    return json.loads(result.stdout.splitlines()[-1]) | {"process_s": time.perf_counter() - start}


def memory(problem: Problem) -> dict:
    """Peak resident memory of each peer, three steps in a process of its own, with and without what it has before it builds anything."""
    found = {peer: fresh_process(peer, problem, 3) for peer in (OURS, *peers_of(problem.kind))}
    return {
        peer: {"peak_mb": f["peak_kb"] / 1024, "peak_without_idle_mb": (f["peak_kb"] - f["idle_kb"]) / 1024}
        for peer, f in found.items()
    }


def watched(command: list[str]) -> tuple[int, str, int]:
    """Runs a command; its status, what it said on stderr, and its VmHWM in kB as last seen. (A child's ru_maxrss would
    begin at its parent's size.)"""
    with tempfile.TemporaryFile("w+") as said:
        process, peak = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said), 0
        while process.poll() is None:
            try:
                peak = max(peak, peak_kilobytes(process.pid))
            except OSError:
                pass  # it has just ended
            time.sleep(0.005)
        said.seek(0)
        return process.returncode, said.read(), peak


def first_step(model: str, batch: int) -> dict:
    """Seconds from process start to the end of the first synthesis step: our executable, data reading included, and PyTorch eager."""
    problem, data = Problem(model, "synth", batch), OUT / f"first-{batch}.npz"
    images = (problem.images() * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    assert images.shape == (batch, SIDE, SIDE, 3)
    np.savez(data, x_train=images, y_train=problem.labels(), x_val=images, y_val=problem.labels())
    command = [
        problem.executable,
        "--data-dir",
        data,
        "--output",
        OUT / "first",
        "--steps",
        "1",
        "--rounds",
        "1",
        "--train-fraction",
        "1",
        "--batch-size",
        batch,
        "--stop-samples",
        "0",
        "--threads",
        threads(),
    ]
    seconds, peaks = [], []
    for _ in range(3):
        start = time.perf_counter()
        status, complaint, peak = watched([str(c) for c in command])
        seconds.append(time.perf_counter() - start)
        peaks.append(peak / 1024)
        if status not in (0, 3):
            sys.exit(f"bench: the synth executable of {model} failed: {complaint[-2000:]}")
    return {
        "executable_s": sorted(seconds)[1],
        "executable_peak_mb": max(peaks),
        "eager_s": fresh_process("eager", problem, 1)["process_s"],
    }


def print_tables(record: dict) -> None:
    def cell(q, scale=1.0, digits=2):
        return f"{q[1] * scale:.{digits}f} [dim]{q[0] * scale:.{digits}f}–{q[2] * scale:.{digits}f}[/dim]"

    table = Table(
        title=f"CPU, {record['threads']} threads, {record['machine']['cpu']}",
        caption="medians and quartiles; a ratio over 1: we are faster",
    )
    for title in (
        "model",
        "step",
        "ours, ms",
        "eager / ours",
        "torch.compile / ours",
        "published / ours",
        "peak MB: ours",
        "eager",
        "ours - idle",
        "eager - idle",
    ):
        table.add_column(title, justify="left" if title in ("model", "step") else "right")
    for c in record["comparisons"]:
        ratios = [cell(c["ratio_quartiles"][p]) if p in c["ratio_quartiles"] else "" for p in PEERS]
        m = c["memory"]
        peaks = [f"{m[p][key]:.0f}" for key in ("peak_mb", "peak_without_idle_mb") for p in (OURS, "eager")]
        table.add_row(c["model"], c["kind"], cell(c["seconds_quartiles"][OURS], 1e3, 0), *ratios, *peaks)
    console.print(table)
    for model, f in record["models"].items():
        compiled = next(
            (
                c["first_call_s"]["compiled"]
                for c in record["comparisons"]
                if c["model"] == model and c["kind"] == "synth"
            ),
            float("nan"),
        )
        console.print(
            f"{model}: ns-compile {', '.join(f'--emit={emit} {s:.1f} s' for emit, s in f['ns_compile_s'].items())}; "
            f"torch.compile's first synthesis step {compiled:.1f} s. Process start to the end of the first step: executable {f['executable_s']:.2f} s "
            f"({f['executable_peak_mb']:.0f} MB), eager {f['eager_s']:.2f} s."
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="5 pairs, and only the first model unless --models is given"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--pairs", type=int, help="default 15; 5 with --quick")
    parser.add_argument("--force", action="store_true", help="run even where other work keeps the machine busy")
    args = parser.parse_args()
    if (busy := machine.other_cores()) > machine.ALLOWED_CORES and not args.force:
        sys.exit(
            f"bench: other work keeps {busy:.2f} cores busy (allowed: {machine.ALLOWED_CORES}; load average {os.getloadavg()[0]:.2f}); wait, or use --force"
        )
    models = args.models or (list(MODELS)[:1] if args.quick else list(MODELS))
    pairs = args.pairs or (5 if args.quick else 15)
    record = {"machine": machine.describe(), "threads": threads(), "models": {}, "comparisons": []}
    for model in models:
        console.print(f"{model}: compiling")
        compile_seconds = compile_model(model, MODELS[model], args.kinds)
        for kind in args.kinds:
            console.print(f"{model}: {kind}")
            problem = Problem(model, kind, MODELS[model])
            record["comparisons"].append(compare(problem, pairs) | {"memory": memory(problem)})
        record["models"][model] = {"ns_compile_s": compile_seconds} | first_step(model, MODELS[model])
    record["peak_of_this_process_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (OUT / "cpu.json").write_text(json.dumps(record, indent=1))
    print_tables(record)
    disturbed = [
        f"{c['model']} {c['kind']}" for c in record["comparisons"] if c["other_work_cores"] > machine.ALLOWED_CORES
    ]
    if disturbed:
        console.print(f"[bold]Other work ran beside: {', '.join(disturbed)}; take these again.[/bold]")
    console.print("bench/out/cpu.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
