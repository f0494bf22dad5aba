"""Arms, seeds and columns: the table that the page and the text formats show."""

import dataclasses
import math

import numpy as np

from .. import UserError
from .results import INVARIANCE, NUMBERS, Measurement, Results
from .statistics import deviation, holm, sign_flip_p, wilson

# Columns in the order of the paper's Table 1, and what stands beside them; kinds that are not here follow under their own name.
TITLES = {
    "clean": "Clean",
    "patchfool": "Patch-Fool",
    "cw": "CW-L2",
    "fgsm": "FGSM",
    "bim": "BIM",
    "pgd": "PGD",
    "mim": "MIM",
    "apgd-ce": "APGD-CE",
    "apgd-dlr": "APGD-DLR",
    "apgd-t": "APGD-T",
    "fab-t": "FAB-T",
    "square": "Square",
    "autoattack": "AutoAttack",
    "damagenet": "DamageNet",
    "imagenet-a": "A",
    "corruptions": "Corruptions",
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "imagenet-v2": "V2",
    "imagenet-r": "R",
    "sketch": "Sketch",
    "stylized": "Stylized",
    INVARIANCE: "Same argmax",
}
LOWER_IS_BETTER = ("mce", "relative_mce")
HIDDEN = (
    "seeds",
    "mcnemar",
    "noise_prob_sq",
    "noise_logit_sq",
    "noise_conf_diff",
    "noise_mcnemar_p",
    "corruption_mean_error",
)
COMMON = 15  # corruptions of ImageNet-C without the extra ones
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
NOISES = ("learned", "permuted", "gaussian")

Column = tuple[str, str]  # kind, setting


@dataclasses.dataclass
class Cell:
    """One arm's figure: the mean over its seeds."""

    value: float
    n: int
    interval: tuple[float, float] | None
    seeds: list[float]
    p: float = math.nan  # of the paired test against the reference
    adjusted: float = math.nan  # the same, after Holm's correction over the table
    difference: float = math.nan  # to the reference

    @property
    def spread(self) -> float:
        return deviation(self.seeds)

    @property
    def mark(self) -> str:
        """Up or down where it differs from the reference; full where that holds over the whole table."""
        if not self.p < 0.05:
            return ""
        up = self.difference > 0
        return ("▲" if up else "▼") if self.adjusted < 0.05 else ("△" if up else "▽")


@dataclasses.dataclass
class Run:
    """One seed of an arm: what was measured with one set of weights."""

    measurements: list[Measurement]
    # Clean accuracy on each set of images that was used.
    clean: dict = dataclasses.field(default_factory=dict)

    def find(self, column: Column) -> Measurement | None:
        return next((m for m in self.measurements if m.column == column), None)

    def of_kind(self, kind: str) -> list[Measurement]:
        return [m for m in self.measurements if m.kind == kind]


def _mean_over_severities(run: Run, kinds: list[str], setting: str) -> Measurement | None:
    """Accuracy over these kinds of corruption and all severities, of each image in `outcomes`."""
    found = [m for m in run.of_kind("corruption") if m.parameters.get("corruption") in kinds]
    if not found or len(found) != 5 * len(kinds):
        return None
    values = [m.outcomes for m in found]
    outcomes = None if any(v is None for v in values) else np.sum(values, axis=0)
    return Measurement(
        "corruptions",
        sum(m.value for m in found) / len(found),
        found[0].n,
        None,
        {"over": setting},
        outcomes,
        found[0].images,
    )


def _means_over_corruptions(run: Run, by_corruption: bool) -> list[Measurement]:
    """Over the 15 common kinds and over the extra ones, where all are there; over each kind, where asked for."""
    kinds = list(dict.fromkeys(m.parameters.get("corruption") for m in run.of_kind("corruption")))
    common, extra = [k for k in kinds if k not in EXTRA], [k for k in kinds if k in EXTRA]
    means = [_mean_over_severities(run, common, f"{COMMON} kinds")] if len(common) == COMMON else []
    means += [_mean_over_severities(run, extra, f"{len(EXTRA)} extra kinds")] if len(extra) == len(EXTRA) else []
    means += [_mean_over_severities(run, [k], k) for k in kinds if by_corruption]
    return [mean for mean in means if mean]


