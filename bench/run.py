"""Times our steps against PyTorch, JAX and inference engines, on an idle machine; adds the results to bench/out/cpu.json and prints a table.

All peers of a comparison take turns in one process, so that they see the same machine; ratios are taken pair by pair. Memory
and first-step times come from fresh processes. Results are compared for equality before anything is timed. A run may take some
models, kinds and parts of the whole: the file keeps what earlier runs measured.
"""

import argparse
import json
import os
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import compare as comparing
import machine
import peers
import processes
import table
from peers import OURS
from problem import ALL_KINDS, MODELS, OUT, ROOT, Problem, threads
from rich.console import Console

RECORD = OUT / "cpu.json"
PARTS = ("speed", "memory", "first")
console = Console(highlight=False)


def commit() -> str:
    said = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return said.stdout.strip()


def stamp() -> dict:
    return {"machine": machine.describe(), "commit": commit(), "when": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())}


def merge(section: str, key: str, found: dict) -> None:
    """Writes what was found into the record, beside what is there under this key."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    place = record.setdefault(section, {})
    place[key] = place.get(key, {}) | found
    draft = RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1))
    draft.replace(RECORD)


def needs_onnx(names) -> bool:
    return any(name in ("onnx_runtime", "openvino_cpu", "iree_cpu") for name in names)


def run_kind(problem: Problem, args) -> None:
    key = f"{problem.name} {problem.kind} b{problem.batch} {problem.precision} t{problem.threads}"
    names = [p for p in peers.of(problem.kind, problem.precision) if not args.peers or p in args.peers]
    if needs_onnx(names):
        processes.export_onnx(problem)
    if "speed" in args.parts:
        console.print(f"{key}: speed")
        found = comparing.compare(problem, args.pairs, args.seconds, names)
        if problem.kind in comparing.STEP_ENTRY and problem.precision == "f32":
            found["sgemm"] = comparing.against_sgemm(problem, found["seconds_quartiles"][OURS][1])
        merge("comparisons", key, found | {"speed_by": stamp()})
    if "memory" in args.parts and problem.kind in comparing.STEP_ENTRY:
        console.print(f"{key}: memory")
        missing = found["missing"] if "speed" in args.parts else {}
        names = [p for p in processes.memory_peers(problem) if p == OURS or (p in names and p not in missing)]
        base = {"model": problem.name, "kind": problem.kind, "batch": problem.batch, "per_call": problem.per_call}
        merge("comparisons", key, base | {"memory": processes.memory(problem, names), "memory_by": stamp()})


def run_model(model: str, args) -> None:
    batch, kinds = MODELS[model]
    batch, kinds = args.batch or batch, [k for k in args.kinds if k in kinds]
    if not kinds:
        return
    problems = [Problem(model, kind, batch, args.precision, args.micro or 0) for kind in kinds]
    console.print(f"{model}: compiling")
    first = [Problem(model, "synth", batch, args.precision, args.micro or 0)] if "first" in args.parts else []
    emits = dict.fromkeys(p.emit for p in [*problems, *first])
    found = {"ns_compile_s": processes.compile_model(problems[0], emits)}
    for problem in problems:
        try:
            run_kind(problem, args)
        except comparing.Disagreement as error:
            args.failed.append(str(error))
    if first and "synth" in MODELS[model][1]:
        console.print(f"{model}: first step")
        found |= processes.first_step(first[0])
        if args.cold:
            console.print(f"{model}: torch.compile with an empty cache")
            found["cold_torch_compile_s"] = processes.cold_compile(first[0])
    merge("models", f"{model} b{batch} {args.precision}", found | {"by": stamp()})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="5 pairs, and only the first model unless --models is given"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all")
    parser.add_argument("--kinds", nargs="+", choices=ALL_KINDS, default=ALL_KINDS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peers", nargs="+", choices=peers.NAMES, help="default: all")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32", help="of our executables")
    parser.add_argument("--batch", type=int, help="instead of each model's own")
    parser.add_argument("--micro", type=int, help="images per call of ours; default: the batch")
    parser.add_argument("--pairs", type=int, help="default 15; 5 with --quick")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop a comparison's turns after this time")
    parser.add_argument("--cold", action="store_true", help="time torch.compile with an empty cache too")
    parser.add_argument("--force", action="store_true", help="run even where other work keeps the machine busy")
    args = parser.parse_args()
    args.failed = []
    args.models = args.models or (list(MODELS)[:1] if args.quick else list(MODELS))
    args.pairs = args.pairs or (5 if args.quick else 15)
    return args


def main() -> int:
    args = arguments()
    if (busy := machine.other_cores()) > machine.ALLOWED_CORES and not args.force:
        sys.exit(
            f"bench: other work keeps {busy:.2f} cores busy (allowed: {machine.ALLOWED_CORES}; load average {os.getloadavg()[0]:.2f}); wait, or use --force"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        for model in args.models:
            run_model(model, args)
    except processes.Failed as error:
        sys.exit(f"bench: {error}")
    table.print_record(json.loads(RECORD.read_text()), console)
    console.print(f"{RECORD.relative_to(ROOT)}: all that was measured; {threads()} threads")
    for failure in args.failed:
        console.print(f"[bold]{failure}[/bold]")
    return 1 if args.failed else 0


if __name__ == "__main__":
    sys.exit(main())
