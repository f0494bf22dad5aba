"""How near our generated kernels come to the bandwidth of a copy: each kernel's time by the profiler of PyTorch, which sees all kernels of the process,
or by our own, and its bytes by the artefact's list of ops.
"""

import functools
import json
import pathlib
import tempfile

import cuda_steps

STEP_ENTRY = {"synth": "synth_step", "finetune": "finetune_step_noised", "forward": "clean_logits"}


def copy_bandwidth() -> float:
    """Bytes read and written per second by a copy of 1 GiB on the device, the best of a few."""
    import torch

    source = torch.empty(1 << 28, device="cuda")
    target, best = torch.empty_like(source), 0.0
    for _ in range(10):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        best = max(best, 2 * source.nbytes / (begin.elapsed_time(end) / 1e3))
    return best


def product_speed() -> float:
    """FLOP/s of a large bfloat16 product of random numbers by PyTorch, the best of a few."""
    import torch

    size = 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(10):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        a @ b
        end.record()
        end.synchronize()
        best = max(best, 2 * size**3 / (begin.elapsed_time(end) / 1e3))
    return best


@functools.cache
def ceilings(device: str) -> dict:
    """What this GPU reaches at most: measured once a process, on an empty GPU."""
    if device != "cuda":
        return {}
    import torch

    found = {"copy_bytes_per_s": copy_bandwidth(), "product_flop_per_s": product_speed()}
    torch.cuda.empty_cache()
    return found


def kernel_times(work, steps: int) -> dict[str, tuple[float, int]]:
    """Seconds and launches in all `steps`, by kernel."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            work.step()
        work.finish()
    return {e.key: (e.self_device_time_total / 1e6, e.count) for e in profiler.key_averages() if e.count}


def bytes_of(metadata: dict, entry: str) -> dict[str, int]:
    """Bytes that each kernel of an entry must read and write, all its launches together."""
    found = {}
    for op in next(e["ops"] for e in metadata["entries"] if e["name"] == entry):
        if kernel := op.get("kernel"):
            found[kernel] = found.get(kernel, 0) + op["bytes"]
    return found


def rows(times: dict, sizes: dict[str, int], steps: int, bandwidth: float | None) -> list[dict]:
    """A row for each generated kernel, the one that takes the most time first."""
    found = []
    for kernel, size in sizes.items():
        if kernel in times and times[kernel][0] > 0:
            seconds = times[kernel][0] / steps
            speed = size / seconds
            found.append(
                {
                    "kernel": kernel,
                    "seconds": seconds,
                    "launches": times[kernel][1] // steps,
                    "bytes": size,
                    "bytes_per_s": speed,
                    "share_of_copy": speed / bandwidth if bandwidth else None,
                }
            )
    return sorted(found, key=lambda row: -row["seconds"])


def profiled_times(work, kind: str, steps: int) -> dict[str, tuple[float, int]]:
    """The same by our own profile (events between the ops of a graph), where PyTorch's profiler sees no kernels."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        with work.model.profile(file.name):
            for _ in range(steps):
                work.step()
            work.finish()
        sums = json.loads(pathlib.Path(file.name).read_text())["nullspace"]
    found = {}
    for op in next(e["ops"] for e in sums["entries"] if e["name"] == STEP_ENTRY[kind]):
        name = op.get("kernel", "products")
        seconds, count = found.get(name, (0.0, 0))
        found[name] = (seconds + op["seconds"], count + op["calls"])
    return found


def measure(problem, pack, weights, steps: int = 5) -> dict:
    work = cuda_steps.prepare(cuda_steps.OURS, problem, pack, weights)
    for _ in range(3):
        work.step()
    work.finish()
    sizes = bytes_of(work.model.metadata, STEP_ENTRY[problem.kind])
    bandwidth = ceilings(problem.device).get("copy_bytes_per_s")
    times, by = kernel_times(work, steps) if problem.device == "cuda" else {}, "PyTorch's profiler"
    if not any(name in times for name in sizes):
        profiled_times(work, problem.kind, 1)  # records the graphs with events
        times, by = profiled_times(work, problem.kind, steps), "nsrt_profile"
    others = sum(seconds for kernel, (seconds, _) in times.items() if kernel not in sizes) / steps
    found = rows(times, sizes, steps, bandwidth)
    total, spent = sum(r["bytes"] for r in found), sum(r["seconds"] for r in found)
    return {
        "timed_by": by,
        "copy_bytes_per_s": bandwidth,
        "kernels": found,
        "generated_seconds": spent,
        "other_seconds": others,
        "share_of_copy": total / spent / bandwidth if spent and bandwidth else None,
    }
