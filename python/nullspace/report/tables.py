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


def _row_heading(study: Study, column: Column) -> str:
    """Where there is room: with the setting."""
    setting = f" ({column[1]})" if column[1] and column[1] not in study.heading(column) else ""
    return study.heading(column) + setting


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
            lines.append(f"| {_row_heading(study, c)} | {counts(study, c)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\n{caption(study)}\n"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    text = f"{100 * cell.value:.1f}{cell.mark} {spread(cell)}".strip()
    return text + (f" [{interval(cell)}]" if cell.interval else "")


def latex(study: Study, layout: str = "tall") -> str:
    """A table*, laid out as markdown()'s; needs booktabs, amssymb and graphicx."""
    columns, rows = _latex_paper(study) if layout == "paper" else _latex_tall(study)
    lines = [
        r"% \usepackage{booktabs,amssymb,graphicx}",
        r"\begin{table*}\centering\small",
        rf"\caption{{{_escape(caption(study))}}}".translate(
            str.maketrans({mark: text for mark, text in LATEX_MARKS.items() if mark})
        ),
        r"\par\medskip",
        # As wide as the page at most, and no wider than it is.
        r"\setbox0\hbox{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\box0}\else\box0\fi",
        r"\end{table*}",
    ]
    text = "\n".join(lines) + "\n"
    return text.replace("±", r"$\pm$").replace("–", "--").replace(" < ", " $<$ ")


def _escape(text: str) -> str:
    return "".join(ESCAPES.get(c, c) for c in text)


def _latex_tall(study: Study) -> tuple[str, list[str]]:
    """(column types, lines): a line for each attack."""
    lines = [" & ".join(["", "$n$", *map(_escape, study.arms)]) + r" \\", r"\midrule"]
    for c in study.columns:
        cells = []
        for cell in (study.cell(arm, c) for arm in study.arms):
            small = (
                " ".join(filter(None, (spread(cell), f"[{interval(cell)}]" if cell.interval else ""))) if cell else ""
            )
            cells.append(rf"{100 * cell.value:.1f}{LATEX_MARKS[cell.mark]} {{\scriptsize {small}}}" if cell else "")
        lines.append(" & ".join([_escape(_row_heading(study, c)), counts(study, c), *cells]) + r" \\")
    return "lr" + "l" * len(study.arms), lines


def _latex_paper(study: Study) -> tuple[str, list[str]]:
    """(column types, lines): arms by columns, intervals below."""
    lines = [
        " & ".join(["", *(_escape(study.heading(c)) for c in study.columns)]) + r" \\",
        " & ".join(["$n$", *(counts(study, c) for c in study.columns)]) + r" \\",
        r"\midrule",
    ]
    for arm in study.arms:
        cells = [study.cell(arm, c) for c in study.columns]
        values = (f"{100 * c.value:.1f}{LATEX_MARKS[c.mark]}" if c else "" for c in cells)
        below = (rf"\scriptsize {interval(c)}" if c else "" for c in cells)
        lines.append(" & ".join([_escape(arm), *values]) + r" \\")
        lines.append(" & ".join(["", *below]) + r" \\")
        if any(c and spread(c) for c in cells):
            spreads = (rf"\scriptsize {spread(c)}" if c and spread(c) else "" for c in cells)
            lines.append(" & ".join(["", *spreads]) + r" \\")
    return "l" + "r" * len(study.columns), lines


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
