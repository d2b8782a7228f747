"""Drawings of a calibration as inline SVG: errors per picture, coverage, residuals, and the rig from three sides."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ..acquisition.calibration.pose import Pose
from ..sync.camera_model import Array, CameraModel
from .palette import class_color

_HEAT = (24, 18)
"""Columns and rows of the coverage map."""
_N_ARROWS = 500
_FRUSTUM_SHARE = 0.09
"""Length of a camera's drawn pyramid, as a share of the rig's size."""


def error_bars(mono: Mapping[str, float], rig: Mapping[str, float], rejected: Mapping[str, str], limit: float) -> str:
    """Bars per picture: the lens alone (pale) and the whole rig (full); pictures left out are red crosses."""
    instants = sorted({*mono, *rig, *rejected}, key=lambda name: (len(name), name))
    width, height, base, left = 460.0, 150.0, 122.0, 30.0
    top = max([*mono.values(), *rig.values(), 0.2]) * 1.15
    top = max(top, limit * 1.1) if limit < 3 * top else top
    step = (width - left - 6) / max(len(instants), 1)

    def y(value: float) -> float:
        return base - (base - 12) * value / top

    parts = [_svg(width, height, "error of each picture")]
    for value in _ticks(top):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 6}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 4}" y="{y(value) + 3:.1f}" text-anchor="end">{value:g}</text>')
    for i, instant in enumerate(instants):
        x = left + i * step
        bar = max(step * 0.36, 1.0)
        tip = escape(instant)
        if instant in mono:
            parts.append(
                _bar(x + step * 0.1, y(mono[instant]), bar, base, "pale", f"{tip}: lens {mono[instant]:.3f} px")
            )
        if instant in rig:
            parts.append(
                _bar(x + step * 0.1 + bar, y(rig[instant]), bar, base, "full", f"{tip}: rig {rig[instant]:.3f} px")
            )
        if instant in rejected:
            why = escape(rejected[instant])
            parts.append(
                f'<text class="cross" x="{x + step / 2:.1f}" y="{base - 4}">x<title>{tip}: {why}</title></text>'
            )
        if i % max(len(instants) // 12, 1) == 0:
            parts.append(f'<text class="tick" x="{x + step / 2:.1f}" y="{base + 13}" text-anchor="middle">{tip}</text>')
    if limit <= top:
        parts.append(f'<line class="limit" x1="{left}" x2="{width - 6}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    parts.append(
        f'<text class="tick" x="{left}" y="{height - 2}">picture (px: lens alone pale, in the rig full)</text></svg>'
    )
    return "".join(parts)


def coverage_map(pixels: Array, size: tuple[int, int]) -> str:
    """How many corners fell where in the picture."""
    width, height = 300.0, 300.0 * size[1] / size[0]
    columns, rows = _HEAT
    counts, _, _ = np.histogram2d(
        pixels[:, 1], pixels[:, 0], bins=(rows, columns), range=((-0.5, size[1] - 0.5), (-0.5, size[0] - 0.5))
    )
    most = max(float(counts.max()), 1.0)
    parts = [_svg(width, height, "where corners were seen"), f'<rect class="frame" width="{width}" height="{height}"/>']
    for row in range(rows):
        for column in range(columns):
            if counts[row, column]:
                shade = 0.15 + 0.85 * (counts[row, column] / most) ** 0.5
                parts.append(
                    f'<rect class="heat" x="{column * width / columns:.2f}" y="{row * height / rows:.2f}" '
                    f'width="{width / columns:.2f}" height="{height / rows:.2f}" opacity="{shade:.2f}">'
                    f"<title>{int(counts[row, column])} corners</title></rect>"
                )
    for third in (1, 2):
        x, y = width * third / 3, height * third / 3
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:.1f}"/>')
        parts.append(f'<line class="grid" x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return "".join(parts) + "</svg>"


def residual_arrows(pixels: Array, residuals: Array, size: tuple[int, int]) -> str:
    """Where corners were seen beside where they should be, enlarged; a pattern means a lens model that is too poor."""
    width, height = 300.0, 300.0 * size[1] / size[0]
    scale = width / size[0]
    lengths = np.linalg.norm(residuals, axis=1)
    typical = max(float(np.percentile(lengths, 90)), 1e-3)
    gain = 14.0 / (typical * scale)
    gain = float(f"{gain:.1g}")
    parts = [_svg(width, height, "residuals"), f'<rect class="frame" width="{width}" height="{height:.1f}"/>']
    chosen = np.linspace(0, len(pixels) - 1, min(len(pixels), _N_ARROWS)).astype(int)
    for i in chosen:
        x, y = pixels[i] * scale
        dx, dy = np.clip(residuals[i] * scale * gain, -60, 60)
        kind = "far" if lengths[i] > 3 * typical else "arrow"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{x + dx:.1f}" y2="{y + dy:.1f}"/>')
        parts.append(f'<circle class="{kind}" cx="{x + dx:.1f}" cy="{y + dy:.1f}" r="1"/>')
    one = scale * gain
    parts.append(f'<line class="limit" x1="8" x2="{8 + one:.1f}" y1="{height - 8:.1f}" y2="{height - 8:.1f}"/>')
    parts.append(f'<text class="tick" x="8" y="{height - 13:.1f}">1 px, enlarged {gain:g} times</text>')
    return "".join(parts) + "</svg>"


def rig_views(models: Sequence[CameraModel], boards: Mapping[str, Pose], corners_mm: Array, on_floor: bool) -> str:
    """The rig from above, from the side and from a corner; the boards are drawn faintly.

    Args:
        models: cameras.
        boards: poses, board to world.
        corners_mm: (4, 3) outline of the board.
        on_floor: the world is the floor; else "up" is what most cameras take for it.
    """
    axes = np.eye(3) if on_floor else _guessed_axes(models)
    corner = np.array([[0.77, 0.64, 0.0], [-0.32, 0.38, 0.87], [0.55, -0.67, 0.5]])
    views = (
        ("from above", axes[[0, 1]]),
        ("from the side", axes[[0, 2]]),
        ("from a corner", (corner @ axes)[[0, 1]]),
    )
    return "".join(_view(title, plane, models, boards, corners_mm) for title, plane in views)


def _view(
    title: str, plane: Array, models: Sequence[CameraModel], boards: Mapping[str, Pose], corners_mm: Array
) -> str:
    centres = np.stack([model.centre_mm for model in models])
    outlines = [pose.apply(corners_mm) for pose in boards.values()]
    every = np.concatenate([centres, *outlines])
    size = float(np.linalg.norm(every.max(axis=0) - every.min(axis=0))) or 1.0
    reach = max(size * _FRUSTUM_SHARE, 1.0)
    pyramids = [_pyramid(model, reach) for model in models]
    flat = np.concatenate([every, *pyramids]) @ plane.T
    low, high = flat.min(axis=0), flat.max(axis=0)
    width, height, edge = 340.0, 300.0, 34.0
    scale = min((width - 2 * edge) / max(high[0] - low[0], 1.0), (height - 2 * edge) / max(high[1] - low[1], 1.0))
    middle = (low + high) / 2

    def put(points: Array) -> Array:
        local = (points @ plane.T - middle) * scale
        return np.stack([width / 2 + local[:, 0], height / 2 - local[:, 1]], axis=1)

    parts = [_svg(width, height, f"the rig {title}"), f'<rect class="frame" width="{width}" height="{height}"/>']
    for outline in outlines:
        parts.append(f'<polygon class="board" points="{_points(put(outline))}"/>')
    for place, (model, pyramid) in enumerate(zip(models, pyramids, strict=True)):
        color = class_color(place)
        drawn = put(np.concatenate([model.centre_mm[None], pyramid]))
        parts.append(f'<polygon points="{_points(drawn[1:])}" fill="{color}" fill-opacity=".35" stroke="{color}"/>')
        for tip in drawn[1:]:
            parts.append(_line(drawn[0], tip, color))
        x, y = drawn[0]
        # Names stand on the outer side, where there is room, so that those of a pair do not meet.
        room = x if x < width / 2 else width - x
        to_left = (x < width / 2) == (room > 10 + 7 * len(model.name))
        side, dx = ("end", -7) if to_left else ("start", 7)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>')
        text = f'class="name" x="{x + dx:.1f}" y="{y - 7:.1f}" text-anchor="{side}" fill="{color}"'
        parts.append(f"<text {text}>{escape(model.name)}</text>")
    parts.append(_axes(plane))
    bar = float(f"{size / 4:.0e}")
    parts.append(f'<line class="limit" x1="10" x2="{10 + bar * scale:.1f}" y1="{height - 10}" y2="{height - 10}"/>')
    parts.append(f'<text class="tick" x="10" y="{height - 15}">{bar:g} mm</text>')
    parts.append(f'<text class="title" x="10" y="18">{title}</text></svg>')
    return "".join(parts)


def _axes(plane: Array) -> str:
    """Directions of the world's axes, in the lower right corner."""
    parts: list[str] = []
    x0, y0 = 300.0, 262.0
    for name, direction in zip("xyz", np.eye(3), strict=True):
        dx, dy = plane @ direction * 24
        if np.hypot(dx, dy) > 6:
            parts.append(f'<line class="axis" x1="{x0}" y1="{y0}" x2="{x0 + dx:.1f}" y2="{y0 - dy:.1f}"/>')
            parts.append(f'<text class="tick" x="{x0 + dx * 1.35 - 3:.1f}" y="{y0 - dy * 1.35 + 4:.1f}">{name}</text>')
    return "".join(parts)


