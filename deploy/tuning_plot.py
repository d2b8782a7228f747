"""Delay against false triggers per hour of many stabilisers, as a picture: PNG or SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10
from pathlib import Path

from .canvas import COLORS, Canvas, canvas_for, round_steps, write_canvas

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 480, 80, 190, 50, 60


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """One stabiliser: ``group`` gives the colour, ``front`` is drawn full and joined, ``chosen`` gets a ring."""

    group: str
    false_per_hour: float
    delay_ms: float
    front: bool
    chosen: bool


def write_tuning_plot(path: Path, title: str, points: Sequence[PlotPoint]) -> None:
    """Draw the points; false triggers on a scale of log(1 + n), so that none at all has its place.

    Raises:
        ReportError: it cannot be written.
    """
    canvas = canvas_for(path, WIDTH, HEIGHT)
    _draw(canvas, title, points)
    write_canvas(path, canvas)


def _draw(canvas: Canvas, title: str, points: Sequence[PlotPoint]) -> None:
    inner_x, inner_y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    most = max([*(one.false_per_hour for one in points), 1.0])
    longest = max([*(one.delay_ms for one in points), 1.0]) * 1.05
    shortest = min([*(one.delay_ms for one in points), 0.0])

    def x_of(rate: float) -> float:
        return LEFT + inner_x * log10(1.0 + rate) / log10(1.0 + most)

    def y_of(delay_ms: float) -> float:
        return TOP + inner_y * (1.0 - (delay_ms - shortest) / (longest - shortest))

    canvas.text(LEFT, 18, title, 15)
    for rate in (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000):
        if rate <= most:
            canvas.line(x_of(rate), TOP, x_of(rate), TOP + inner_y, "#dddddd")
            canvas.text(x_of(rate), TOP + inner_y + 18, f"{rate:g}", 12, "middle")
    for level in round_steps(shortest, longest, 8):
        canvas.line(LEFT, y_of(level), LEFT + inner_x, y_of(level), "#dddddd")
        canvas.text(LEFT - 10, y_of(level) + 4, f"{level:g}", 12, "end")
    canvas.text(LEFT + inner_x / 2, HEIGHT - 14, "false triggers per hour", 13, "middle")
    canvas.text(8, TOP - 12, "median delay, ms", 13)
    groups = list(dict.fromkeys(one.group for one in points))
    front = sorted((one for one in points if one.front), key=lambda one: one.false_per_hour)
    for before, after in pairwise(front):
        canvas.line(
            x_of(before.false_per_hour), y_of(before.delay_ms), x_of(after.false_per_hour), y_of(after.delay_ms),
            "#888888", 2,
        )  # fmt: skip
    for one in points:
        color = COLORS[groups.index(one.group) % len(COLORS)]
        x, y = x_of(one.false_per_hour), y_of(one.delay_ms)
        canvas.circle(x, y, 5 if one.front else 3, color, filled=one.front)
        if one.chosen:
            canvas.circle(x, y, 10, "#000000", filled=False)
    for place, group in enumerate(groups):
        canvas.circle(LEFT + inner_x + 18, TOP + 10 + 22 * place, 5, COLORS[place % len(COLORS)], filled=True)
        canvas.text(LEFT + inner_x + 30, TOP + 14 + 22 * place, group, 12)
