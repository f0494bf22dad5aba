"""The table as text: Markdown, LaTeX, and on the terminal."""

import math

from .study import LOWER_IS_BETTER, Cell, Column, Study

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
}
LATEX_MARKS = {
    "": "",
    "▲": r"$^{\blacktriangle}$",
    "▼": r"$^{\blacktriangledown}$",
    "△": r"$^{\vartriangle}$",
    "▽": r"$^{\triangledown}$",
}


def interval(cell: Cell, digits: int = 1) -> str:
    if cell.interval is None:
        return ""
    low, high = cell.interval
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}"


def spread(cell: Cell) -> str:
    return "" if math.isnan(cell.spread) else f"±{100 * cell.spread:.1f}"


def caption(study: Study) -> str:
    """What the numbers are, in one paragraph."""
    seeds = sorted({len(runs) for runs in study.arms.values()})
    several = seeds[-1] > 1
    text = "Share of images classified right, in %, with its 95 % Wilson interval over the images"
    if several:
        text += f"; mean over {' or '.join(map(str, seeds))} seeds, ± their standard deviation"
    text += ". n: images."
    if any(column[0] in LOWER_IS_BETTER for column in study.columns):
        text += " mCE: lower is better, 100 is AlexNet."
    if study.comparisons():
        test = (
            "McNemar's exact test"
            if not several
            else ("the exact paired test on each image's mean over the seeds, McNemar's where there is one seed")
        )
        text += (
            f" Against {study.reference}, on the same images: △ ▽ p < .05 by {test}; ▲ ▼ the same after Holm's"
            f" correction for the {study.comparisons()} comparisons of the table."
        )
    return text


def counts(study: Study, column: Column) -> str:
    return " or ".join(sorted({str(c.n) for arm in study.arms if (c := study.cell(arm, column))}, key=int))


def markdown(study: Study, layout: str = "tall") -> str:
    """`paper`: arms by columns, as Table 1. `tall`: the same, turned, for many columns."""
    if layout == "paper":
        lines = [
            "| | " + " | ".join(f"{study.heading(c)}, n {counts(study, c)}" for c in study.columns) + " |",
            "|---" * (len(study.columns) + 1) + "|",
        ]
        for arm in study.arms:
            lines.append("| " + " | ".join([arm, *(_markdown_cell(study.cell(arm, c)) for c in study.columns)]) + " |")
    else:
        lines = ["| | n | " + " | ".join(study.arms) + " |", "|---" * (len(study.arms) + 2) + "|"]
        for c in study.columns:
            cells = (_markdown_cell(study.cell(arm, c)) for arm in study.arms)
            setting = f" ({c[1]})" if c[1] and c[1] not in study.heading(c) else ""
            lines.append(f"| {study.heading(c)}{setting} | {counts(study, c)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{caption(study)}\n"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    text = f"{100 * cell.value:.1f}{cell.mark} {spread(cell)}".strip()
    return text + (f" [{interval(cell)}]" if cell.interval else "")


def latex(study: Study) -> str:
    """A table* as the paper's Table 1: arms by columns, intervals below. Needs booktabs and amssymb."""
    escape = lambda text: "".join(ESCAPES.get(c, c) for c in text)
    columns = study.columns
    lines = [
        r"% \usepackage{booktabs,amssymb,graphicx}",
        r"\begin{table*}\centering",
        rf"\caption{{{escape(caption(study))}}}".translate(
            str.maketrans(dict(zip("▲▼△▽", map(LATEX_MARKS.get, "▲▼△▽"))))
        ),
        r"\resizebox{\textwidth}{!}{%",
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\toprule",
        " & ".join(["", *(escape(study.heading(c)) for c in columns)]) + r" \\",
        " & ".join(["$n$", *(counts(study, c) for c in columns)]) + r" \\",
        r"\midrule",
    ]
    for arm in study.arms:
        cells = [study.cell(arm, c) for c in columns]
        values = (f"{100 * c.value:.1f}{LATEX_MARKS[c.mark]}" if c else "" for c in cells)
        below = (rf"\scriptsize {interval(c).replace('–', '--')}" if c else "" for c in cells)
        lines.append(" & ".join([escape(arm), *values]) + r" \\")
        lines.append(" & ".join(["", *below]) + r" \\")
        if any(c and spread(c) for c in cells):
            spreads = (rf"\scriptsize $\pm${spread(c)[1:]}" if c and spread(c) else "" for c in cells)
            lines.append(" & ".join(["", *spreads]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}"]
    text = "\n".join(lines) + "\n"
    return text.replace("±", r"$\pm$").replace("–", "--").replace(" < ", " $<$ ")


def print_table(study: Study, title: str) -> None:
    """The table on the terminal, a line for each column, narrow enough for 80 characters and four arms."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption=caption(study), box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("%")
    table.add_column("n", justify="right")
    for arm in study.arms:
        table.add_column(arm, justify="right", no_wrap=True)
    for column in study.columns:
        cells = []
        for arm in study.arms:
            cell = study.cell(arm, column)
            cells.append("" if cell is None else f"{100 * cell.value:.1f}{cell.mark}\n[dim]{interval(cell, 0)}[/dim]")
        table.add_row(study.heading(column), counts(study, column), *cells)
    Console().print(table)
