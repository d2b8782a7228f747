"""Majority over a window: for how much of the last so many milliseconds each class was the most probable one."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS, NS_PER_S
from ...sync.errors import ClockError
from ..cropper import State
from .config import MajorityConfig
from .decider import MAX_STEPS_PER_S, MISSING_STEPS, NONE, AddedDelay, StepTime


class WinningTime:
    """For how long one class won within the last ``window_ns``; a step wins the time since ``before_ns``."""

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        # Two stretches of one class have another step between them, or the half of one at least that is missing.
        self._capacity = 2 + window_ns * MAX_STEPS_PER_S * 2 // NS_PER_S // 3
        self._stretches: deque[tuple[int, int]] = deque()
        self._total_ns = 0

    def step(self, won: bool, before_ns: int, t_ns: int) -> int:
        """Add the time from ``before_ns`` to ``t_ns``, forget what has left the window; nanoseconds won in it.

        Raises:
            ClockError: steps come faster than `MAX_STEPS_PER_S`.
        """
        stretches = self._stretches
        if won and t_ns > before_ns:
            self._total_ns += t_ns - before_ns
            if stretches and stretches[-1][1] == before_ns:
                stretches[-1] = (stretches[-1][0], t_ns)
            else:
                stretches.append((before_ns, t_ns))
        begin_ns = t_ns - self.window_ns
        while stretches and stretches[0][1] <= begin_ns:
            start_ns, stop_ns = stretches.popleft()
            self._total_ns -= stop_ns - start_ns
        if stretches and stretches[0][0] < begin_ns:
            start_ns, stop_ns = stretches[0]
            self._total_ns -= begin_ns - start_ns
            stretches[0] = (begin_ns, stop_ns)
        if len(stretches) > self._capacity:
            raise ClockError(
                f"stabiliser: more than {MAX_STEPS_PER_S} steps per second within {self.window_ns / NS_PER_MS:g} ms; "
                "the exposure times are wrong"
            )
        return self._total_ns

    def reset(self) -> None:
        self._stretches.clear()
        self._total_ns = 0

    def to_array(self) -> NDArray[np.int64]:
        """(capacity, 2) int64 of starts and stops; what is not used is 0."""
        array = np.zeros((self._capacity, 2), np.int64)
        if self._stretches:
            array[: len(self._stretches)] = self._stretches
        return array

    def read(self, array: NDArray[np.int64]) -> None:
        """Continue from `to_array`."""
        self._stretches = deque((int(start), int(stop)) for start, stop in array if stop > start)
        self._total_ns = sum(stop - start for start, stop in self._stretches)


class Majority:
    """The class with the largest share of its window takes over once that reaches its ``share``.

    A share is of the whole window, so that nothing is decided before enough of it was seen. On a tie the label holds.
    A step wins the time since the one before it. Where steps are missing between them it wins one step: nobody knows
    who won the others, and one frame must not outvote those that are there.

    Args:
        classes: of the model.
        config: options.
        step_ns: time from one model step to the next; 0: not known, and none are missing.
    """

    def __init__(self, classes: list[str], config: MajorityConfig, step_ns: int = 0) -> None:
        options = [config.of(name) for name in classes]
        self._share = [one.share for one in options]
        self._windows = [WinningTime(round(one.window_ms * NS_PER_MS)) for one in options]
        self._time = StepTime()
        self._step_ns, self._missing_ns = step_ns, round(MISSING_STEPS * step_ns)
        self._label = NONE

    def delays(self) -> list[AddedDelay]:
        """The share of the window; at worst another class with a longer window must first lose its own."""
        longest_ms = max(one.window_ns for one in self._windows) / NS_PER_MS
        return [
            AddedDelay(share * one.window_ns / NS_PER_MS, longest_ms)
            for share, one in zip(self._share, self._windows, strict=True)
        ]

    def step(self, p: NDArray[np.floating], t_ns: int) -> int:
        before_ns, self._time.last_ns = self._time.last_ns, t_ns
        if before_ns == NONE:
            return self._label
        if self._step_ns and t_ns - before_ns >= self._missing_ns:
            before_ns = t_ns - self._step_ns
        winner = int(np.argmax(p))
        best, largest = NONE, -1.0
        for place, window in enumerate(self._windows):
            share = window.step(place == winner, before_ns, t_ns) / window.window_ns
            if share > largest or (share == largest and place == self._label):
                best, largest = place, share
        if largest >= self._share[best]:
            self._label = best
        return self._label

    def reset(self) -> None:
        self._label = NONE
        self._time.reset()
        for window in self._windows:
            window.reset()

    def snapshot(self) -> State:
        state: State = {"stabiliser.majority": np.array([self._label, self._time.last_ns], np.int64)}
        state.update({f"stabiliser.won.{place}": one.to_array() for place, one in enumerate(self._windows)})
        return state

    def restore(self, state: State) -> None:
        self._label, self._time.last_ns = (int(value) for value in state["stabiliser.majority"])
        for place, window in enumerate(self._windows):
            window.read(state[f"stabiliser.won.{place}"])
