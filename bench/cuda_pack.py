"""Puts together what bench/cuda.py needs on a machine that has a GPU and PyTorch, but no LLVM: our executables for the GPU, libnsrt and the libraries of this
distribution that it links. Everything else travels with the repository.

usage: cuda_pack.py [--models ...] [--kinds ...] [-o DIR]
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

import cuda_problem as problems
from cuda_problem import KINDS, MODELS
from problem import BIN, OUT, ROOT, Problem

LIMIT = 64 << 20
# Of every Linux: the C library and what belongs to it, and the compiler's own, whose newer versions keep the older symbols.
GIVEN = re.compile(r"(ld-linux|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)[.-]")


def run(*command) -> str:
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"bench-cuda-pack: {' '.join(map(str, command))}: status {result.returncode}\n{result.stderr[-3000:]}")
    return result.stdout


def imported(problem: Problem) -> pathlib.Path:
    """The model as MLIR. Only shapes are compiled in: the weights are made where the benchmark runs."""
    pt2 = problem.mlir.with_suffix(".pt2")
    if not problem.mlir.exists():
        if not pt2.exists():
            options = [f"{key}={value}" for key, value in problem.options if key not in ("img_size", "num_classes")]
            flags = [
                f"--{key.replace('_', '-')}={value}"
                for key, value in problem.options
                if key in ("img_size", "num_classes")
            ]
            keywords = ["--model-kwargs", *options] if options else []
            run(sys.executable, "-m", "nullspace.export", f"timm:{problem.model}", *flags, "-o", pt2, *keywords)
        run(BIN / "ns-import", pt2, "-o", problem.mlir)
    return problem.mlir


def libraries(folder: pathlib.Path):
    """libnsrt and what it needs beside GIVEN."""
    folder.mkdir(parents=True, exist_ok=True)
    library = ROOT / "build" / "lib" / "libnsrt.so"
    shutil.copy2(library, folder)
    run("strip", "--strip-debug", folder / library.name)
    for name, place in re.findall(r"(\S+) => (/\S+)", run("ldd", library)):
        if not GIVEN.match(name):
            shutil.copy2(place, folder / name)


def emulator(folder: pathlib.Path):
    """For trying the pack without a GPU."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in problems.EMULATOR.values():
        shutil.copy2(ROOT / "build" / "lib" / "emulator" / name, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS)[1:])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--device-code", choices=("fatbin", "emulate"), default="fatbin")
    parser.add_argument("-o", type=pathlib.Path, default=problems.PACK)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    libraries(args.o / "lib")
    if args.device_code == "emulate":
        emulator(args.o / "emulator")
    for model in args.models:
        for problem in [problems.make(model, kind) for kind in args.kinds]:
            path = problems.executable(problem, args.o)
            if path.exists() and path.stat().st_mtime > (BIN / "ns-compile").stat().st_mtime:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = [f"--emit={problems.emit(problem)}", f"--batch={problem.batch}", f"--precision={problem.precision}"]
            run(
                BIN / "ns-compile",
                imported(problem),
                "--target=cuda",
                f"--device-code={args.device_code}",
                *flags,
                "-o",
                path,
            )
    size = sum(p.stat().st_size for p in args.o.rglob("*") if p.is_file())
    print(f"{args.o}: {size / 2**20:.1f} MiB")
    if size > LIMIT:
        sys.exit(f"bench-cuda-pack: expected at most {LIMIT >> 20} MiB")


if __name__ == "__main__":
    main()
