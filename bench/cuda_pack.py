"""Puts together what bench/cuda.py needs on a machine that has a GPU and PyTorch, but no LLVM: our executables for the GPU, libnsrt and the libraries of this
distribution that it links, torchattacks, and the tests of test/Integration/GPU. Everything else travels with the repository.

usage: cuda_pack.py [--models ...] [--kinds ...] [--arch ...] [--no-tests] [-o DIR]
"""

import argparse
import importlib.util
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


def cudnn(folder: pathlib.Path) -> bool:
    """The plugin, where it is built; cuDNN itself comes with PyTorch for CUDA."""
    plugin = ROOT / "build" / "lib" / "libnsrt-cudnn.so"
    if not plugin.exists():
        print(f"bench-cuda-pack: no {plugin}: no cuDNN attention (scripts/setup.sh --cudnn, then make)")
        return False
    shutil.copy2(plugin, folder)
    run("strip", "--strip-debug", folder / plugin.name)
    return True


def emulator(folder: pathlib.Path):
    """For trying the pack without a GPU."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(problems.EMULATOR.values()):
        shutil.copy2(ROOT / "build" / "lib" / "emulator" / name, folder)


def attacks(folder: pathlib.Path):
    """torchattacks, which is Python alone; without it, attacks are compared with PyTorch's."""
    found = importlib.util.find_spec("torchattacks")
    if found is None:
        print("bench-cuda-pack: no torchattacks (make bench installs it): attacks are compared without it")
        return
    shutil.rmtree(folder, ignore_errors=True)
    source = pathlib.Path(found.origin).parent
    shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))


def target(args) -> list[str]:
    arch = [f"--arch={','.join(args.arch)}"] if args.device_code == "fatbin" else []
    return ["--target=cuda", f"--device-code={args.device_code}", *arch]


def compile_for(problem: Problem, attention: str, args):
    path = problems.executable(problem, args.o, attention)
    if path.exists() and path.stat().st_mtime > (BIN / "ns-compile").stat().st_mtime:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = [f"--emit={problems.emit(problem)}", f"--batch={problem.batch}", f"--precision={problem.precision}"]
    run(BIN / "ns-compile", imported(problem), *target(args), f"--attention={attention}", *flags, "-o", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS)[1:])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--device-code", choices=("fatbin", "emulate"), default="fatbin")
    parser.add_argument(
        "--arch", nargs="+", default=["sm_90"], help="GPUs that the pack is for; default: H100 and H200"
    )
    parser.add_argument("--tests", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("-o", type=pathlib.Path, default=problems.PACK)
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    libraries(args.o / "lib")
    if args.device_code == "emulate":
        emulator(args.o / "emulator")
    has_cudnn = args.device_code == "emulate" or cudnn(args.o / "lib")
    attacks(args.o / "site")
    for model in args.models:
        for kind in args.kinds:
            compile_for(problems.make(model, kind), "expanded", args)
            if has_cudnn and model in problems.VARIANT_MODELS and kind in problems.CUDNN_KINDS:
                compile_for(problems.make(model, kind), "library", args)
        if model in problems.VARIANT_MODELS and "synth" in args.kinds:
            compile_for(problems.make_fp8(problems.make(model, "synth")), "expanded", args)
    if args.tests:
        sys.path.insert(0, str(ROOT / "test" / "Integration" / "GPU"))
        import pack

        pack.make(args.o / "tests", target(args), has_cudnn)
    size = sum(p.stat().st_size for p in args.o.rglob("*") if p.is_file())
    print(f"{args.o}: {size / 2**20:.1f} MiB")
    if size > LIMIT:
        sys.exit(f"bench-cuda-pack: expected at most {LIMIT >> 20} MiB")


if __name__ == "__main__":
    main()
