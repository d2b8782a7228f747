"""The unit of length, known better with every frame in which the body is seen."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..cropper import State
from .config import BodyScale
from .layout import PoseLayout
from .measures import Values, length, total


class BodyLength:
    """Mean length of the path through the body, of all animals and frames so far in which all of it is seen.

    (weight start + sum of lengths) / (weight + number of lengths), with the weight in animal-frames.
    """

    def __init__(self, scale: BodyScale, layout: PoseLayout) -> None:
        self._path = layout.numbers(scale.path)
        self._start_px = scale.start_px
        self._weight = None if scale.weight_s is None else scale.weight_s * layout.rate_hz * layout.n_animals

    def initial(self) -> State:
        return {"sum_px": np.zeros(1, np.float64), "n": np.zeros(1, np.int64)}

    def block(self, state: State, xy: Values, seen: NDArray[np.bool_]) -> tuple[State, Values]:
        """The length at each frame of a block, (t,) px."""
        if self._weight is None:
            return state, np.full(len(xy), self._start_px)
        lengths = total([length(xy[:, :, a] - xy[:, :, b]) for a, b in pairwise(self._path)])
        whole = np.logical_and.reduce([seen[:, :, number] for number in self._path])
        per_frame = total([np.where(whole[:, a], lengths[:, a], 0.0) for a in range(xy.shape[1])])
        # Summed one after the other from what was there before: the same sums for any cut.
        sums = np.cumsum(np.concatenate([state["sum_px"], per_frame]))[1:]
        counts = np.cumsum(whole.sum(axis=1)) + state["n"]
        after: State = {"sum_px": sums[-1:].copy(), "n": counts[-1:].astype(np.int64)}
        return after, (self._weight * self._start_px + sums) / (self._weight + counts)
