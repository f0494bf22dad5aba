"""One peer in a process of its own: three steps, then its peak device memory as JSON on the last line.

usage: cuda_memory.py PEER PROBLEM PACK (PROBLEM: JSON, problem.py)
"""

import json
import pathlib
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "bench")]

import cuda_problem as problems
import cuda_steps
from problem import Problem


class Watch(threading.Thread):
    """The most memory that the device had in use since the start, by all processes."""

    def __init__(self, device: str):
        super().__init__(daemon=True)
        self.device, self.peak, self.on = device, 0, True

    def used(self) -> int:
        import torch

        if self.device != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info()
        return total - free

    def run(self):
        while self.on:
            self.peak = max(self.peak, self.used())
            time.sleep(0.002)


def main():
    import torch

    name, text, pack = sys.argv[1:]
    problem = Problem.parse(text)
    problems.use(pathlib.Path(pack))
    weights = problems.weights(problem)
    watch = Watch(problem.device)
    before = watch.used()  # PyTorch's context is there now, in every peer's process, and shared with ours
    watch.start()
    work = cuda_steps.prepare(name, problem, problems.executable(problem, pathlib.Path(pack)), weights)
    for _ in range(3):
        work.step()
        work.finish()
    watch.on = False
    watch.join()
    found = {"peak_mb": (max(watch.peak, watch.used()) - before) / 2**20}
    if name == cuda_steps.OURS:
        found["regions_mb"] = {key: size / 2**20 for key, size in work.model.metadata["regions"].items()}
        found["allocator_mb"] = sum(found["regions_mb"].values())
    elif problem.device == "cuda":
        found["allocator_mb"] = torch.cuda.max_memory_reserved() / 2**20
    print(json.dumps(found))


if __name__ == "__main__":
    main()
