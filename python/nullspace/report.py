"""python -m nullspace.report --model NAME=EVALUATE_DIR ... [--synth DIR] [--training NAME=FINETUNE_DIR ...] -o report.html

Gathers what the executables wrote (`results.json` of evaluate, `summary.csv` of synth and finetune) into one table, printed
and written with plots as one HTML file that needs nothing else. Reads only those files; computes no robustness itself.
"""

import argparse
import base64
import csv
import dataclasses
import html
import io
import json
import pathlib
import sys

from . import UserError, __version__
from ._command import user_errors
from ._files import replacing

# Order and titles of what is measured; kinds that are not here follow under their own name.
TITLES = {
    "clean": "clean",
    "fgsm": "FGSM",
    "bim": "BIM",
    "pgd": "PGD",
    "square": "Square",
    "noise_same_argmax": "same argmax",
    "noise_prob_sq": "probability MSE",
    "noise_logit_sq": "logit MSE",
    "noise_conf_diff": "confidence difference",
    "noise_mcnemar_p": "McNemar p",
}
ACCURACIES = ("clean", "fgsm", "bim", "pgd", "square")
NOISES = ("learned", "permuted", "gaussian")
INVARIANCE = "noise_same_argmax"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number of results.json: a share of `n` images, with its interval."""

    kind: str
    value: float
    n: int
    interval: tuple[float, float] | None
    parameters: dict

    @property
    def noise(self) -> str | None:
        return self.parameters.get("noise")

    @property
    def column(self) -> tuple[str, str]:
        """What tells this measurement from the others of one model: its kind, and the noise or the attack's setting."""
        return self.kind, self.noise or (self.describe() if self.kind in ACCURACIES else "")

    def percent(self) -> str:
        return f"{100 * self.value:.1f} %"

    def describe(self) -> str:
        """The parameters in the reader's words, such as `eps 8/255, 10 steps`."""
        parts = []
        for key, value in self.parameters.items():
            if key == "eps" and isinstance(value, (int, float)):
                parts.append(f"eps {value * 255:.3g}/255")
            elif key in ("steps", "queries") or (key == "restarts" and value != 1):
                parts.append(f"{value:g} {key}")
        return ", ".join(parts)


def read_results(folder: str | pathlib.Path) -> list[Measurement]:
    """The measurements in `folder`/results.json. Raises UserError."""
    path = pathlib.Path(folder, "results.json")
    try:
        found = json.loads(path.read_text())["measurements"]
        return [
            Measurement(
                m["kind"],
                float(m["value"]),
                int(m["n"]),
                tuple(m["interval"]) if m.get("interval") else None,
                m.get("parameters") or {},
            )
            for m in found
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected a list 'measurements' of kind, value, n, interval, parameters; {type(error).__name__}: {error}"
        ) from None


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


@dataclasses.dataclass
class Report:
    """What the page is made of: measurements by model, the synthesis run, the finetuning runs."""

    title: str
    models: dict[str, list[Measurement]]
    synthesis: dict[str, list[float]] | None = None
    training: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def columns(self) -> list[tuple[str, str]]:
        """The columns of the table: accuracies in the order of ACCURACIES, then shares of kept predictions in that of NOISES."""
        found = {
            m.column
            for measurements in self.models.values()
            for m in measurements
            if m.kind in (*ACCURACIES, INVARIANCE)
        }
        order = (*ACCURACIES, INVARIANCE)
        return sorted(
            found, key=lambda c: (order.index(c[0]), NOISES.index(c[1]) if c[1] in NOISES else len(NOISES), c[1])
        )

    def heading(self, column: tuple[str, str]) -> str:
        """Its title; with the attack's setting where one kind has several columns."""
        kind, setting = column
        if kind == INVARIANCE:
            return f"{TITLES[kind]}, {setting} noise"
        several = sum(other[0] == kind for other in self.columns()) > 1
        return TITLES[kind] + (f" ({setting})" if several else "")

    def find(self, model: str, column: tuple[str, str]) -> Measurement | None:
        return next((m for m in self.models[model] if m.column == column), None)


