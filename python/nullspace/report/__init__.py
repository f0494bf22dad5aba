"""python -m nullspace.report [NAME=]RUN... -o report.html [-o table.md] [-o table.tex] [-o table.json]

Gathers what the executables wrote into one table, printed and written as one HTML page that needs nothing else, as Markdown, as
LaTeX and as JSON. A run is an output folder of evaluate (results.json, outcomes.csv), of finetune or of synth (summary.csv).
Runs of one name and the same weights are one model measured in pieces; of one name and other weights, seeds of one arm. Reads
only those files; attacks nothing itself.
"""

import argparse
import json
import pathlib
import re

from .. import UserError
from .._command import user_errors
from .._files import replacing
from .page import Page, render
from .pictures import read_pictures
from .results import INVARIANCE, Measurement, read_evaluation, read_results, read_summary
from .study import Run, Study, group
from .tables import latex, markdown, print_table

__all__ = ["INVARIANCE", "Measurement", "Page", "Run", "Study", "main", "read_results", "read_summary"]

SUFFIXES = (".html", ".md", ".tex", ".json")


def gather(
    title: str, runs: list[tuple[str, str]], reference: str = "", pictures=(), notes=(), by_corruption: bool = False
) -> Page:
    """The page of these folders. Raises UserError."""
    evaluations, training, synthesis = [], {}, None
    for name, folder in runs:
        path = pathlib.Path(folder)
        if (path / "results.json").exists():
            evaluations.append((name, read_evaluation(path)))
            continue
        if not (path / "summary.csv").exists():
            raise UserError(
                f"{path}: expected results.json of evaluate, or summary.csv of finetune or synth; found neither"
            )
        summary = read_summary(path)
        if "round" in summary or "holdout_accuracy" in summary:
            training[name] = summary
        elif synthesis is None:
            synthesis = summary
        else:
            raise UserError(f"{path}: a second output of synth: expected at most one")
    study = Study(group(evaluations), reference, by_corruption) if evaluations else None
    return Page(title, study, synthesis, training, read_pictures(list(pictures)) if pictures else None, list(notes))


def text_of(page: Page, suffix: str, layout: str) -> str:
    if suffix == ".html":
        return render(page)
    if page.study is None:
        raise UserError(f"*{suffix}: a table needs at least one output of evaluate")
    if suffix == ".md":
        return markdown(page.study, layout)
    return latex(page.study, layout) if suffix == ".tex" else json.dumps(page.study.record(), indent=1) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nullspace.report",
        description="One page from the folders that evaluate, synth and finetune wrote.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=_run,
        metavar="[NAME=]RUN",
        help="output folder of evaluate, finetune or synth; by default its own name",
    )
    parser.add_argument("--reference", default="", metavar="NAME", help="arm to compare with; default: the first")
    parser.add_argument(
        "--pictures",
        action="append",
        default=[],
        type=_named,
        metavar="LABEL=DIR",
        help="a version of some images (PNG or JPEG), such as clean=DIR, attacked=DIR; repeatable",
    )
    parser.add_argument(
        "--by-corruption",
        action="store_true",
        help="a column for each kind of corruption, the mean over its severities",
    )
    parser.add_argument("--title", default="Nullspace hardening")
    parser.add_argument("--note", action="append", default=[], help="a sentence for the head of the page; repeatable")
    parser.add_argument(
        "--layout",
        choices=("tall", "paper"),
        default="tall",
        help="of the .md and .tex tables: arms as columns, or as rows",
    )
    parser.add_argument(
        "-o", "--output", action="append", required=True, type=_output, metavar="FILE", help=" ".join(SUFFIXES)
    )
    args = parser.parse_args(argv)
    with user_errors(parser.prog):
        page = gather(args.title, args.runs, args.reference, args.pictures, args.note, args.by_corruption)
        texts = [(path, text_of(page, path.suffix, args.layout)) for path in args.output]
        for path, text in texts:
            with replacing(path) as draft:
                draft.write_text(text, encoding="utf-8")
    if page.study:
        print_table(page.study, page.title)
    return 0


def _run(text: str) -> tuple[str, str]:
    """NAME=DIR, or DIR. A path may hold a `=`: a name may not hold a `/`."""
    match = re.fullmatch(r"([^=/]+)=(.+)", text)
    return (match[1], match[2]) if match else (pathlib.Path(text).resolve().name, text)


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, found '{text}'")
    return name, folder


def _output(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"expected a file ending in {' '.join(SUFFIXES)}, found '{text}'")
    return path
