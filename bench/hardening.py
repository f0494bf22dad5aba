"""Does hardening help? Runs the arms over several seeds on a model and its data, and tells each figure's mean over the seeds.

Compiles the model, synthesises noise for the base model, finetunes every arm from every seed, evaluates all on the val part, and
writes bench/out/hardening.json: for each arm and figure the value of each seed, their mean, and a 95 % interval of the difference to
arm `none` (seeds are paired; Student's t).
"""

import argparse
import json
import math
import pathlib
import shlex
import subprocess
import sys

from nullspace import report
from problem import BIN, OUT
from rich.console import Console
from rich.table import Table

ARMS = ("none", "gaussian", "nullspace")
STUDENT_97_5 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}
console = Console(highlight=False)


def run(command: str) -> None:
    console.print(f"[dim]$ {command}[/dim]", soft_wrap=True)
    status = subprocess.run(shlex.split(command), stdout=subprocess.DEVNULL).returncode
    if status not in (0, 3):  # 3: synthesis did not meet eps
        sys.exit(f"hardening: '{command}' ended with status {status}")


def difference(values: list[float], reference: list[float]) -> dict:
    """Mean of the paired differences with its 95 % interval; no interval from fewer than two seeds."""
    deltas = [a - b for a, b in zip(values, reference)]
    n, mean = len(deltas), sum(deltas) / len(deltas)
    if n < 2:
        return {"mean": mean, "interval": None}
    spread = math.sqrt(sum((d - mean) ** 2 for d in deltas) / (n - 1))
    half = STUDENT_97_5.get(n - 1, 2.2) * spread / math.sqrt(n)
    return {"mean": mean, "interval": [mean - half, mean + half]}


def measure(args) -> dict[str, dict[str, list[float]]]:
    """arm -> figure -> one value for each seed; arm `base` has one."""
    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    for emit in ("synth", "finetune", "evaluate"):
        run(f"{BIN}/ns-compile {args.model} --emit={emit} --batch={args.batch} -o {work}/{emit}.exe")
    data = f"--data-dir {args.data_dir}"
    run(f"{work}/synth.exe {data} --output {work}/noise {args.synth_flags}")

    def evaluate(name: str, weights: str, seed: int) -> dict[str, float]:
        run(
            f"{work}/evaluate.exe {data} --output {work}/{name} {weights} --noise {work}/noise/noise.safetensors "
            f"--seed {seed} {args.evaluate_flags}"
        )
        table = report.Report("", {name: report.read_results(work / name)})
        return {table.heading(column): table.find(name, column).value for column in table.columns()}

    found = {"base": {k: [v] for k, v in evaluate("base-eval", "", 0).items()}}
    for seed in range(args.seeds):
        for arm in ARMS:
            folder = f"{arm}-{seed}"
            run(f"{work}/finetune.exe {data} --output {work}/{folder} --arm {arm} --seed {seed} {args.finetune_flags}")
            for key, value in evaluate(f"{folder}-eval", f"--weights {work}/{folder}/last.safetensors", 0).items():
                found.setdefault(arm, {}).setdefault(key, []).append(value)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model.mlir")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--work", default=str(OUT / "hardening"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--synth-flags", default="--lim auto")
    parser.add_argument("--finetune-flags", default="--lim auto")
    parser.add_argument(
        "--evaluate-flags",
        default="--attack fgsm:eps=1/255 --attack pgd:eps=1/255,steps=10 --attack square:eps=2/255,queries=300",
    )
    args = parser.parse_args()
    found = measure(args)
    record = {
        arm: {
            key: {"values": values, "mean": sum(values) / len(values)}
            | ({"over_none": difference(values, found["none"][key])} if arm not in ("base", "none") else {})
            for key, values in figures.items()
        }
        for arm, figures in found.items()
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "hardening.json").write_text(json.dumps({"arguments": vars(args), "arms": record}, indent=1))
    table = Table(title=f"{args.seeds} seeds, %", caption="in brackets: over arm none, 95 % interval over the seeds")
    table.add_column("arm")
    for key in found["base"]:
        table.add_column(key, justify="right")
    for arm, figures in record.items():
        cells = []
        for figure in figures.values():
            delta = figure.get("over_none", {}).get("interval")
            cells.append(
                f"{100 * figure['mean']:.1f}" + (f"\n[{100 * delta[0]:+.1f}, {100 * delta[1]:+.1f}]" if delta else "")
            )
        table.add_row(arm, *cells)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
