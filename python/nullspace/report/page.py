"""The HTML page: one file, no script, nothing from the network."""

import dataclasses
import html
import math

from .. import __version__
from . import plots, svg
from .pictures import Pictures, gallery
from .study import LOWER_IS_BETTER, Cell, Study
from .tables import caption, counts, interval, spread

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #56606f; --line: #d5dbe3; --paper: #fff; --card: #f5f7fa; --up: #12703a; --down: #a8321f;
  --c0: #2f5fa8; --c1: #b85c10; --c2: #2a7d4f; --c3: #8347a6; --c4: #a83242; --c5: #5d6470; font: 16px/1.5 system-ui, sans-serif }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #a3adba; --line: #39424f; --paper: #14181e; --card: #1c222b; --up: #63d28f; --down: #ff9583;
  --c0: #82b1ff; --c1: #ffb066; --c2: #6fd6a0; --c3: #d3a0f5; --c4: #ff8e9b; --c5: #b4bcc8 } }
* { box-sizing: border-box } html { scroll-behavior: smooth } @media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto } }
body { color: var(--ink); background: var(--paper); max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 3rem } h1, th, .note { overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .4rem } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem }
nav ul, .legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; padding: 0; margin: .6rem 0 }
a { color: var(--c0) } a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--c0); outline-offset: 2px }
.skip { position: absolute; left: -99rem } .skip:focus { position: static }
.note, figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem }
.legend li { display: flex; align-items: center; gap: .4rem } .legend svg { width: 1rem; height: 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .6rem }
th, td { padding: .45rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }
thead th { border-bottom: 2px solid var(--soft); vertical-align: bottom } th[scope=row] { text-align: left; font-weight: 600 }
th small, td small { display: block; color: var(--soft); font-size: .8rem; font-weight: 400 } td small { white-space: nowrap } td .arm { display: none }
.value { position: relative } .mark { position: absolute; left: 100%; padding-left: .15em } td { padding-right: 1.3rem } .up { color: var(--up) } .down { color: var(--down) }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
figure { margin: 0 } .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem }
.chart { display: block; width: 100%; max-width: 34rem; height: auto; font-size: 12px }
.chart text { fill: var(--soft) } .chart .title { fill: var(--ink); font-weight: 600 }
.grid { stroke: var(--line); fill: none } .line { fill: none !important; stroke-width: 2; stroke-linejoin: round } .whisker { fill: none !important; stroke-width: 2; opacity: .55 }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(4.6rem, 1fr)); gap: .5rem; max-width: 44rem; margin-bottom: .8rem }
.pictures img { width: 100%; height: auto; display: block; image-rendering: pixelated; border-radius: 3px } .pictures figcaption { font-size: .78rem; line-height: 1.3 }
@media (max-width: 44rem) {
  table, caption, tbody, tr, th, td { display: block } thead { display: none }
  tr { background: var(--card); border-radius: 8px; padding: .6rem .8rem; margin-bottom: .7rem } th[scope=row], td { border: 0; padding: .15rem 0 }
  td { display: grid; grid-template-columns: 1fr 3rem 7.8rem; gap: .6rem; padding-right: 0; align-items: baseline } td .arm { display: block; text-align: left }
  td small { display: inline; padding-left: .5rem } td.none { display: none } th[scope=row] small { display: inline; margin-left: .4rem }
}
@media print { nav { display: none } }
""" + "".join(f".s{i} {{ fill: var(--c{i}); stroke: var(--c{i}) }}\n" for i in range(6))


@dataclasses.dataclass
class Page:
    """What the page is made of."""

    title: str
    study: Study | None = None
    synthesis: dict[str, list[float]] | None = None
    training: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    pictures: Pictures | None = None
    notes: list[str] = dataclasses.field(default_factory=list)


def render(page: Page) -> str:
    """One table, then the charts for which there is data."""
    sections = list(_sections(page))
    links = "".join(f'<li><a href="#{key}">{html.escape(title)}</a></li>' for key, title, _ in sections)
    bodies = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}" tabindex="-1">{html.escape(title)}</h2>{body}</section>'
        for key, title, body in sections
    )
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in page.notes)
    title = html.escape(page.title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f'<a class="skip" href="#main">To the results</a><header><h1>{title}</h1>{notes}'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main id="main">{bodies}</main>'
        f'<footer><p class="note">Nullspace {__version__}</p></footer></body></html>\n'
    )


def _figure(body: str, text: str) -> str:
    return f'<figure><div class="charts">{body}</div><figcaption>{html.escape(text)}</figcaption></figure>'


def _sections(page: Page):
    """(id, title, HTML) of each section that has something to show."""
    study = page.study
    if study:
        key = svg.legend(dict(enumerate(study.arms)))
        yield "table", "Results", _table(study)
        if charts := plots.accuracies(study):
            text = "The arm none is finetuned as long, on the same data, without noise: what it gains is no effect of noise or attack. Lines: 95 % intervals."
            yield "accuracy", "Accuracy by arm", key + _figure("".join(charts), text)
        if charts := plots.severities(study):
            text = "Mean over the seeds; severity 0 are the same images, clean."
            yield "severity", "Corruptions by severity", key + _figure("".join(charts), text)
    if page.pictures:
        text = "The same images in every version, as stored, 8 bits a channel."
        yield "pictures", "Pictures", gallery(page.pictures) + f'<p class="note">{text}</p>'
    if study and (noises := plots.noises_of(study)):
        text = "Share of images whose predicted class the noise leaves as it was. A nullspace vector keeps predictions; the same numbers in another order, or Gaussian noise of the same norm, do not."
        yield (
            "noise",
            "Learned against permuted noise",
            svg.legend(dict(enumerate(noises))) + _figure(plots.invariance(study), text),
        )
    if page.synthesis:
        text = "The norm of the noise, and how far it moves the probabilities (mean over images of the summed squared difference), measured outside the data it was made from; synthesis stops below eps."
        yield "synthesis", "Synthesis", _figure("".join(plots.synthesis(page.synthesis)), text)
    if page.training:
        text = "The arms with noise, and trades, add a second loss to the clean one; madry has the loss of attacked images: their curves lie higher. Beside it the norm of each round's noise."
        # An arm has one colour on the whole page.
        order = dict.fromkeys([*(study.arms if study else ()), *page.training])
        keys = {i: name for i, name in enumerate(order) if name in page.training}
        yield "training", "Finetuning", svg.legend(keys) + _figure("".join(plots.training(page.training, keys)), text)


def _table(study: Study) -> str:
    head = "".join(f'<th scope="col">{html.escape(arm)}</th>' for arm in study.arms)
    rows = []
    for column in study.columns:
        title = study.heading(column)
        setting = f"{column[1]}, " if column[1] and column[1] not in title else ""
        if column[0] in LOWER_IS_BETTER:
            setting += "lower is better, "
        label = f"{html.escape(title)}<small>{html.escape(setting)}n {counts(study, column)}</small>"
        cells = "".join(_cell(study, arm, study.cell(arm, column)) for arm in study.arms)
        rows.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    return (
        f"<table><caption>{html.escape(caption(study))}</caption><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(study: Study, arm: str, cell: Cell | None) -> str:
    name = f'<span class="arm">{html.escape(arm)}</span>'
    if cell is None:
        return f'<td class="none">{name}<span class="sr">not measured</span></td>'
    below = " ".join(part for part in (spread(cell), f"[{interval(cell)}]" if cell.interval else "") if part)
    return f'<td>{name}<span class="value">{100 * cell.value:.1f}{_mark(study, cell)}</span><small>{below}</small></td>'


def _mark(study: Study, cell: Cell) -> str:
    if not cell.mark:
        return ""
    up = cell.difference > 0
    p = cell.p if math.isnan(cell.adjusted) or cell.mark in "△▽" else cell.adjusted
    text = f"{'above' if up else 'below'} {study.reference} by {100 * abs(cell.difference):.1f} points, p {p:.2g}"
    kind = "up" if up else "down"
    return f'<span class="mark {kind}" title="{html.escape(text, quote=True)}"><span aria-hidden="true">{cell.mark}</span><span class="sr">{html.escape(text)}</span></span>'
