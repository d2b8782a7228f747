"""The mouse's body as ellipsoids of revolution, and their exact outlines in a pinhole image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .simulated_motion import KEYPOINTS

Segment = tuple[str, str, float, float]
"""Two keypoints, and where between them (0 to 1, beyond for past the end) a part begins and ends."""


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One ellipsoid of revolution.

    Attributes:
        group: parts of one group are shaded as one body.
        segment: its long axis.
        radius_mm: across the axis.
        overshoot_mm: how far it reaches beyond each end of its axis.
        greys: one per shading level, from the outline inwards.
    """

    group: str
    segment: Segment
    radius_mm: float
    overshoot_mm: float
    greys: tuple[int, ...]


FUR = (32, 44, 58, 72)
FACE = (34, 48, 62, 76)
EAR = (58, 92)
SKIN = (104, 128)

PARTS: tuple[BodyPart, ...] = (
    BodyPart("hind_left", ("hindpaw_left", "hip", -0.1, 0.12), 2.8, 3.6, SKIN),
    BodyPart("hind_left", ("hindpaw_left", "hip", 0.28, 0.75), 7.5, 3.0, FUR),
    BodyPart("hind_right", ("hindpaw_right", "hip", -0.1, 0.12), 2.8, 3.6, SKIN),
    BodyPart("hind_right", ("hindpaw_right", "hip", 0.28, 0.75), 7.5, 3.0, FUR),
    BodyPart("fore_left", ("forepaw_left", "neck", -0.05, 0.35), 2.4, 1.8, SKIN),
    BodyPart("fore_left", ("forepaw_left", "neck", 0.45, 0.8), 5.0, 2.0, FUR),
    BodyPart("fore_right", ("forepaw_right", "neck", -0.05, 0.35), 2.4, 1.8, SKIN),
    BodyPart("fore_right", ("forepaw_right", "neck", 0.45, 0.8), 5.0, 2.0, FUR),
    BodyPart("trunk", ("tail_base", "hip", 0.05, 1.25), 12.5, 5.0, FUR),
    BodyPart("trunk", ("hip", "spine", -0.15, 0.9), 16.5, 9.0, FUR),
    BodyPart("trunk", ("hip", "spine", 0.45, 1.5), 16.0, 8.0, FUR),
    BodyPart("trunk", ("spine", "neck", 0.25, 1.0), 13.5, 7.0, FUR),
    BodyPart("trunk", ("neck", "head", -0.35, 0.75), 11.0, 4.0, FUR),
    BodyPart("head", ("head", "nose", -0.42, 0.45), 9.6, 3.6, FACE),
    BodyPart("head", ("head", "nose", 0.2, 0.95), 5.6, 2.8, FACE),
    BodyPart("nose", ("head", "nose", 0.99, 1.06), 2.0, 1.6, (96, 120)),
    BodyPart("ear_left", ("head", "ear_left", 0.72, 1.12), 5.2, 2.8, EAR),
    BodyPart("ear_right", ("head", "ear_right", 0.72, 1.12), 5.2, 2.8, EAR),
)
N_LEVELS = 4
LEVEL_SCALE = (1.0, 0.86, 0.66, 0.42)
"""Each shading level is the part again, smaller and moved towards the lamp."""
LAMP = np.array([0.25, -0.2, 0.95]) / np.linalg.norm([0.25, -0.2, 0.95])
NEAREST_MM = 6.0  # nothing nearer to the plane of a pinhole is drawn
N_OUTLINE = 28  # points per outline; at 1080p a chord is then at most 0.4 px from the ellipse

