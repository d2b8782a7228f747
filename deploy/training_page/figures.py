"""The drawings of a training's page, as SVG on light ground."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..canvas import round_steps
from ..palette import paper_color

WIDE: Final = 1100.0
HALF: Final = 540.0
MAX_COLUMNS: Final = 2000
"""Columns of an ethogram; more than two to a pixel cannot be told apart."""
_CHARACTER: Final = 6.3
"""Width of a letter of a label, about."""
_SMALL: Final = 5.7
"""Likewise of a tick, about."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: ``dots`` are radii of circles on its points; ``thin`` recedes behind the others."""

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    dots: Sequence[float] = ()
    thin: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart spans, and the words beside it; ``whole_x``: only whole numbers stand below it."""

    x_label: str
    y_label: str
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    diagonal: bool = False
    whole_x: bool = False


def line_chart(lines: Sequence[Line], axes: Axes, tall: float = 300.0) -> str:
    """Curves over two axes, and the key below."""
    left, right, top, bottom = 48.0, 12.0, 10.0, 38.0
    wide, high = HALF - left - right, tall - top - bottom
    (x0, x1), (y0, y1) = axes.x, axes.y

    def across(value: float) -> float:
        return left + wide * (value - x0) / ((x1 - x0) or 1.0)

    def down(value: float) -> float:
        return top + high * (1.0 - (value - y0) / ((y1 - y0) or 1.0))

    out = [_svg(HALF, tall, f"{axes.y_label} over {axes.x_label}")]
    for value in round_steps(x0, x1, 6):
        if axes.whole_x and value != round(value):
            continue
        out.append(_grid(across(value), across(value), top, top + high))
        out.append(_tick(across(value), top + high + 14, f"{_plain(value)}", "middle"))
    for value in round_steps(y0, y1, 5):
        out.append(_grid(left, left + wide, down(value), down(value)))
        out.append(_tick(left - 6, down(value) + 3.5, f"{_plain(value)}", "end"))
    out.append(_tick(left + wide / 2, tall - 6, axes.x_label, "middle"))
    middle = top + high / 2
    out.append(
        f'<text class=tick x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">'
        f"{escape(axes.y_label)}</text>"
    )
    if axes.diagonal:
        out.append(
            f'<line stroke="var(--dim)" stroke-dasharray="4 4" x1="{across(x0):.1f}" y1="{down(y0):.1f}" '
            f'x2="{across(x1):.1f}" y2="{down(y1):.1f}"/>'
        )
    for line in lines:
        out.append(_curve(line, across, down))
    out.append("</svg>")
    return "".join(out) + legend([(line.name, line.color) for line in lines if line.name])


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names beside their colours."""
    inner = "".join(
        f'<span><span class=key style="background:{color}"></span>{escape(name)}</span>' for name, color in entries
    )
    return f"<div class=names>{inner}</div>"


def _curve(line: Line, across: Callable[[float], float], down: Callable[[float], float]) -> str:
    points = [(across(x), down(y)) for x, y in zip(line.x, line.y, strict=True)]
    if not points:
        return ""
    style = 'stroke-width="1" opacity=".55"' if line.thin else 'stroke-width="2"'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline fill="none" stroke="{line.color}" {style} stroke-linejoin="round" points="{path}"/>'
    radii = line.dots or ([3.0] if len(points) == 1 else [])
    for (x, y), radius in zip(points, radii, strict=False):
        drawn += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{line.color}"/>'
    return drawn


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of a score chart: a value with its interval, and the single values that it is made of."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    parts: Sequence[float] = ()
    color: str = "var(--live)"


def score_chart(title: str, rows: Sequence[ScoreRow]) -> str:
    """Scores from 0 to 1, one below the other."""
    left = _room([row.name for row in rows])
    row_height, top = 30.0, 24.0
    wide = HALF - left - 56.0
    tall = top + row_height * len(rows) + 20
    out = [_svg(HALF, tall, title), f'<text class=name x="0" y="13">{escape(title)}</text>']
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x = left + wide * value
        out.append(_grid(x, x, top, tall - 18))
        out.append(_tick(x, tall - 5, f"{value:g}", "middle"))
    for place, row in enumerate(rows):
        y = top + row_height * (place + 0.4)
        out.append(
            f'<text class=label x="{left - 10:.0f}" y="{y + 4:.1f}" text-anchor="end">{escape(_cut(row.name))}</text>'
        )
        if row.value is None:
            out.append(_tick(left, y + 4, "not defined", "start"))
            continue
        for part in row.parts:
            out.append(
                f'<circle cx="{left + wide * part:.1f}" cy="{y + 10:.1f}" r="2.5" fill="none" stroke="{row.color}" '
                f'opacity=".7"><title>{part:.3f}</title></circle>'
            )
        if row.low is not None and row.high is not None:
            a, b = left + wide * row.low, left + wide * row.high
            out.append(
                f'<line stroke="{row.color}" stroke-width="3" opacity=".6" x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/>'
            )
        x = left + wide * row.value
        out.append(f'<rect fill="{row.color}" x="{x - 2:.1f}" y="{y - 7:.1f}" width="4" height="14"/>')
        out.append(f'<text class=label x="{HALF - 4:.0f}" y="{y + 4:.1f}" text-anchor="end">{row.value:.3f}</text>')
    return "".join([*out, "</svg>"])


