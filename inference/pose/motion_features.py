"""How fast animals move and turn, at several lags."""

from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..cropper import State
from .arrangement import AnimalOptions, Arrangement
from .history import delayed, past_of, with_past
from .layout import Place, PoseLayout, Segment
from .measures import Values, cross, dot, length, limited, squash, total, unit
from .pose_block import PoseBlock
from .pose_feature import SquashOptions

Seconds = Annotated[float, Field(gt=0.0)]
LAGS = Field(default_factory=lambda: [0.1, 0.5], min_length=1)


def exchanged(now: Values, then: Values) -> NDArray[np.bool_]:
    """(t,) whether two animals (t, 2, 2) moved less altogether if each is taken for the other one of then."""
    stayed = total([length(now[:, a] - then[:, a]) for a in (0, 1)])
    swapped = total([length(now[:, a] - then[:, 1 - a]) for a in (0, 1)])
    return swapped < stayed


class PoseMotionParameters(AnimalOptions, SquashOptions):
    """Which speeds.

    Attributes:
        places: of which.
        lags_s: over how long, one set of measures for each; whole frames, one at least.
        speed: the speed itself.
        along: directions, along which the speed is given as well: forward, or towards the partner.
        change: by how much the velocity changed since one lag before.
        together: of two animals the speed against each other, and from -1 to 1 how parallel they move.
        max_speed: body lengths per second above which a speed is a mistake of the tracker; it is cut there.
        matched: a place of two animals; over each lag the animals are taken for each other where both places together
            moved less then. null: they are who the tracker says.
    """

    places: list[Place] = Field(min_length=1)
    lags_s: list[Seconds] = LAGS
    speed: bool = True
    along: list[Segment] = Field(default_factory=list)
    change: bool = False
    together: bool = False
    max_speed: float = Field(default=8.0, gt=0.0)
    matched: Place | None = None


