"""Enter and exit thresholds with a minimum dwell."""

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS
from ..cropper import State
from .config import ThresholdsConfig
from .decider import NONE, AddedDelay


class Thresholds:
    """A class becomes the candidate when it is the most probable one and either reaches its ``enter`` threshold or the
    label has fallen below its own ``exit`` threshold. A candidate that stays so for its ``min_dwell_ms`` of exposure
    time becomes the label. Until then the label holds.
    """

    def __init__(self, classes: list[str], config: ThresholdsConfig) -> None:
        thresholds = [config.of(name) for name in classes]
        self._enter = [one.enter for one in thresholds]
        self._exit = [one.exit for one in thresholds]
        self._dwell_ns = [round(one.min_dwell_ms * NS_PER_MS) for one in thresholds]
        self.reset()

    def delays(self) -> list[AddedDelay]:
        """The dwell."""
        return [AddedDelay(dwell / NS_PER_MS, dwell / NS_PER_MS) for dwell in self._dwell_ns]

    def step(self, p: NDArray[np.floating], t_ns: int) -> int:
        best = int(np.argmax(p))
        label = self._label
        if best == label:
            self._candidate = NONE
            return label
        entered = float(p[best]) >= self._enter[best]
        given_way = label != NONE and float(p[label]) < self._exit[label]
        if not (entered or given_way):
            self._candidate = NONE
            return label
        if best != self._candidate:
            self._candidate, self._candidate_since_ns = best, t_ns
        if t_ns - self._candidate_since_ns >= self._dwell_ns[best]:
            self._label = best
            self._candidate = NONE
        return self._label

    def reset(self) -> None:
        self._label = NONE
        self._candidate = NONE
        self._candidate_since_ns = 0

    def snapshot(self) -> State:
        return {"stabiliser.thresholds": np.array([self._label, self._candidate, self._candidate_since_ns], np.int64)}

    def restore(self, state: State) -> None:
        values = (int(value) for value in state["stabiliser.thresholds"])
        self._label, self._candidate, self._candidate_since_ns = values
