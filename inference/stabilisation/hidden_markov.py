"""Forward filter of a hidden Markov model whose states are the behaviours.

L. R. Rabiner, A tutorial on hidden Markov models and selected applications in speech recognition, Proceedings of the
IEEE 77 (1989) 257-286: the forward variable, normalised at every step.
"""

from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS
from ..cropper import State
from .config import HiddenMarkovConfig
from .decider import CLEAR_P, NONE, AddedDelay, StepTime

_STEP_MS: Final = 5  # with which its own delay is measured
_CONVINCED_MS: Final = 3_000
_GIVE_UP_MS: Final = 10_000


class HiddenMarkovFilter:
    """The class whose probability, given all frames so far, reaches its ``enter`` takes over.

    Behaviours change in continuous time: class i is left at the rate 1 / ``mean_dwell_ms``, to all others alike, so
    that its dwell is geometric at any fixed rate of steps, and a step that is missing is the same as one without
    evidence. The chain begins with all classes alike. A step's evidence is the likelihood (p / prior) to the power of
    the share that its time is of ``decorrelation_ms``, one at most: as with the sequential test, frames within that
    time may depend on each other, and those further apart are taken as independent.
    """

    def __init__(self, classes: list[str], config: HiddenMarkovConfig) -> None:
        self._n = n = len(classes)
        options = [config.of(name) for name in classes]
        dwell_ms = np.array([one.mean_dwell_ms for one in options], np.float64)
        # The chain is reversible: scaled by the roots of its dwells the rate matrix is symmetric, and so the
        # transitions of any time are two small products.
        root = np.sqrt(dwell_ms)
        symmetric = 1.0 / (root[:, None] * root[None, :] * (n - 1))
        np.fill_diagonal(symmetric, -1.0 / dwell_ms)
        self._rates, vectors = np.linalg.eigh(symmetric)
        self._into = vectors / root[:, None]
        self._out_of = np.ascontiguousarray((vectors * root[:, None]).T)
        self._prior = np.array([1.0 / n if one.prior is None else one.prior for one in options], np.float64)
        self._enter = [one.enter for one in options]
        self._decorrelation_ms = config.decorrelation_ms
        self._max_p, self._min_p = config.max_p, 1.0 - config.max_p
        self._belief = np.full(n, 1.0 / n)
        self._modes, self._decay, self._likelihood = np.zeros(n), np.zeros(n), np.zeros(n)
        self._time = StepTime()
        self._label = NONE

    @property
    def belief(self) -> NDArray[np.float64]:
        """(n_classes,) probability of each class given all frames so far; written again by the next step."""
        return self._belief

    def delays(self) -> list[AddedDelay]:
        """Measured on a filter that another class has convinced; no worst case: evidence may contradict itself."""
        return [AddedDelay(self._measured_ms(place), None) for place in range(self._n)]

    def step(self, p: NDArray[np.floating], t_ns: int) -> int:
        self._filter(p, self._time.since_last_ms(t_ns))
        best = int(np.argmax(self._belief))
        if best != self._label and float(self._belief[best]) >= self._enter[best]:
            self._label = best
        return self._label

    def _filter(self, p: NDArray[np.floating], dt_ms: float) -> None:
        if dt_ms <= 0.0:
            return
        belief, likelihood = self._belief, self._likelihood
        np.multiply(self._rates, dt_ms, out=self._decay)
        np.exp(self._decay, out=self._decay)
        np.matmul(belief, self._into, out=self._modes)
        np.multiply(self._modes, self._decay, out=self._modes)
        np.matmul(self._modes, self._out_of, out=belief)
        likelihood[:] = p  # in double precision from here on, whatever the model gives
        np.minimum(likelihood, self._max_p, out=likelihood)
        np.maximum(likelihood, self._min_p, out=likelihood)
        np.divide(likelihood, self._prior, out=likelihood)
        weight = dt_ms / self._decorrelation_ms
        if weight < 1.0:
            np.power(likelihood, weight, out=likelihood)
        np.multiply(belief, likelihood, out=belief)
        np.maximum(belief, 0.0, out=belief)  # rounding may leave a negative zero
        np.divide(belief, belief.sum(), out=belief)

    def _measured_ms(self, place: int) -> float:
        kept = (self._belief.copy(), self._label, self._time.last_ns)
        self.reset()
        rest = (1.0 - CLEAR_P) / (self._n - 1)
        p = np.full(self._n, rest)
        other = (place + 1) % self._n
        p[other] = CLEAR_P
        found_ms = inf
        for t_ms in range(0, _CONVINCED_MS, _STEP_MS):
            self.step(p, t_ms * NS_PER_MS)
        p[other], p[place] = rest, CLEAR_P
        for t_ms in range(_STEP_MS, _GIVE_UP_MS, _STEP_MS):
            if self.step(p, (_CONVINCED_MS - _STEP_MS + t_ms) * NS_PER_MS) == place:
                found_ms = float(t_ms)
                break
        self._belief[:], self._label, self._time.last_ns = kept
        return found_ms

    def reset(self) -> None:
        self._belief[:] = 1.0 / self._n
        self._label = NONE
        self._time.reset()

    def snapshot(self) -> State:
        return {
            "stabiliser.hidden_markov": np.array([self._label, self._time.last_ns], np.int64),
            "stabiliser.belief": self._belief.copy(),
        }

    def restore(self, state: State) -> None:
        self._label, self._time.last_ns = (int(value) for value in state["stabiliser.hidden_markov"])
        self._belief[:] = state["stabiliser.belief"]
