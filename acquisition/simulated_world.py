"""One animated three-dimensional mouse in a rectangular cage: deterministic, and known at every instant.

Behaviour is a semi-Markov process: a bout's length is drawn for its class, and the next class from the transition
table. Each bout is drawn from ``(seed, number of the bout)`` and begins where the one before it ended, so that the
world at time t does not depend on who asked for what before. Lengths are in mm, angles in radians, z points up.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .simulated_bouts import next_behavior
from .simulated_motion import BEHAVIORS, CAGE_MM, KEYPOINTS, Bout, Stance, draw_bout, pose_of
from .simulated_path import WAYPOINT_MARGIN_MM

__all__ = ["BEHAVIORS", "CAGE_MM", "KEYPOINTS", "SimulatedWorld", "WorldState"]

TRANSITIONS: dict[str, dict[str, float]] = {
    "locomote": {"rear": 0.40, "groom": 0.22, "still": 0.38},
    "rear": {"locomote": 0.60, "groom": 0.16, "still": 0.24},
    "groom": {"locomote": 0.42, "rear": 0.16, "still": 0.42},
    "still": {"locomote": 0.48, "rear": 0.20, "groom": 0.32},
}
"""P(next behaviour | this one); a behaviour never follows itself."""

LENGTH_SHAPE: dict[str, tuple[float, float]] = {
    "locomote": (2.0, 2.4),
    "rear": (1.6, 2.8),
    "groom": (2.4, 1.8),
    "still": (1.6, 2.2),
}
"""Parameters of the beta distribution of a bout's length over the range of lengths."""

BLEND_S = 0.22  # how long the body takes from one posture to the next
N_CACHED_BOUTS = 8  # bouts whose motion is kept; older ones are drawn again when asked for


@dataclass(frozen=True, slots=True)
class WorldState:
    """The world at one instant.

    Attributes:
        t_s: seconds since the session began.
        behavior: one of ``BEHAVIORS``.
        bout: number of the bout.
        pose: (len(KEYPOINTS), 3) float64, mm in the cage's frame.
        heading_rad: direction of the trunk on the floor.
        breath: -1 to 1, phase of breathing.
    """

    t_s: float
    behavior: str
    bout: int
    pose: NDArray[np.float64]
    heading_rad: float
    breath: float


def state_in(index: int, behavior: str, t_s: float, start_s: float, bouts: Callable[[int], Bout]) -> WorldState:
    """The mouse in bout ``index``, which began at ``start_s``; at first the body still leaves the bout before."""
    t_in_s = t_s - start_s
    stance, posture = bouts(index).motion(t_in_s)
    if t_in_s < BLEND_S and index > 0:
        before = bouts(index - 1)
        u = t_in_s / BLEND_S
        u = u * (2.0 - u)  # fast at first: a change of behaviour is seen where its label changes
        posture = before.motion(before.length_s)[1].towards(posture, u)
    return WorldState(t_s, behavior, index, pose_of(stance, posture), stance.heading_rad, posture.breath)


class SimulatedWorld:
    """The mouse. ``at`` may be called for any time in any order; it is cheap where time advances.

    The first four bouts visit every behaviour once, so that a short session has all of them.

    Args:
        seed: everything follows from it.
        bout_s: shortest and longest bout, seconds.
    """

    def __init__(self, seed: int, bout_s: tuple[float, float] = (0.8, 4.0)) -> None:
        self.seed = seed
        self._bout_s = bout_s
        rng = np.random.default_rng([seed, 0])
        self._first_behaviors = [BEHAVIORS[i] for i in rng.permutation(len(BEHAVIORS))]
        x, y = (rng.uniform(WAYPOINT_MARGIN_MM, size - WAYPOINT_MARGIN_MM) for size in CAGE_MM[:2])
        # Of every bout only its beginning is kept: a day of them is a few megabytes.
        self._starts_s = [0.0]
        self._behaviors = [self._first_behaviors[0]]
        self._stances = [Stance(float(x), float(y), float(rng.uniform(-np.pi, np.pi)))]
        self._bouts: OrderedDict[int, Bout] = OrderedDict()
        self._append_end()

    def at(self, t_s: float) -> WorldState:
        """The world ``t_s`` seconds (>= 0) after its beginning."""
        index = self._index(t_s)
        return state_in(index, self._behaviors[index], t_s, self._starts_s[index], self._bout)

    def stance_at(self, t_s: float) -> Stance:
        """Where the mouse stands and looks at that time."""
        index = self._index(t_s)
        return self._bout(index).motion(t_s - self._starts_s[index])[0]

    def _index(self, t_s: float) -> int:
        while t_s >= self._starts_s[-1]:
            self._append_bout()
        return bisect_right(self._starts_s, t_s) - 1

    def _bout(self, index: int) -> Bout:
        bout = self._bouts.get(index)
        if bout is None:
            bout = self._draw(index)
            self._bouts[index] = bout
            if len(self._bouts) > N_CACHED_BOUTS:
                self._bouts.popitem(last=False)
        return bout

    def _draw(self, index: int) -> Bout:
        rng = np.random.default_rng([self.seed, 1, index])
        behavior = self._behaviors[index]
        shortest, longest = self._bout_s
        length_s = shortest + (longest - shortest) * float(rng.beta(*LENGTH_SHAPE[behavior]))
        return draw_bout(behavior, self._stances[index], length_s, rng)

    def _append_bout(self) -> None:
        """Turn the open end of the time line into a bout, and know where and when it ends."""
        index = len(self._behaviors)
        if index < len(self._first_behaviors):
            behavior = self._first_behaviors[index]
        else:
            behavior = next_behavior(TRANSITIONS, self._behaviors[-1], np.random.default_rng([self.seed, 2, index]))
        self._behaviors.append(behavior)
        self._append_end()

    def _append_end(self) -> None:
        bout = self._bout(len(self._behaviors) - 1)
        self._starts_s.append(self._starts_s[-1] + bout.length_s)
        self._stances.append(bout.motion(bout.length_s)[0])
