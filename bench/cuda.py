"""Times our steps on a GPU against PyTorch eager and torch.compile(mode="max-autotune"); adds the results to bench/out/cuda.json and prints a table.

Peers take turns in one process, as in bench/run.py; a turn is as many steps as fill 50 ms, then one wait. All first results are compared with PyTorch in
float32 before anything is timed. Peak memory comes from fresh processes. Needs what `make bench-cuda-pack` made, PyTorch for CUDA, timm, safetensors and
rich, but no compiler. What the file has already is not measured again (--again does), and nothing new begins after --seconds.

Exit status 77 where there is no GPU. --emulate tries the program's own flow on the CPU: its times mean nothing.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "bench")]

import compare as comparing
import cuda_kernels
import cuda_problem as problems
import cuda_steps
import numpy as np
from cuda_problem import KINDS, MODELS
from cuda_steps import OURS
from problem import OUT

NO_GPU = 77
PARTS = ("speed", "memory", "kernels")
# Useful FLOPs per second of dense bfloat16 products, as NVIDIA states them.
PEAKS = {"H200": 989.4e12, "H100": 989.4e12, "A100": 312e12, "B200": 2250e12}
TURN_SECONDS = 0.05
TOLERANCE = 5e-2  # of the largest entry: bfloat16 against float32


def why_no_gpu() -> str:
    try:
        import torch
    except ImportError as error:
        return f"PyTorch is missing: {error}"
    return "" if torch.cuda.is_available() else "PyTorch sees no CUDA device"


def merge(record: pathlib.Path, section: str, key: str, found: dict) -> None:
    content = problems.read_json(record)
    place = content.setdefault(section, {})
    place[key] = place.get(key, {}) | found
    draft = record.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(record)


def machine(device: str) -> dict:
    import torch

    found = {
        "torch": torch.__version__,
        "when": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
        "gpu": "none: emulated",
    }
    if device == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def golden_result(problem, pack) -> dict:
    """What the first step must have computed: eager in float32, which leaves its memory to the others."""
    work = cuda_steps.prepare("eager_f32", problem, problems.executable(problem, pack), problems.weights(problem))
    work.step()
    work.finish()
    found = work.result()
    del work
    cuda_steps.forget(problem.device)
    return found


def set_up(problem, names, pack) -> tuple[dict, dict, dict]:
    """Peers ready to step, their errors against eager in float32, and why others are not there."""
    work, errors, missing = {}, {}, {}
    golden = golden_result(problem, pack)
    for name in names:
        try:
            work[name] = cuda_steps.prepare(
                name, problem, problems.executable(problem, pack), problems.weights(problem)
            )
            work[name].step()
            work[name].finish()
        except Exception as error:  # a peer that does not run is listed with its reason
            if name == OURS:
                raise
            work.pop(name, None)
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    for name in list(work):
        found = work[name].result()
        errors[name] = {key: comparing.error_of(key, found[key], golden[key]) for key in golden}
        if "adversarial" not in golden and max(errors[name].values()) > TOLERANCE:
            if name == OURS:
                raise comparing.Disagreement(
                    f"{problem.name} {problem.kind}: ours differs from float32: {errors[name]}"
                )
            missing[name] = f"not timed: differs by {errors[name]}"
            del work[name]
    return work, errors, missing


def turn(work, steps: int) -> float:
    """Seconds of one step, of `steps` in a row."""
    work.finish()
    start = time.perf_counter()
    for _ in range(steps):
        work.step()
    work.finish()
    return (time.perf_counter() - start) / steps


def take_turns(work: dict, turns: int) -> dict:
    for _ in range(3):  # torch.compile records its graphs at the second step, we at the second, too
        for peer in work.values():
            turn(peer, 1)
    steps = {name: max(1, int(TURN_SECONDS / turn(peer, 1))) for name, peer in work.items()}
    times, order = {name: [] for name in work}, list(work)
    for index in range(turns):
        for name in order[index % len(order) :] + order[: index % len(order)]:
            times[name].append(turn(work[name], steps[name]))
    return times


def speed(problem, args) -> dict:
    # In float32 a finetune step of ViT-L alone nearly fills a GPU: it is timed where it is asked for.
    every = cuda_steps.of_kind(problem.kind)
    default = [p for p in every if (p, problem.kind) != ("eager_f32", "finetune")]
    names = [OURS, *(p for p in every if p in (args.peers or default))]
    if problem.device != "cuda":
        names = [n for n in names if not n.startswith("compiled")]  # minutes on a CPU, and no CUDA graphs
    work, errors, missing = set_up(problem, names, args.pack)
    times = take_turns(work, args.turns)
    ours = np.array(times[OURS])
    found = {
        "batch": problem.batch,
        "precision": problem.precision,
        "seconds_quartiles": {name: comparing.quartiles(t) for name, t in times.items()},
        "ratio_quartiles": {name: comparing.quartiles(np.array(t) / ours) for name, t in times.items() if name != OURS},
        "relative_difference": errors,
        "missing": missing,
    }
    return found | flop_share(problem, work[OURS].model.metadata, float(np.median(ours)), args.peak)


def flop_share(problem, metadata: dict, seconds: float, peak: float | None) -> dict:
    """Useful FLOPs of the step per second, and their share of the peak of dense bfloat16 products."""
    entry = cuda_kernels.STEP_ENTRY.get(problem.kind)
    if entry is None:
        return {}
    flops = next(e["flops"] for e in metadata["entries"] if e["name"] == entry)
    return {"useful_flop_per_s": flops / seconds} | ({"share_of_peak": flops / seconds / peak} if peak else {})


def memory(problem, args) -> dict:
    """Peak device memory of each peer in a process of its own: what the GPU had in use beside what it had before, and what its allocator held."""
    found = {}
    for name in [OURS, "eager_bf16", *(["compiled_bf16"] if problem.device == "cuda" else [])]:
        command = [sys.executable, ROOT / "bench" / "cuda_memory.py", name, problem.text(), args.pack]
        result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if result.returncode:
            found[name] = {"missing": result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "?"}
        else:
            found[name] = json.loads(result.stdout.splitlines()[-1])
    if "missing" in found[OURS]:
        raise RuntimeError(found[OURS]["missing"])
    return {"memory": found}


def measure(problem, part: str, args) -> dict:
    if part == "speed":
        return speed(problem, args)
    if part == "memory":
        return memory(problem, args)
    return {
        "kernels": cuda_kernels.measure(problem, problems.executable(problem, args.pack), problems.weights(problem))
    }


def show(record: dict) -> None:
    """A line for each comparison: times of ours over the peers', share of the peak, memory."""
    for key, found in sorted(record.get("comparisons", {}).items()):
        parts = [key]
        if "seconds_quartiles" in found:
            parts.append(f"{found['seconds_quartiles'][OURS][1] * 1e3:.2f} ms")
            parts += [f"{name} x{q[1]:.2f}" for name, q in found["ratio_quartiles"].items()]
        if "share_of_peak" in found:
            parts.append(f"{found['share_of_peak']:.0%} of peak")
        for name, m in found.get("memory", {}).items():
            parts.append(f"{name} {m['peak_mb']:.0f} MB" if "peak_mb" in m else f"{name}: {m['missing']}")
        if rows := found.get("kernels", {}).get("kernels"):
            parts.append(
                f"slowest kernels at {min(r['share_of_copy'] for r in rows[:5]):.0%} or more of the copy bandwidth"
            )
        print("  ".join(parts))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all but tiny")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peers", nargs="+", choices=cuda_steps.PEERS, help="default: all")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=540, help="begin nothing new after this time")
    parser.add_argument("--again", action="store_true", help="measure again what the record has")
    parser.add_argument(
        "--peak", type=float, help="dense bfloat16 FLOP/s of the GPU; known for H100, H200, A100 and B200"
    )
    parser.add_argument("--pack", type=pathlib.Path, default=problems.PACK)
    parser.add_argument("--record", type=pathlib.Path, default=OUT / "cuda.json")
    parser.add_argument("--emulate", action="store_true", help="ours on the emulator, PyTorch on the CPU")
    args = parser.parse_args()
    args.models = args.models or (["tiny"] if args.emulate else list(MODELS)[1:])
    return args


