"""One or two simulated mice in a cage: each with its own behaviour; the second one keeps out of the first one's way.

Everything is a function of the seed and of time, as in `simulated_world`: the bouts of the second mouse are chosen
among draws by how much room they leave, and the choice is remembered, so that it is the same for every camera of a rig.
"""

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .simulated_behaviors import (
    APPROACHED,
    EXTENDED_BEHAVIORS,
    EXTENDED_LENGTH_SHAPE,
    EXTENDED_TRANSITIONS,
    TURN_S,
    Goal,
    draw_extended_bout,
    goal_of,
)
from .simulated_bouts import next_behavior
from .simulated_motion import BEHAVIORS, CAGE_MM, Bout, Stance
from .simulated_path import WAYPOINT_MARGIN_MM
from .simulated_world import TRANSITIONS, SimulatedWorld, WorldState, state_in

BehaviorSet = Literal["basic", "extended"]

BOUT_S = (0.8, 4.0)
AXIS_MM = np.array([-24.0, 2.0, 28.0, 52.0])  # points along the body, from its centre, for how near two mice are
CLEARANCE_MM = 42.0  # of these points: two bodies of 33 mm width then just pass
LOOK_S = 0.9  # a place is taken only where it stays clear for this long after the bout
STEP_S = 1 / 15
N_TRIES = 14
N_FREE_TRIES = 5  # so many tries may be of any behaviour, the rest are walks
SHORTEST_S = 0.4
STANDING = ("rear", "groom", "still", "drink")  # what is done without a step
N_CACHED_BOUTS = 16


@dataclass(frozen=True, slots=True)
class SceneState:
    """All animals at one instant.

    Attributes:
        t_s: seconds since the session began.
        animals: one state per animal; the first one's behaviour is the session's.
    """

    t_s: float
    animals: tuple[WorldState, ...]


class Walker(Protocol):
    """Something whose place is known at every time."""

    def stance_at(self, t_s: float) -> Stance:
        """Where it stands and looks."""
        ...


class _Plan(NamedTuple):
    """What was chosen for one bout; with the stance at its beginning it is all that drawing it again takes."""

    behavior: str
    attempt: int
    length_s: float
    goal: Goal | None


