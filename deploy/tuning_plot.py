"""Delay against false triggers per hour of many stabilisers, as a picture: PNG or SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import log10
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ..sync.errors import ConfigError, ReportError

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 480, 80, 190, 50, 60
COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""After Okabe and Ito, for all kinds of colour vision."""
ENDINGS: Final = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """One stabiliser: ``group`` gives the colour, ``front`` is drawn full and joined, ``chosen`` gets a ring."""

    group: str
    false_per_hour: float
    delay_ms: float
    front: bool
    chosen: bool


def require_plot(path: Path | None) -> None:
    """Refuse an ending that is no picture, before any work.

    Raises:
        ConfigError: neither ``.png`` nor ``.svg``.
    """
    if path is not None and path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--plot {path}: is neither .png nor .svg; name one of these")


def write_tuning_plot(path: Path, title: str, points: Sequence[PlotPoint]) -> None:
    """Draw the points; false triggers on a scale of log(1 + n), so that none at all has its place.

    Raises:
        ReportError: it cannot be written.
    """
    drawing: _Svg | _Png = _Svg() if path.suffix.lower() == ".svg" else _Png()
    _draw(drawing, title, points)
    try:
        path.write_bytes(drawing.to_bytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); give another place with --plot") from error


def _draw(drawing: "_Svg | _Png", title: str, points: Sequence[PlotPoint]) -> None:
    inner_x, inner_y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    most = max([*(one.false_per_hour for one in points), 1.0])
    longest = max([*(one.delay_ms for one in points), 1.0]) * 1.05
    shortest = min([*(one.delay_ms for one in points), 0.0])

    def x_of(rate: float) -> float:
        return LEFT + inner_x * log10(1.0 + rate) / log10(1.0 + most)

    def y_of(delay_ms: float) -> float:
        return TOP + inner_y * (1.0 - (delay_ms - shortest) / (longest - shortest))

    drawing.text(LEFT, 24, title, 15)
    for rate in (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000):
        if rate <= most:
            drawing.line(x_of(rate), TOP, x_of(rate), TOP + inner_y, "#dddddd", 1)
            drawing.text(x_of(rate) - 8, TOP + inner_y + 18, f"{rate:g}", 12)
    step = next(size for size in (10, 20, 50, 100, 200, 500, 1000, 2000, 1e9) if (longest - shortest) / size <= 8)
    level = -(-shortest // step) * step
    while level <= longest:
        drawing.line(LEFT, y_of(level), LEFT + inner_x, y_of(level), "#dddddd", 1)
        drawing.text(LEFT - 48, y_of(level) + 4, f"{level:g}", 12)
        level += step
    drawing.text(LEFT + inner_x / 2 - 90, HEIGHT - 14, "false triggers per hour", 13)
    drawing.text(8, TOP - 12, "median delay, ms", 13)
    groups = list(dict.fromkeys(one.group for one in points))
    front = sorted((one for one in points if one.front), key=lambda one: one.false_per_hour)
    for before, after in pairwise(front):
        drawing.line(
            x_of(before.false_per_hour), y_of(before.delay_ms), x_of(after.false_per_hour), y_of(after.delay_ms),
            "#888888", 2,
        )  # fmt: skip
    for one in points:
        color = COLORS[groups.index(one.group) % len(COLORS)]
        x, y = x_of(one.false_per_hour), y_of(one.delay_ms)
        drawing.circle(x, y, 5 if one.front else 3, color, filled=one.front)
        if one.chosen:
            drawing.circle(x, y, 10, "#000000", filled=False)
    for place, group in enumerate(groups):
        drawing.circle(LEFT + inner_x + 18, TOP + 10 + 22 * place, 5, COLORS[place % len(COLORS)], filled=True)
        drawing.text(LEFT + inner_x + 30, TOP + 14 + 22 * place, group, 12)


class _Svg:
    def __init__(self) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        ]

    def line(self, x0: float, y0: float, x1: float, y1: float, color: str, width: int) -> None:
        self._parts.append(
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{color}" stroke-width="{width}"/>'
        )

    def circle(self, x: float, y: float, radius: int, color: str, filled: bool) -> None:
        fill = color if filled else "none"
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{color}" stroke-width="1.5"/>'
        )

    def text(self, x: float, y: float, words: str, size: int) -> None:
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}">{escape(words)}</text>')

    def to_bytes(self) -> bytes:
        return "\n".join([*self._parts, "</svg>", ""]).encode()


class _Png:
    def __init__(self) -> None:
        self._image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: str, width: int) -> None:
        ends = (round(x0), round(y0)), (round(x1), round(y1))
        cv2.line(self._image, *ends, _bgr(color), width, cv2.LINE_AA)

    def circle(self, x: float, y: float, radius: int, color: str, filled: bool) -> None:
        cv2.circle(self._image, (round(x), round(y)), radius, _bgr(color), -1 if filled else 1, cv2.LINE_AA)

    def text(self, x: float, y: float, words: str, size: int) -> None:
        scale = size / 28
        cv2.putText(
            self._image, words, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA
        )

    def to_bytes(self) -> bytes:
        return cv2.imencode(".png", self._image)[1].tobytes()


def _bgr(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return blue, green, red
