"""What the executables wrote: results.json with outcomes.csv of evaluate, summary.csv of synth and finetune."""

import csv
import dataclasses
import json
import pathlib

import numpy as np

from .. import UserError

INVARIANCE = "noise_same_argmax"
# Measurements that are a number of a whole run, not a share of images.
NUMBERS = (
    "noise_prob_sq",
    "noise_logit_sq",
    "noise_conf_diff",
    "noise_mcnemar_p",
    "corruption_mean_error",
    "mce",
    "relative_mce",
    "seeds",
    "mcnemar",
)


def _words(value) -> str:
    return str(value).replace("_", " ")


# Parameters that tell two measurements of one kind apart, in the order of reading: the value that goes without saying, and
# the reader's words for others. Those that are not here describe the run.
SETTINGS = {
    "noise": (None, _words),
    "corruption": (None, _words),
    "severity": (None, "severity {}".format),
    "over": (None, _words),
    "eps": (None, lambda eps: f"eps {eps * 255:.3g}/255"),
    "steps": (None, "{:g} steps".format),
    "targets": (None, "{:g} targets".format),
    "queries": (None, "{:g} queries".format),
    "restarts": (1, "{:g} restarts".format),
    "c": (1, "c {:g}".format),
    "kappa": (0, "kappa {:g}".format),
    "search": (0, "search over c in {:g} rounds".format),
    "num_patch": (1, "{:g} patches".format),
    "patch_select": ("Attn", {"Saliency": "patches by saliency", "Rand": "random patches"}.get),
    "attack_mode": ("Attention", {"CE_loss": "cross-entropy alone"}.get),
    "sparse_pixel_num": (0, "{:g} pixels".format),
    "mild_l_inf": (0, lambda bound: f"within {bound * 255:.3g}/255"),
    "mild_l_2": (0, "within {:g} in L2".format),
}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number of results.json: a share of `n` images, with its interval."""

    kind: str
    value: float
    n: int
    interval: tuple[float, float] | None
    parameters: dict
    # Of a share: what became of each image, 0 or 1, and which images they are (their hash, or their names).
    outcomes: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
    images: str | tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)

    @property
    def noise(self) -> str | None:
        return self.parameters.get("noise")

    @property
    def column(self) -> tuple[str, str]:
        """What tells this measurement from the others of one model: its kind and its setting."""
        if self.kind == INVARIANCE:
            return self.kind, self.noise or ""
        if self.kind in ("shifted", "transfer") and "set" in self.parameters:
            return str(self.parameters["set"]).lower(), ""
        return self.kind, self.describe()

    def percent(self) -> str:
        return f"{100 * self.value:.1f} %"

    def describe(self) -> str:
        """The setting in the reader's words, such as `eps 8/255, 10 steps`."""
        parts = []
        for key, (usual, words) in SETTINGS.items():
            value = self.parameters.get(key)
            if value is None or value == usual:
                continue
            is_l2 = key == "eps" and self.parameters.get("norm") == "l2"
            parts.append(f"eps {value:g} in L2" if is_l2 else words(value) or _words(value))
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class Results:
    """One results.json."""

    folder: pathlib.Path
    weights: str  # their hash, or the folder where there is none
    measurements: list[Measurement]


def read_evaluation(folder: str | pathlib.Path) -> Results:
    """Raises UserError."""
    path = pathlib.Path(folder, "results.json")
    try:
        root = json.loads(path.read_text())
        found = [
            Measurement(
                m["kind"],
                float(m["value"]),
                int(m["n"]),
                tuple(m["interval"]) if m.get("interval") else None,
                m.get("parameters") or {},
                _bits(m["outcomes"], int(m["n"])) if "outcomes" in m else None,
                m.get("images") or (),
            )
            for m in root["measurements"]
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected a list 'measurements' of kind, value, n, interval, parameters; {type(error).__name__}: {error}"
        ) from None
    return Results(path.parent, root.get("weights_xxh3") or str(path.parent), _with_outcomes(path.parent, found))


def read_results(folder: str | pathlib.Path) -> list[Measurement]:
    """The measurements in `folder`/results.json. Raises UserError."""
    return read_evaluation(folder).measurements


def _bits(text: str, n: int) -> np.ndarray:
    """A bitmap in hexadecimal, the first image in the most significant bit."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:n].astype(np.int64)


def _with_outcomes(folder: pathlib.Path, found: list[Measurement]) -> list[Measurement]:
    """The shares with their columns of outcomes.csv, which are in the same order; as they are where it is not there."""
    path = folder / "outcomes.csv"
    if not path.is_file() or any(m.outcomes is not None for m in found):
        return found
    with open(path, newline="") as file:
        names, *rows = list(csv.reader(file)) or [[]]
    columns = [i for i, name in enumerate(names) if name not in ("image", "label", "prediction")]
    shares = [m for m in found if m.kind not in NUMBERS]
    if len(columns) != len(shares) or any(len(row) != len(names) for row in rows):
        raise UserError(
            f"{path}: expected a column for each of the {len(shares)} shares in results.json, found {len(columns)}"
        )
    images = tuple(row[names.index("image")] for row in rows)
    if any(row[i] not in ("0", "1") for row in rows for i in columns):
        raise UserError(f"{path}: expected 0 or 1 for each image and share")
    outcomes = iter([np.array([int(row[i]) for row in rows], dtype=np.int64) for i in columns])
    return [m if m.kind in NUMBERS else dataclasses.replace(m, outcomes=next(outcomes), images=images) for m in found]


def read_summary(folder: str | pathlib.Path) -> dict[str, list[float]]:
    """The columns of `folder`/summary.csv, of the same length; an empty field is NaN, a column of words is left out. Raises UserError."""
    path = pathlib.Path(folder, "summary.csv")
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    columns = {}
    for name in rows[0] if rows else ():
        try:
            columns[name] = [float(row[name]) if row[name] else float("nan") for row in rows]
        except (ValueError, TypeError):
            continue
    return columns
