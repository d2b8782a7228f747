"""The way a walking mouse takes: a chain of Bézier curves that never leaves the cage, walked at a plausible speed."""

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

CAGE_MM = (420.0, 320.0, 240.0)
"""Inner length (x), width (y) and height (z) of the cage."""

WAYPOINT_MARGIN_MM = 84.0  # way points keep this far from the walls, so that a turn has room
CURVE_MARGIN_MM = 60.0  # the body's centre never comes closer: the nose then touches the wall
SPEED_MM_S = (110.0, 190.0)  # exploring mice walk at 100 to 200 mm/s
N_SAMPLES = 20  # per curve
TURN_RADIUS_MM = 26.0  # a curve this tight halves the speed
TURN_RAD_S = 6.0  # it turns no faster than this, before the pace is fitted to the length of the bout
RAMP_MM = 18.0  # way over which it speeds up and slows down


@dataclass(frozen=True, slots=True)
class Path:
    """A walked way, tabulated: all lists have one entry per sample and times begin at 0."""

    t_s: list[float]
    x_mm: list[float]
    y_mm: list[float]
    heading_rad: list[float]
    way_mm: list[float]

    def at(self, t_s: float) -> tuple[float, float, float, float]:
        """Position x and y, heading and way gone at ``t_s``; the ends hold before and after."""
        last = len(self.t_s) - 2
        i = min(max(bisect_right(self.t_s, t_s) - 1, 0), last)
        u = min(max((t_s - self.t_s[i]) / (self.t_s[i + 1] - self.t_s[i]), 0.0), 1.0)
        return (
            self.x_mm[i] + u * (self.x_mm[i + 1] - self.x_mm[i]),
            self.y_mm[i] + u * (self.y_mm[i + 1] - self.y_mm[i]),
            self.heading_rad[i] + u * (self.heading_rad[i + 1] - self.heading_rad[i]),
            self.way_mm[i] + u * (self.way_mm[i + 1] - self.way_mm[i]),
        )


def draw_path(x_mm: float, y_mm: float, heading_rad: float, length_s: float, rng: np.random.Generator) -> Path:
    """A way that begins at a place and heading and takes exactly ``length_s``."""
    speed = float(rng.uniform(*SPEED_MM_S))
    at = np.array([x_mm, y_mm])
    heading = heading_rad
    points = at[None, :]
    while True:
        target = _next_waypoint(at, heading, rng)
        chord = target - at
        distance = float(np.hypot(*chord))
        out_heading = float(np.arctan2(chord[1], chord[0])) + float(rng.normal(0.0, 0.35))
        points = np.concatenate([points, _bezier(at, heading, target, out_heading, distance)[1:]])
        path = _walk(points, heading_rad, speed)
        if path.t_s[-1] >= 0.75 * length_s:
            break
        at, heading = target, out_heading
    pace = length_s / path.t_s[-1]
    return replace(path, t_s=[t * pace for t in path.t_s])


def _next_waypoint(at: NDArray[np.float64], heading: float, rng: np.random.Generator) -> NDArray[np.float64]:
    low = np.full(2, WAYPOINT_MARGIN_MM)
    high = np.array(CAGE_MM[:2]) - WAYPOINT_MARGIN_MM
    target = at
    for spread in (0.5, 0.7, 1.0, 1.4, 2.0):  # straight on if it can, else it turns
        angle = heading + float(rng.normal(0.0, spread))
        target = at + float(rng.uniform(70.0, 150.0)) * np.array([np.cos(angle), np.sin(angle)])
        if bool(np.all((target >= low) & (target <= high))):
            return target
    target = np.clip(target, low, high)
    if np.hypot(*(target - at)) < 60.0:
        target = low + high - at  # the place opposite, seen from the middle
        middle = (low + high) / 2
        if np.hypot(*(target - at)) < 60.0:
            target = middle + np.array([0.4, 0.4]) * (high - low)
    return target


def _bezier(
    p0: NDArray[np.float64], h0: float, p3: NDArray[np.float64], h3: float, distance: float
) -> NDArray[np.float64]:
    """(N_SAMPLES, 2) points; the curve lies in the hull of its controls, so inside the margin."""
    d0 = np.array([np.cos(h0), np.sin(h0)])
    d3 = np.array([np.cos(h3), np.sin(h3)])
    p1 = p0 + d0 * min(distance / 2.6, _room(p0, d0))
    p2 = p3 - d3 * min(distance / 2.6, _room(p3, -d3))
    u = np.linspace(0.0, 1.0, N_SAMPLES)[:, None]
    v = 1.0 - u
    return v**3 * p0 + 3 * v * v * u * p1 + 3 * v * u * u * p2 + u**3 * p3


def _room(at: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """How far one can go from ``at`` before the margin."""
    room = np.inf
    for k in range(2):
        if direction[k] > 1e-9:
            room = min(room, (CAGE_MM[k] - CURVE_MARGIN_MM - at[k]) / direction[k])
        elif direction[k] < -1e-9:
            room = min(room, (CURVE_MARGIN_MM - at[k]) / direction[k])
    return float(room)


def _walk(points: NDArray[np.float64], heading_rad: float, speed_mm_s: float) -> Path:
    """The way through ``points`` at a nominal speed, slower in curves and at both ends."""
    steps = np.diff(points, axis=0)
    ds = np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-6)
    way = np.concatenate([[0.0], np.cumsum(ds)])
    tangent = np.arctan2(steps[:, 1], steps[:, 0])
    # A sample's heading is the mean of its two steps; the first one is where the mouse already looks.
    heading = np.unwrap(np.concatenate([[heading_rad], tangent]))
    heading[1:-1] = (heading[1:-1] + heading[2:]) / 2
    turn = np.abs(np.diff(heading))
    ramp = np.minimum(1.0, 0.3 + np.minimum(way[:-1], way[-1] - way[:-1]) / RAMP_MM)
    speed = speed_mm_s * ramp / (1.0 + (turn / ds * TURN_RADIUS_MM) ** 2)
    t = np.concatenate([[0.0], np.cumsum(np.maximum(ds / np.maximum(speed, 15.0), turn / TURN_RAD_S))])
    return Path(t.tolist(), points[:, 0].tolist(), points[:, 1].tolist(), heading.tolist(), way.tolist())


def draw_path_to(
    x_mm: float, y_mm: float, heading_rad: float, goal: tuple[float, float, float], rng: np.random.Generator
) -> Path:
    """A way to a place and heading (x and y in mm, rad), as long as it takes at a plausible speed."""
    start, end = np.array([x_mm, y_mm]), np.array(goal[:2])
    distance = max(float(np.hypot(*(end - start))), 40.0)
    points = _bezier(start, heading_rad, end, goal[2], distance)
    path = _walk(points, heading_rad, float(rng.uniform(*SPEED_MM_S)))
    # The last heading is that of the last step; the turn that is left is made there.
    headings = np.unwrap([path.heading_rad[-2], goal[2]])
    return replace(path, heading_rad=[*path.heading_rad[:-1], float(headings[1])])
