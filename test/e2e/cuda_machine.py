"""Whether this machine has an NVIDIA GPU. It may have nothing else of the tests' (test/Integration/GPU)."""

import shutil
import subprocess


def why_no_gpu() -> str:
    """Empty where there is one."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi: no NVIDIA GPU on this machine"
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return "" if found.returncode == 0 and "GPU 0" in found.stdout else "nvidia-smi lists no GPU"