def print_table(report: Report) -> None:
    """The table on the terminal, narrow enough for 80 columns: percentages, below them their 95 % intervals."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=report.title, caption=_table_caption(report), box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("%", no_wrap=True)
    columns = report.columns()
    for column in columns:
        kind, setting = column
        table.add_column(
            f"kept:\n{setting}" if kind == INVARIANCE else report.heading(column), justify="right", min_width=6
        )
    for model in report.models:
        cells = []
        for column in columns:
            found = report.find(model, column)
            cells.append("" if found is None else f"{100 * found.value:.1f}\n[dim]{_interval(found, 0)}[/dim]")
        table.add_row(model, *cells)
    Console().print(table)


def _interval(measurement: Measurement, digits: int = 1) -> str:
    if measurement.interval is None:
        return ""
    low, high = measurement.interval
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}"


def _table_caption(report: Report) -> str:
    measurements = [m for ms in report.models.values() for m in ms]
    counts = sorted({m.n for m in measurements})
    settings = dict.fromkeys(
        f"{TITLES.get(m.kind, m.kind)}: {m.describe()}" for m in measurements if m.describe() and m.kind in ACCURACIES
    )
    return (
        f"n = {' or '.join(map(str, counts))} images, shares in % with 95 % intervals. "
        + (
            "kept: predictions that the noise leaves as they were. "
            if INVARIANCE in {m.kind for m in measurements}
            else ""
        )
        + "; ".join(settings)
    )


# Plots ---------------------------------------------------------------------------------------------------------------

COLORS = ("#3b6fb6", "#d1793a", "#5a9b6b", "#8e6bb0", "#b5524f")


def _figure(width: float, height: float, panels: int = 1):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "svg.fonttype": "none",
            "axes.axisbelow": True,
            "legend.frameon": False,
        }
    )
    return plt.subplots(1, panels, figsize=(width, height), layout="constrained", squeeze=False)


def _image(figure) -> str:
    """The figure as an <img> with its SVG inside."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return f'<img alt="" src="data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def plot_synthesis(summary: dict[str, list[float]]) -> str:
    """Norm of the noise, and mean squared difference of the probabilities it causes, by step."""
    figure, axes = _figure(9, 3.2, 2)
    steps = summary.get("step", list(range(len(next(iter(summary.values()), [])))))
    panels = (("norm", "norm of the noise", COLORS[0]), ("prob_mse", "probability MSE", COLORS[1]))
    for axis, (name, title, color) in zip(axes[0], panels):
        points = [(s, v) for s, v in zip(steps, summary.get(name, ())) if v == v]
        if points:
            axis.plot(*zip(*points), color=color, linewidth=1.6, marker="o" if len(points) < 30 else None, markersize=3)
        axis.set(xlabel="synthesis step", ylabel=title, ylim=(0, None))
    return _image(figure)


def plot_accuracies(report: Report) -> str:
    """Accuracy under each attack, a group of bars for each attack, a bar for each model."""
    columns = [column for column in report.columns() if column[0] in ACCURACIES]
    figure, axes = _figure(9, 3.6)
    axis, width = axes[0][0], 0.8 / max(1, len(report.models))
    for i, model in enumerate(report.models):
        _bars(
            axis,
            [k + (i - (len(report.models) - 1) / 2) * width for k in range(len(columns))],
            width * 0.92,
            [report.find(model, column) for column in columns],
            model,
            COLORS[i % len(COLORS)],
        )
    axis.set(xticks=range(len(columns)), ylabel="accuracy, %", ylim=(0, 100))
    axis.set_xticklabels([report.heading(column).replace(" (", "\n(") for column in columns])
    axis.legend(ncols=len(report.models), loc="upper center", bbox_to_anchor=(0.5, 1.15))
    return _image(figure)


