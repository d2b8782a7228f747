"""Evidence of change, summed over time: a cumulative sum (CUSUM) per class, against the label that holds.

E. S. Page, Continuous inspection schemes, Biometrika 41 (1954) 100-115.
"""

from math import inf, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_S
from ..cropper import State
from .config import CusumConfig
from .decider import CLEAR_P, MISSING_STEPS, NONE, AddedDelay, StepTime

_LEAST_P: Final = 1e-6  # smaller probabilities count as this one: no logarithm of nothing
_LEAST_LOG_P: Final = log(_LEAST_P)
_MS_PER_S: Final = 1000.0


class CumulativeSums:
    """The class whose sum first reaches its bound becomes the label, and all sums begin anew.

    A step of dt seconds moves the sum g of every class c to

        max(0, g + dt clip(log(p[c] / p[label]) - drift, -clip, +clip)),

    so that evidence is an integral over exposure time, in nat seconds, and not a count of frames. ``drift`` is what a
    class must be better by at all; ``clip`` keeps single sure frames from deciding, and no class takes over sooner than
    bound / clip after the last change. Of several that get there with one step the most probable one takes over.

    Nothing holds before the first label: each class is then set against the best of the others, without a drift.

    Where steps are missing, the one after them speaks for one step: nobody saw the time between.

    Args:
        classes: of the model.
        config: options.
        step_ns: time from one model step to the next; 0: not known, and none are missing.
    """

    def __init__(self, classes: list[str], config: CusumConfig, step_ns: int = 0) -> None:
        options = [config.of(name) for name in classes]
        self._options = [(one.bound_nat_seconds, one.drift_nat, one.clip_nat) for one in options]
        self._step_ns, self._missing_ns = step_ns, round(MISSING_STEPS * step_ns)
        self._sums = [0.0] * len(classes)
        self._time = StepTime()
        self._label = NONE

    def delays(self) -> list[AddedDelay]:
        """Time to the bound at `CLEAR_P`, where the label keeps all of the rest; no worst case: evidence may hover."""
        evidence = log(CLEAR_P / (1.0 - CLEAR_P))
        rates = [min(evidence - drift, clip) for _, drift, clip in self._options]
        return [
            AddedDelay(_MS_PER_S * bound / rate if rate > 0.0 else inf, None)
            for rate, (bound, _, _) in zip(rates, self._options, strict=True)
        ]

    def step(self, p: NDArray[np.floating], t_ns: int) -> int:
        before_ns, self._time.last_ns = self._time.last_ns, t_ns
        if before_ns == NONE:
            return self._label
        dt_ns = t_ns - before_ns
        if self._step_ns and dt_ns >= self._missing_ns:
            dt_ns = self._step_ns
        dt_s = dt_ns / NS_PER_S
        values: list[float] = p.tolist()
        logs = [log(value) if value > _LEAST_P else _LEAST_LOG_P for value in values]
        unnamed = self._label == NONE
        # The rival of a class: the label, or while there is none the best of the other classes.
        second, best = sorted(logs)[-2:] if unnamed else (logs[self._label], logs[self._label])
        found, sums = NONE, self._sums
        for place, (own, (bound, drift, clip)) in enumerate(zip(logs, self._options, strict=True)):
            evidence = own - (second if own == best else best) - (0.0 if unnamed else drift)
            total = sums[place] = max(0.0, sums[place] + dt_s * min(max(evidence, -clip), clip))
            if total >= bound and (found == NONE or own > logs[found]):
                found = place
        if found != NONE:
            self._label = found
            self._sums = [0.0] * len(sums)
        return self._label

    def reset(self) -> None:
        self._label = NONE
        self._time.reset()
        self._sums = [0.0] * len(self._sums)

    def snapshot(self) -> State:
        return {
            "stabiliser.cusum": np.array([self._label, self._time.last_ns], np.int64),
            "stabiliser.sums": np.array(self._sums, np.float64),
        }

    def restore(self, state: State) -> None:
        self._label, self._time.last_ns = (int(value) for value in state["stabiliser.cusum"])
        self._sums = [float(total) for total in state["stabiliser.sums"]]
