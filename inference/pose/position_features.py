"""Where an animal is in the arena."""

from collections.abc import Callable
from math import inf, pi
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..cropper import State
from .arrangement import AnimalOptions, Arrangement
from .layout import Place, PoseLayout
from .measures import Values, total
from .pose_block import PoseBlock

Rectangle = tuple[float, float, float, float]


class PosePositionParameters(AnimalOptions):
    """Of what, and in which arena.

    Attributes:
        place: of each animal.
        arena_px: left, upper, right and lower edge; null: where the place of any animal was seen so far, and
            half a body length beyond.
        start_px: of that range, before anything was seen.
        n_octaves: sine and cosine of pi, 2 pi, 4 pi ... times the coordinate, so many of each.
        coordinates: the coordinates themselves, 0 to 1.
        walls: distance to the nearest edge in body lengths.
        folded: both halves of the arena are alike, in either direction: |2 c - 1| stands for the coordinate c.
    """

    place: Place
    arena_px: Rectangle | None = None
    start_px: Rectangle | None = None
    n_octaves: int = Field(default=2, ge=0, le=12)
    coordinates: bool = True
    walls: bool = True
    folded: bool = False

    @model_validator(mode="after")
    def _rectangles(self) -> Self:
        for name, edges in (("arena_px", self.arena_px), ("start_px", self.start_px)):
            if edges is not None and not (edges[0] < edges[2] and edges[1] < edges[3]):
                raise ValueError(f"{name}: {list(edges)} is empty; give left, upper, right and lower edge")
        if self.arena_px is not None and self.start_px is not None:
            raise ValueError("start_px: arena_px is given, which does not change; leave one of them out")
        return self


class PosePosition:
    """Coordinates in the arena with their positional encoding, and the distance to the nearest wall.

    The encoding is that of Vaswani et al., Attention is all you need, NIPS 2017, in octaves, over space.
    """

    name: ClassVar[str] = "pose_position"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = ()

    beyond: ClassVar[float] = 0.5
    """Body lengths by which an arena that is learnt reaches beyond where animals were."""
    margin: ClassVar[float] = 0.5
    """Coordinates are cut this far outside the arena."""

    def __init__(self, parameters: PosePositionParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        self._place = layout.place(parameters.place)
        name = self._place.name
        own: list[str] = []
        for axis in "xy":
            own += [f"{axis}({name})"] if parameters.coordinates else []
            own += [f"{f}({axis}({name}),{1 << n})" for n in range(parameters.n_octaves) for f in ("sin", "cos")]
        own += [f"wall({name})"] if parameters.walls else []
        self._arrangement = Arrangement(parameters, layout, own, [])
        self.names = self._arrangement.names

    def initial(self) -> State:
        if self._parameters.arena_px is not None:
            return {}
        return {"edges": np.zeros(4, np.float64), "started": np.zeros(1, np.int64)}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        parameters = self._parameters
        at = pose.at(self._place)
        after, low, high = self._edges(state, pose, at)
        size = high - low
        share = (at - low[:, None]) / size[:, None]
        share = np.minimum(np.maximum(share, -self.margin), 1.0 + self.margin)
        if parameters.folded:
            share = np.abs(2.0 * share - 1.0)
        share = np.ascontiguousarray(share)
        found = [share] if parameters.coordinates else []
        sine, cosine = np.sin(pi * share), np.cos(pi * share)
        for _ in range(parameters.n_octaves):
            found += [sine, cosine]
            sine, cosine = 2.0 * sine * cosine, cosine * cosine - sine * sine
        own = np.stack([share, *found], axis=3)[..., 1:].reshape(*share.shape[:2], -1)
        if parameters.walls:
            away = np.minimum(at - low[:, None], high[:, None] - at)
            nearest = np.minimum(away[..., :1], away[..., 1:])
            own = np.concatenate([own, pose.in_lengths(nearest)], axis=2)
        return after, self._arrangement.join(pose, own, np.zeros((len(pose), 0)))

    def _edges(self, state: State, pose: PoseBlock, at: Values) -> tuple[State, Values, Values]:
        """Next state, and the upper left and the lower right corner at each frame, (t, 2) px."""
        arena, start = self._parameters.arena_px, self._parameters.start_px
        if arena is not None:
            low, high = (np.repeat(np.array([corner]), len(pose), axis=0) for corner in (arena[:2], arena[2:]))
            return state, low, high
        edges = state["edges"]
        if not state["started"][0]:
            edges = np.array([inf, inf, -inf, -inf] if start is None else start)
        there = np.logical_or.reduce(pose.seen, axis=2)[..., None]
        beyond = self.beyond * pose.scale_px[:, None, None]
        low = np.minimum.reduce(np.where(there, at - beyond, inf), axis=1)
        high = np.maximum.reduce(np.where(there, at + beyond, -inf), axis=1)
        low = np.minimum.accumulate(np.concatenate([edges[None, :2], low]))[1:]
        high = np.maximum.accumulate(np.concatenate([edges[None, 2:], high]))[1:]
        after: State = {"edges": np.concatenate([low[-1], high[-1]]), "started": np.ones(1, np.int64)}
        unknown = np.isinf(low)
        middle = total([at[:, animal] for animal in range(at.shape[1])]) / at.shape[1]
        return after, np.where(unknown, middle - beyond[:, 0], low), np.where(unknown, middle + beyond[:, 0], high)
