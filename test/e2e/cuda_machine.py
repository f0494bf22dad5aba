"""Whether this machine has an NVIDIA GPU, and what its tests share."""

import pathlib
import shutil
import subprocess

from conftest import Case, write_npz


def few_images(case: Case, folder: pathlib.Path) -> pathlib.Path:
    """A data set for executables that run a few steps of a small model."""
    write_npz(folder / "data.npz", case.info, train=16, val=8)
    return folder / "data.npz"


def why_no_gpu() -> str:
    """Empty where there is one."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi: no NVIDIA GPU on this machine"
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return "" if found.returncode == 0 and "GPU 0" in found.stdout else "nvidia-smi lists no GPU"
