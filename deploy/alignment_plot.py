"""Residuals of an alignment as a picture, so that drift, steps and doubtful stretches are seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..streaming.alignment_table import CameraAlignment
from .canvas import COLORS, Canvas, canvas_for, round_steps, write_canvas

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 1200, 330, 90, 20, 46, 52
_GRID, _MISSING = "#e1e1e1", "#d22828"
_LEAST_US = 1.0
"""The scale is never finer: residuals below it are rounding."""


def write_plot(path: Path, cameras: Sequence[CameraAlignment]) -> None:
    """One panel per camera: residual in µs over the other device's time; red ticks are frames without a pulse.

    Raises:
        ReportError: it cannot be written.
    """
    canvas = canvas_for(path, WIDTH, PANEL * len(cameras))
    for place, one in enumerate(cameras):
        _draw(canvas, one, PANEL * place)
    write_canvas(path, canvas)


def _draw(canvas: Canvas, one: CameraAlignment, above: int) -> None:
    found = one.alignment
    paired = found.pulse_of_frame >= 0
    residual, missing = found.residual_us[paired], found.frame_time_s[~paired & found.inside]
    begin, end = float(found.frame_time_s[0]), float(found.frame_time_s[-1])
    reach = max(_LEAST_US, float(np.max(np.abs(residual)))) * 1.1
    top, bottom, right = above + TOP, above + PANEL - BOTTOM, WIDTH - RIGHT

    def x_of(t_s: float) -> float:
        return LEFT + (right - LEFT) * (t_s - begin) / max(1e-9, end - begin)

    def y_of(us: float) -> float:
        return (top + bottom) / 2 - us / reach * (bottom - top) / 2

    for us in round_steps(-reach, reach, 6):
        canvas.line(LEFT, y_of(us), right, y_of(us), _GRID)
        canvas.text(LEFT - 8, y_of(us) + 4, f"{us:g}", 12, "end")
    for t_s in round_steps(begin, end, 8):
        canvas.line(x_of(t_s), bottom, x_of(t_s), bottom + 5, _GRID)
        canvas.text(x_of(t_s), bottom + 22, f"{t_s:g}", 12, "middle")
    # What falls onto one column of pixels is one line from the least to the most of it: no spike is lost.
    columns = np.round(LEFT + (right - LEFT) * (found.frame_time_s[paired] - begin) / max(1e-9, end - begin))
    starts = np.flatnonzero(np.diff(columns, prepend=-1.0))
    for x, low, high in zip(
        columns[starts], np.minimum.reduceat(residual, starts), np.maximum.reduceat(residual, starts), strict=True
    ):
        canvas.line(float(x), y_of(float(low)) + 1, float(x), y_of(float(high)) - 1, COLORS[0], 2)
    for t_s in missing:
        canvas.line(x_of(float(t_s)), bottom - 6, x_of(float(t_s)), bottom, _MISSING)
    words = f"{one.camera}: {found.n_paired:,} of {len(found.frame_time_s):,} frames paired, drift "
    words += f"{found.drift_ppm:+.2f} ppm"
    words += f"; {len(missing):,} without a pulse, in red" if len(missing) else ""
    canvas.text(LEFT, above + 24, words, 15)
    canvas.text(8, above + 24, "residual, us", 12)
    canvas.text(right, above + PANEL - 8, "time of the other device, s", 12, "end")
