"""What is measured in fresh processes: peak memory, the first step, compile times."""

import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import peers
from peers import OURS
from problem import BIN, OUT, ROOT, Problem, peak_kilobytes


class Failed(Exception):
    """A command that the benchmark needs did not work."""


def run(*command, env=None) -> subprocess.CompletedProcess:
    command = [str(part) for part in command]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    if result.returncode not in (0, 3):
        raise Failed(f"{' '.join(command)} ended with status {result.returncode}\n{result.stderr[-3000:]}")
    return result


def compile_model(problem: Problem, emits) -> dict[str, float]:
    """Exports where that is not done yet, imports, compiles; the seconds of ns-compile, by what it emits."""
    OUT.mkdir(parents=True, exist_ok=True)
    pt2 = problem.mlir.with_suffix(".pt2")
    if not pt2.exists():
        options = [f"{key}={value}" for key, value in problem.options]
        size = ["--img-size", problem.side] if "img_size" in dict(problem.options) else []
        keywords = [o for o in options if not o.startswith("img_size")]
        run(
            *(sys.executable, "-m", "nullspace.export", f"timm:{problem.model}", *size, "-o", pt2),
            *(["--model-kwargs", *keywords] if keywords else []),
        )
    run(BIN / "ns-import", pt2, "-o", problem.mlir)
    return {emit: compile_executable(problem, emit) for emit in emits}


def compile_executable(problem: Problem, emit: str) -> float:
    executable = problem.executable.with_name(problem.executable.name.removesuffix(problem.emit) + emit)
    flags = [f"--precision={problem.precision}"] if problem.precision != "f32" else []
    start = time.perf_counter()
    run(BIN / "ns-compile", problem.mlir, f"--emit={emit}", f"--batch={problem.per_call}", *flags, "-o", executable)
    return time.perf_counter() - start


def export_onnx(problem: Problem) -> None:
    """For the peers that read ONNX; in a process of its own, whose memory is then nobody's."""
    if not problem.onnx.exists():
        run(sys.executable, ROOT / "bench" / "onnx_export.py", problem.text(), problem.onnx)


def fresh_process(peer: str, problem: Problem, steps: int, env=None) -> dict:
    start = time.perf_counter()
    result = run(sys.executable, ROOT / "bench" / "worker.py", peer, problem.text(), steps, env=env)
    return json.loads(result.stdout.splitlines()[-1]) | {"process_s": time.perf_counter() - start}


def memory(problem: Problem, names) -> dict:
    """Peak resident memory of each peer, two steps in a process of its own: all of it, and less what it held after its imports. Of ours
    also the regions of the artefact."""
    found = {peer: fresh_process(peer, problem, 2) for peer in names}
    table = {
        peer: {
            "peak_mb": f["peak_kb"] / 1024,
            "idle_mb": f["idle_kb"] / 1024,
            "peak_without_idle_mb": (f["peak_kb"] - f["idle_kb"]) / 1024,
        }
        for peer, f in found.items()
    }
    information = json.loads(run(problem.executable, "--info").stdout)
    table[OURS]["regions_mb"] = {name: size / 2**20 for name, size in information["regions"].items()}
    return table


def cold_compile(problem: Problem) -> float:
    """Seconds of torch.compile's first step with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        found = fresh_process("compiled", problem, 1, env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder})
    return found["steps_s"][0]


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


def stretches(trace: dict) -> dict[str, float]:
    """Seconds of each named stretch of a trace (EXE --profile) that is no op and no piece of one."""
    found = {}
    for event in trace["traceEvents"]:
        if event.get("ph") == "X" and event.get("cat") in ("host", "entry"):
            found[event["name"]] = found.get(event["name"], 0.0) + event["dur"] / 1e6
    return found


def first_step(problem: Problem) -> dict:
    """Seconds from process start to the end of the first synthesis step: our executable, data reading included, and PyTorch eager; and
    what our time consists of."""
    data, trace = OUT / f"first-{problem.batch}-{problem.side}.npz", OUT / "first-trace.json"
    images = problem.pixels()
    np.savez(data, x_train=images, y_train=problem.labels(), x_val=images, y_val=problem.labels())
    flags = "--steps 1 --rounds 1 --train-fraction 1 --stop-samples 0 --batch-size".split()
    command = [problem.executable, "--data-dir", data, "--output", OUT / "first", *flags, problem.batch]
    command = [str(c) for c in [*command, "--threads", problem.threads]]
    seconds, peaks = [], []
    for _ in range(3):
        start = time.perf_counter()
        status, complaint, peak = watched(command)
        seconds.append(time.perf_counter() - start)
        peaks.append(peak / 1024)
        if status not in (0, 3):
            raise Failed(f"the synth executable of {problem.name} failed: {complaint[-2000:]}")
    start = time.perf_counter()
    run(problem.executable, "--info")
    loaded = time.perf_counter() - start
    run(*command, "--profile", trace)
    return {
        "executable_s": sorted(seconds)[1],
        "executable_peak_mb": max(peaks),
        "information_s": loaded,
        "parts_s": stretches(json.loads(trace.read_text())),
        "eager_s": fresh_process("eager", problem, 1)["process_s"],
    }


def memory_peers(problem: Problem) -> tuple[str, ...]:
    """Ours, and those whose memory is compared: not torch.compile and the published procedure, which hold eager's and more."""
    return OURS, *(p for p in peers.of(problem.kind, problem.precision) if p not in ("compiled", "published"))
