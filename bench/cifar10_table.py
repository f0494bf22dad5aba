"""The table of docs/results-cifar10.md: arms of hardening on CIFAR-10 under every attack and corruption, over seeds.

Prepares model and data as bench/cifar10.py does and shares its folder, so that what one has trained the other takes over. A piece
is one arm's training from one seed, or one measurement of one arm and seed; finished pieces are not done again. Each attack is
measured on all arms before the next, cheap ones first, each run on one thread: whatever ends the run, what is there can be
compared. Writes a JSON record, the table as Markdown and LaTeX, and a page (python -m nullspace.report); and the
corruptions by kind in a table of their own.
"""

import argparse
import concurrent.futures
import pathlib
import sys
import time

from cifar10 import FINETUNE, NORM, add_places, parse_places, prepare_data, prepare_model
from hardening import Study, Workplace, compile_model, console
from nullspace import UserError, report
from problem import BIN, OUT

ARMS = ("none", "gaussian", "nullspace", "madry")
ARM_FLAGS = {
    "gaussian": f"--noise-norm {NORM}",
    "madry": "--attack-eps 2/255 --attack-steps 5 --attack-step-size 1/255",
}
# Name -> images and flags. The model was never hardened: at 8/255 no image would stand, so eps is 1/255 (L2: .25, about
# as long as a corner of that cube is far).
TEN_STEPS = "eps=1/255,alpha=0.25/255,steps=10"
FULL = {
    "fgsm": (1000, "--attack fgsm:eps=1/255"),
    "pgd": (1000, f"--attack pgd:{TEN_STEPS}"),
    "pgd-restarts": (1000, f"--attack pgd:{TEN_STEPS},restarts=5"),
    "bim": (1000, f"--attack bim:{TEN_STEPS}"),
    "mim": (1000, f"--attack mim:{TEN_STEPS}"),
    "pgd-l2": (1000, "--attack pgd:norm=l2,eps=0.25,alpha=0.0625,steps=10"),
    "apgd-ce": (1000, "--attack apgd-ce:eps=1/255,steps=100"),
    "cw": (1000, "--attack cw:c=1,steps=50,lr=0.01"),
    "square": (1000, "--attack square:eps=1/255,queries=5000"),
    "apgd-t": (1000, "--attack apgd-t:eps=1/255,steps=100,targets=9"),
    "fab-t": (1000, "--attack fab-t:eps=1/255,steps=100,targets=9"),
    "patchfool": (200, "--attack patchfool"),
    "patchfool-4": (200, "--attack patchfool:num_patch=4"),
    "patchfool-sparse": (200, "--attack patchfool:sparse_pixel_num=16"),
    "patchfool-mild": (200, "--attack patchfool:mild_l_inf=16/255"),
    "cw-search": (200, "--attack cw:search=9,steps=50,lr=0.01"),
    "autoattack": (200, "--attack autoattack:eps=1/255"),
    "corruptions": (1000, "--corruption all --corruption extra"),
}
# The long ones in fewer steps, targets and queries than published: some hours of two cores.
TABLE = FULL | {
    "square": (1000, "--attack square:eps=1/255,queries=300"),
    "apgd-t": (1000, "--attack apgd-t:eps=1/255,steps=20,targets=9"),
    "fab-t": (1000, "--attack fab-t:eps=1/255,steps=20,targets=3"),
    "cw-search": (200, "--attack cw:search=5,steps=30,lr=0.01"),
    "autoattack": (200, "--attack autoattack:eps=1/255,steps=50,targets=3,queries=500"),
}
BATCH = 16  # of evaluation


def trainings(study: Study, seeds: int):
    """(name, function) of the training of every arm and seed."""
    for seed in range(seeds):
        for arm in ARMS:
            yield f"{arm}-{seed}", lambda arm=arm, seed=seed: study.finetune(arm, seed)


def measurements(study: Study, plan: dict, seeds: int):
    """(name, function) of every measurement, in the order in which they are worth having."""
    models = [("base", "")]
    models += [(name, f"--weights {study.work.folder}/{name}/last.safetensors") for name, _ in trainings(study, seeds)]
    for measurement, (images, flags) in plan.items():
        for model, weights in models:
            folder = folder_of(study, plan, model, measurement)
            command = (
                f"{study.work.folder}/evaluate-{BATCH}.exe {study.common} --output {folder} "
                f"{weights} --max-samples {images} {flags}"
            )
            yield folder.name, lambda folder=folder, command=command: study.work.run(folder.name, command)


def folder_of(study: Study, plan: dict, model: str, measurement: str) -> pathlib.Path:
    length = "full" if plan[measurement] == FULL[measurement] else "table"
    return study.work.folder / f"{model}-{length}-{measurement}"


def run_pieces(study: Study, pieces, end: float) -> list[str]:
    """Runs what is not done yet, several at a time; starts nothing after `end`. The names of those that failed or were not
    begun."""

    def run(piece) -> list[str]:
        name, function = piece
        if time.monotonic() > end and not (study.work.folder / f"{name}.done").exists():
            return [name]
        try:
            function()
            return []
        except UserError as error:
            console.print(f"cifar10_table: {error}", style="red")
            return [name]

    with concurrent.futures.ThreadPoolExecutor(study.jobs) as pool:
        return [name for left in pool.map(run, list(pieces)) for name in left]


