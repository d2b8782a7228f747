"""The plot of a soak: four panels over one time axis, as an SVG that is written by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, LEFT, RIGHT, PANEL, GAP, TOP, BOTTOM = 900, 70, 190, 150, 44, 46, 40
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444", "#999933")
"""After Okabe and Ito, for all kinds of colour vision."""


@dataclass(frozen=True)
class Line:
    """One curve: minutes, values."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """Curves over one axis, which begins at zero."""

    title: str
    lines: Sequence[Line]


def ticks(most: float, wanted: int = 4) -> list[float]:
    """Round values from zero to ``most`` or a little above."""
    if most <= 0:
        return [0.0, 1.0]
    raw = most / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= raw)
    return [k * step for k in range(math.ceil(most / step - 1e-9) + 1)]


def draw(path: Path, title: str, minutes: float, panels: Sequence[Panel]) -> None:
    """Write the picture."""
    height = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM
    inner = WIDTH - LEFT - RIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    across = [one for one in ticks(minutes, 6) if one <= minutes * 1.0001]
    for place, panel in enumerate(panels):
        top = TOP + place * (PANEL + GAP)
        up = ticks(max((max(line.y, default=0.0) for line in panel.lines), default=0.0))
        out.append(f'<text x="{LEFT}" y="{top - 6}" font-weight="bold" fill="#333">{escape(panel.title)}</text>')
        for value in up:
            y = top + PANEL * (1.0 - value / up[-1])
            out.append(f'<line x1="{LEFT}" x2="{LEFT + inner}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:g}</text>')
        for value in across:
            x = LEFT + inner * value / minutes
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + PANEL}" stroke="#eee"/>')
            if place == len(panels) - 1:
                out.append(
                    f'<text x="{x:.1f}" y="{top + PANEL + 16}" text-anchor="middle" fill="#555">{value:g}</text>'
                )
        for number, line in enumerate(panel.lines):
            color = COLORS[number % len(COLORS)]
            points = " ".join(
                f"{LEFT + inner * x / minutes:.1f},{top + PANEL * (1.0 - y / up[-1]):.1f}"
                for x, y in zip(line.x, line.y, strict=True)
            )
            out.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"/>')
            at = top + 12 + 16 * number
            out.append(
                f'<line x1="{LEFT + inner + 10}" x2="{LEFT + inner + 26}" y1="{at - 4}" y2="{at - 4}" '
                f'stroke="{color}" stroke-width="2.5"/>'
                f'<text x="{LEFT + inner + 31}" y="{at}">{escape(line.name)}</text>'
            )
    out.append(f'<text x="{LEFT + inner / 2:.0f}" y="{height - 6}" text-anchor="middle" fill="#333">minutes</text>')
    out.append("</svg>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(out) + "\n", encoding="utf-8")
