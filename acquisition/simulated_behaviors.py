"""What the simulated mouse can do beside the four basic behaviours: rear at a wall, turn on the spot, drink."""

from dataclasses import dataclass
from math import cos, hypot, pi, sin

import numpy as np

from .simulated_bouts import ease
from .simulated_motion import BEHAVIORS, Bout, Motion, Posture, Stance, draw_bout, walk_along
from .simulated_path import CAGE_MM, CURVE_MARGIN_MM, draw_path_to

EXTENDED_BEHAVIORS = (*BEHAVIORS, "wall_rear", "turn", "drink")

SPOUT_MM = (CAGE_MM[0] - 12.0, CAGE_MM[1] / 2, 38.0)
"""Tip of the drinking spout; it comes through the wall at the greatest x."""
DRINK_STANCE = Stance(SPOUT_MM[0] - 56.0, SPOUT_MM[1], 0.0)
LICK_HZ = (6.0, 8.5)

STEP_UP_MM = 20.0  # a mouse that rears at a wall comes this much closer to it
TURN_S = (0.5, 1.3)
TURN_RAD = (0.9, 2.8)

APPROACHED = ("wall_rear", "drink")
"""Behaviours that have their place; the walk before them leads there."""

EXTENDED_TRANSITIONS: dict[str, dict[str, float]] = {
    "locomote": {"rear": 0.16, "groom": 0.14, "still": 0.18, "wall_rear": 0.24, "turn": 0.12, "drink": 0.16},
    "rear": {"locomote": 0.54, "groom": 0.16, "still": 0.16, "turn": 0.14},
    "groom": {"locomote": 0.44, "rear": 0.14, "still": 0.30, "turn": 0.12},
    "still": {"locomote": 0.46, "rear": 0.16, "groom": 0.24, "turn": 0.14},
    "wall_rear": {"locomote": 0.50, "groom": 0.14, "still": 0.16, "turn": 0.20},
    "turn": {"locomote": 0.60, "rear": 0.16, "groom": 0.10, "still": 0.14},
    "drink": {"locomote": 0.40, "groom": 0.24, "still": 0.20, "turn": 0.16},
}
"""P(next behaviour | this one); a behaviour never follows itself."""

EXTENDED_LENGTH_SHAPE: dict[str, tuple[float, float]] = {
    "locomote": (2.0, 2.4),
    "rear": (1.6, 2.8),
    "groom": (2.4, 1.8),
    "still": (1.6, 2.2),
    "wall_rear": (1.6, 2.4),
    "turn": (2.0, 2.0),
    "drink": (2.2, 1.8),
}
"""Parameters of the beta distribution of a bout's length over the range of lengths."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a walk leads: centre of the body in mm, and where it then looks."""

    x_mm: float
    y_mm: float
    heading_rad: float


def goal_of(behavior: str, rng: np.random.Generator) -> Goal | None:
    """The place where a behaviour is done; None: anywhere."""
    if behavior == "drink":
        return Goal(*DRINK_STANCE)
    if behavior != "wall_rear":
        return None
    wall, along = int(rng.integers(4)), float(rng.uniform(0.24, 0.76))
    axis, far = divmod(wall, 2)
    level = CAGE_MM[axis] - CURVE_MARGIN_MM if far else CURVE_MARGIN_MM
    other = along * CAGE_MM[1 - axis]
    heading = (0.0 if far else pi) if axis == 0 else (pi / 2 if far else -pi / 2)
    return Goal(level, other, heading) if axis == 0 else Goal(other, level, heading)


def draw_extended_bout(
    behavior: str, start: Stance, length_s: float, rng: np.random.Generator, goal: Goal | None = None
) -> Bout:
    """Draw one bout of ``behavior`` that begins at ``start``; a walk with a ``goal`` takes as long as it needs."""
    if behavior == "locomote" and goal is not None:
        path = draw_path_to(*start, (goal.x_mm, goal.y_mm, goal.heading_rad), rng)
        return Bout(path.t_s[-1], walk_along(path))
    if behavior == "turn":
        return Bout(length_s, _turn(start, length_s, rng))
    if behavior == "drink":
        return Bout(length_s, _drink(start, rng))
    if behavior == "wall_rear":
        return Bout(length_s, _wall_rear(start, length_s, rng))
    return draw_bout(behavior, start, length_s, rng)


