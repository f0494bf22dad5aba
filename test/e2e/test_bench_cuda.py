"""bench/cuda.py: skips where there is no GPU, goes on where it stopped, and compares the same steps; on the emulator."""

import json
import subprocess
import sys

import pytest
from conftest import BUILD, ROOT, run, tool
from cuda_machine import why_no_gpu

sys.path.insert(0, str(ROOT / "bench"))


def bench(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "bench" / "cuda.py", *map(str, arguments)], capture_output=True, text=True
    )


def test_without_a_gpu_it_says_so():
    if not why_no_gpu():
        pytest.skip("there is a GPU")
    said = bench()
    assert said.returncode == 77 and said.stdout.startswith("bench-cuda: skipped: ")


def test_without_its_pack_it_says_so(tmp_path):
    said = bench("--emulate", "--pack", tmp_path)
    assert said.returncode == 1 and "run `make bench-cuda-pack`" in said.stderr


def test_the_whole_flow_on_the_emulator(tmp_path):
    tool("ns-compile")
    if not (BUILD / "lib" / "emulator" / "libcublasLt.so.13").exists():
        pytest.skip("the emulator is not built")
    pack, record = tmp_path / "pack", tmp_path / "cuda.json"
    make = [sys.executable, ROOT / "bench" / "cuda_pack.py", "--models", "tiny", "--kinds", "synth"]
    run([*make, "--device-code", "emulate", "-o", pack])
    flags = ["--emulate", "--kinds", "synth", "--parts", "speed", "--turns", "1", "--pack", pack, "--record", record]
    said = bench(*flags, "--seconds", "0")
    assert said.returncode == 1 and "the time is up before tiny synth b4 bf16: speed" in said.stdout
    said = bench(*flags, "--peers", "eager_bf16")
    assert said.returncode == 0, said.stdout + said.stderr
    found = json.loads(record.read_text())["comparisons"]["tiny synth b4 bf16"]
    assert not found["missing"] and set(found["relative_difference"]) == {"nullspace", "eager_bf16"}
    assert found["relative_difference"]["nullspace"]["gradient"] < 0.05
    assert "speed\n" not in bench(*flags).stdout  # it is there already


def test_a_kernels_bandwidth():
    import cuda_kernels

    metadata = {
        "entries": [
            {
                "name": "synth_step",
                "ops": [{"kernel": "a", "bytes": 60}, {"kind": "product", "bytes": 7}, {"kernel": "a", "bytes": 40}],
            }
        ]
    }
    sizes = cuda_kernels.bytes_of(metadata, "synth_step")
    assert sizes == {"a": 100}
    # Two steps of two launches each took 10 s: 100 bytes in 5 s, of 40 bytes a second.
    rows = cuda_kernels.rows({"a": (10.0, 4), "gemm": (3.0, 2)}, sizes, 2, 40.0)
    assert rows == [
        {"kernel": "a", "seconds": 5.0, "launches": 2, "bytes": 100, "bytes_per_s": 20.0, "share_of_copy": 0.5}
    ]
