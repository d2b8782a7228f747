"""How much an actuator may act, kept by the host whatever the device does: time on, duty, and number per minute.

The bound on a line is the one that the firmware keeps as well: over any time T it is high for no longer than
``max_on_ms + max_duty * T``, and never for longer than ``max_on_ms`` without a break.
"""

from collections import deque
from typing import Self

from pydantic import Field, model_validator

from ...streaming.messages import Decision
from ...sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from ...sync.strict import StrictModel
from .actuator import CLOSE_S, Actuator, Report

_MINUTE_NS = 60 * NS_PER_S


class ActionConfig(StrictModel):
    """Of every kind.

    Attributes:
        max_per_minute: more firings than this within any minute are refused; None: no bound.
    """

    max_per_minute: int | None = Field(default=None, ge=1, le=60_000)


class PulseConfig(ActionConfig):
    """Of every kind that drives a line: what one firing does, and hard limits on it.

    Attributes:
        pulse_ms: how long a pulse is high.
        n_pulses: pulses of one firing.
        period_ms: from the rise of one to the rise of the next; needed for more than one.
        max_on_ms: the line is never high for longer without a break.
        max_duty: share of the time that it may be high, in the long run.
    """

    pulse_ms: float = Field(default=10.0, ge=0.05, le=10_000)
    n_pulses: int = Field(default=1, ge=1, le=100_000)
    period_ms: float | None = Field(default=None, gt=0, le=60_000)
    max_on_ms: float = Field(default=1000.0, gt=0, le=10_000)
    max_duty: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.pulse_ms > self.max_on_ms:
            raise ValueError(f"pulse_ms {self.pulse_ms:g} is longer than max_on_ms {self.max_on_ms:g}")
        if self.n_pulses > 1 and (self.period_ms is None or self.period_ms <= self.pulse_ms):
            raise ValueError(f"{self.n_pulses} pulses need a period_ms longer than pulse_ms {self.pulse_ms:g}")
        if need_ns(self) > self.max_on_ms * NS_PER_MS:
            raise ValueError(
                f"{self.n_pulses} pulses of {self.pulse_ms:g} ms every {self.period_ms:g} ms are more than max_duty "
                f"{self.max_duty:g} and max_on_ms {self.max_on_ms:g} ever allow; make fewer or shorter ones"
            )
        return self

    @property
    def pulse_us(self) -> int:
        return round(self.pulse_ms * 1000)

    @property
    def period_us(self) -> int:
        return round((self.period_ms or 0.0) * 1000)

    @property
    def lasts_ns(self) -> int:
        """From the first rise to the last fall."""
        return NS_PER_US * (self.period_us * (self.n_pulses - 1) + self.pulse_us)


def need_ns(pulses: PulseConfig) -> float:
    """How full the budget of time on must be for these pulses, with what is filled up between them."""
    each = pulses.pulse_us - pulses.max_duty * pulses.period_us
    return NS_PER_US * (pulses.pulse_us + max(0.0, each) * (pulses.n_pulses - 1))


class LimitedActuator:
    """Any actuator within its limits. What they forbid is refused, and says so.

    Args:
        inner: what acts.
        config: its limits.
        clock: rig time.
    """

    def __init__(self, inner: Actuator, config: ActionConfig, clock: Clock) -> None:
        self.name = inner.name
        self.inner = inner
        self._clock = clock
        self._most = config.max_per_minute
        self._times: deque[int] = deque(maxlen=self._most or 1)
        self._pulses = config if isinstance(config, PulseConfig) else None
        self._lasts_ns = 0 if self._pulses is None else self._pulses.lasts_ns
        self._need_ns = 0.0 if self._pulses is None else need_ns(self._pulses)
        self._on_ns = 0 if self._pulses is None else NS_PER_US * self._pulses.pulse_us * self._pulses.n_pulses
        self._full_ns = 0.0 if self._pulses is None else self._pulses.max_on_ms * NS_PER_MS
        self._budget_ns = self._full_ns
        self._filled_ns = self._busy_until_ns = clock.now_ns()
        self._refused: list[Report] = []

    @property
    def armed(self) -> bool:
        return self.inner.armed

    def arm(self) -> None:
        self.inner.arm()

    def fire(self, decision: Decision) -> bool:
        now = self._clock.now_ns()
        # What is disarmed refuses for that reason, and spends nothing.
        if self.inner.armed and (why := self._why_not(now)):
            self._refused.append(Report(decision, "refused", why))
            return False
        if not self.inner.fire(decision):
            return False
        self._spend(now)
        return True

    def _why_not(self, now: int) -> str:
        if self._most is not None and len(self._times) == self._most and now - self._times[0] < _MINUTE_NS:
            return "max_per_minute"
        if self._pulses is not None:
            if now < self._busy_until_ns:
                return "the pulses before have not ended"
            if self._level_ns(now) < self._need_ns:
                return "max_duty"
        return ""

    def _level_ns(self, now: int) -> float:
        assert self._pulses is not None
        return min(self._full_ns, self._budget_ns + self._pulses.max_duty * (now - self._filled_ns))

    def _spend(self, now: int) -> None:
        if self._most is not None:
            self._times.append(now)
        if self._pulses is not None:
            self._budget_ns = self._level_ns(now) - self._on_ns
            self._filled_ns = now
            self._busy_until_ns = now + self._lasts_ns

    def release(self) -> None:
        self.inner.release()
        self._busy_until_ns = 0  # the line is low; what was spent stays spent

    def poll(self) -> list[Report]:
        reports = self.inner.poll()
        if self._refused:
            reports += self._refused
            self._refused = []
        return reports

    def end(self) -> None:
        self.inner.end()

    def close(self, patience_s: float = CLOSE_S) -> None:
        self.inner.close(patience_s)
