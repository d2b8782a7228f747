"""How an animal holds itself, and where it sees the other one."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...sync.errors import ConfigError
from ..cropper import State
from .arrangement import AnimalOptions, Arrangement
from .layout import PARTNER, Place, PoseLayout, Segment
from .measures import Values, cross, dot, squash, total, unit
from .pose_block import PoseBlock
from .pose_feature import SquashOptions


class PoseEgocentricParameters(AnimalOptions, SquashOptions):
    """Coordinates in the frame of the animal.

    Attributes:
        origin: the place that is 0.
        axis: from the back to the front: the direction of the first coordinate.
        points: keypoints of the animal itself; null: all.
        partner: keypoints of the other animal; null: all, where there are two.
        mirrored: left and right are taken as alike: the second coordinate without its sign.
    """

    origin: Place
    axis: Segment
    points: list[str] | None = None
    partner: list[str] | None = None
    mirrored: bool = False


class PoseEgocentric:
    """Points ahead of the animal and to its side, in body lengths; 0 while its axis has no length."""

    name: ClassVar[str] = "pose_egocentric"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = ()

    def __init__(self, parameters: PoseEgocentricParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        self._origin = layout.place(parameters.origin)
        back, front = parameters.axis
        self._axis = layout.place(back), layout.place(front)
        names = list(layout.keypoints if parameters.points is None else parameters.points)
        partner = parameters.partner
        if partner is None:
            partner = list(layout.keypoints) if layout.n_animals == 2 else []
        names += [f"{PARTNER}{name}" for name in partner]
        if not names:
            raise ConfigError("pose_egocentric: names no point at all; give points or partner")
        self._places = [layout.place(name) for name in names]
        own = [f"{kind}({name})" for name in names for kind in ("ahead", "aside")]
        self._arrangement = Arrangement(parameters, layout, own, [])
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        parameters = self._parameters
        origin = pose.at(self._origin)
        axis = unit(pose.at(self._axis[1]) - pose.at(self._axis[0]))[:, :, None]
        there = pose.in_lengths(pose.places(self._places) - origin[:, :, None])
        ahead, aside = dot(there, axis), cross(axis, there)
        both = np.stack([ahead, np.abs(aside) if parameters.mirrored else aside], axis=3)
        own = squash(both.reshape(*ahead.shape[:2], -1), parameters.squash, parameters.squash_unit)
        return state, self._arrangement.join(pose, own, own[:, 0, :0])


class PoseAnglesParameters(AnimalOptions):
    """Angles between directions.

    Attributes:
        between: two segments each; either may lead to, or lie in, the partner.
        sine: beside the cosine, which does not tell left from right.
        mirrored: left and right are taken as alike: the sine without its sign.
        doubled: the same of twice the angle, for which front and back are alike.
    """

    between: list[tuple[Segment, Segment]] = Field(min_length=1)
    sine: bool = True
    mirrored: bool = False
    doubled: bool = False


class PoseAngles:
    """Cosine and sine of the angle from one direction to another; both 0 while one of them has no length."""

    name: ClassVar[str] = "pose_angles"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = ()

    def __init__(self, parameters: PoseAnglesParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        between = [[layout.place(end) for segment in pair for end in segment] for pair in parameters.between]
        self._ends = [[ends[place] for ends in between] for place in range(4)]
        kinds = ["cos", "sin"] if parameters.sine else ["cos"]
        kinds += [f"{kind}2" for kind in kinds] if parameters.doubled else []
        own = [f"{kind}({a.name}>{b.name},{c.name}>{d.name})" for a, b, c, d in between for kind in kinds]
        self._arrangement = Arrangement(parameters, layout, own, [])
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        parameters = self._parameters
        at = [pose.places(ends) for ends in self._ends]
        first, second = unit(at[1] - at[0]), unit(at[3] - at[2])
        cosine, sine = dot(first, second), cross(first, second)
        pairs = [(cosine, sine)]
        if parameters.doubled:
            pairs.append((cosine * cosine - sine * sine, 2.0 * sine * cosine))
        found: list[Values] = []
        for along, across in pairs:
            found.append(along)
            found += [np.abs(across) if parameters.mirrored else across] if parameters.sine else []
        own = np.stack(found, axis=3).reshape(*cosine.shape[:2], -1)
        return state, self._arrangement.join(pose, own, own[:, 0, :0])


class PoseSpreadParameters(AnimalOptions):
    """How far points lie about their middle.

    Attributes:
        points: keypoints; null: all.
        each: of every animal.
        group: of all animals together, whichever animal the tracker gave a point to.
    """

    points: list[str] | None = None
    each: bool = True
    group: bool = True


class PoseSpread:
    """Root mean square distance from the mean in body lengths, and of a group also how elongated it is, 0 to 1.

    With the variances a and b along the axes and their covariance c, elongation is sqrt((a - b)^2 + 4 c^2) / (a + b).
    """

    name: ClassVar[str] = "pose_spread"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = ()

    def __init__(self, parameters: PoseSpreadParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._points = layout.numbers(parameters.points)
        self._each, self._group = parameters.each, parameters.group
        if not (self._each or self._group):
            raise ConfigError("pose_spread: measures nothing; set each or group")
        joint = ["group_spread", "group_elongation"] if self._group else []
        self._arrangement = Arrangement(parameters, layout, ["spread"] if self._each else [], joint)
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        n, animals = len(self._points), pose.xy.shape[1]
        points = [pose.in_lengths(pose.xy[:, :, number]) for number in self._points]
        own, joint = np.zeros((len(pose), animals, 0)), np.zeros((len(pose), 0))
        if self._each:
            middle = total(points) / n
            away = [one - middle for one in points]
            own = np.sqrt(total([dot(one, one) for one in away]) / n)[..., None]
        if self._group:
            # The sum over animals stays inside: it is the same when two of them change places.
            middle = total([total([one[:, a] for a in range(animals)]) for one in points]) / (n * animals)
            away = [one - middle[:, None] for one in points]
            xx, yy, xy = (
                total([total([one[:, a, i] * one[:, a, j] for a in range(animals)]) for one in away])
                for i, j in ((0, 0), (1, 1), (0, 1))
            )
            both = xx + yy
            elongation = np.sqrt((xx - yy) * (xx - yy) + 4.0 * xy * xy) / np.where(both > 0.0, both, 1.0)
            joint = np.stack([np.sqrt(both / (n * animals)), elongation], axis=1)
        return state, self._arrangement.join(pose, own, joint)
