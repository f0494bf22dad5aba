"""CIFAR-10, the whole way: a trained ViT and its data in, noise, hardened weights and their robustness out.

Takes the 50,000 training images (an archive with train/CLASS/NNNN.jpg) and a checkpoint of the ViT in vit_cifar10.py. The last
500 images of each class are the val part; images are enlarged from 32x32 to 64x64, bilinear, as the model was trained. Then:
export, import, compile; hardening over seeds (hardening.py); synthesis, and its noise against the same permuted on 2,000 val
images; clean accuracy on all 5,000. Everything after the export runs in compiled executables. A run that was stopped goes on.
"""

import argparse
import io
import os
import pathlib
import sys
import tarfile

import numpy as np
from problem import BIN, OUT, ROOT
from vit_cifar10 import SIDE

SHARED = ROOT.parent / "shared"
VAL_PER_CLASS, TRAIN = 500, 15000
# The noise of synthesis has the mean norm of the token tensor (about 33.5); that of hardening 0.8 of it, for fewer steps.
NORM = 27
HELD = "--lim auto --reg fixed_norm"
SYNTH = f"{HELD} --steps 200 --batch-size 64 --train-fraction 0.5 --eval-every 25"
FINETUNE = (
    f"{HELD} --norm {NORM} --rounds 3 --steps-per-round 25 --batch-size 64 --lr 1e-4 --min-lr 1e-5 --aug none "
    "--holdout-samples 256 --noise-steps 60 --noise-batch-size 64 --eval-every 20 --stop-samples 256"
)
EVALUATE = (
    "--max-samples 2000",
    "--max-samples 384 --attack fgsm:eps=1/255 --attack fgsm:eps=2/255 --attack pgd:eps=1/255,alpha=0.25/255,steps=10",
    "--max-samples 96 --attack square:eps=2/255,queries=100",
)


def read_archive(archive: pathlib.Path) -> dict[str, list[bytes]]:
    """class -> its 5,000 JPEG files, in the order of their names."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = pathlib.PurePath(member.name)
            if path.suffix == ".jpg" and path.parts[-3:-2] == ("train",):
                found.setdefault(path.parent.name, []).append((path.name, tar.extractfile(member).read()))
    if len(found) != 10 or {len(files) for files in found.values()} != {5000}:
        counts = {name: len(files) for name, files in sorted(found.items())}
        sys.exit(f"cifar10: {archive}: expected 10 classes of 5000 images in train/CLASS, found {counts}")
    return {name: [content for _, content in sorted(found[name])] for name in sorted(found)}


def enlarge(images: np.ndarray) -> np.ndarray:
    import torch

    def piece(x):
        x = torch.from_numpy(x).permute(0, 3, 1, 2).float()
        x = torch.nn.functional.interpolate(x, size=SIDE, mode="bilinear", align_corners=False)
        return x.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    return np.concatenate([piece(images[i : i + 1000]) for i in range(0, len(images), 1000)])


def prepare_data(archive: pathlib.Path, output: pathlib.Path, train: int = TRAIN, val: int = 5000, seed: int = 0):
    """Writes an .npz with `train` of the training images and `val` of the val images, both shuffled."""
    from PIL import Image

    files = [(label, content) for label, contents in enumerate(read_archive(archive).values()) for content in contents]
    held = np.arange(len(files)) % 5000 >= 5000 - VAL_PER_CLASS
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, indices, count in (("train", np.flatnonzero(~held), train), ("val", np.flatnonzero(held), val)):
        chosen = [files[i] for i in rng.permutation(indices)[:count]]
        images = np.stack([np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for _, content in chosen])
        arrays |= {f"x_{part}": enlarge(images), f"y_{part}": np.array([label for label, _ in chosen])}
    draft = output.with_name(f"draft-{output.name}")
    np.savez(draft, **arrays)
    draft.replace(output)


def prepare_model(work, checkpoint: pathlib.Path) -> pathlib.Path:
    """Exports and imports the model; its .mlir."""
    pt2, mlir = work.folder / "vit.pt2", work.folder / "vit.mlir"
    work.run(
        "export",
        f"{sys.executable} -m nullspace.export py:{ROOT}/bench/vit_cifar10.py:model --checkpoint {checkpoint} "
        f"--mean .5,.5,.5 --std .5,.5,.5 -o {pt2}",
    )
    work.run("import", f"{BIN}/ns-import {pt2} -o {mlir}")
    return mlir


def synthesise(work, common: str) -> None:
    """Noise for the weights as they are; how many of 2,000 predictions it leaves; clean accuracy on all val images."""
    folder = work.folder
    work.run("synth", f"{folder}/synth.exe {common} --output {folder}/noise {SYNTH}", accept=(0, 3))
    work.run(
        "invariance",
        f"{folder}/evaluate.exe {common} --output {folder}/invariance --max-samples 2000 "
        f"--noise {folder}/noise/noise.safetensors",
    )
    work.run("clean", f"{folder}/evaluate.exe {common} --output {folder}/clean")


def add_places(parser: argparse.ArgumentParser) -> None:
    """The flags of every study on these images."""
    parser.add_argument("--archive", default=SHARED / "data" / "cifar10-train.tar.xz", type=pathlib.Path)
    parser.add_argument("--checkpoint", default=SHARED / "models" / "vit_cifar10.safetensors", type=pathlib.Path)
    parser.add_argument("--work", default=OUT / "cifar10", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time")


def parse_places(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; the inputs are there, and the folder to work in."""
    args = parser.parse_args()
    for path in (args.archive, args.checkpoint):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def main() -> int:
    from hardening import Study, Workplace, compile_model, console, run_study
    from nullspace import UserError, report

    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("-o", "--output", default=OUT / "cifar10-hardening.json", type=pathlib.Path)
    args = parse_places(parser)
    work, data = Workplace(args.work.resolve()), args.work.resolve() / "cifar10.npz"
    try:
        if not data.exists():
            prepare_data(args.archive, data)
        compile_model(work, str(prepare_model(work, args.checkpoint)), 64, ("synth", "finetune", "evaluate"))
        study = Study(work, str(data), FINETUNE, {"gaussian": f"--noise-norm {NORM}"}, EVALUATE, args.jobs)
        run_study(study, args.seeds, args.output, beside=lambda: synthesise(work, study.common))
        for folder in ("clean", "invariance"):
            for measurement in report.read_results(work.folder / folder):
                console.print(
                    f"{measurement.kind} {measurement.noise or ''} n {measurement.n}: {measurement.value:.4g}"
                )
    except UserError as error:
        sys.exit(f"cifar10: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