_INDEX = {name: k for k, name in enumerate(KEYPOINTS)}
_BEGIN = np.array([_INDEX[part.segment[0]] for part in PARTS])
_END = np.array([_INDEX[part.segment[1]] for part in PARTS])
_FROM = np.array([part.segment[2] for part in PARTS])[:, None]
_TO = np.array([part.segment[3] for part in PARTS])[:, None]
_RADIUS = np.array([part.radius_mm for part in PARTS])
_OVERSHOOT = np.array([part.overshoot_mm for part in PARTS])
_BREATHES = np.array([part.group == "trunk" for part in PARTS])
_ANGLES = np.linspace(0, 2 * np.pi, N_OUTLINE, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_SCALE = np.array(LEVEL_SCALE)
_ROWS = np.array([level * len(PARTS) + k for k, part in enumerate(PARTS) for level in range(len(part.greys))])

_ELLIPSES = [(k, level, grey) for k, part in enumerate(PARTS) for level, grey in enumerate(part.greys)]
GROUPS = tuple(dict.fromkeys(part.group for part in PARTS))
GROUP_ELLIPSES: dict[str, tuple[tuple[int, int], ...]] = {
    group: tuple(
        (i, grey)
        for _, i, grey in sorted(
            (level, i, grey) for i, (k, level, grey) in enumerate(_ELLIPSES) if PARTS[k].group == group
        )
    )
    for group in GROUPS
}
"""(row, grey) of a group's outlines in what `outlines` returns, in the order of drawing: rims first."""
_GROUP_MEAN = np.array(
    [[float(part.group == group) / sum(p.group == group for p in PARTS) for part in PARTS] for group in GROUPS]
)


def ellipsoids(
    pose: NDArray[np.float64], breath: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centres (n, 3), unit axes (n, 3), half lengths (n,) and radii (n,) of ``PARTS`` in mm."""
    a, b = pose[_BEGIN], pose[_END]
    chord = b - a
    begin, end = a + _FROM * chord, a + _TO * chord
    along = end - begin
    length = np.sqrt(np.einsum("ij,ij->i", along, along)) + 1e-9
    radius = _RADIUS * (1.0 + 0.025 * breath * _BREATHES)
    return (begin + end) / 2, along / length[:, None], length / 2 + _OVERSHOOT, radius


def outlines(
    projection: NDArray[np.float64], pose: NDArray[np.float64], breath: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outlines (n, N_OUTLINE, 2) in pixels, and the mean depth of each group (len(GROUPS),) in mm.

    The image of an ellipsoid with dual quadric Q is the ellipse with dual conic P Q P^T (Hartley and Zisserman,
    Multiple View Geometry, 8.3); here Q is that of an ellipsoid of revolution, which needs two outer products.
    """
    points, depth, _ = outlines_in_front(projection, pose, breath)
    return points, depth


def outlines_in_front(
    projection: NDArray[np.float64], pose: NDArray[np.float64], breath: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """As `outlines`, and which of them lie before the camera (n,): the others are no ellipses, and hold anything."""
    center, axis, half, radius = ellipsoids(pose, breath)
    n = len(center)
    p3, p4 = projection[:, :3], projection[:, 3]
    # All levels at once: smaller by their scale, moved towards the lamp by what they lack.
    scale = np.repeat(_SCALE, n)
    radius = np.tile(radius, N_LEVELS) * scale
    half = np.tile(half, N_LEVELS) * scale
    moved = np.tile(center, (N_LEVELS, 1)) + ((1.0 - scale) * np.tile(_RADIUS, N_LEVELS) * 0.75)[:, None] * LAMP
    radius, half, moved = radius[_ROWS], half[_ROWS], moved[_ROWS]
    direction = (axis @ p3.T)[_ROWS % n]
    middle = moved @ p3.T + p4
    r2 = (radius * radius)[:, None, None]
    conic = (
        r2 * (p3 @ p3.T)
        + (half * half - radius * radius)[:, None, None] * (direction[:, :, None] * direction[:, None, :])
        - middle[:, :, None] * middle[:, None, :]
    )
    conic /= conic[:, 2:, 2:]
    at = conic[:, :2, 2]
    sxx = at[:, 0] * at[:, 0] - conic[:, 0, 0]
    sxy = at[:, 0] * at[:, 1] - conic[:, 0, 1]
    syy = at[:, 1] * at[:, 1] - conic[:, 1, 1]
    l11 = np.sqrt(np.maximum(sxx, 1e-9))
    l21 = sxy / l11
    l22 = np.sqrt(np.maximum(syy - l21 * l21, 1e-9))
    points = np.empty((len(at), N_OUTLINE, 2))
    points[:, :, 0] = at[:, :1] + l11[:, None] * _CIRCLE[0]
    points[:, :, 1] = at[:, 1:] + l21[:, None] * _CIRCLE[0] + l22[:, None] * _CIRCLE[1]
    z = middle[:, 2]
    return points, _GROUP_MEAN @ (center @ p3[2] + p4[2]), z > half * np.sqrt(p3[2] @ p3[2]) + NEAREST_MM
