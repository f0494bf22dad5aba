#!/usr/bin/env python3
"""The tests that need a GPU. Exit status 77, with the reason, where there is none.

Without arguments, where the compiler is (`ctest -L cuda`): the tests of test/e2e that are marked gpu. With --pack DIR, where it is not: those that
`make bench-cuda-pack` prepared (pack.py), each in a process of its own, for a fault leaves a GPU's context useless. --record FILE gets their outcomes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / p) for p in ("python", "bench", "test/e2e", "test/Integration/GPU")]

from cuda_machine import why_no_gpu

SKIPPED = 77
SECONDS = 400  # of one test


def run_one(pack: pathlib.Path, name: str) -> int:
    """Prints what there is to say as the last line."""
    import checks
    import cuda_problem

    cuda_problem.use(pack)
    test = next(t for t in json.loads((pack / "tests" / "tests.json").read_text()) if t["name"] == name)
    try:
        print(checks.CHECKS[test["check"]](test, pack / "tests" / test["folder"]))
        return 0
    except checks.Skip as reason:
        print(reason)
        return SKIPPED
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:800]}")
        return 1


def run_pack(pack: pathlib.Path, record: pathlib.Path | None) -> int:
    results = {}
    for test in json.loads((pack / "tests" / "tests.json").read_text()):
        start = time.time()
        command = [sys.executable, __file__, "--pack", str(pack), "--only", test["name"]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            status = done.returncode
            said = (done.stdout.strip() or done.stderr.strip() or "died without a word").splitlines()[-1]
        except subprocess.TimeoutExpired:
            status, said = 1, f"not done after {SECONDS} s"
        outcome = {0: "passed", SKIPPED: "skipped"}.get(status, "failed")
        results[test["name"]] = {"outcome": outcome, "why": said, "seconds": round(time.time() - start, 1)}
        print(f"{outcome:7}  {test['name']:24} {results[test['name']]['seconds']:6.1f} s  {said}", flush=True)
        if record:
            record.write_text(json.dumps(results, indent=1))
    return 1 if any(r["outcome"] == "failed" for r in results.values()) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=pathlib.Path)
    parser.add_argument("--record", type=pathlib.Path)
    parser.add_argument("--only", metavar="TEST", help="one test of the pack, in this process")
    args = parser.parse_args()
    if args.pack and args.only:
        return run_one(args.pack.resolve(), args.only)
    emulated = args.pack and (args.pack / "emulator").exists()
    if not emulated and (reason := why_no_gpu()):
        print(f"skipped: {reason}")
        return SKIPPED
    if args.pack:
        return run_pack(args.pack.resolve(), args.record)
    tests = sorted((ROOT / "test" / "e2e").glob("test_cuda*.py"))
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", "-m", "gpu", *tests], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
