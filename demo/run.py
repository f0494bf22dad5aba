"""The whole way on a small model, in a few minutes: train, export, import, nullspace, compile, synthesise, harden, evaluate.

Each step is a command a user could type; it is printed before it runs. Results: demo/out, demo/report.html.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from nullspace import report
from rich.console import Console

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARMS = ("none", "gaussian", "nullspace")
MODEL = "--img-size 32 --num-classes 10 --model-kwargs patch_size=8 embed_dim=64 depth=4 num_heads=4"
# Synthesis on half of the training images, and the stop test on some of the others.
SYNTHESIS = "--lim 3 --train-fraction 0.5 --stop-samples 256 --eval-every 20"
HARDENING = f"--rounds 5 --steps-per-round 40 --lr 2e-4 --aug none --noise-steps 200 --noise-rounds 40 {SYNTHESIS}"
ATTACKS = "--attack fgsm:eps=8/255 --attack pgd:eps=8/255,alpha=2/255,steps=10 --attack square:eps=16/255,queries=100"
NOTE = (
    "A vision transformer of timm (32x32 images, patch 8, width 64, 4 blocks, 10 classes), trained in PyTorch on 1,400 of "
    "scikit-learn's digits and measured on the other 397. Everything after the export ran in executables that Nullspace "
    "compiled. base: as trained; the other rows: finetuned for 200 steps."
)
console = Console(highlight=False)


def step(title: str, command: str) -> None:
    """Runs one command in the project's folder; stops the demo where it fails."""
    console.print(f"\n[bold]{title}[/bold]\n[dim]$ {command}[/dim]", soft_wrap=True)
    start = time.perf_counter()
    words = shlex.split(command)
    words[0] = {"python": sys.executable}.get(words[0], words[0])
    status = subprocess.run(words, cwd=ROOT).returncode
    # Synthesis says 3 where it did not meet eps; its files are written and the demo goes on.
    if status not in (0, 3):
        sys.exit(f"demo: '{command}' ended with status {status}")
    console.print(f"[dim]{time.perf_counter() - start:.1f} s[/dim]")


def run_all(out: str, seed: int) -> None:
    seeded, data = f"--seed {seed}", f"--data-dir {out}/digits.npz"
    step(
        "Train a ViT on scikit-learn's digits", f"python demo/train.py {out}/digits.npz {out}/trained.safetensors {seeded}"
    )
    step(
        "Export it from PyTorch",
        f"python -m nullspace.export timm:vit_tiny_patch16_224 {MODEL} --checkpoint {out}/trained.safetensors -o {out}/vit.pt2",
    )
    step("Import it into the nn dialect", f"build/bin/ns-import {out}/vit.pt2 -o {out}/vit.mlir")
    step(
        "The exact nullspace of its patch embedding",
        f"build/bin/ns-opt {out}/vit.mlir --ns-compute-basis -o {out}/vit-basis.mlir",
    )
    for emit in ("synth", "finetune", "evaluate"):
        step(f"Compile: {emit}", f"build/bin/ns-compile {out}/vit.mlir --emit={emit} --batch=64 -o {out}/vit-{emit}")
    step(
        "Synthesise nullspace noise",
        f"{out}/vit-synth {data} --output {out}/synth --steps 400 --rounds 100 {SYNTHESIS} {seeded}",
    )
    for arm in ARMS:
        step(
            f"Harden: arm {arm}",
            f"{out}/vit-finetune {data} --output {out}/finetune/{arm} --arm {arm} {HARDENING} {seeded}",
        )
    for name in ("base", *ARMS):
        weights = f"--weights {out}/finetune/{name}/last.safetensors" if name != "base" else ""
        step(
            f"Evaluate: {name}",
            f"{out}/vit-evaluate {data} --output {out}/evaluate/{name} {weights} "
            f"--noise {out}/synth/noise.safetensors {ATTACKS} {seeded}",
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="demo/out", help="folder for everything but the report (default demo/out)")
    parser.add_argument("--report", default="demo/report.html")
    args = parser.parse_args()
    start = time.perf_counter()
    folder = ROOT / args.output
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    run_all(args.output, args.seed)

    console.print()
    evaluations = [f"{name}={folder}/evaluate/{name}" for name in ("base", *ARMS)]
    training = [f"{arm}={folder}/finetune/{arm}" for arm in ARMS]
    flags = ["--title", "Hardening a ViT on scikit-learn's digits", "--note", NOTE, f"--output={ROOT / args.report}"]
    report.main([*evaluations, *training, f"synth={folder}/synth", *flags])
    console.print(f"\n{args.report}, after {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
