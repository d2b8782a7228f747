"""How often a rule may have a trial: distance, count, rate and duty. Shams count, or they would change what follows.

Rate and duty are of the times at which the actuator acts. A trial's jitter is not drawn before it may be one, so each
limit is judged for the earliest time that it could act: whatever is drawn, no window holds more than allowed.
"""

from bisect import insort
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS, NS_PER_S
from .config import RuleConfig
from .reasons import Withheld
from .triggers import NEVER_NS, padded, unpadded

_MINUTE_NS: Final = 60 * NS_PER_S


class Limits:
    """The trials of one rule so far, as far as they limit the next.

    Attributes:
        n_trials: so far, since the process began.
        exposure_ns: exposure time of the last one, `NEVER_NS` before the first.
    """

    def __init__(self, config: RuleConfig) -> None:
        self._refractory_ns = round(config.refractory_ms * NS_PER_MS)
        self._max_count = config.max_count
        self._n_rate = config.max_per_min or 0
        self._n_duty, self._duty_ns = 0, 0
        if config.max_duty is not None:
            self._n_duty = config.max_duty.n_pulses
            self._duty_ns = round(config.max_duty.over_s * NS_PER_S)
        self._n_kept = max(1, self._n_rate, self._n_duty)
        self.n_trials = 0
        self.exposure_ns = NEVER_NS
        self._due_ns: list[int] = []

    def against(self, exposure_ns: int, earliest_ns: int) -> Withheld | None:
        """Which limit forbids a trial.

        Args:
            exposure_ns: exposure time of its set.
            earliest_ns: when the actuator would act without any jitter.
        """
        if not self.n_trials:
            return None
        due = self._due_ns
        refractory_ns = self._refractory_ns
        if refractory_ns and min(exposure_ns - self.exposure_ns, earliest_ns - due[-1]) < refractory_ns:
            return "refractory"
        if self._max_count is not None and self.n_trials >= self._max_count:
            return "max count"
        if self._n_rate and self._filled(self._n_rate, earliest_ns - _MINUTE_NS):
            return "max rate"
        if self._n_duty and self._filled(self._n_duty, earliest_ns - self._duty_ns):
            return "max duty"
        return None

    def _filled(self, n: int, since_ns: int) -> bool:
        return len(self._due_ns) >= n and self._due_ns[-n] > since_ns

    def add(self, exposure_ns: int, due_ns: int) -> None:
        """A trial, fired or sham."""
        self.n_trials += 1
        self.exposure_ns = exposure_ns
        insort(self._due_ns, due_ns)
        del self._due_ns[: -self._n_kept]

    def snapshot(self) -> NDArray[np.int64]:
        """All that is remembered, of a length that the configuration gives."""
        head = np.array([self.n_trials, self.exposure_ns], np.int64)
        return np.concatenate([head, padded(self._due_ns, self._n_kept)])

    def restore(self, state: NDArray[np.int64]) -> None:
        """Continue from a snapshot."""
        self.n_trials, self.exposure_ns = int(state[0]), int(state[1])
        self._due_ns = unpadded(state[2:])
