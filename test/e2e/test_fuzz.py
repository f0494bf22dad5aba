"""The fuzzers of the readers, a minute each (NULLSPACE_FUZZ_SECONDS), two at a time. `ninja fuzzers` builds them."""

import concurrent.futures
import os
import subprocess

import pytest
from conftest import BUILD, ROOT

SECONDS = int(os.environ.get("NULLSPACE_FUZZ_SECONDS", "60"))
SEEDS = ROOT / "test/fuzz/seeds"
IMPORTS = ROOT / "test/Import/Inputs"

# reader: (fuzzer, its seeds, the longest input it makes). Memory: what a file of that length explains, and no more.
READERS = {
    "safetensors": ("CheckpointFuzzer", SEEDS / "safetensors", 4096),
    "torch": ("CheckpointFuzzer", SEEDS / "torch", 8192),
    "npz": ("CheckpointFuzzer", SEEDS / "npz", 8192),
    "pickle": ("PickleFuzzer", SEEDS / "pickle", 4096),
    "pt2": ("Pt2Fuzzer", IMPORTS, 120_000),
    "onnx": ("OnnxFuzzer", IMPORTS, 120_000),
}


def fuzz(reader: str, folder) -> subprocess.CompletedProcess | None:
    """The result; None where the fuzzer is not built."""
    name, seeds, length = READERS[reader]
    fuzzer = BUILD / "bin" / name
    if not fuzzer.exists():
        return None
    corpus = folder / reader
    corpus.mkdir()
    # Debian's MLIR is compiled without the checks of containers, which must be the same on both sides.
    environment = os.environ | {"ASAN_OPTIONS": "detect_container_overflow=0:detect_leaks=1"}
    command = [fuzzer, f"-max_total_time={SECONDS}", f"-max_len={length}", "-timeout=20", "-rss_limit_mb=2048"]
    command += ["-malloc_limit_mb=64", "-print_final_stats=1", f"-artifact_prefix={folder}/{reader}-", corpus, seeds]
    # The shell forks: a program that Python executes itself has this process's peak as its own (ru_maxrss), which libFuzzer reads.
    command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, cwd=folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = {reader: pool.submit(fuzz, reader, folder) for reader in READERS}
        return {reader: job.result() for reader, job in jobs.items()}


@pytest.mark.parametrize("reader", READERS)
def test_no_bytes_crash_the_reader(results, reader):
    result = results[reader]
    if result is None:
        pytest.skip(f"{READERS[reader][0]} is not built")
    runs = [line for line in result.stderr.splitlines() if line.startswith("stat::number_of_executed_units:")]
    assert result.returncode == 0, result.stderr[-4000:]
    assert int(runs[0].split()[1]) > 100
