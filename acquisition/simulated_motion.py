"""How the simulated mouse moves in each behaviour: postures over time, and the skeleton that they move."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .simulated_path import CAGE_MM, Path, draw_path

BEHAVIORS = ("locomote", "rear", "groom", "still")

KEYPOINTS = (
    "nose", "head", "ear_left", "ear_right", "neck", "spine", "hip", "tail_base", "tail_mid", "tail_tip",
    "forepaw_left", "forepaw_right", "hindpaw_left", "hindpaw_right",
)  # fmt: skip

HIP_BACK_MM = 19.0  # hip behind the body's centre
TRUNK_MM = 40.0  # hip to neck
NECK_MM = 20.0  # neck to head
SNOUT_MM = 17.0  # head to nose
EAR_MM = (-4.0, 9.0, 11.0)  # from the head: forward, sideways, up
TAIL_MM = (13.0, 36.0, 38.0)  # hip to tail base, to middle, to tip
STRIDE_MM = 58.0
WALL_GAP_MM = 2.0


class Stance(NamedTuple):
    """Where the body's centre stands on the floor, mm, and where it looks."""

    x_mm: float
    y_mm: float
    heading_rad: float


class Posture(NamedTuple):
    """The body's shape, in its own frame: x forward, y left, z up from the floor below the body's centre.

    Pitches are absolute (0 level, positive up), yaws are relative to the part behind. Paws are (x, y, z).
    """

    hip_x: float = -HIP_BACK_MM
    hip_z: float = 19.0
    trunk_length: float = 1.0
    trunk_pitch: float = 0.02
    trunk_yaw: float = 0.0
    neck_pitch: float = 0.15
    head_pitch: float = -0.35
    head_yaw: float = 0.0
    forepaw_left_x: float = 22.0
    forepaw_left_y: float = 9.0
    forepaw_left_z: float = 2.5
    forepaw_right_x: float = 22.0
    forepaw_right_y: float = -9.0
    forepaw_right_z: float = 2.5
    hindpaw_left_x: float = -17.0
    hindpaw_left_y: float = 13.0
    hindpaw_left_z: float = 2.5
    hindpaw_right_x: float = -17.0
    hindpaw_right_y: float = -13.0
    hindpaw_right_z: float = 2.5
    tail_yaw: float = 0.0
    tail_curl: float = 0.0
    tail_z: float = 4.0
    breath: float = 0.0

    def towards(self, other: "Posture", u: float) -> "Posture":
        """Between this posture (u = 0) and another (u = 1)."""
        return Posture._make(a + u * (b - a) for a, b in zip(self, other, strict=True))


Motion = Callable[[float], tuple[Stance, Posture]]
"""The body at any time, in seconds, since a bout began."""


@dataclass(frozen=True, slots=True)
class Bout:
    """One bout: its length, and the body at any time since its beginning."""

    length_s: float
    motion: Motion


def draw_bout(behavior: str, start: Stance, length_s: float, rng: np.random.Generator) -> Bout:
    """Draw one bout of ``behavior`` that begins at ``start``."""
    draw = {"locomote": _locomote, "rear": _rear, "groom": _groom, "still": _still}[behavior]
    return Bout(length_s, draw(start, length_s, rng))


def _locomote(start: Stance, length_s: float, rng: np.random.Generator) -> Motion:
    return walk_along(draw_path(start.x_mm, start.y_mm, start.heading_rad, length_s, rng))


