"""What runs on a machine with a GPU and no compiler, tried here on the emulator: the tests of a pack, from a folder outside of the repository.

They are also the parity of the model families: Swin's windows, BEiT's biases, EVA-02's rotations and ConvNeXt's convolutions in device code, float32 and
bfloat16, against PyTorch in float64.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import BUILD, ROOT, tool


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A pack and what travels with it; no build tree, and nothing of LLVM on the path."""
    tool("ns-compile")
    if not (BUILD / "lib" / "emulator" / "libcuda.so.1").exists():
        pytest.skip("the emulator is not built")
    folder = tmp_path_factory.mktemp("elsewhere")
    make = [sys.executable, ROOT / "bench" / "cuda_pack.py", "--models", "tiny", "--kinds", "forward"]
    made = subprocess.run(
        [*map(str, make), "--device-code", "emulate", "-o", str(folder / "pack")], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    for part in ("python/nullspace", "bench", "test/Integration/GPU"):
        ignored = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(ROOT / part, folder / "repository" / part, ignore=ignored)
    (folder / "pack" / "tests" / "vit" / "synth").chmod(0o644)  # carrying may lose modes
    shutil.copy2(ROOT / "test" / "e2e" / "cuda_machine.py", folder / "repository" / "test" / "Integration" / "GPU")
    return folder


def test_every_test_of_the_pack_passes(elsewhere):
    record = elsewhere / "tests.json"
    command = [sys.executable, elsewhere / "repository" / "test" / "Integration" / "GPU" / "run.py"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(elsewhere),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    command += ["--pack", elsewhere / "pack", "--record", record]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=elsewhere, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(record.read_text())
    wanted = {
        f"{n} {p}" for n in ("vit", "timm_swin", "timm_beit", "timm_eva02", "timm_convnext") for p in ("f32", "bf16")
    }
    wanted |= {"vit synth", "vit finetune", "vit evaluate", "vit cudnn", "vit fp8"}
    assert found.keys() == wanted
    assert {r["outcome"] for r in found.values()} == {"passed"}


def test_a_wrong_result_is_found(elsewhere, tmp_path):
    """Other weights than the expected results are of."""
    pack = tmp_path / "pack"
    shutil.copytree(elsewhere / "pack", pack)
    weights = pack / "tests" / "vit" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    size = int.from_bytes(content[:8], "little")
    begin, end = json.loads(content[8 : 8 + size])["blocks.0.attn.qkv.weight"]["data_offsets"]
    np.frombuffer(content, np.float32, (end - begin) // 4, 8 + size + begin)[:] += 0.05
    weights.write_bytes(content)
    command = [sys.executable, ROOT / "test" / "Integration" / "GPU" / "run.py", "--pack", pack, "--only", "vit f32"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 1 and "differs by" in done.stdout, done.stdout + done.stderr