def main() -> int:
    args = arguments()
    if not args.emulate and (reason := why_no_gpu()):
        print(f"bench-cuda: skipped: {reason}; on a machine with a GPU run `make bench-cuda` there")
        return NO_GPU
    if not (args.pack / "lib" / "libnsrt.so").exists():
        sys.exit(f"bench-cuda: {args.pack} is missing: run `make bench-cuda-pack` where the compiler is")
    problems.use(args.pack)
    device = "cpu" if args.emulate else "cuda"
    about, begin, failed = machine(device), time.perf_counter(), []
    args.peak = args.peak or next((peak for name, peak in PEAKS.items() if name in about["gpu"]), None)
    OUT.mkdir(parents=True, exist_ok=True)
    merge(args.record, "machines", f"{about['gpu']} {about['when']}", about)
    for model in args.models:
        for kind in args.kinds:
            problem = problems.make(model, kind, device)
            key = f"{model} {kind} b{problem.batch} {problem.precision}"
            for part in args.parts:
                done = problems.read_json(args.record).get("comparisons", {}).get(key, {})
                if (f"{part}_by" in done and not args.again) or (
                    part == "kernels" and kind not in cuda_kernels.STEP_ENTRY
                ):
                    continue
                if time.perf_counter() - begin > args.seconds:
                    print(f"bench-cuda: the time is up before {key}: {part}; run again to go on")
                    show(problems.read_json(args.record))
                    return 1
                print(f"{key}: {part}", flush=True)
                try:
                    merge(args.record, "comparisons", key, measure(problem, part, args) | {f"{part}_by": about})
                except Exception as error:  # the others are still worth their time
                    failed.append(f"{key}: {part}: {type(error).__name__}: {error}")
                    print(failed[-1], flush=True)
                cuda_steps.forget(device)
    show(problems.read_json(args.record))
    print(f"{args.record}: all that was measured")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