def _turn(start: Stance, length_s: float, rng: np.random.Generator) -> Motion:
    angle = float(rng.choice([-1.0, 1.0]) * rng.uniform(*TURN_RAD))
    step_hz = float(rng.uniform(3.0, 4.5))
    side = 1.0 if angle > 0 else -1.0

    def motion(t_s: float) -> tuple[Stance, Posture]:
        heading = start.heading_rad + angle * ease(t_s / length_s)
        bend = side * sin(pi * min(max(t_s / length_s, 0.0), 1.0))
        step = sin(2 * pi * step_hz * t_s)
        posture = Posture(
            hip_x=-17.0,
            hip_z=20.0,
            trunk_length=0.92,
            trunk_pitch=0.05,
            trunk_yaw=0.55 * bend,
            neck_pitch=0.1,
            head_pitch=-0.25,
            head_yaw=0.6 * bend,
            forepaw_left_x=20.0 + 4.0 * step,
            forepaw_left_y=9.0 + 7.0 * bend + 3.0 * step,
            forepaw_left_z=2.5 + 5.0 * max(step, 0.0),
            forepaw_right_x=20.0 - 4.0 * step,
            forepaw_right_y=-9.0 + 7.0 * bend - 3.0 * step,
            forepaw_right_z=2.5 + 5.0 * max(-step, 0.0),
            hindpaw_left_x=-15.0 - 2.0 * step,
            hindpaw_left_z=2.5 + 3.0 * max(-step, 0.0),
            hindpaw_right_x=-15.0 + 2.0 * step,
            hindpaw_right_z=2.5 + 3.0 * max(step, 0.0),
            tail_yaw=-0.7 * bend,
            tail_curl=-0.5 * bend,
            tail_z=5.0,
            breath=step,
        )
        return Stance(start.x_mm, start.y_mm, heading), posture

    return motion


def _drink(start: Stance, rng: np.random.Generator) -> Motion:
    lick_hz = float(rng.uniform(*LICK_HZ))
    tail = float(rng.normal(0.0, 0.3))
    # The nose goes to the spout wherever exactly the walk has ended.
    dx, dy = SPOUT_MM[0] - start.x_mm, SPOUT_MM[1] - start.y_mm
    c, s = cos(start.heading_rad), sin(start.heading_rad)
    forward, left = c * dx + s * dy, c * dy - s * dx
    reach = min(max((forward - 56.0) / 40.0, -0.2), 0.2)
    aside = min(max(left / max(hypot(forward, left), 1.0), -0.5), 0.5)

    def motion(t_s: float) -> tuple[Stance, Posture]:
        lick = sin(2 * pi * lick_hz * t_s)
        posture = Posture(
            hip_x=-17.0,
            hip_z=19.0,
            trunk_length=0.95 + reach,
            trunk_pitch=0.16,
            trunk_yaw=0.5 * aside,
            neck_pitch=0.30 + 0.02 * lick,
            head_pitch=0.22 + 0.07 * lick,
            head_yaw=0.5 * aside,
            forepaw_left_x=23.0,
            forepaw_right_x=23.0,
            tail_yaw=tail,
            tail_curl=0.6 * tail,
            tail_z=3.0,
            breath=0.4 * lick,
        )
        return start, posture

    return motion


def _wall_rear(start: Stance, length_s: float, rng: np.random.Generator) -> Motion:
    pitch = float(rng.uniform(1.12, 1.3))
    sniff_hz = float(rng.uniform(7.0, 10.0))
    scan_hz, scan_phase = float(rng.uniform(0.4, 0.8)), float(rng.uniform(0, 2 * pi))
    tail = float(rng.normal(0.0, 0.25))
    c, s = cos(start.heading_rad), sin(start.heading_rad)
    rise_s = min(0.4, 0.4 * length_s)

    def motion(t_s: float) -> tuple[Stance, Posture]:
        up = ease(t_s / rise_s) * ease((length_s - t_s) / rise_s)
        ahead = STEP_UP_MM * up
        scan = sin(2 * pi * scan_hz * t_s + scan_phase)
        sniff = sin(2 * pi * sniff_hz * t_s)
        lean = 0.35 + (pitch - 0.35) * up
        # The paws stand on the wall, a little apart, and shift as the animal looks about.
        paw_x = CURVE_MARGIN_MM - ahead - 3.0
        paw_z = 20.0 + 58.0 * up
        posture = Posture(
            hip_x=-15.0,
            hip_z=22.0 + 3.0 * up,
            trunk_pitch=lean,
            trunk_yaw=0.12 * scan,
            neck_pitch=lean,
            head_pitch=0.55 + 0.08 * sniff,
            head_yaw=0.35 * scan,
            forepaw_left_x=paw_x,
            forepaw_left_y=10.0 + 2.0 * scan,
            forepaw_left_z=paw_z + 3.0 * scan,
            forepaw_right_x=paw_x,
            forepaw_right_y=-10.0 + 2.0 * scan,
            forepaw_right_z=paw_z - 3.0 * scan,
            hindpaw_left_x=-9.0,
            hindpaw_right_x=-9.0,
            tail_yaw=tail,
            tail_curl=0.4 * tail,
            tail_z=2.5,
            breath=sniff,
        )
        return Stance(start.x_mm + c * ahead, start.y_mm + s * ahead, start.heading_rad), posture

    return motion
