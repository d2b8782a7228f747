"""Exponential smoothing of probabilities, by class, right for steps that are not evenly spaced."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cropper import State
from .decider import AddedDelay, StepTime

SETTLED: Final = 3.0
"""Time constants after which a jump has come through by 95 %: the worst delay that is stated."""


class ExponentialSmoothing:
    """s(t) = p + (s(t - dt) - p) exp(-dt / time constant): a step speaks for the time since the one before it.

    What is smoothed with different time constants no longer sums to one; it is not scaled back, so that a class's own
    threshold keeps its meaning.

    Args:
        time_constants_ms: one per class; 0: as it is.
    """

    def __init__(self, time_constants_ms: list[float]) -> None:
        self._time_constants_ms = list(time_constants_ms)
        with np.errstate(divide="ignore"):
            self._rates = -1.0 / np.array(time_constants_ms, np.float64)  # per ms; -inf: no memory
        self._smoothed = np.zeros(len(time_constants_ms), np.float64)
        self._weight = np.zeros_like(self._smoothed)
        self._change = np.zeros_like(self._smoothed)
        self._time = StepTime()

    def delays(self) -> list[AddedDelay]:
        """The mean delay of the filter is its time constant."""
        return [AddedDelay(tau_ms, SETTLED * tau_ms) for tau_ms in self._time_constants_ms]

    def step(self, p: NDArray[np.floating], t_ns: int) -> NDArray[np.float64]:
        """The smoothed probabilities; the array is written again by the next step."""
        first = self._time.last_ns < 0
        dt_ms = self._time.since_last_ms(t_ns)
        if first:
            self._smoothed[:] = p
        elif dt_ms > 0.0:
            np.multiply(self._rates, dt_ms, out=self._weight)
            np.expm1(self._weight, out=self._weight)
            np.subtract(self._smoothed, p, out=self._change)
            np.multiply(self._change, self._weight, out=self._change)
            np.add(self._smoothed, self._change, out=self._smoothed)
        return self._smoothed

    def reset(self) -> None:
        self._smoothed[:] = 0.0
        self._time.reset()

    def snapshot(self) -> State:
        return {
            "stabiliser.smoothed": self._smoothed.copy(),
            "stabiliser.smoothed_ns": np.array([self._time.last_ns], np.int64),
        }

    def restore(self, state: State) -> None:
        self._smoothed[:] = state["stabiliser.smoothed"]
        self._time.last_ns = int(state["stabiliser.smoothed_ns"][0])
