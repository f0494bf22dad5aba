"""Does hardening help? Runs the arms over several seeds on a model and its data; the mean of each figure over the seeds.

Compiles the model, finetunes every arm from every seed, evaluates all on the val part, and writes a JSON file: for each arm and
figure the value of each seed, their mean, and a 95 % interval of the difference to arm `none` (seeds are paired; Student's t).
What is done already in --work is not done again, so a run that was stopped goes on.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import math
import os
import pathlib
import shlex
import subprocess
import sys

from nullspace import UserError, report
from problem import BIN, OUT
from rich.console import Console
from rich.table import Table

ARMS = ("nullspace", "gaussian", "none")  # the longest first, so that jobs end together
STUDENT_97_5 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}
EVALUATE = (
    "--max-samples 2000 --attack fgsm:eps=1/255 --attack pgd:eps=1/255,steps=10",
    "--max-samples 500 --attack square:eps=2/255,queries=300",
)
console = Console(highlight=False)


@dataclasses.dataclass(frozen=True)
class Workplace:
    """A folder in which commands run once: NAME.log holds what one said, NAME.done the command that ended well."""

    folder: pathlib.Path

    def run(self, name: str, command: str, accept: tuple[int, ...] = (0,), resume: str = "") -> None:
        """Runs `command`, with `resume` added where an earlier run left off, unless it is done. Raises UserError."""
        done, log = self.folder / f"{name}.done", self.folder / f"{name}.log"
        if done.exists() and done.read_text() == command:
            return
        done.unlink(missing_ok=True)
        console.print(f"[dim]$ {command} {resume}[/dim]", soft_wrap=True)
        with open(log, "a") as output:
            words = shlex.split(f"{command} {resume}")
            status = subprocess.run(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL).returncode
        if status not in accept:
            raise UserError(f"'{command}' ended with status {status}; see {log}")
        done.write_text(command)


def compile_model(work: Workplace, model: str, batch: int, emits: tuple[str, ...]) -> None:
    for emit in emits:
        work.run(
            f"compile-{emit}", f"{BIN}/ns-compile {model} --emit={emit} --batch={batch} -o {work.folder}/{emit}.exe"
        )


def difference(values: list[float], reference: list[float]) -> dict:
    """Mean of the paired differences with its 95 % interval; no interval from fewer than two seeds."""
    deltas = [a - b for a, b in zip(values, reference, strict=True)]
    n, mean = len(deltas), sum(deltas) / len(deltas)
    if n < 2:
        return {"mean": mean, "interval": None}
    spread = math.sqrt(sum((d - mean) ** 2 for d in deltas) / (n - 1))
    half = STUDENT_97_5.get(n - 1, 2.2) * spread / math.sqrt(n)
    return {"mean": mean, "interval": [mean - half, mean + half]}


@dataclasses.dataclass(frozen=True)
class Study:
    work: Workplace
    data: str
    finetune_flags: str
    arm_flags: dict[str, str]
    evaluate_flags: tuple[str, ...]
    jobs: int

    @property
    def common(self) -> str:
        # Several jobs at a time take a core each: faster than one job on several.
        return f"--data-dir {self.data}" + (" --threads 1" if self.jobs > 1 else "")

    def finetune(self, arm: str, seed: int) -> None:
        name = f"{arm}-{seed}"
        folder = self.work.folder / name
        self.work.run(
            name,
            f"{self.work.folder}/finetune.exe {self.common} --output {folder} --arm {arm} --seed {seed} "
            f"{self.finetune_flags} {self.arm_flags.get(arm, '')}".strip(),
            resume="--resume" if (folder / "optimizer.safetensors").exists() else "",
        )

    def evaluate(self, name: str, weights: str) -> list[report.Measurement]:
        """Every measurement once: where two evaluations share one, the first counts."""
        found = {}
        for index, flags in enumerate(self.evaluate_flags):
            folder = self.work.folder / f"{name}-eval-{index}"
            self.work.run(
                folder.name, f"{self.work.folder}/evaluate.exe {self.common} --output {folder} {weights} {flags}"
            )
            for measurement in report.read_results(folder):
                found.setdefault(measurement.column, measurement)
        return list(found.values())

    def measure(self, seeds: int, beside=lambda: None) -> dict[str, list[list[report.Measurement]]]:
        """arm -> its measurements for each seed; arm `base` has one. `beside` is one more job."""

        def evaluate_arm(arm: str, seed: int):
            trained[arm, seed].result()  # submitted before, so it is under way or done
            return self.evaluate(f"{arm}-{seed}", f"--weights {self.work.folder}/{arm}-{seed}/last.safetensors")

        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            runs = [(arm, seed) for seed in range(seeds) for arm in ARMS]
            trained = {(arm, seed): pool.submit(self.finetune, arm, seed) for arm, seed in runs}
            base = pool.submit(self.evaluate, "base", "")
            evaluated = {(arm, seed): pool.submit(evaluate_arm, arm, seed) for arm, seed in runs}
            other = pool.submit(beside)
            found = {"base": [base.result()]}
            for arm in reversed(ARMS):
                found[arm] = [evaluated[arm, seed].result() for seed in range(seeds)]
            other.result()
        return found


def summarise(found: dict[str, list[list[report.Measurement]]]) -> dict:
    """arm -> figure -> n, values, mean and, against `none`, the difference."""
    study = report.Study({arm: [report.Run(list(run)) for run in runs] for arm, runs in found.items()})
    record = {}
    for (arm, column), cell in study.cells.items():
        entry = {"n": cell.n, "values": cell.seeds, "mean": cell.value}
        record.setdefault(arm, {})[study.heading(column)] = entry
    for arm in set(record) - {"base", "none"}:
        for figure, entry in record[arm].items():
            entry["over_none"] = difference(entry["values"], record["none"][figure]["values"])
    return record


def noise_by_round(work: Workplace, seeds: int) -> dict[str, list[dict]]:
    """For each seed of arm nullspace: norm and probability MSE of each round's noise, before its finetuning steps."""
    found = {}
    for seed in range(seeds):
        columns = report.read_summary(work.folder / f"nullspace-{seed}")
        rows = zip(columns["round"], columns["noise_norm"], columns["noise_prob_mse"])
        found[str(seed)] = [
            {"round": int(r), "norm": norm, "prob_mse": mse} for r, norm, mse in rows if not math.isnan(mse)
        ]
    return found