class Animal:
    """One mouse with the wider set of behaviours, or one that keeps clear of another.

    Args:
        seed: everything follows from it.
        behaviors: ``basic`` or ``extended``.
        other: whom it keeps clear of; None: nobody.
    """

    def __init__(self, seed: int, behaviors: BehaviorSet, other: Walker | None = None) -> None:
        self.seed = seed
        self._other = other
        self._transitions = TRANSITIONS if behaviors == "basic" else EXTENDED_TRANSITIONS
        rng = np.random.default_rng([seed, 10])
        names = BEHAVIORS if behaviors == "basic" else EXTENDED_BEHAVIORS
        groups = [["locomote", name] if name in APPROACHED else [name] for name in names if name != "locomote"]
        self._first = [name for k in rng.permutation(len(groups)) for name in groups[k]]
        self._starts_s = [0.0]
        self._stances = [self._first_stance(rng)]
        self._plans: list[_Plan] = []
        self._next = self._first[0]
        self._bouts: OrderedDict[int, Bout] = OrderedDict()
        self._theirs: list[Stance] = []
        self._theirs_from_s = -1.0

    def at(self, t_s: float) -> WorldState:
        """The mouse ``t_s`` seconds (>= 0) after its beginning."""
        index = self._index(t_s)
        return state_in(index, self._plans[index].behavior, t_s, self._starts_s[index], self._bout)

    def stance_at(self, t_s: float) -> Stance:
        index = self._index(t_s)
        return self._bout(index).motion(t_s - self._starts_s[index])[0]

    def _index(self, t_s: float) -> int:
        while t_s >= self._starts_s[-1]:
            self._append()
        return bisect_right(self._starts_s, t_s) - 1

    def _first_stance(self, rng: np.random.Generator) -> Stance:
        low, high = WAYPOINT_MARGIN_MM, np.array(CAGE_MM[:2]) - WAYPOINT_MARGIN_MM
        places = rng.uniform((low, low), high, (16, 2))
        heading = float(rng.uniform(-np.pi, np.pi))
        if self._other is None:
            return Stance(float(places[0, 0]), float(places[0, 1]), heading)
        there = self._other.stance_at(0.0)
        best = int(np.argmax(np.hypot(places[:, 0] - there.x_mm, places[:, 1] - there.y_mm)))
        return Stance(float(places[best, 0]), float(places[best, 1]), heading)

    def _bout(self, index: int) -> Bout:
        bout = self._bouts.get(index)
        if bout is None:
            bout = self._draw(index, self._plans[index])
            self._keep(index, bout)
        return bout

    def _keep(self, index: int, bout: Bout) -> None:
        self._bouts[index] = bout
        if len(self._bouts) > N_CACHED_BOUTS:
            self._bouts.popitem(last=False)

    def _draw(self, index: int, plan: _Plan) -> Bout:
        rng = np.random.default_rng([self.seed, 11, index, plan.attempt])
        return draw_extended_bout(plan.behavior, self._stances[index], plan.length_s, rng, plan.goal)

    def _append(self) -> None:
        """Choose the next bout, and what follows it where it has to lead there."""
        index = len(self._plans)
        plan, bout, following = self._choose(index)
        self._plans.append(plan)
        self._keep(index, bout)
        self._next = following
        self._starts_s.append(self._starts_s[-1] + bout.length_s)
        self._stances.append(bout.motion(bout.length_s)[0])

    def _choose(self, index: int) -> tuple[_Plan, Bout, str]:
        best: tuple[float, _Plan, Bout, str] | None = None
        for attempt in range(1 if self._other is None else N_TRIES):
            rng = np.random.default_rng([self.seed, 12, index, attempt])
            behavior = self._next
            if attempt > 0 and (behavior in APPROACHED or attempt < N_FREE_TRIES):
                before = self._plans[-1].behavior if index else "still"
                behavior = next_behavior(self._transitions, before, rng)
            if attempt >= N_FREE_TRIES or (behavior in APPROACHED and attempt > 0):
                behavior = "locomote"
            if index + 1 < len(self._first):
                following = self._first[index + 1]
            else:
                following = next_behavior(self._transitions, behavior, rng)
            goal = goal_of(following, rng) if behavior == "locomote" and attempt < N_FREE_TRIES else None
            if behavior == "locomote" and goal is None and following in APPROACHED:
                following = "still"
            if behavior != "locomote" and following in APPROACHED:
                following = "locomote"  # one has to go there first
            plan = _Plan(behavior, attempt, self._length_s(behavior, rng), goal)
            bout = self._draw(index, plan)
            if self._other is None:
                return plan, bout, following
            room_mm, clear_s = self._room(behavior, bout)
            if room_mm < CLEARANCE_MM and behavior != "locomote" and clear_s - LOOK_S > SHORTEST_S:
                plan = plan._replace(length_s=min(plan.length_s, clear_s - LOOK_S))
                bout = self._draw(index, plan)  # it leaves before the other one comes
                room_mm, following = CLEARANCE_MM, "locomote"
            if best is None or room_mm > best[0]:
                best = room_mm, plan, bout, following
            if room_mm >= CLEARANCE_MM:
                break
        assert best is not None
        return best[1:]

    def _length_s(self, behavior: str, rng: np.random.Generator) -> float:
        shortest, longest = TURN_S if behavior == "turn" else BOUT_S
        return shortest + (longest - shortest) * float(rng.beta(*EXTENDED_LENGTH_SHAPE[behavior]))

    def _room(self, behavior: str, bout: Bout) -> tuple[float, float]:
        """The least distance to the other one in this bout and shortly after, mm, and for how long it suffices, s."""
        assert self._other is not None
        t0 = self._starts_s[-1]
        times = np.arange(0.0, bout.length_s + LOOK_S, STEP_S)
        if behavior in STANDING:
            mine = np.array([bout.motion(0.0)[0]])
        else:
            mine = np.array([bout.motion(min(t, bout.length_s))[0] for t in times.tolist()])
        # The other one's places are the same for all tries of a bout.
        if self._theirs_from_s != t0:
            self._theirs, self._theirs_from_s = [], t0
        for t in times[len(self._theirs) :].tolist():
            self._theirs.append(self._other.stance_at(t0 + t))
        theirs = np.array(self._theirs[: len(times)])
        apart = _axis(mine)[:, :, None] - _axis(theirs)[:, None, :]
        nearest = np.sqrt((apart * apart).sum(axis=-1)).min(axis=(1, 2))
        near = np.flatnonzero(nearest < CLEARANCE_MM)
        return float(nearest.min()), float(times[near[0]]) if len(near) else float(times[-1])


def _axis(stances: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3) stances to (n, len(AXIS_MM), 2) points along the body."""
    forward = np.stack([np.cos(stances[:, 2]), np.sin(stances[:, 2])], axis=1)
    return stances[:, None, :2] + AXIS_MM[None, :, None] * forward[:, None, :]


class SimulatedScene:
    """All animals of a cage. ``at`` may be called for any time in any order; it is cheap where time advances.

    One animal of the basic set is the mouse of `SimulatedWorld`.

    Args:
        seed: everything follows from it.
        animals: 1 or 2.
        behaviors: what they do.
    """

    def __init__(self, seed: int, animals: int = 1, behaviors: BehaviorSet = "basic") -> None:
        first = SimulatedWorld(seed) if behaviors == "basic" else Animal(seed, behaviors)
        self._animals: list[SimulatedWorld | Animal] = [first]
        if animals > 1:
            self._animals.append(Animal(seed + 1_000_003, behaviors, first))

    def at(self, t_s: float) -> SceneState:
        """The scene ``t_s`` seconds (>= 0) after its beginning."""
        return SceneState(t_s, tuple(animal.at(t_s) for animal in self._animals))
