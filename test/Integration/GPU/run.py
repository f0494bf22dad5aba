#!/usr/bin/env python3
"""What `ctest -L cuda` runs: the parity tests of test/e2e/test_cuda.py on the GPU, compute-sanitizer included where it is. Exit status 77, with the reason,
where there is no GPU.
"""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "test" / "e2e"))

from cuda_machine import why_no_gpu

if reason := why_no_gpu():
    print(f"skipped: {reason}")
    sys.exit(77)
sys.exit(
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "gpu", ROOT / "test" / "e2e" / "test_cuda.py"], cwd=ROOT
    ).returncode
)