def measured(study: Study, plan: dict, seeds: int) -> list[str]:
    """ARM=FOLDER of the measurements that all arms and seeds have, for nullspace.report."""
    models = [("base", "base"), *((arm, f"{arm}-{seed}") for arm in ARMS for seed in range(seeds))]
    found = []
    for measurement in plan:
        folders = [(arm, folder_of(study, plan, name, measurement)) for arm, name in models]
        if all(folder.with_suffix(".done").exists() for _, folder in folders):
            found += [f"{arm}={folder}" for arm, folder in folders]
    return found


def write_pictures(study: Study, checkpoint: pathlib.Path, count: int = 4) -> list[str]:
    """The first val images, clean, noised, attacked and corrupted, as flags for nullspace.report. The noise is that of the
    nullspace arm's first round, carried back to pixels by the pseudo-inverse of the patch embedding."""
    import numpy as np
    from nullspace import runtime
    from PIL import Image

    root, data = study.work.folder / "pictures", np.load(study.data)
    pixels, labels = data["x_val"][:BATCH], data["y_val"][:BATCH]
    clean = pixels.transpose(0, 3, 1, 2) / np.float32(255)
    model = runtime.Model(f"{study.work.folder}/evaluate-{BATCH}.exe")
    model.attack(f"pgd:{TEN_STEPS}", pixels, labels)
    attacked = np.array(model.slot("image"))
    versions = {"clean": clean, "attacked, PGD 1-255": attacked, "that change, 64 times": 0.5 + 64 * (attacked - clean)}
    noise = study.work.folder / "nullspace-0" / "noise" / "round-001.safetensors"
    versions["noised"] = clean + noise_in_pixels(noise, checkpoint)
    for kind in ("fog", "impulse_noise", "glass_blur"):
        corrupted = [runtime.corrupt(image, kind, 4) for image in pixels[:count]]
        versions[f"{kind.replace('_', ' ')}, severity 4"] = np.stack(corrupted).transpose(0, 3, 1, 2) / np.float32(255)
    for label, images in versions.items():
        folder = root / label.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            as_bytes = (images[i].clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(as_bytes).save(folder / f"val-{i}.png")
    return [f"--pictures={label}={root / label.replace(' ', '-')}" for label in versions]


def noise_in_pixels(noise: pathlib.Path, checkpoint: pathlib.Path):
    """The smallest change of the pixels that moves the patch tokens by the noise: 1 x 3 x H x W."""
    import numpy as np
    import safetensors.numpy

    weight = safetensors.numpy.load_file(checkpoint)["patch_embed.proj.weight"]
    side, tokens = weight.shape[-1], safetensors.numpy.load_file(noise)["noise"][0]
    grid = int(len(tokens) ** 0.5)
    patches = tokens @ np.linalg.pinv(weight.reshape(len(weight), -1) / 0.5).T  # std .5
    patches = patches.reshape(grid, grid, 3, side, side).transpose(2, 0, 3, 1, 4)
    return patches.reshape(1, 3, grid * side, grid * side)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    parser.add_argument("--full", action="store_true", help="every attack in its published length: two core-days")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no piece after so many")
    parser.add_argument(
        "-o", "--output", default=OUT / "cifar10-table", type=pathlib.Path, help="OUTPUT.{html,md,tex,json}"
    )
    args = parse_places(parser)
    work, data = Workplace(args.work.resolve()), args.work.resolve() / "cifar10.npz"
    plan = FULL if args.full else TABLE
    try:
        if not data.exists():
            prepare_data(args.archive, data)
        model = prepare_model(work, args.checkpoint)
        compile_model(work, str(model), 64, ("finetune",))
        work.run(
            f"compile-evaluate-{BATCH}",
            f"{BIN}/ns-compile {model} --emit=evaluate --batch={BATCH} -o {work.folder}/evaluate-{BATCH}.exe",
        )
        study = Study(work, str(data), FINETUNE, ARM_FLAGS, (), args.jobs)
        end = time.monotonic() + 60 * args.minutes
        left = run_pieces(study, trainings(study, args.seeds), end)
        left += run_pieces(study, measurements(study, plan, args.seeds), end)
        runs = measured(study, plan, args.seeds)
        if left:
            console.print(f"not measured: {', '.join(left)}")
        if not runs:
            return 1
        runs += [f"{arm}={work.folder}/{arm}-0" for arm in ARMS]  # their training
        outputs = [f"--output={args.output}.{suffix}" for suffix in ("html", "md", "tex", "json")]
        flags = ["--reference=none", "--title=CIFAR-10: arms of hardening", *write_pictures(study, args.checkpoint)]
        corruptions = measured(study, {"corruptions": plan["corruptions"]}, args.seeds)
        if corruptions:
            by_kind = [f"--output={args.output}-corruptions.{suffix}" for suffix in ("md", "tex", "json")]
            report.main([*corruptions, "--reference=none", "--by-corruption", *by_kind])
        return report.main([*runs, *flags, *outputs])
    except UserError as error:
        sys.exit(f"cifar10_table: {error}")


if __name__ == "__main__":
    sys.exit(main())
