"""A small canvas for plots, the same calls for PNG and for SVG."""

import math
from html import escape
from pathlib import Path
from typing import Final, Literal, Protocol

import cv2
import numpy as np

from ..sync.errors import ConfigError, ReportError

COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""After Okabe and Ito, for all kinds of colour vision."""
ENDINGS: Final = (".png", ".svg")
Anchor = Literal["start", "middle", "end"]
_INK = "#1e1e1e"


class Canvas(Protocol):
    """Pixels from the upper left corner, colours as ``#rrggbb``."""

    def line(self, x0: float, y0: float, x1: float, y1: float, color: str, width: int = 1) -> None: ...

    def circle(self, x: float, y: float, radius: int, color: str, *, filled: bool) -> None: ...

    def text(self, x: float, y: float, words: str, size: int, anchor: Anchor = "start") -> None: ...

    def to_bytes(self) -> bytes: ...


def require_picture(path: Path | None, option: str = "--plot") -> None:
    """Refuse an ending that is no picture, before any work.

    Raises:
        ConfigError: neither ``.png`` nor ``.svg``.
    """
    if path is not None and path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{option} {path}: is neither .png nor .svg; name one of these")


def canvas_for(path: Path, width: int, height: int) -> Canvas:
    """White paper of the kind that the file's ending asks for."""
    return _Svg(width, height) if path.suffix.lower() == ".svg" else _Png(width, height)


def write_canvas(path: Path, canvas: Canvas) -> None:
    """Write the picture.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        path.write_bytes(canvas.to_bytes())
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); give another place with --plot") from error


def round_steps(low: float, high: float, most: int) -> list[float]:
    """Round values between two, at most so many and one: 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / most
    if raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


class _Svg:
    def __init__(self, width: int, height: int) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]

    def line(self, x0: float, y0: float, x1: float, y1: float, color: str, width: int = 1) -> None:
        self._parts.append(
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{color}" stroke-width="{width}"/>'
        )

    def circle(self, x: float, y: float, radius: int, color: str, *, filled: bool) -> None:
        fill = color if filled else "none"
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{color}" stroke-width="1.5"/>'
        )

    def text(self, x: float, y: float, words: str, size: int, anchor: Anchor = "start") -> None:
        side = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{_INK}"{side}>{escape(words)}</text>'
        )

    def to_bytes(self) -> bytes:
        return "\n".join([*self._parts, "</svg>", ""]).encode()


class _Png:
    def __init__(self, width: int, height: int) -> None:
        self._image = np.full((height, width, 3), 255, np.uint8)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: str, width: int = 1) -> None:
        ends = (round(x0), round(y0)), (round(x1), round(y1))
        cv2.line(self._image, *ends, _bgr(color), width, cv2.LINE_AA)

    def circle(self, x: float, y: float, radius: int, color: str, *, filled: bool) -> None:
        cv2.circle(self._image, (round(x), round(y)), radius, _bgr(color), -1 if filled else 1, cv2.LINE_AA)

    def text(self, x: float, y: float, words: str, size: int, anchor: Anchor = "start") -> None:
        font, scale = cv2.FONT_HERSHEY_SIMPLEX, size / 28
        wide = cv2.getTextSize(words, font, scale, 1)[0][0]
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * wide
        cv2.putText(self._image, words, (round(left), round(y)), font, scale, _bgr(_INK), 1, cv2.LINE_AA)

    def to_bytes(self) -> bytes:
        return cv2.imencode(".png", self._image)[1].tobytes()


def _bgr(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return blue, green, red
