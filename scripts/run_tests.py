#!/usr/bin/env python3
"""Runs lit, gtest and pytest and adds them up in one closing line: 'N passed, N failed, N skipped'.

Exit status 1 when anything failed, or when a suite could not run at all.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIT_OUTCOME = {
    "PASS": "passed",
    "FLAKYPASS": "passed",
    "XFAIL": "passed",
    "UNSUPPORTED": "skipped",
    "SKIPPED": "skipped",
    "EXCLUDED": None,
}


def run_lit(build: pathlib.Path, report: pathlib.Path) -> collections.Counter:
    """All lit tests under the build's test folder. lit's JSON report lists each with its outcome."""
    command = [pathlib.Path(sys.executable).parent / "lit", "-v", "-o", report, build / "test"]
    return _count(
        command, report, lambda r: [LIT_OUTCOME.get(t["code"], "failed") for t in json.loads(r.read_text())["tests"]]
    )


def run_gtest(binary: pathlib.Path, report: pathlib.Path) -> collections.Counter:
    def outcomes(path):
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            failed, skipped = (
                case.find("failure") is not None,
                case.find("skipped") is not None or case.get("status") == "notrun",
            )
            yield "failed" if failed else "skipped" if skipped else "passed"

    return _count([binary, "--gtest_brief=1", f"--gtest_output=xml:{report}"], report, outcomes)


def run_pytest(report: pathlib.Path, arguments: list[str]) -> collections.Counter:
    def outcomes(path):
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            kinds = {child.tag for child in case}
            yield "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"

    # A process for each core, each taking whole files: the models that a file compiles are its own.
    parallel = ["-n", str(os.cpu_count()), "--dist", "loadfile"]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads of two processes share the cores
    command = [sys.executable, "-m", "pytest", "-q", "-rs", *parallel, f"--junitxml={report}"]
    return _count([*command, ROOT / "test" / "e2e", *arguments], report, outcomes)


def _count(command, report: pathlib.Path, outcomes) -> collections.Counter:
    print("+", *command, flush=True)
    report.unlink(missing_ok=True)
    status = subprocess.run([str(part) for part in command], cwd=ROOT).returncode
    try:
        counts = collections.Counter(outcome for outcome in outcomes(report) if outcome)
    except (OSError, ValueError, KeyError, xml.etree.ElementTree.ParseError):
        counts = collections.Counter()
    if status != 0 and not counts["failed"]:
        print(f"exit status {status} from {command[0]} without a failed test in its report: counted as one failure")
        counts["failed"] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument(
        "--suite", choices=("lit", "gtest", "pytest"), action="append", help="only this one; repeatable"
    )
    args, pytest_arguments = parser.parse_known_args()
    build, suites = args.build.resolve(), args.suite or ["lit", "gtest", "pytest"]
    os.environ["NULLSPACE_BUILD"] = str(build)
    total = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "report")
        if "lit" in suites:
            total += run_lit(build, report)
        if "gtest" in suites:
            for binary in sorted((build / "bin").glob("*Tests")):
                total += run_gtest(binary, report)
        if "pytest" in suites:
            total += run_pytest(report, pytest_arguments)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
