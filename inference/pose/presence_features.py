"""What the tracker sees at all: a partner that disappears is most often close to the other animal."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..cropper import State
from .arrangement import AnimalOptions, Arrangement
from .layout import PoseLayout
from .measures import total
from .pose_block import PoseBlock


class PosePresenceParameters(AnimalOptions):
    """What is said of the points that are there.

    Attributes:
        points: keypoints; null: all.
        per_point: 1 where the point is seen, for each point.
        per_animal: share of the points that are seen.
        since_s: for each of these times the time since any point of the animal was seen, as s / (s + time): 0 now, 1
            for ever.
        likelihood: mean likelihood of the points, 0 for those that are not seen.
        point_likelihood: the likelihood of each point.
        twins: 1 where the tracker gave one animal twice.
    """

    points: list[str] | None = None
    per_point: bool = True
    per_animal: bool = True
    since_s: list[float] = Field(default_factory=lambda: [1.0])
    likelihood: bool = False
    point_likelihood: bool = False
    twins: bool = False


class PosePresence:
    """Missing masks, and how long a point has been missing."""

    name: ClassVar[str] = "pose_presence"
    version: ClassVar[int] = 1
    rests_on: ClassVar[tuple[Callable[..., object], ...]] = ()

    def __init__(self, parameters: PosePresenceParameters, layout: PoseLayout, before: tuple[str, ...]) -> None:
        self._parameters = parameters
        self._points = layout.numbers(parameters.points)
        own = [f"seen({layout.keypoints[number]})" for number in self._points] if parameters.per_point else []
        own += ["seen_share"] if parameters.per_animal else []
        own += [f"since({tau_s:g}s)" for tau_s in parameters.since_s]
        own += ["likelihood"] if parameters.likelihood else []
        if parameters.point_likelihood:
            own += [f"likelihood({layout.keypoints[number]})" for number in self._points]
        if parameters.twins:
            layout.need_two("twins")
        self._arrangement = Arrangement(parameters, layout, own, ["twin"] if parameters.twins else [])
        self.names = self._arrangement.names

    def initial(self) -> State:
        return {}

    def block(self, state: State, pose: PoseBlock, before: NDArray[np.float32]) -> tuple[State, NDArray[np.float32]]:
        parameters, points = self._parameters, list(self._points)
        seen = pose.seen[:, :, points].astype(np.float64)
        likelihood = pose.likelihood[:, :, points]
        since = np.minimum.reduce(pose.since_s[:, :, points], axis=2)
        own = [seen] if parameters.per_point else []
        if parameters.per_animal:
            own.append(np.add.reduce(seen, axis=2, keepdims=True) / len(points))  # whole numbers: exact in any order
        own += [(since / (since + tau_s))[..., None] for tau_s in parameters.since_s]
        if parameters.likelihood:
            own.append((total([likelihood[..., place] for place in range(len(points))]) / len(points))[..., None])
        own += [likelihood] if parameters.point_likelihood else []
        joint = pose.twin[:, None].astype(np.float64) if parameters.twins else np.zeros((len(pose), 0))
        return state, self._arrangement.join(pose, np.concatenate([seen[..., :0], *own], axis=2), joint)
