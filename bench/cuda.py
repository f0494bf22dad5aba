"""Times our steps on a GPU against PyTorch eager, torch.compile(mode="max-autotune") and the published procedure; adds the results to
bench/out/cuda.json and prints tables (bench/cuda_table.py). --tests runs the GPU tests of the pack first.

Peers take turns in one process; a turn is as many steps as fill 50 ms, then one wait. All first results are compared with PyTorch in float32
before anything is timed; a peer that fails is listed with its reason. Needs what `make bench-cuda-pack` made, PyTorch for CUDA, timm, safetensors
and rich, but no compiler. What matters most comes first, every part is written when it is done, what the file has is not measured again
(--again does), and nothing new begins after --seconds. After an error that leaves the GPU's context useless the program starts itself again.

Exit status 77 where there is no GPU. --emulate tries the program's own flow on the CPU: its times mean nothing.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "bench")]

import cuda_kernels
import cuda_problem as problems
import cuda_speed
import cuda_steps
import cuda_table
from cuda_problem import KINDS, MODELS
from problem import OUT

NO_GPU = 77
PARTS = ("speed", "kernels", "compiled")
TRAINING = ("synth", "finetune")
# Useful FLOPs per second of dense bfloat16 products, as NVIDIA states them.
PEAKS = {"H200": 989.4e12, "H100": 989.4e12, "A100": 312e12, "B200": 2250e12}
STARTED = "NULLSPACE_BENCH_CUDA_STARTED"  # when the first of the processes that replaced one another began


def why_no_gpu() -> str:
    try:
        import torch
    except ImportError as error:
        return f"PyTorch is missing: {error}"
    return "" if torch.cuda.is_available() else "PyTorch sees no CUDA device"


def merge(record: pathlib.Path, section: str, key: str, found: dict) -> None:
    content = problems.read_json(record)
    place = content.setdefault(section, {})
    known = place.get(key, {})
    for name, value in found.items():  # a later part adds its peers to those of an earlier one
        known[name] = known[name] | value if isinstance(value, dict) and isinstance(known.get(name), dict) else value
    for name in found.get("missing", {}):  # what an earlier run found of it holds no more
        for figures in ("seconds_quartiles", "ratio_quartiles", "memory"):
            known.get(figures, {}).pop(name, None)
    for name in found.get("seconds_quartiles", {}):
        known["missing"].pop(name, None)
    place[key] = known
    draft = record.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(record)


def gpu_state() -> str:
    """Clocks and such as nvidia-smi tells them, "" where it does not."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


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
            "state": gpu_state(),
        }
    return found


def plan(args) -> list[tuple[str, str, str]]:
    """(model, kind, part), what matters most first."""

    def rank(item) -> int:
        model, kind, part = item
        trains, main = kind in TRAINING, model == args.models[0]
        if part == "compiled":
            return (1 if main else 4) if trains else 5
        return (0 if main else 2) if trains else 3

    items = [(m, k, p) for m in args.models for k in args.kinds for p in PARTS if p in args.parts]
    if args.emulate:  # minutes on a CPU, and no CUDA graphs
        items = [item for item in items if item[2] != "compiled"]
    return sorted((i for i in items if i[2] != "kernels" or i[1] in cuda_kernels.STEP_ENTRY), key=rank)


def measure(problem, part: str, args) -> dict:
    if part == "kernels":
        return {"kernels": cuda_kernels.measure(problem, args.pack, problems.weights(problem))}
    return cuda_speed.speed(problem, args, compiled=part == "compiled")


def context_is_lost(device: str) -> bool:
    if device != "cuda":
        return False
    import torch

    try:
        torch.cuda.synchronize()
        return False
    except RuntimeError:
        return True


