"""The clocks of a simulated camera: when instants are exposed, and what the device's own counter then says. Pure."""

from fractions import Fraction

from pydantic import Field

from ..sync.clock import NS_PER_S, NS_PER_US
from ..sync.strict import StrictModel


class InstantClock:
    """Exposure times of a rig: ``t_start_ns`` plus a whole number of periods, exact for ever."""

    def __init__(self, t_start_ns: int, rate_hz: float) -> None:
        rate = Fraction(str(rate_hz))
        self.t_start_ns = t_start_ns
        self._step, self._per = NS_PER_S * rate.denominator, rate.numerator

    def exposure_ns(self, instant: int) -> int:
        return self.t_start_ns + instant * self._step // self._per

    def first_instant_at(self, t_ns: int) -> int:
        """The first instant (>= 0) that is exposed at ``t_ns`` or later."""
        return max(-((self.t_start_ns - t_ns) * self._per // self._step), 0)

    def elapsed_s(self, instant: int) -> float:
        """Seconds from the start, a function of the instant alone so that all views of it see the same world."""
        return instant * self._step / (self._per * NS_PER_S)


class SimulatedDeviceClock(StrictModel):
    """The camera stamps with a counter of its own, as real ones do, and does not know rig time.

    Attributes:
        tick_hz: nominal rate of the counter.
        offset_ticks: what it says where the session begins.
        drift_ppm: how much faster than nominal it runs.
        jitter_us: each stamp is off by a uniform error of at most this.
        bits: width of the counter; it wraps.
    """

    tick_hz: float = Field(default=1e9, ge=1e3, le=1e10)
    offset_ticks: int = Field(default=0, ge=0, lt=1 << 62)
    drift_ppm: float = Field(default=0.0, ge=-1000.0, le=1000.0)
    jitter_us: float = Field(default=0.0, ge=0.0)
    bits: int = Field(default=62, ge=16, le=62)

    def ticks(self, elapsed_ns: int, offset_ticks: int, error_us: float) -> int:
        """The counter ``elapsed_ns`` after it said ``offset_ticks``; ``error_us`` is added to that time. Never -1."""
        rate = Fraction(self.tick_hz) * (1_000_000_000 + round(self.drift_ppm * 1000)) / 1_000_000_000
        since = Fraction(elapsed_ns + round(error_us * NS_PER_US), NS_PER_S) * rate
        return (offset_ticks + round(since)) % (1 << self.bits)