def plot_noises(report: Report) -> str:
    """Share of predictions that survive the learned noise, the same noise permuted, and Gaussian noise of its norm."""
    noises = [noise for kind, noise in report.columns() if kind == INVARIANCE]
    figure, axes = _figure(9, 3.4)
    axis, width = axes[0][0], 0.8 / max(1, len(noises))
    for i, noise in enumerate(noises):
        _bars(
            axis,
            [k + (i - (len(noises) - 1) / 2) * width for k in range(len(report.models))],
            width * 0.92,
            [report.find(model, (INVARIANCE, noise)) for model in report.models],
            f"{noise} noise",
            COLORS[i % len(COLORS)],
        )
    axis.set(xticks=range(len(report.models)), ylabel="same argmax, %", ylim=(0, 100))
    axis.set_xticklabels(list(report.models))
    axis.legend(ncols=len(noises), loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return _image(figure)


def _bars(axis, positions, width, measurements, label, color):
    pairs = [(p, m) for p, m in zip(positions, measurements) if m is not None]
    values = [100 * m.value for _, m in pairs]
    errors = [
        [max(0, v - 100 * m.interval[0]) if m.interval else 0 for v, (_, m) in zip(values, pairs)],
        [max(0, 100 * m.interval[1] - v) if m.interval else 0 for v, (_, m) in zip(values, pairs)],
    ]
    axis.bar(
        [p for p, _ in pairs],
        values,
        width,
        label=label,
        color=color,
        yerr=errors,
        error_kw={"elinewidth": 1, "ecolor": "#444"},
    )


def plot_training(training: dict[str, dict[str, list[float]]]) -> str:
    """The loss of every finetuning step; the norm of each round's noise."""
    figure, axes = _figure(9, 3.2, 2)
    losses, norms = axes[0]
    for i, (name, summary) in enumerate(training.items()):
        color = COLORS[(i + 1) % len(COLORS)]
        if "loss" in summary:
            losses.plot(
                summary.get("step", range(len(summary["loss"]))),
                summary["loss"],
                label=name,
                color=color,
                linewidth=1.2,
            )
        rounds = dict(zip(summary.get("round", ()), summary.get("noise_norm", ())))  # the last row of each round
        points = [(r, norm) for r, norm in rounds.items() if norm == norm and norm > 0]
        if points:
            norms.plot(*zip(*points), label=name, color=color, marker="o", markersize=4)
            norms.xaxis.get_major_locator().set_params(integer=True)
    losses.set(xlabel="finetuning step", ylabel="loss", ylim=(0, None))
    losses.legend()
    norms.set(xlabel="round", ylabel="norm of the round's noise", ylim=(0, None))
    return _image(figure)


# Page ----------------------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light; font: 16px/1.55 system-ui, sans-serif; color: #1c2430; background: #fff }
body { max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin-top: 2.4rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .45rem .6rem; border-bottom: 1px solid #dfe4ea; text-align: right; vertical-align: bottom }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #8a95a5; font-weight: 600 }
small { display: block; color: #667080; font-size: .78rem } .scroll { overflow-x: auto }
figure { margin: 1rem 0 } img { width: 100%; height: auto } figcaption, .note { color: #556070; font-size: .88rem }
"""


def render(report: Report) -> str:
    """The page: one table, then the plots for which there is data."""
    sections = [_html_table(report)]
    if report.synthesis:
        sections.append(
            _section(
                "Synthesis",
                plot_synthesis(report.synthesis),
                "Left: the norm of the noise. Right: how far it moves the probabilities (mean over images of the summed squared difference), measured outside the data it was made from; synthesis stops below eps.",
            )
        )
    kinds = {m.kind for measurements in report.models.values() for m in measurements}
    if INVARIANCE in kinds:
        sections.append(
            _section(
                "Learned against permuted noise",
                plot_noises(report),
                "Share of images whose predicted class the noise leaves as it was. A nullspace vector keeps predictions; the same numbers in another order, or Gaussian noise of the same norm, do not.",
            )
        )
    if kinds & set(ACCURACIES):
        sections.append(
            _section(
                "Accuracy by arm",
                plot_accuracies(report),
                "The arm none is finetuned as long, on the same data, without noise: what it gains is no effect of the noise. Lines are 95 % intervals.",
            )
        )
    if report.training:
        sections.append(
            _section(
                "Finetuning",
                plot_training(report.training),
                "Left: the noise arms add the loss under noise to the clean loss, so their curves lie higher. Right: the norm at which each round's noise met eps.",
            )
        )
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in report.notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(report.title)}</title><style>{STYLE}</style><body><h1>{html.escape(report.title)}</h1>{notes}{''.join(sections)}"
        f'<p class="note">Nullspace {__version__}</p></body></html>\n'
    )


def _html_table(report: Report) -> str:
    columns = report.columns()
    head = "".join(f"<th>{html.escape(report.heading(column))}</th>" for column in columns)
    rows = []
    for model in report.models:
        cells = []
        for column in columns:
            found = report.find(model, column)
            cells.append(
                "<td></td>"
                if found is None
                else f"<td>{found.percent()}"
                + (f"<small>{_interval(found)}</small>" if found.interval else "")
                + "</td>"
            )
        rows.append(f"<tr><td>{html.escape(model)}</td>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr><th>model</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f'<p class="note">{html.escape(_table_caption(report))}</p>'
    )


def _section(title: str, body: str, caption: str) -> str:
    return f"<h2>{html.escape(title)}</h2><figure>{body}<figcaption>{html.escape(caption)}</figcaption></figure>"


def write(report: Report, output: str | pathlib.Path) -> None:
    page = render(report)
    with replacing(output) as draft:
        draft.write_text(page, encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nullspace.report", description="One page from the folders that evaluate, synth and finetune wrote."
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        type=_named,
        required=True,
        metavar="NAME=DIR",
        help="output folder of evaluate; repeatable, the first is the base",
    )
    parser.add_argument("--synth", metavar="DIR", help="output folder of synth")
    parser.add_argument(
        "--training",
        action="append",
        default=[],
        type=_named,
        metavar="NAME=DIR",
        help="output folder of finetune; repeatable",
    )
    parser.add_argument("--title", default="Nullspace hardening")
    parser.add_argument("-o", "--output", required=True, metavar="report.html")
    args = parser.parse_args(argv)
    with user_errors(parser.prog):
        report = Report(
            args.title,
            {name: read_results(folder) for name, folder in args.model},
            read_summary(args.synth) if args.synth else None,
            {name: read_summary(folder) for name, folder in args.training},
        )
        write(report, args.output)
    print_table(report)
    return 0


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, found '{text}'")
    return name, folder


if __name__ == "__main__":
    sys.exit(main())