def measure_all(args, device: str, about: dict, started: float) -> int:
    """0 where everything is there, 1 where something failed or the time was up."""
    failed = 0
    for model, kind, part in plan(args):
        problem = problems.make(model, kind, device)
        key = f"{model} {kind} b{problem.batch} {problem.precision}"
        known = problems.read_json(args.record)
        done = known.get("comparisons", {}).get(key, {}).get(f"{part}_by")
        failure = known.get("failures", {}).get(f"{key} {part}", {})
        if failure.get("started") == started:
            failed += 1
        if failure.get("started") == started or (done and (not args.again or done.get("started") == started)):
            continue
        reserve = 0 if part != "compiled" else min(args.seconds / 3, cuda_speed.COMPILE_SECONDS)
        if time.time() - started > args.seconds - reserve:
            print(f"bench-cuda: no time for {key}: {part}; run again to go on", flush=True)
            failed += 1
            continue
        print(f"{time.time() - started:4.0f} s  {key}: {part}", flush=True)
        try:
            found = measure(problem, part, args)
            by = about | {"started": started, "state": gpu_state()}
            merge(args.record, "comparisons", key, found | {f"{part}_by": by})
            failed += cuda_steps.OURS in found.get("missing", {})
        except Exception as error:
            failed += 1
            text = cuda_speed.reason(error)
            merge(args.record, "failures", f"{key} {part}", {"why": text, "started": started, "when": about["when"]})
            print(f"{key}: {part}: {text}", flush=True)
        if context_is_lost(device):
            print("bench-cuda: the GPU's context is lost: starting again", flush=True)
            os.execv(sys.executable, [sys.executable, *sys.argv])
        cuda_steps.forget(device)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all but tiny; the first one first")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peers", nargs="+", choices=cuda_steps.PEERS, help="default: all")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=540, help="begin nothing new after this time")
    parser.add_argument("--again", action="store_true", help="measure again what the record has")
    parser.add_argument("--tests", action="store_true", help="first run the pack's tests, into the record's `tests`")
    parser.add_argument(
        "--peak", type=float, help="dense bfloat16 FLOP/s of the GPU; known for H100, H200, A100 and B200"
    )
    parser.add_argument("--pack", type=pathlib.Path, default=problems.PACK)
    parser.add_argument("--record", type=pathlib.Path, default=OUT / "cuda.json")
    parser.add_argument("--emulate", action="store_true", help="ours on the emulator, PyTorch on the CPU")
    args = parser.parse_args()
    args.models = args.models or (["tiny"] if args.emulate else list(MODELS)[1:])
    args.pack, args.record = args.pack.resolve(), args.record.resolve()
    return args


def run_tests(args, about: dict) -> bool:
    """The tests of test/Integration/GPU in a process of their own; what they said goes into the record."""
    command = [sys.executable, ROOT / "test" / "Integration" / "GPU" / "run.py", "--pack", args.pack, "--record"]
    found = args.record.with_suffix(".tests.json")
    status = subprocess.run([str(c) for c in [*command, found]]).returncode
    merge(args.record, "tests", about["gpu"], {"status": status, "results": problems.read_json(found), "by": about})
    return status == 0


def main() -> int:
    args = arguments()
    started = float(os.environ.setdefault(STARTED, str(time.time())))
    if not args.emulate and (reason := why_no_gpu()):
        print(f"bench-cuda: skipped: {reason}; on a machine with a GPU run `make bench-cuda` there")
        return NO_GPU
    if not (args.pack / "lib" / "libnsrt.so").exists():
        sys.exit(f"bench-cuda: {args.pack} is missing: run `make bench-cuda-pack` where the compiler is")
    problems.use(args.pack)
    device = "cpu" if args.emulate else "cuda"
    about = machine(device)
    args.peak = args.peak or next((peak for name, peak in PEAKS.items() if name in about["gpu"]), None)
    for folder in (OUT, args.record.parent):
        folder.mkdir(parents=True, exist_ok=True)
    merge(args.record, "machines", f"{about['gpu']} {about['when']}", about | cuda_kernels.ceilings(device))
    passed = not args.tests or run_tests(args, about)
    status = measure_all(args, device, about, started)
    print(cuda_table.text(problems.read_json(args.record)))
    print(f"{args.record}: all that was measured")
    return status if passed else 1


if __name__ == "__main__":
    sys.exit(main())
