"""Evidence accumulated to a bound: Wald's sequential probability ratio test, one per class, over and over.

A. Wald, Sequential tests of statistical hypotheses, Annals of Mathematical Statistics 16 (1945) 117-186.
"""

from math import inf, log

import numpy as np
from numpy.typing import NDArray

from ..cropper import State
from .config import ClassTest, SequentialConfig
from .decider import CLEAR_P, NONE, AddedDelay, StepTime


class WaldTest:
    """One class against all others, on log odds.

    An observation adds log(p / (1 - p)) - log(prior / (1 - prior)), the log likelihood ratio where ``p`` is a
    calibrated probability. A step counts as the share of an observation that its time is of ``decorrelation_ms``, and
    as one at most: whatever the frame rate, a second brings at most 1000 / ``decorrelation_ms`` observations, each
    bounded by ``max_p``.

    The bounds are log(1 / false_alarm) and log(miss), the cautious form: by Wald's inequality each test then keeps
    both rates however far a step overshoots. This rests on independent observations. Frames within
    ``decorrelation_ms`` may depend on each other in any way (Hölder's inequality: their weights sum to one); what lies
    further apart is taken as independent given the behaviour, and where it is not, the true rates are higher. They are
    so, too, where probabilities are no true odds; ``max_p`` keeps an overconfident model from deciding by one frame.
    """

    __slots__ = ("_decorrelation_ms", "_lower", "_max_p", "_min_p", "_prior_log_odds", "_upper", "total")

    def __init__(self, config: ClassTest, n_classes: int) -> None:
        prior = 1.0 / n_classes if config.prior is None else config.prior
        self._upper = -log(config.false_alarm)
        self._lower = log(config.miss)
        self._decorrelation_ms = config.decorrelation_ms
        self._max_p, self._min_p = config.max_p, 1.0 - config.max_p
        self._prior_log_odds = log(prior / (1.0 - prior))
        self.total = 0.0

    def observation(self, p: float) -> float:
        """Evidence of one whole observation, in nats."""
        bounded = min(max(p, self._min_p), self._max_p)
        return log(bounded / (1.0 - bounded)) - self._prior_log_odds

    def step(self, p: float, dt_ms: float) -> int:
        """Add a step that speaks for ``dt_ms``: 1 accepted, -1 rejected (both begin the test anew), 0 undecided."""
        self.total += min(1.0, dt_ms / self._decorrelation_ms) * self.observation(p)
        if self.total >= self._upper:
            self.total = 0.0
            return 1
        if self.total <= self._lower:
            self.total = 0.0
            return -1
        return 0

    def delay(self) -> AddedDelay:
        """Time to the upper bound at `CLEAR_P`; without a worst case, since evidence may hover between the bounds."""
        per_observation = self.observation(CLEAR_P)
        n = self._upper / per_observation if per_observation > 0.0 else inf
        return AddedDelay(n * self._decorrelation_ms, None)


class SequentialTests:
    """The class whose test accepts becomes the label (the most probable of several), and all tests begin anew.

    A class that is rejected stays the label until another one is accepted: behaviours follow each other.
    """

    def __init__(self, classes: list[str], config: SequentialConfig) -> None:
        self._tests = [WaldTest(config.of(name), len(classes)) for name in classes]
        self._time = StepTime()
        self._label = NONE

    def delays(self) -> list[AddedDelay]:
        return [test.delay() for test in self._tests]

    def step(self, p: NDArray[np.floating], t_ns: int) -> int:
        dt_ms = self._time.since_last_ms(t_ns)
        accepted, best = NONE, -1.0
        for place, test in enumerate(self._tests):
            value = float(p[place])
            if test.step(value, dt_ms) > 0 and value > best:
                accepted, best = place, value
        if accepted not in (NONE, self._label):
            self._label = accepted
            for test in self._tests:
                test.total = 0.0
        return self._label

    def reset(self) -> None:
        self._label = NONE
        self._time.reset()
        for test in self._tests:
            test.total = 0.0

    def snapshot(self) -> State:
        return {
            "stabiliser.sequential": np.array([self._label, self._time.last_ns], np.int64),
            "stabiliser.evidence": np.array([test.total for test in self._tests], np.float64),
        }

    def restore(self, state: State) -> None:
        self._label, self._time.last_ns = (int(value) for value in state["stabiliser.sequential"])
        for test, total in zip(self._tests, state["stabiliser.evidence"], strict=True):
            test.total = float(total)