def walk_along(path: Path) -> Motion:
    """The walking body at any time since its way began."""

    def paw(phase: float, x: float) -> tuple[float, float]:
        # Two thirds of a stride the paw stands and the body passes over it, one third it swings forward.
        phase %= 1.0
        if phase < 0.66:
            return x + STRIDE_MM * 0.33 * (1 - 2 * phase / 0.66) / 2, 2.0
        u = (phase - 0.66) / 0.34
        return x + STRIDE_MM * 0.33 * (2 * u - 1) / 2, 2.0 + 8.0 * sin(pi * u)

    def motion(t_s: float) -> tuple[Stance, Posture]:
        x, y, heading, way = path.at(t_s)
        stride = way / STRIDE_MM
        fl_x, fl_z = paw(stride, 21.0)
        fr_x, fr_z = paw(stride + 0.5, 21.0)
        hl_x, hl_z = paw(stride + 0.55, -17.0)
        hr_x, hr_z = paw(stride + 0.05, -17.0)
        ahead = path.at(t_s + 0.16)[2] - heading  # the head turns first, the tail follows last
        behind = path.at(t_s - 0.22)[2] - heading
        far_behind = path.at(t_s - 0.44)[2] - heading
        sway = sin(2 * pi * stride)
        posture = Posture(
            hip_z=21.0 + 1.2 * sin(4 * pi * stride),
            trunk_pitch=0.03 + 0.04 * sin(4 * pi * stride + 1.0),
            trunk_yaw=_bound(0.5 * ahead, 0.45) + 0.06 * sway,
            neck_pitch=0.12,
            head_pitch=-0.30 + 0.06 * sin(4 * pi * stride + 2.0),
            head_yaw=_bound(0.6 * ahead, 0.6) - 0.05 * sway,
            forepaw_left_x=fl_x,
            forepaw_left_z=fl_z,
            forepaw_right_x=fr_x,
            forepaw_right_z=fr_z,
            hindpaw_left_x=hl_x,
            hindpaw_left_z=hl_z,
            hindpaw_right_x=hr_x,
            hindpaw_right_z=hr_z,
            tail_yaw=_bound(behind, 0.9) - 0.12 * sway,
            tail_curl=_bound(far_behind - behind, 0.7) - 0.2 * sin(2 * pi * stride - 1.2),
            tail_z=9.0,
            breath=sin(2 * pi * 3.5 * t_s),
        )
        return Stance(x, y, heading), posture

    return motion


def _rear(start: Stance, length_s: float, rng: np.random.Generator) -> Motion:
    pitch = float(rng.uniform(1.05, 1.3))
    scan_hz, scan_phase = float(rng.uniform(0.5, 0.9)), float(rng.uniform(0, 2 * pi))
    sniff_hz = float(rng.uniform(7.0, 10.0))
    tail = float(rng.normal(0.0, 0.3))

    def motion(t_s: float) -> tuple[Stance, Posture]:
        scan = sin(2 * pi * scan_hz * t_s + scan_phase)
        sniff = sin(2 * pi * sniff_hz * t_s)
        lean = pitch + 0.08 * sin(2 * pi * 0.8 * t_s + 1.0)
        paw_x, paw_z = -14.0 + 47.0 * cos(lean), 24.0 + 26.0 * sin(lean)
        posture = Posture(
            hip_x=-14.0,
            hip_z=24.0,
            trunk_pitch=lean,
            trunk_yaw=0.25 * scan,
            neck_pitch=lean + 0.05,
            head_pitch=0.35 + 0.09 * sniff + 0.15 * sin(2 * pi * 0.7 * t_s),
            head_yaw=0.5 * scan,
            forepaw_left_x=paw_x + 1.5 * sniff,
            forepaw_left_y=7.0,
            forepaw_left_z=paw_z - 4.0,
            forepaw_right_x=paw_x,
            forepaw_right_y=-7.0,
            forepaw_right_z=paw_z - 4.0 + 1.5 * sniff,
            hindpaw_left_x=-8.0,
            hindpaw_right_x=-8.0,
            tail_yaw=tail,
            tail_curl=0.3 * tail,
            tail_z=2.5,
            breath=sniff,
        )
        return start, posture

    return motion


def _groom(start: Stance, length_s: float, rng: np.random.Generator) -> Motion:
    stroke_hz = float(rng.uniform(5.2, 6.8))
    side = float(rng.uniform(-0.35, 0.35))
    tail = float(rng.normal(0.0, 0.5))
    pace_hz, pace_phase = float(rng.uniform(0.5, 0.9)), float(rng.uniform(0, 2 * pi))

    def motion(t_s: float) -> tuple[Stance, Posture]:
        strength = 0.75 + 0.25 * sin(2 * pi * pace_hz * t_s + pace_phase)
        stroke = strength * sin(2 * pi * stroke_hz * t_s)
        across = strength * cos(2 * pi * stroke_hz * t_s)
        posture = Posture(
            hip_x=-10.0,
            hip_z=17.0,
            trunk_length=0.72,
            trunk_pitch=1.0 + 0.03 * stroke,
            trunk_yaw=side,
            neck_pitch=-0.25 + 0.16 * stroke,
            head_pitch=-0.95 + 0.26 * stroke,
            head_yaw=side + 0.12 * across,
            forepaw_left_x=33.0 + 3.0 * across,
            forepaw_left_y=7.0 + 26.0 * side - 2.5 * stroke,
            forepaw_left_z=23.0 + 8.0 * stroke,
            forepaw_right_x=33.0 + 3.0 * across,
            forepaw_right_y=-7.0 + 26.0 * side + 2.5 * stroke,
            forepaw_right_z=23.0 + 8.0 * stroke,
            hindpaw_left_x=-2.0,
            hindpaw_right_x=-2.0,
            tail_yaw=tail,
            tail_curl=0.7 * tail,
            tail_z=3.0,
            breath=stroke,
        )
        return start, posture

    return motion


