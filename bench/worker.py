"""One peer in a process of its own: a few steps, then its memory and times as JSON on the last line.

usage: worker.py PEER PROBLEM STEPS (PROBLEM: JSON, problem.py)
"""

import importlib
import json
import sys
import time

from problem import Problem, peak_kilobytes


def main() -> None:
    peer, problem, steps = sys.argv[1:]
    module = importlib.import_module(f"peers.{peer}")
    module.load()
    idle = peak_kilobytes()
    start = time.perf_counter()
    work = module.prepare(Problem.parse(problem))
    prepared = time.perf_counter() - start
    seconds = []
    for _ in range(int(steps)):
        start = time.perf_counter()
        work.step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"idle_kb": idle, "peak_kb": peak_kilobytes(), "prepare_s": prepared, "steps_s": seconds}))


if __name__ == "__main__":
    main()
