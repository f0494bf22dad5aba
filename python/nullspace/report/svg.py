"""Charts as inline SVG: colours by the page's variables, so that they follow its light and dark mode; text of the page's size
on a phone, where a chart is as wide as the screen."""

import dataclasses
import html
import math

WIDTH = 360  # of every chart, in units of a phone's pixels
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")


@dataclasses.dataclass
class Series:
    """x and y; the colour and sign by the index."""

    index: int
    points: list[tuple[float, float]]


def marker(index: int, x: float, y: float, size: float = 4) -> str:
    """The sign of series `index`: shapes differ as well as colours."""
    s, attributes = size, f'class="s{index % 6}"'
    shape = SHAPES[index % 6]
    if shape == "circle":
        return f'<circle {attributes} cx="{x:.1f}" cy="{y:.1f}" r="{s}"/>'
    if shape == "square":
        return f'<rect {attributes} x="{x - s:.1f}" y="{y - s:.1f}" width="{2 * s}" height="{2 * s}"/>'
    if shape == "ring":
        return f'<circle {attributes} cx="{x:.1f}" cy="{y:.1f}" r="{s}" style="fill:none;stroke-width:2"/>'
    corners = {
        "triangle": [(0, -s * 1.2), (s * 1.1, s), (-s * 1.1, s)],
        "diamond": [(0, -s * 1.4), (s * 1.2, 0), (0, s * 1.4), (-s * 1.2, 0)],
        "cross": [(-s, -s), (0, -s / 3), (s, -s), (s / 3, 0), (s, s), (0, s / 3), (-s, s), (-s / 3, 0)],
    }[shape]
    return f'<polygon {attributes} points="' + " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners) + '"/>'


def legend(names: dict[int, str]) -> str:
    """The key of all charts with these series, by their index, as HTML."""
    items = (
        f'<li><svg viewBox="-7 -7 14 14" aria-hidden="true">{marker(i, 0, 0)}</svg>{html.escape(name)}</li>'
        for i, name in names.items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers over [low, high]."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _open(height: float, title: str) -> str:
    name = html.escape(title, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{name}">'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{shown}>{html.escape(text)}</text>'


def lines(title: str, x_label: str, series: list[Series], y_range=None, height: int = 210, dots: bool = True) -> str:
    """A line for each series. `y_range`: that of the axis; by default from 0 to the largest."""
    known = [p for s in series for p in s.points if p[1] == p[1]]
    if not known:
        return ""
    left, right, top, bottom = 40, 10, 22, 36
    xs = [x for x, _ in known]
    low, high = y_range or (0, max(y for _, y in known) * 1.05 or 1)
    x_low, x_high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    at_x = lambda x: left + (x - x_low) / (x_high - x_low) * (WIDTH - left - right)
    at_y = lambda y: height - bottom - (y - low) / (high - low) * (height - top - bottom)
    parts = [_open(height, title), _text(left, 14, title, kind="title")]
    for tick in ticks(low, high):
        parts.append(f'<path class="grid" d="M{left} {at_y(tick):.1f}H{WIDTH - right}"/>')
        parts.append(_text(left - 5, at_y(tick) + 4, f"{tick:.6g}", "end"))
    whole = all(x == int(x) for x in xs)
    for tick in (t for t in ticks(x_low, x_high) if not whole or abs(t - round(t)) < 1e-9):
        parts.append(_text(at_x(tick), height - bottom + 15, f"{tick:.6g}", "middle"))
    parts.append(_text((left + WIDTH - right) / 2, height - 5, x_label, "middle"))
    for one in series:
        i = one.index
        places = [(at_x(x), at_y(y)) for x, y in one.points if y == y]
        if places:
            parts.append(f'<path class="line s{i % 6}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>')
        if dots and len(places) < 40:
            parts += [marker(i, x, y, 3) for x, y in places]
    return "".join(parts) + "</svg>"


def dots(title: str, rows: list[tuple[str, list[tuple[float, tuple[float, float] | None] | None]]]) -> str:
    """A row for each label, on an axis from 0 to 100 %; in it for each series a marker and its interval."""
    left, right, top = 8, 8, 8
    at = lambda share: left + share * (WIDTH - left - right)
    y, parts = top, []
    grid_from = y
    for label, values in rows:
        parts.append(_text(left, y + 14, label, kind="title"))
        y += 22
        for i, value in enumerate(values):
            if value is None:
                continue
            share, interval = value
            if interval:
                parts.append(
                    f'<path class="whisker s{i % 6}" d="M{at(interval[0]):.1f} {y + 5:.1f}H{at(interval[1]):.1f}"/>'
                )
            parts.append(marker(i, at(share), y + 5))
            y += 12
        y += 6
    grid = [f'<path class="grid" d="M{at(t / 100):.1f} {grid_from}V{y}"/>' for t in range(0, 101, 20)]
    labels = [
        _text(at(t / 100), y + 14, f"{t} %" if t == 100 else str(t), "end" if t == 100 else "middle")
        for t in range(0, 101, 20)
    ]
    return _open(y + 20, title) + "".join(grid + parts + labels) + "</svg>"
