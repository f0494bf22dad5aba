"""bench/cuda.py: skips where there is no GPU, goes on where it stopped, and compares the same steps; on the emulator."""

import argparse
import json
import subprocess
import sys

import numpy
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
    make = [sys.executable, ROOT / "bench" / "cuda_pack.py", "--models", "tiny", "--kinds", "synth", "--no-tests"]
    run([*make, "--device-code", "emulate", "-o", pack])
    flags = ["--emulate", "--kinds", "synth", "--turns", "1", "--pack", pack, "--record", record]
    said = bench(*flags, "--seconds", "0")
    assert said.returncode == 1 and "no time for tiny synth b4 bf16: speed" in said.stdout
    variants = ("nullspace", "nullspace_cudnn", "nullspace_fp8")
    said = bench(*flags, "--peers", "eager_bf16", *variants[1:])
    assert said.returncode == 0, said.stdout + said.stderr
    found = json.loads(record.read_text())["comparisons"]["tiny synth b4 bf16"]
    assert not found["missing"] and set(found["relative_difference"]) == {"eager_bf16", *variants}
    assert all(found["relative_difference"][v]["gradient"] < (0.25 if "fp8" in v else 0.05) for v in variants)
    assert found["ratio_quartiles"].keys() == {"eager_bf16", *variants[1:]}
    kernels = found["kernels"]  # by our own profile, there being no other
    assert kernels["timed_by"] == "nsrt_profile" and kernels["generated_seconds"] > 0 and kernels["other_seconds"] > 0
    assert sum(k["bytes"] for k in kernels["kernels"]) > 0
    assert "0 s  tiny" not in bench(*flags).stdout  # it is there already


def test_a_peer_that_fails_is_listed(monkeypatch, tmp_path):
    """The others are timed all the same, ours failing too."""
    import cuda_problem
    import cuda_speed
    import cuda_steps

    class Peer:
        def step(self):
            pass

        finish = step

        def result(self):
            return {"loss": numpy.ones(1), "gradient": numpy.ones(3)}

    def prepare(name, *_):
        if name in ("nullspace", "published_bf16"):
            raise RuntimeError(f"{name} is out of memory")
        return Peer()

    monkeypatch.setattr(cuda_steps, "prepare", prepare)
    monkeypatch.setattr(cuda_problem, "weights", lambda problem: None)
    args = argparse.Namespace(pack=tmp_path, peers=["eager_bf16", "published_bf16"], turns=2, peak=None)
    found = cuda_speed.speed(cuda_problem.make("tiny", "synth", "cpu"), args, compiled=False)
    assert found["missing"].keys() == {"nullspace", "published_bf16"}
    assert "is out of memory" in found["missing"]["nullspace"]
    assert found["seconds_quartiles"].keys() == {"eager_bf16"} and "ratio_quartiles" not in found


def test_what_must_be_reached_is_read_off_the_record(tmp_path):
    import cuda_table

    page = tmp_path / "page.md"
    marks = [f"<!-- begin {name} -->\n<!-- end {name} -->" for name in [*cuda_table.TABLES, "where"]]
    page.write_text("\n".join(marks))
    cuda_table.write({}, page)
    assert page.read_text().count(cuda_table.NOT_RUN) == len(marks) - 1 and "| not measured |" in page.read_text()
    comparison = {
        "batch": 64,
        "missing": {"nullspace_fp8": "no such product"},
        "seconds_quartiles": {"nullspace": [0.01, 0.01, 0.01], "compiled_bf16": [0.015] * 3},
        "ratio_quartiles": {"compiled_bf16": [1.45, 1.5, 1.6]},
        "share_of_peak": 0.42,
        "useful_flop_per_s": 4e14,
        "kernels": {"share_of_copy": 0.9, "kernels": []},
        "memory": {"nullspace": {"peak_mb": 600.0}, "eager_bf16": {"peak_mb": 1000.0}},
    }
    machines = {"H200": {"gpu": "H200", "torch": "2.11", "when": "now"}}
    cuda_table.write({"machines": machines, "comparisons": {"vit_base_patch16_224 synth b64 bf16": comparison}}, page)
    rows = [line for line in page.read_text().splitlines() if line.startswith("| vit_base_patch16_224 | synth |")]
    assert [row.split(" | ")[-2:] for row in rows] == [
        ["1.50", "yes |"], ["not measured", " |"], ["0.42", "no |"], ["0.90", "yes |"], ["0.60", "yes |"],
    ]  # fmt: skip
    assert "| 10.00 | 1.50 (1.45–1.60) | missing |" in page.read_text() and "no such product" in page.read_text()


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
