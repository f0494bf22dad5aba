"""What ptxas makes of the kernels of ViT-Ti on sm_80, sm_90 and sm_100: no spills; wide accesses and few calls where the threads are. No GPU is needed."""

import collections
import json
import os
import pathlib
import re
import shutil

import pytest
from conftest import run, tool

CUDA = pathlib.Path(os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda")
pytestmark = pytest.mark.skipif(not (CUDA / "bin" / "ptxas").exists() and shutil.which("ptxas") is None, reason="no ptxas: device code is not assembled")

LAUNCH = re.compile(r"rt\.launch @kernels::@(\w+) grid \[(\d+), (\d+), (\d+)\] block \[(\d+), (\d+), (\d+)\]")


def shares(text: str) -> dict[str, float]:
    """Each kernel's part of all threads that the entries launch."""
    threads = collections.Counter()
    for name, *sizes in LAUNCH.findall(text):
        count = 1
        for size in sizes:
            count *= int(size)
        threads[name] += count
    return {name: count / threads.total() for name, count in threads.items()}


@pytest.fixture(scope="module", params=[("synth", "f32"), ("finetune", "bf16")], ids="-".join)
def kernels(request, cases, tmp_path_factory):
    """(report, share of the threads) of each kernel and architecture of ViT-Ti; two blocks have every kernel that twelve have."""
    case = cases("timm:vit_tiny_patch16_224", model_kwargs=dict(depth=2))
    folder = tmp_path_factory.mktemp("device")
    emit, precision = request.param
    command = [tool("ns-compile"), case.mlir, "--target=cuda", f"--emit={emit}", f"--precision={precision}", "--batch=16"]
    run([*command, "--compile-to=kernels", "-o", folder / "kernels.mlir"])
    run([*command, f"--report-device={folder / 'report.json'}", "-o", folder / "out"])
    share = shares((folder / "kernels.mlir").read_text())
    reports = json.loads((folder / "report.json").read_text())["device"]
    assert {r["arch"] for r in reports} == {80, 90, 100}
    assert {r["kernel"] for r in reports} == share.keys()
    return [(r, share[r["kernel"]]) for r in reports]


def test_no_spills(kernels):
    assert [r for r, _ in kernels if r["spill_bytes"]] == []


def test_hot_kernels_access_whole_vectors(kernels):
    """8 or 16 bytes at a time in each kernel that has a hundredth of the threads; scalars of a row or a loss may be beside them."""
    hot = [r for r, share in kernels if share >= 0.01]
    assert len(hot) >= 3 * 8
    for r in hot:
        assert sum(r["loads"][:2]) + sum(r["stores"][:2]) > r["loads"][2] + r["stores"][2], r


def test_hot_kernels_call_little(kernels):
    """The slow paths of precise divisions are calls: a row may divide by its sum once, an element may not."""
    hot = [r for r, share in kernels if share >= 0.01]
    assert [r for r in hot if r["calls"] > (0 if r["kernel"].startswith("flat") else 1)] == []


def test_registers_leave_room_for_several_blocks(kernels):
    """At 96 registers an SM of 65536 runs 682 threads, with several loads of 16 bytes each under way."""
    assert [r for r, share in kernels if share >= 0.01 and r["registers"] > 96] == []