def print_table(record: dict, seeds: int) -> None:
    table = Table(title=f"{seeds} seeds, %", caption="in brackets: over arm none, 95 % interval over the seeds")
    table.add_column("arm")
    for figure, entry in record["base"].items():
        table.add_column(f"{figure}, n {entry['n']}", justify="right")
    for arm, figures in record.items():
        cells = []
        for entry in figures.values():
            delta = entry.get("over_none", {}).get("interval")
            cells.append(
                f"{100 * entry['mean']:.1f}"
                + (f"\n[{100 * delta[0]:+.1f}, {100 * delta[1]:+.1f}]".replace("[", "\\[") if delta else "")
            )
        table.add_row(arm, *cells)
    console.print(table)


def run_study(study: Study, seeds: int, output: pathlib.Path, beside=lambda: None) -> dict:
    """Measures, prints the table, writes `output`."""
    found = study.measure(seeds, beside)
    record = {
        "finetune": study.finetune_flags,
        "arm_flags": study.arm_flags,
        "evaluate": list(study.evaluate_flags),
        "seeds": seeds,
        "arms": summarise(found),
        "noise": noise_by_round(study.work, seeds),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n")
    print_table(record["arms"], seeds)
    return record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model.mlir")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--work", default=str(OUT / "hardening"))
    parser.add_argument("-o", "--output", default=str(OUT / "hardening.json"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time")
    parser.add_argument("--finetune-flags", default="--lim auto")
    parser.add_argument("--gaussian-flags", default="", help="for arm gaussian only, such as --noise-norm=20")
    parser.add_argument("--evaluate-flags", action="append", help="repeatable; each is an evaluation of its own")
    args = parser.parse_args()
    work = Workplace(pathlib.Path(args.work))
    work.folder.mkdir(parents=True, exist_ok=True)
    try:
        compile_model(work, args.model, args.batch, ("finetune", "evaluate"))
        study = Study(
            work,
            args.data_dir,
            args.finetune_flags,
            {"gaussian": args.gaussian_flags},
            tuple(args.evaluate_flags or EVALUATE),
            args.jobs,
        )
        run_study(study, args.seeds, pathlib.Path(args.output))
    except UserError as error:
        sys.exit(f"hardening: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
