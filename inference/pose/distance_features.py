"""How far points are from each other, within an animal and between two, in body lengths."""

from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..cropper import State
from .arrangement import AnimalOptions, Arrangement
from .layout import PARTNER, Place, PoseLayout, ResolvedPlace
from .measures import Values, length, squash
from .pose_block import PoseBlock
from .pose_feature import SquashOptions

Near = tuple[list[str], list[str]]
"""Keypoints of an animal, and keypoints of its partner."""


def ways_to_partner(pose: PoseBlock, points: tuple[int, ...], near: tuple[int, ...]) -> Values:
    """(t, 2, n) px from each of an animal's ``points`` to each of its partner's ``near``."""
    ways = length(pose.xy[:, :, list(points), None] - pose.xy[:, ::-1, None, list(near)])
    return ways.reshape(len(pose), 2, -1)


def _same_for_both(a: ResolvedPlace, b: ResolvedPlace) -> bool:
    """Whether the partner measures the same distance."""
    return (a.is_social or b.is_social) and {frozenset(a.points), frozenset(b.points)} == {
        a.seen_by_partner(),
        b.seen_by_partner(),
    }


class PoseDistancesParameters(AnimalOptions, SquashOptions):
    """Which distances.

    Attributes:
        pairs: places; ``partner.`` before a name makes it the other animal's.
        own: between all points of each animal.
        cross: between all points of one animal and all of the other.
        nearest: the shortest from some points of an animal to some of its partner.
    """

    pairs: list[tuple[Place, Place]] = Field(default_factory=list)
    own: bool = False
    cross: bool = False
    nearest: list[Near] = Field(default_factory=list)


class PoseDistances:
    """Distances; one that is the same from both animals comes out once."""

    name: ClassVar[str] = "pose_distances"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = (ways_to_partner, _same_for_both)

    def __init__(self, parameters: PoseDistancesParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        points = layout.keypoints
        pairs: list[tuple[Place, Place]] = list(parameters.pairs)
        if parameters.own:
            pairs += [(a, b) for place, a in enumerate(points) for b in points[place + 1 :]]
        if parameters.cross:
            pairs += [(a, f"{PARTNER}{b}") for place, a in enumerate(points) for b in points[place:]]
        resolved = [(layout.place(a), layout.place(b)) for a, b in pairs]
        pairs_of_own = [pair for pair in resolved if not _same_for_both(*pair)]
        pairs_of_both = [pair for pair in resolved if _same_for_both(*pair)]
        self._places = list(dict.fromkeys(place for pair in resolved for place in pair))
        self._own, self._joint = self._numbers(pairs_of_own), self._numbers(pairs_of_both)
        self._nearest = [(layout.numbers(a), layout.numbers(b)) for a, b in parameters.nearest]
        if self._nearest:
            layout.need_two("nearest")
        own, joint = ([f"distance({a.name},{b.name})" for a, b in some] for some in (pairs_of_own, pairs_of_both))
        for (a, b), names in zip(self._nearest, parameters.nearest, strict=True):
            (joint if set(a) == set(b) else own).append(f"nearest({'+'.join(names[0])},{'+'.join(names[1])})")
        self._arrangement = Arrangement(parameters, layout, own, joint)
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        own, joint = [np.zeros((len(pose), pose.xy.shape[1], 0))], [np.zeros((len(pose), 0))]
        if self._places:
            at = pose.places(self._places)
            (a, b), (c, d) = self._own, self._joint
            own.append(length(at[:, :, a] - at[:, :, b]))
            joint.append(length(at[:, 0, c] - at[:, 0, d]))
        for points, near in self._nearest:
            shortest = np.minimum.reduce(ways_to_partner(pose, points, near), axis=2)
            if set(points) == set(near):
                joint.append(shortest[:, :1])
            else:
                own.append(shortest[..., None])
        return state, self._arrangement.join(
            pose, self._scaled(pose, np.concatenate(own, axis=2)), self._scaled(pose, np.concatenate(joint, axis=1))
        )

    def _numbers(self, pairs: list[tuple[ResolvedPlace, ResolvedPlace]]) -> tuple[list[int], list[int]]:
        first, second = ([self._places.index(pair[side]) for pair in pairs] for side in (0, 1))
        return first, second

    def _scaled(self, pose: PoseBlock, px: Values) -> Values:
        return squash(pose.in_lengths(px), self._parameters.squash, self._parameters.squash_unit)


class PoseContactParameters(AnimalOptions):
    """When two animals touch.

    Attributes:
        pairs: points of an animal and points of its partner, of which any two may touch.
        below: distances in body lengths below which they do.
        share: beside whether they touch, which share of the pairs of points does: how much they overlap.
    """

    pairs: list[Near] = Field(min_length=1)
    below: list[Annotated[float, Field(gt=0.0)]] = Field(default_factory=lambda: [0.3], min_length=1)
    share: bool = True


class PoseContact:
    """1 where two animals touch, and the share of points that do."""

    name: ClassVar[str] = "pose_contact"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = (ways_to_partner,)

    def __init__(self, parameters: PoseContactParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        layout.need_two("contact")
        self._pairs = [(layout.numbers(a), layout.numbers(b)) for a, b in parameters.pairs]
        own: list[str] = []
        joint: list[str] = []
        for (a, b), names in zip(self._pairs, parameters.pairs, strict=True):
            what = f"({'+'.join(names[0])},{'+'.join(names[1])},"
            for below in parameters.below:
                kinds = ["contact", "overlap"] if parameters.share else ["contact"]
                (joint if set(a) == set(b) else own).extend(f"{kind}{what}{below:g})" for kind in kinds)
        self._arrangement = Arrangement(parameters, layout, own, joint)
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        own, joint = [np.zeros((len(pose), 2, 0))], [np.zeros((len(pose), 0))]
        for points, near in self._pairs:
            ways = pose.in_lengths(ways_to_partner(pose, points, near))
            for below in self._parameters.below:
                touching = (ways < below).astype(np.float64)
                found = np.maximum.reduce(touching, axis=2, keepdims=True)
                if self._parameters.share:
                    share = np.add.reduce(touching, axis=2, keepdims=True) / touching.shape[2]  # exact in any order
                    found = np.concatenate([found, share], axis=2)
                if set(points) == set(near):
                    joint.append(found[:, 0])
                else:
                    own.append(found)
        return state, self._arrangement.join(pose, np.concatenate(own, axis=2), np.concatenate(joint, axis=1))
