"""From probabilities that flicker to a label that holds. The same object runs live, in replay and offline."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import NS_PER_MS
from .cropper import State
from .stabiliser_config import StabiliserConfig

NONE: Final = -1


class Stabiliser:
    """Enter and exit thresholds with a minimum dwell.

    A class becomes the candidate when it is the most probable one and either reaches its ``enter`` threshold or the
    label has fallen below its own ``exit`` threshold. A candidate that stays so for its ``min_dwell_ms`` of exposure
    time becomes the label. Until then the label holds.
    """

    def __init__(self, classes: list[str], config: StabiliserConfig) -> None:
        self.classes = list(classes)
        thresholds = [config.of(name) for name in classes]
        self._enter = [one.enter for one in thresholds]
        self._exit = [one.exit for one in thresholds]
        self._dwell_ns = [round(one.min_dwell_ms * NS_PER_MS) for one in thresholds]
        self.reset()

    @property
    def added_delay_ms(self) -> dict[str, float]:
        """By how much each class comes later than its probability, milliseconds."""
        return {name: dwell / NS_PER_MS for name, dwell in zip(self.classes, self._dwell_ns, strict=True)}

    @property
    def label(self) -> str:
        """The behaviour that holds; "" before the first one."""
        return "" if self.label_index == NONE else self.classes[self.label_index]

    def reset(self) -> None:
        self.label_index = NONE
        self.label_since_ns = 0
        self._candidate = NONE
        self._candidate_since_ns = 0

    def step(self, p: NDArray[np.floating], t_ns: int) -> str:
        """Take the probabilities of one exposure time and return the label.

        Args:
            p: (n_classes,) probabilities.
            t_ns: exposure time; never before the last one.
        """
        best = int(np.argmax(p))
        label = self.label_index
        if best == label:
            self._candidate = NONE
            return self.label
        entered = float(p[best]) >= self._enter[best]
        given_way = label != NONE and float(p[label]) < self._exit[label]
        if not (entered or given_way):
            self._candidate = NONE
            return self.label
        if best != self._candidate:
            self._candidate, self._candidate_since_ns = best, t_ns
        if t_ns - self._candidate_since_ns >= self._dwell_ns[best]:
            self.label_index, self.label_since_ns = best, t_ns
            self._candidate = NONE
        return self.label

    def snapshot(self) -> State:
        values = [self.label_index, self.label_since_ns, self._candidate, self._candidate_since_ns]
        return {"stabiliser": np.array(values, np.int64)}

    def restore(self, state: State) -> None:
        values = (int(value) for value in state["stabiliser"])
        self.label_index, self.label_since_ns, self._candidate, self._candidate_since_ns = values
