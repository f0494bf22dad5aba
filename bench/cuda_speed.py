"""One comparison on a GPU: peers set up, compared with PyTorch in float32, weighed, and timed in turns."""

import contextlib
import signal
import time

import compare as comparing
import cuda_kernels
import cuda_problem as problems
import cuda_steps
import numpy as np
from cuda_steps import OURS

TURN_SECONDS = 0.05
# Of the largest entry: bfloat16 against float32; products of FP8 beside them.
TOLERANCE, FP8_TOLERANCE = 5e-2, 0.25
COMPILE_SECONDS = 280  # of one peer under torch.compile, which tries hundreds of kernels


def is_ours(name: str) -> bool:
    return name.startswith(OURS)


def reason(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


@contextlib.contextmanager
def at_most(seconds: float | None):
    """A TimeoutError after so many seconds; None: no limit."""

    def stop(*_):
        raise TimeoutError(f"not done after {seconds:.0f} s")

    if not seconds:
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Memory:
    """What a peer takes of the GPU, beside what was in use before it. Ours: all that the GPU lost, libraries included. PyTorch's: what its
    allocator reserved for steady steps, without what compiling took."""

    def __init__(self, device: str):
        self.device = device
        if device == "cuda":
            import torch

            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            self.torch, self.used = torch, self.in_use()
            self.reserved, self.allocated = torch.cuda.memory_reserved(), torch.cuda.memory_allocated()

    def in_use(self) -> int:
        free, total = self.torch.cuda.mem_get_info()
        return total - free

    def of(self, name: str, work) -> dict:
        found = {}
        if is_ours(name):
            found["regions_mb"] = {key: size / 2**20 for key, size in work.model.metadata["regions"].items()}
        if self.device != "cuda":
            return found
        if is_ours(name):
            return found | {"peak_mb": (self.in_use() - self.used) / 2**20}
        self.torch.cuda.empty_cache()
        self.torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            work.step()
        work.finish()
        return {
            "peak_mb": (self.torch.cuda.max_memory_reserved() - self.reserved) / 2**20,
            "allocated_mb": (self.torch.cuda.max_memory_allocated() - self.allocated) / 2**20,
        }


def golden_result(problem, pack) -> dict:
    """What the first step must have computed: eager in float32, which leaves its memory to the others."""
    work = cuda_steps.prepare("eager_f32", problem, pack, problems.weights(problem))
    work.step()
    work.finish()
    found = work.result()
    del work
    cuda_steps.forget(problem.device)
    return found


def expect_near(name: str, errors: dict, of_eager: dict) -> None:
    """Raises Disagreement. Of attacked images, whose pixels are signs of gradients, as many may differ as PyTorch's own in bfloat16 do."""
    tolerance, error = FP8_TOLERANCE if "fp8" in name else TOLERANCE, max(errors.values())
    if "adversarial" in errors:
        tolerance, error = 1.5 * of_eager.get("adversarial", 1) + 0.01, errors["adversarial"]
    if not error <= tolerance:
        raise comparing.Disagreement(f"differs from float32 by {errors}, allowed {tolerance:.2g}")


def set_up(problem, names, args) -> tuple[dict, dict, dict, dict]:
    """Peers ready to step, their errors against eager in float32, their memory, and why others are not there."""
    work, errors, memory, missing = {}, {}, {}, {}
    golden = golden_result(problem, args.pack)
    for name in sorted(names, key=lambda n: n != "eager_bf16"):  # whose errors the others are compared with
        try:
            before = Memory(problem.device)
            with at_most(COMPILE_SECONDS if name.startswith("compiled") else None):
                work[name] = cuda_steps.prepare(name, problem, args.pack, problems.weights(problem))
                work[name].step()
                work[name].finish()
                found = work[name].result()
                for _ in range(2):  # CUDA graphs are recorded at the second step, by them and by us
                    work[name].step()
                work[name].finish()
            errors[name] = {key: comparing.error_of(key, found[key], golden[key]) for key in golden}
            memory[name] = before.of(name, work[name])
            expect_near(name, errors[name], errors.get("eager_bf16", {}))
        except Exception as error:  # it is listed with its reason; the others are still worth their time
            work.pop(name, None)
            missing[name] = reason(error)
            print(f"  {name}: {missing[name]}", flush=True)
    return {name: work[name] for name in names if name in work}, errors, memory, missing


def turn(work, steps: int) -> float:
    """Seconds of one step, of `steps` in a row."""
    work.finish()
    start = time.perf_counter()
    for _ in range(steps):
        work.step()
    work.finish()
    return (time.perf_counter() - start) / steps


def take_turns(work: dict, turns: int) -> dict:
    for peer in work.values():
        turn(peer, 1)
    steps = {name: max(1, int(TURN_SECONDS / turn(peer, 1))) for name, peer in work.items()}
    times, order = {name: [] for name in work}, list(work)
    for index in range(turns):
        for name in order[index % len(order) :] + order[: index % len(order)]:
            times[name].append(turn(work[name], steps[name]))
    return times


def speed(problem, args, compiled: bool) -> dict:
    """Ours and its variants, PyTorch eager and published; or, `compiled`, ours and eager beside torch.compile. In float32 a finetune step of
    ViT-L alone nearly fills a GPU: it is timed where it is asked for."""
    every = cuda_steps.of_kind(problem.kind)
    if compiled:
        every = [p for p in every if p in ("eager_bf16", "compiled_bf16")]
    elif not args.peers:
        every = [p for p in every if not p.startswith("compiled") and (p, problem.kind) != ("eager_f32", "finetune")]
    names = [OURS, *(p for p in every if p in (args.peers or every))]
    work, errors, memory, missing = set_up(problem, names, args)
    times = take_turns(work, args.turns)
    found = {
        "batch": problem.batch,
        "precision": problem.precision,
        "seconds_quartiles": {name: comparing.quartiles(t) for name, t in times.items()},
        "relative_difference": errors,
        "memory": memory,
        "missing": missing,
    }
    if OURS not in times:
        return found
    ours = np.array(times[OURS])
    ratios = {name: comparing.quartiles(np.array(t) / ours) for name, t in times.items() if name != OURS}
    share = flop_share(problem, work[OURS].model.metadata, float(np.median(ours)), args.peak)
    return found | {"ratio_quartiles": ratios} | share


def flop_share(problem, metadata: dict, seconds: float, peak: float | None) -> dict:
    """Useful FLOPs of the step per second, and their share of the peak of dense bfloat16 products."""
    entry = cuda_kernels.STEP_ENTRY.get(problem.kind)
    if entry is None:
        return {}
    flops = next(e["flops"] for e in metadata["entries"] if e["name"] == entry)
    return {"useful_flop_per_s": flops / seconds} | ({"share_of_peak": flops / seconds / peak} if peak else {})