def _still(start: Stance, length_s: float, rng: np.random.Generator) -> Motion:
    look = float(rng.normal(0.0, 0.2))
    bend = float(rng.normal(0.0, 0.12))
    tail = float(rng.normal(0.0, 0.5))
    breath_hz = float(rng.uniform(1.8, 2.6))

    def motion(t_s: float) -> tuple[Stance, Posture]:
        breath = sin(2 * pi * breath_hz * t_s)
        posture = Posture(
            hip_z=17.5 + 0.25 * breath,
            trunk_length=0.92,
            trunk_pitch=-0.02,
            trunk_yaw=bend,
            neck_pitch=-0.02,
            head_pitch=-0.32,
            head_yaw=look,
            forepaw_left_x=22.0,
            forepaw_right_x=22.0,
            tail_yaw=tail,
            tail_curl=0.8 * tail,
            tail_z=3.0,
            breath=breath,
        )
        return start, posture

    return motion


def pose_of(stance: Stance, p: Posture) -> NDArray[np.float64]:
    """(len(KEYPOINTS), 3) float64, mm in the cage's frame; no point lies outside the cage."""
    c, s = cos(p.trunk_yaw), sin(p.trunk_yaw)
    hip = (p.hip_x, 0.0, p.hip_z)
    reach, rise = p.trunk_length * TRUNK_MM * cos(p.trunk_pitch), p.trunk_length * TRUNK_MM * sin(p.trunk_pitch)
    half = p.trunk_yaw / 2  # the trunk bends as an arc
    neck = (hip[0] + reach * cos(half), reach * sin(half), hip[2] + rise)
    arch = 3.5 * cos(p.trunk_pitch) + 2.5 * sin(p.trunk_pitch)
    hunch = 3.0 * sin(p.trunk_pitch) + 16.0 * (1.0 - p.trunk_length)
    spine = (
        hip[0] + 0.5 * reach * cos(half / 2) - hunch,
        0.5 * reach * sin(half / 2),
        hip[2] + 0.5 * rise + arch,
    )
    n_reach = NECK_MM * cos(p.neck_pitch)
    head = (neck[0] + n_reach * c, neck[1] + n_reach * s, neck[2] + NECK_MM * sin(p.neck_pitch))
    yaw = p.trunk_yaw + p.head_yaw
    cy, sy, cp, sp = cos(yaw), sin(yaw), cos(p.head_pitch), sin(p.head_pitch)

    def on_head(forward: float, left: float, up: float) -> tuple[float, float, float]:
        ahead = forward * cp - up * sp
        return head[0] + ahead * cy - left * sy, head[1] + ahead * sy + left * cy, head[2] + forward * sp + up * cp

    back = pi + p.tail_yaw
    base_z = max(p.hip_z - 5.0 - 6.0 * sin(max(p.trunk_pitch, 0.0)), 6.0)
    base = (hip[0] - TAIL_MM[0], 0.0, base_z)
    mid = (base[0] + TAIL_MM[1] * cos(back), base[1] + TAIL_MM[1] * sin(back), p.tail_z)
    tip_way = back + p.tail_curl
    tip = (mid[0] + TAIL_MM[2] * cos(tip_way), mid[1] + TAIL_MM[2] * sin(tip_way), 0.5 * p.tail_z)
    body = np.array(
        (
            on_head(SNOUT_MM, 0.0, -2.0),
            head,
            on_head(*EAR_MM),
            on_head(EAR_MM[0], -EAR_MM[1], EAR_MM[2]),
            neck,
            spine,
            hip,
            base,
            mid,
            tip,
            p[8:11],
            p[11:14],
            p[14:17],
            p[17:20],
        )
    )
    ch, sh = cos(stance.heading_rad), sin(stance.heading_rad)
    pose = np.empty_like(body)
    pose[:, 0] = stance.x_mm + ch * body[:, 0] - sh * body[:, 1]
    pose[:, 1] = stance.y_mm + sh * body[:, 0] + ch * body[:, 1]
    pose[:, 2] = body[:, 2]
    return np.clip(pose, _LOW, _HIGH, out=pose)


_LOW = np.array([WALL_GAP_MM, WALL_GAP_MM, 1.0])
_HIGH = np.array(CAGE_MM) - WALL_GAP_MM


def _bound(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)
