"""Which charts a page has."""

from . import svg
from .results import INVARIANCE
from .study import EXTRA, HIDDEN, LOWER_IS_BETTER, NOISES, Study

ROWS = 4  # of one chart of accuracies


def accuracies(study: Study) -> list[str]:
    """Every accuracy of the table, a marker for each arm."""
    columns = [c for c in study.columns if c[0] not in (*HIDDEN, *LOWER_IS_BETTER, INVARIANCE)]
    rows = []
    for column in columns:
        cells = [study.cell(arm, column) for arm in study.arms]
        rows.append((study.heading(column), [(c.value, c.interval) if c else None for c in cells]))
    return [
        svg.dots("Accuracy of each arm with 95 % intervals: " + ", ".join(label for label, _ in part), part)
        for part in (rows[i : i + ROWS] for i in range(0, len(rows), ROWS))
    ]


def invariance(study: Study) -> str:
    """Share of predictions that survive the learned noise, the same permuted, and Gaussian noise of its norm."""
    noises = [noise for kind, noise in study.columns if kind == INVARIANCE]
    rows = []
    for arm in study.arms:
        cells = [study.cell(arm, (INVARIANCE, noise)) for noise in noises]
        if any(cells):
            rows.append((arm, [(c.value, c.interval) if c else None for c in cells]))
    return svg.dots("Predictions that each noise leaves as they were", rows)


def noises_of(study: Study) -> list[str]:
    return [noise for kind, noise in study.columns if kind == INVARIANCE and noise in NOISES]


def severities(study: Study) -> list[str]:
    """For each corruption the accuracy of each arm by severity, 0 being the clean images; mean over the seeds."""
    kinds = {}
    for arm, runs in study.arms.items():
        for run in runs:
            for m in run.of_kind("corruption"):
                by_arm = kinds.setdefault(m.parameters["corruption"], {}).setdefault(arm, {})
                by_arm.setdefault(m.parameters["severity"], []).append(m.value)
                if m.images in run.clean:
                    by_arm.setdefault(0, []).append(run.clean[m.images])
    charts = []
    for kind in sorted(kinds, key=lambda k: (k in EXTRA, list(kinds).index(k))):
        series = [
            svg.Series(i, [(s, 100 * sum(v) / len(v)) for s, v in sorted(kinds[kind].get(arm, {}).items())])
            for i, arm in enumerate(study.arms)
        ]
        charts.append(svg.lines(f"{kind.replace('_', ' ')}, accuracy in %", "severity", series, (0, 100), height=170))
    return charts


def synthesis(summary: dict[str, list[float]]) -> list[str]:
    """Norm of the noise, and mean squared difference of the probabilities it causes, by step."""
    steps = summary.get("step", list(range(len(next(iter(summary.values()), [])))))
    return [
        svg.lines(title, "synthesis step", [svg.Series(0, list(zip(steps, summary[name])))])
        for name, title in (("norm", "norm of the noise"), ("prob_mse", "probability MSE"))
        if name in summary
    ]


def training(runs: dict[str, dict[str, list[float]]], keys: dict[int, str]) -> list[str]:
    """The loss of every finetuning step; the norm of each round's noise. `keys`: index of each run -> its name."""
    losses, norms = [], []
    for index, name in keys.items():
        summary = runs[name]
        losses.append(svg.Series(index, list(zip(summary.get("step", ()), summary.get("loss", ())))))
        rounds = dict(zip(summary.get("round", ()), summary.get("noise_norm", ())))  # the last row of each round
        norms.append(svg.Series(index, [(r, norm) for r, norm in rounds.items() if norm == norm and norm > 0]))
    return [
        svg.lines("loss", "finetuning step", losses, dots=False),
        svg.lines("norm of the round's noise", "round", norms),
    ]