def _pyramid(model: CameraModel, reach: float) -> Array:
    """(4, 3): the corners of the picture at ``reach`` mm before the camera, within 60 degrees of its axis."""
    edge = np.array([[0, 0], [model.width - 1, 0], [model.width - 1, model.height - 1], [0, model.height - 1]], float)
    slopes = (edge - model.matrix[:2, 2]) / model.matrix[[0, 1], [0, 1]]
    if model.fisheye:
        angle = np.minimum(np.linalg.norm(slopes, axis=1, keepdims=True), np.radians(60))
        slopes = slopes / np.linalg.norm(slopes, axis=1, keepdims=True) * np.tan(angle)
    local = np.hstack([slopes, np.ones((4, 1))]) * reach
    return (local - model.translation_mm) @ model.rotation


def _guessed_axes(models: Sequence[CameraModel]) -> Array:
    """(3, 3), rows: right, ahead and up, as most cameras hold them."""
    up = -np.mean([model.rotation[1] for model in models], axis=0)
    if np.linalg.norm(up) < 0.2:  # cameras that hold no direction in common
        up = -models[0].rotation[1]
    up /= np.linalg.norm(up)
    right = models[0].rotation[0] - up * (models[0].rotation[0] @ up)
    if np.linalg.norm(right) < 0.2:
        right = models[0].rotation[2] - up * (models[0].rotation[2] @ up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def _ticks(top: float) -> list[float]:
    step = float(f"{top / 3:.0e}")
    return [round(step * i, 6) for i in range(int(top / step) + 1)]


def _bar(x: float, y: float, width: float, base: float, kind: str, tip: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(base - y, 0.5):.1f}">'
        f"<title>{tip}</title></rect>"
    )


def _line(start: Array, end: Array, color: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _points(points: Array) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(width: float, height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