class Study:
    """Arms by columns. `reference`: the arm that the others are compared with; the first where none has that name.
    `by_corruption`: a column for each kind of corruption too, the mean over its severities."""

    def __init__(self, arms: dict[str, list[Run]], reference: str = "", by_corruption: bool = False):
        self.arms = arms
        if reference and reference not in arms:
            raise UserError(f"--reference {reference}: expected one of {', '.join(arms)}")
        self.reference = reference or next(iter(arms))
        for runs in arms.values():
            for run in runs:
                means = _means_over_corruptions(run, by_corruption)
                run.measurements += [mean for mean in means if run.find(mean.column) is None]
        self.columns = self._columns()
        self.cells = {(arm, column): self._cell(arm, column) for arm in arms for column in self.columns}
        self._compare()

    def _columns(self) -> list[Column]:
        found = dict.fromkeys(
            m.column
            for runs in self.arms.values()
            for run in runs
            for m in run.measurements
            if m.kind not in HIDDEN and m.kind != "corruption"
        )
        order = list(TITLES)

        def place(column):
            kind, setting = column
            noise = NOISES.index(setting) if kind == INVARIANCE and setting in NOISES else len(NOISES)
            by_setting = "" if kind == "corruptions" else setting  # which stay in their own order
            return (order.index(kind) if kind in order else len(order), noise, "L2" in setting, by_setting)

        return sorted(found, key=place)

    def heading(self, column: Column) -> str:
        """Its title; with the setting where one kind has several columns."""
        kind, setting = column
        title = TITLES.get(kind, kind.replace("_", " "))
        if kind == INVARIANCE:
            return f"{title}, {setting} noise"
        several = sum(other[0] == kind for other in self.columns) > 1
        return title + (f" ({setting})" if several and setting else "")

    def _cell(self, arm: str, column: Column) -> Cell | None:
        found = [m for m in (run.find(column) for run in self.arms[arm]) if m]
        if not found:
            return None
        values, n = [m.value for m in found], min(m.n for m in found)
        value = sum(values) / len(values)
        if len(found) == 1 and found[0].interval:
            interval = found[0].interval
        else:  # of the images: seeds share them, so they do not narrow it
            interval = None if column[0] in NUMBERS else wilson(value, n)
        return Cell(value, n, interval, values)

    def cell(self, arm: str, column: Column) -> Cell | None:
        return self.cells[arm, column]

    def _compare(self) -> None:
        """The paired test of each arm against the reference, on the images that both were measured on."""
        tested = []
        for column in self.columns:
            reference = self._image_sums(self.reference, column)
            for arm in self.arms:
                cell, other = self.cells[arm, column], self.cells[self.reference, column]
                if arm == self.reference or not cell or not other:
                    continue
                cell.difference = cell.value - other.value
                own = self._image_sums(arm, column)
                if reference is None or own is None or own[2] != reference[2]:
                    continue
                # Sums over seeds, brought to the same number of them.
                cell.p = sign_flip_p(own[0] * reference[1] - reference[0] * own[1])
                tested.append(cell)
        for cell, adjusted in zip(tested, holm([c.p for c in tested])):
            cell.adjusted = adjusted

    def _image_sums(self, arm: str, column: Column):
        """Outcomes of each image, summed over the seeds; how many seeds; the images. None where they are not known or not
        the same for all seeds."""
        found = [m for m in (run.find(column) for run in self.arms[arm]) if m]
        if not found or any(m.outcomes is None or m.images != found[0].images for m in found):
            return None
        return np.sum([m.outcomes for m in found], axis=0), len(found), found[0].images

    def comparisons(self) -> int:
        return sum(cell is not None and not math.isnan(cell.p) for cell in self.cells.values())

    def record(self) -> dict:
        """Everything that the table shows, and the settings, for a JSON file."""
        arms = {}
        for arm in self.arms:
            for column in self.columns:
                cell = self.cells[arm, column]
                if cell:
                    entry = {"n": cell.n, "mean": cell.value, "interval": cell.interval, "seeds": cell.seeds}
                    if not math.isnan(cell.p):
                        entry |= {"difference": cell.difference, "p": cell.p, "p_holm": cell.adjusted}
                    arms.setdefault(arm, {})[self.heading(column)] = entry
        settings = {self.heading(column): column[1] for column in self.columns if column[1]}
        return {"reference": self.reference, "settings": settings, "arms": arms}


def group(results: list[tuple[str, Results]]) -> dict[str, list[Run]]:
    """name -> its seeds: results of the same name and weights are one run. Of a measurement made twice the one on more
    images counts."""
    arms: dict[str, dict[str, tuple[dict, dict]]] = {}
    for name, result in results:
        known, clean = arms.setdefault(name, {}).setdefault(result.weights, ({}, {}))
        for m in result.measurements:
            if m.column not in known or known[m.column].n < m.n:
                known[m.column] = m
            if m.kind == "clean":
                clean[m.images] = m.value
    return {name: [Run(list(found.values()), clean) for found, clean in runs.values()] for name, runs in arms.items()}
