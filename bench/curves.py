"""How time grows: with the batch on one and two threads, and with depth, width and tokens; ours and careful eager, ViT-Ti and its variants.

Every point is a comparison of its own, in a process of its own, of steps that take turns. Adds the points to bench/out/curves.json and
draws them: curves.py [--series batch depth width tokens] [--kinds synth forward] [--draw-only FILE.json] -o docs/curves.svg
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import machine
from peers import OURS
from problem import OUT, Problem

MODEL = "vit_tiny_patch16_224"
PEERS = (OURS, "eager")


def points(series: str) -> list[tuple[float, dict]]:
    """What is on the horizontal axis, and the problem: the batch, blocks, channels, or tokens of an image."""
    base = {"batch": 16, "options": (), "threads": 2}
    if series == "batch":
        return [(b, base | {"batch": b, "threads": t}) for t in (1, 2) for b in (1, 2, 4, 8, 16, 32, 64)]
    if series == "depth":
        return [(d, base | {"options": (("depth", d),)}) for d in (1, 2, 4, 8, 12, 24)]
    if series == "width":
        return [(w, base | {"options": (("embed_dim", w), ("num_heads", w // 64))}) for w in (128, 192, 384, 768)]
    return [((s // 16) ** 2 + 1, base | {"options": (("img_size", s),), "batch": 8}) for s in (96, 160, 224, 320, 384)]


def measure(problem: Problem, seconds: float) -> dict:
    """In this process: compiles, compares, and returns the times."""
    import compare
    import processes
    from nullspace import runtime

    compile_seconds = processes.compile_model(problem, [problem.emit])[problem.emit]
    found = compare.compare(problem, 15, seconds, ["eager"])
    entries = {e["name"]: e for e in runtime.Model(str(problem.executable)).metadata["entries"]}
    return {
        "seconds": {p: found["seconds_quartiles"][p] for p in PEERS},
        "ratio": found["ratio_quartiles"]["eager"],
        "gflop": entries[compare.STEP_ENTRY[problem.kind]]["flops"] / 1e9,
        "compile_s": compile_seconds,
        "other_work_cores": found["other_work_cores"],
    }


def run(series: str, kinds, seconds: float, record: dict, path: pathlib.Path) -> None:
    for kind in kinds:
        for x, fields in points(series):
            problem = Problem(MODEL, kind, **fields)
            command = [sys.executable, __file__, "--point", problem.text(), "--seconds", str(seconds)]
            environment = os.environ | {"OMP_NUM_THREADS": str(problem.threads)}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(f"curves: {problem.name} {kind} batch {problem.batch}: {done.stderr[-2000:]}")
            point = json.loads(done.stdout.splitlines()[-1])
            name = f"{kind} by {series}" + (f", {problem.threads} threads" if series == "batch" else "")
            record.setdefault(name, {})[str(x)] = point | {"batch": problem.batch}
            path.write_text(json.dumps(record, indent=1))
            print(
                f"{name} {x}: ours {1e3 * point['seconds'][OURS][1]:.1f} ms, {point['gflop'] / point['seconds'][OURS][1]:.0f} GFLOP/s, eager {point['ratio'][1]:.2f}",
                flush=True,
            )


def draw(record: dict, output: pathlib.Path) -> None:
    """Time of an image over the batch; useful FLOPs per second over depth, width and tokens: level where cost grows as FLOPs do."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    panels = [(s, k) for k in ("synth", "forward") for s in ("batch", "depth", "width", "tokens")]
    panels = [p for p in panels if any(name.startswith(f"{p[1]} by {p[0]}") for name in record)]
    figure, axes = plt.subplots(-(-len(panels) // 4), min(len(panels), 4), figsize=(14, 3.2 * -(-len(panels) // 4)), squeeze=False)
    for axis, (series, kind) in zip(axes.flat, panels):
        for name in sorted(n for n in record if n.startswith(f"{kind} by {series}")):
            curve = sorted((float(x), p) for x, p in record[name].items())
            threads = name.partition(", ")[2]
            for peer, style in zip(PEERS, ("o-", "s--")):
                if series == "batch":
                    y = [1e3 * p["seconds"][peer][1] / p["batch"] for _, p in curve]
                else:
                    y = [p["gflop"] / p["seconds"][peer][1] for _, p in curve]
                label = "Nullspace" if peer == OURS else "PyTorch eager"
                axis.plot([x for x, _ in curve], y, style, label=f"{label} {threads}".strip(), markersize=4)
        axis.set(xlabel=series, ylabel="ms an image" if series == "batch" else "GFLOP/s", title=kind, xscale="log", ylim=(0, None))
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", choices=("batch", "depth", "width", "tokens"), default=("batch", "depth", "width", "tokens"))
    parser.add_argument("--kinds", nargs="+", choices=("synth", "forward"), default=("synth", "forward"))
    parser.add_argument("--seconds", type=float, default=6, help="of turns at each point")
    parser.add_argument("--force", action="store_true", help="run even where other work keeps the machine busy")
    parser.add_argument("--draw-only", type=pathlib.Path, metavar="FILE.json")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("-o", dest="output", type=pathlib.Path)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(Problem.parse(args.point), args.seconds)))
        return
    path = args.draw_only or OUT / "curves.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    if not args.draw_only:
        if (busy := machine.other_cores()) > machine.ALLOWED_CORES and not args.force:
            sys.exit(f"curves: other work keeps {busy:.2f} cores busy; wait, or use --force")
        for series in args.series:
            run(series, args.kinds, args.seconds, record, path)
    if args.output:
        draw(record, args.output)


if __name__ == "__main__":
    main()