def confusion_figure(classes: Sequence[str], matrix: Sequence[Sequence[int]], undecided: Sequence[int]) -> str:
    """Truth by row, answer by column: the share of the row as shade and number, the frames below it."""
    with_none = any(undecided)
    columns = [*classes, *(["no label"] if with_none else [])]
    left = _room(classes)
    longest = max(len(_cut(name)) for name in columns) * _SMALL
    slanted = longest > (HALF - left) / len(columns) - 4
    top = 22.0 + (longest * 0.62 if slanted else 0.0)
    spill = len(_cut(columns[-1])) * _SMALL * 0.79 if slanted else 0.0
    side = min((HALF - left - spill) / (len(columns) - 0.5), (HALF - left) / len(columns), 120.0)
    height = min(side, 64.0)
    tall = top + height * len(classes) + 4
    out = [_svg(HALF, tall, "confusion matrix")]
    for place, name in enumerate(columns):
        x = left + side * (place + 0.5)
        if slanted:
            out.append(
                f'<text class=tick x="{x:.1f}" y="{top - 6:.1f}" transform="rotate(-38 {x:.1f} {top - 6:.1f})">'
                f"{escape(_cut(name))}</text>"
            )
        else:
            out.append(_tick(x, top - 7, _cut(name), "middle"))
    for place, name in enumerate(classes):
        y = top + height * place
        row = [*matrix[place], *([undecided[place]] if with_none else [])]
        total = sum(row)
        out.append(
            f'<text class=label x="{left - 8:.0f}" y="{y + height / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(_cut(name))}</text>"
        )
        for column, n in enumerate(row):
            share = n / total if total else 0.0
            color = "var(--live)" if column == place else "var(--bad)"
            x = left + side * column
            ink = "#fff" if share > 0.55 else "var(--ink)"
            shown = f"{share:.0%}" if total else "-"
            out.append(
                f'<rect fill="{color}" fill-opacity="{share:.3f}" stroke="var(--line)" x="{x:.1f}" y="{y:.1f}" '
                f'width="{side:.1f}" height="{height:.1f}"><title>{escape(name)} named {escape(columns[column])}: '
                f'{n:,} frames</title></rect><text font-size="12" fill="{ink}" x="{x + side / 2:.1f}" '
                f'y="{y + height / 2:.1f}" text-anchor="middle">{shown}</text>'
                f'<text font-size="9" fill="{ink}" opacity=".8" x="{x + side / 2:.1f}" '
                f'y="{y + height / 2 + 12:.1f}" text-anchor="middle">{n:,}</text>'
            )
    return "".join([*out, "</svg>"])


def ethogram(
    lanes: Sequence[tuple[str, NDArray[np.integer]]], n_classes: int, rate_hz: float, names: Sequence[str] = ()
) -> str:
    """What was true and what was said over time, one lane each.

    Args:
        lanes: name and class index per frame, int [n]; below 0 nothing is drawn.
        n_classes: how many there are.
        rate_hz: frames per second.
        names: of the lanes of all ethograms, so that they begin below each other.
    """
    n = len(lanes[0][1])
    left, row, bar = _room([*(name for name, _ in lanes), *names]), 20.0, 16.0
    wide = WIDE - left
    tall = row * len(lanes) + 18
    out = [_svg(WIDE, tall, "ethogram")]
    for place, (name, labels) in enumerate(lanes):
        y = row * place
        words = escape(_cut(name))
        out.append(f'<text class=label x="{left - 8:.0f}" y="{y + 12:.0f}" text-anchor="end">{words}</text>')
        out.append(f'<rect class=lane x="{left:.0f}" y="{y:.0f}" width="{wide:.1f}" height="{bar:.0f}"/>')
        columns = binned(labels, n_classes)
        scale = wide / max(len(columns), 1)
        edges = np.flatnonzero(np.diff(columns, prepend=-2, append=-2))
        paths: dict[int, list[str]] = {}
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            kind = int(columns[start])
            if kind >= 0:
                paths.setdefault(kind, []).append(
                    f"M{left + start * scale:.2f} {y:.0f}h{(stop - start) * scale:.2f}v{bar:.0f}H"
                    f"{left + start * scale:.2f}z"
                )
        for kind, parts in sorted(paths.items()):
            out.append(f'<path fill="{paper_color(kind)}" d="{"".join(parts)}"/>')
    seconds = n / rate_hz
    minutes = seconds >= 180.0
    unit = 60.0 if minutes else 1.0
    for value in round_steps(0.0, seconds / unit, 10):
        x = left + wide * value * unit / seconds
        words = f"{_plain(value)}" + ("" if value else " min" if minutes else " s")
        out.append(
            _tick(x, row * len(lanes) + 12, words, "end" if x > WIDE - 20 else "start" if not value else "middle")
        )
    return "".join([*out, "</svg>"])


def binned(labels: NDArray[np.integer], n_classes: int, most: int = MAX_COLUMNS) -> NDArray[np.int64]:
    """The most frequent label of each of at most so many equal stretches, int64 [columns]; -1: none."""
    n = len(labels)
    shown = np.maximum(labels.astype(np.int64), -1)
    if n <= most:
        return shown
    place = np.arange(n) * most // n
    votes = np.bincount(place * (n_classes + 1) + shown + 1, minlength=most * (n_classes + 1))
    return votes.reshape(most, n_classes + 1).argmax(1) - 1


def _svg(wide: float, tall: float, label: str) -> str:
    return f'<svg viewBox="0 0 {wide:g} {tall:g}" role="img" aria-label="{escape(label)}">'


def _grid(x0: float, x1: float, y0: float, y1: float) -> str:
    return f'<line class=grid x1="{x0:.1f}" x2="{x1:.1f}" y1="{y0:.1f}" y2="{y1:.1f}"/>'


def _tick(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text class=tick x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _plain(value: float) -> str:
    return f"{round(value, 6):g}"


def _room(names: Sequence[str]) -> float:
    """Space for names to the left of something."""
    return min(max([0.0, *(len(name) * _CHARACTER for name in names)]) + 16.0, 190.0)


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