class PoseMotion:
    """Speed over a lag in body lengths per second.

    The way is divided by the time between the frames in which the two positions were found, one frame at least: a
    point that comes back after it was missing has moved for all that time.
    """

    name: ClassVar[str] = "pose_motion"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = (exchanged, delayed, with_past, past_of)

    def __init__(self, parameters: PoseMotionParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        self._places = [layout.place(place) for place in parameters.places]
        self._along = [(layout.place(a), layout.place(b)) for a, b in parameters.along]
        self._match = None if parameters.matched is None else layout.place(parameters.matched)
        self._lags = [layout.frames(lag_s) for lag_s in parameters.lags_s]
        self._n_past, self._dt_s = max(self._lags) * (2 if parameters.change else 1), layout.dt_s
        if self._match is not None:
            layout.need_two("matched")
        if parameters.together:
            layout.need_two("together")
        own: list[str] = []
        joint: list[str] = []
        for lag_s in parameters.lags_s:
            for place in self._places:
                of = f"{place.name},{lag_s:g}s"
                own += [f"speed({of})"] if parameters.speed else []
                own += [f"speed({of},{a.name}>{b.name})" for a, b in self._along]
                own += [f"speed_change({of})"] if parameters.change else []
                joint += [f"relative_speed({of})", f"parallel({of})"] if parameters.together else []
        self._arrangement = Arrangement(parameters, layout, own, joint)
        self._shape = (self._n_past, layout.n_animals, len(self._places) + (self._match is not None))
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {
            "past": np.zeros((*self._shape, 2), np.float64),
            "past_age": np.zeros(self._shape, np.float64),
            "started": np.zeros(1, np.int64),
        }

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        parameters = self._parameters
        places = self._places if self._match is None else [*self._places, self._match]
        now, age = pose.places(places), pose.ages(places)
        started = bool(state["started"][0])
        joined, ages = with_past(now, state["past"], started), with_past(age, state["past_age"], started)
        along = [unit(pose.at(b) - pose.at(a))[:, :, None] for a, b in self._along]
        own, joint = [np.zeros((len(pose), now.shape[1], 0))], [np.zeros((len(pose), 0))]
        for lag in self._lags:
            then, then_age = self._aligned(now, joined, ages, lag)
            velocity = self._velocity(pose, now, age, then, then_age, lag)
            measured = [length(velocity)] if parameters.speed else []
            measured += [dot(velocity, direction) for direction in along]
            if parameters.change:
                earlier = self._velocity(pose, then, then_age, *self._aligned(then, joined, ages, 2 * lag), lag)
                measured.append(length(velocity - earlier))
            if measured:
                own.append(self._squashed(np.stack(measured, axis=3).reshape(*now.shape[:2], -1)))
            if parameters.together:
                joint.append(self._together(velocity))
        after: State = {
            "past": past_of(joined, len(pose)),
            "past_age": past_of(ages, len(pose)),
            "started": np.ones(1, np.int64),
        }
        return after, self._arrangement.join(pose, np.concatenate(own, axis=2), np.concatenate(joint, axis=1))

    def _aligned(self, now: Values, joined: Values, ages: Values, n_frames: int) -> tuple[Values, Values]:
        """Places and ages of so many frames ago, with the animals in the order of ``now``."""
        then, then_age = delayed(joined, self._n_past, n_frames), delayed(ages, self._n_past, n_frames)
        if self._match is None:
            return then, then_age
        swapped = exchanged(now[:, :, -1], then[:, :, -1])[:, None, None]
        return np.where(swapped[..., None], then[:, ::-1], then), np.where(swapped, then_age[:, ::-1], then_age)

    def _velocity(self, pose: PoseBlock, now: Values, age: Values, then: Values, then_age: Values, lag: int) -> Values:
        """(t, a, places, 2) body lengths per second."""
        took_s = np.maximum(lag * self._dt_s + then_age - age, self._dt_s)
        velocity = limited(pose.in_lengths(now - then) / took_s[..., None], self._parameters.max_speed)
        return velocity[:, :, : len(self._places)]

    def _together(self, velocity: Values) -> Values:
        first, second = velocity[:, 0], velocity[:, 1]
        # A tenth of a body length per second is as good as standing.
        slow = 0.1
        parallel = dot(first, second) / (length(first) * length(second) + slow * slow)
        return np.stack([self._squashed(length(first - second)), parallel], axis=2).reshape(len(velocity), -1)

    def _squashed(self, speeds: Values) -> Values:
        return squash(speeds, self._parameters.squash, self._parameters.squash_unit)


class PoseTurningParameters(AnimalOptions, SquashOptions):
    """Which turns.

    Attributes:
        segments: from one place to another.
        lags_s: over how long.
        mirrored: left and right are taken as alike.
        matched: as of `PoseMotionParameters`.
        squash: as of speeds; ``squash_unit`` is in radians per second here.
    """

    segments: list[Segment] = Field(min_length=1)
    lags_s: list[Seconds] = LAGS
    mirrored: bool = False
    matched: Place | None = None


class PoseTurning:
    """By how much a direction turned over a lag, radians per second unless drawn together; 0 while it has no length."""

    name: ClassVar[str] = "pose_turning"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = (exchanged, delayed, with_past, past_of)

    def __init__(self, parameters: PoseTurningParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        self._segments = [(layout.place(a), layout.place(b)) for a, b in parameters.segments]
        self._match = None if parameters.matched is None else layout.place(parameters.matched)
        self._lags = [layout.frames(lag_s) for lag_s in parameters.lags_s]
        self._n_past, self._dt_s = max(self._lags), layout.dt_s
        if self._match is not None:
            layout.need_two("matched")
        own = [f"turn({a.name}>{b.name},{lag_s:g}s)" for lag_s in parameters.lags_s for a, b in self._segments]
        self._arrangement = Arrangement(parameters, layout, own, [])
        self._shape = (self._n_past, layout.n_animals, len(self._segments) + (self._match is not None), 2)
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {"past": np.zeros(self._shape, np.float64), "started": np.zeros(1, np.int64)}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        kept = [unit(pose.at(b) - pose.at(a)) for a, b in self._segments]
        if self._match is not None:
            kept.append(pose.at(self._match))
        now = np.stack(kept, axis=2)
        joined = with_past(now, state["past"], bool(state["started"][0]))
        n = len(self._segments)
        own: list[Values] = []
        for lag in self._lags:
            then = delayed(joined, self._n_past, lag)
            if self._match is not None:
                swapped = exchanged(now[:, :, -1], then[:, :, -1])
                then = np.where(swapped[:, None, None, None], then[:, ::-1], then)
            first, second = then[:, :, :n], now[:, :, :n]
            sine, cosine = np.ascontiguousarray(cross(first, second)), np.ascontiguousarray(dot(first, second))
            rate = np.arctan2(sine, cosine) / (lag * self._dt_s)
            rate = squash(rate, self._parameters.squash, self._parameters.squash_unit)
            own.append(np.abs(rate) if self._parameters.mirrored else rate)
        after: State = {"past": past_of(joined, len(pose)), "started": np.ones(1, np.int64)}
        return after, self._arrangement.join(pose, np.concatenate(own, axis=2), np.zeros((len(pose), 0)))
