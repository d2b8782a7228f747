"""A model that looks ahead speaks of the past: of which step, and of which exposure time."""

from collections import deque
from typing import Final

import numpy as np

from .cropper import State
from .gap import NEVER

_KEY: Final = "answer_times"


class AnswerTimes:
    """Exposure times of the last steps, to say of which one an answer speaks. One thread steps it.

    Args:
        n_frames: what is said at a step is of the step so many before it; 0: nothing is remembered.
        step_ns: from one step to the next, for steps that had no input of their own.
    """

    def __init__(self, n_frames: int, step_ns: int) -> None:
        self._n_frames = n_frames
        self._step_ns = step_ns
        self._steps: deque[tuple[int, int]] = deque(maxlen=n_frames + 1)  # number and exposure time, oldest first

    def step(self, index: int, t_ns: int) -> int:
        """Exposure time of what step ``index``, exposed at ``t_ns``, speaks of.

        Of a step that was missing, or lay before the first one, it is counted in whole steps from the nearest before,
        or else from the first.
        """
        if self._n_frames == 0:
            return t_ns
        steps, wanted = self._steps, index - self._n_frames
        steps.append((index, t_ns))
        while len(steps) > 1 and steps[1][0] <= wanted:
            steps.popleft()
        near, near_ns = steps[0]
        return near_ns + (wanted - near) * self._step_ns

    def reset(self) -> None:
        """Forget everything."""
        self._steps.clear()

    def snapshot(self) -> State:
        """Everything that it remembers; nothing at all without look-ahead."""
        if self._n_frames == 0:
            return {}
        state = np.full((self._n_frames + 1, 2), NEVER, np.int64)
        if self._steps:
            state[: len(self._steps)] = self._steps
        return {_KEY: state}

    def restore(self, state: State) -> None:
        """Continue from a snapshot of the same look-ahead; other keys are let be."""
        if self._n_frames:
            pairs = (tuple(int(value) for value in pair) for pair in state[_KEY])
            self._steps = deque(((index, t_ns) for index, t_ns in pairs if index != NEVER), maxlen=self._n_frames + 1)
