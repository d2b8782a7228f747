"""Rig time: int64 nanoseconds, UTC anchored once per session, advanced by the monotonic clock; never steps.

The only file that reads the machine's clocks. Everything else is handed a `Clock`.
"""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from .errors import ClockError

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000


class Clock(Protocol):
    """A source of rig time. Any thread may call it."""

    def now_ns(self) -> int:
        """Rig time now, nanoseconds."""
        ...

    def sleep_until_ns(self, t_ns: int) -> None:
        """Return no earlier than rig time ``t_ns``; at once if it has passed."""
        ...


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """One instant read on both clocks, taken once per session on the time server.

    Attributes:
        utc_ns: UTC since 1970-01-01, nanoseconds.
        monotonic_ns: CLOCK_MONOTONIC at the same instant; valid on this host until it reboots.
        uncertainty_ns: half the time that the reading took.
    """

    utc_ns: int
    monotonic_ns: int
    uncertainty_ns: int = 0

    @classmethod
    def take(cls, n_tries: int = 16) -> "ClockAnchor":
        """Read both clocks ``n_tries`` times and keep the reading with the narrowest bracket."""
        best: ClockAnchor | None = None
        for _ in range(n_tries):
            before = time.monotonic_ns()
            utc = time.time_ns()
            after = time.monotonic_ns()
            half = (after - before + 1) // 2
            if best is None or half < best.uncertainty_ns:
                best = cls(utc_ns=utc, monotonic_ns=before + half, uncertainty_ns=half)
        assert best is not None
        return best


class RigClock:
    """Rig time on the host where the anchor was taken: monotonic clock plus a constant. Never steps."""

    def __init__(self, anchor: ClockAnchor) -> None:
        self.anchor = anchor
        self._offset_ns = anchor.utc_ns - anchor.monotonic_ns

    def now_ns(self) -> int:
        return time.monotonic_ns() + self._offset_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        while (left := t_ns - self.now_ns()) > 0:
            time.sleep(left / NS_PER_S)


class FakeClock:
    """A clock for tests and for replay: it moves only when told, or when somebody sleeps on it."""

    def __init__(self, t_ns: int = 0) -> None:
        self._t_ns = t_ns

    def now_ns(self) -> int:
        return self._t_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        self._t_ns = max(self._t_ns, t_ns)

    def advance_ns(self, dt_ns: int) -> None:
        self._t_ns += dt_ns

    def set_ns(self, t_ns: int) -> None:
        self._t_ns = t_ns


class MonotonicClock:
    """The machine's own CLOCK_MONOTONIC, unanchored: what a host measures before it knows rig time."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until_ns(self, t_ns: int) -> None:
        while (left := t_ns - self.now_ns()) > 0:
            time.sleep(left / NS_PER_S)


MAX_SLEW = 500e-6
"""A followed clock is corrected by running at most this much faster or slower, as kernels do."""
_CORRECTION_NS = 2 * NS_PER_S
"""An error is spread over this time where that stays below `MAX_SLEW`."""


@dataclass(frozen=True, slots=True)
class _Course:
    """Local to rig time from ``local_ns`` on: ``rate + slew`` until ``slew_end_ns``, then ``rate`` alone."""

    local_ns: int
    rig_ns: int
    rate: float
    slew: float
    slew_end_ns: int

    def at(self, local_ns: int) -> int:
        dt = local_ns - self.local_ns
        slewed = min(dt, self.slew_end_ns - self.local_ns)
        return self.rig_ns + dt + round(dt * self.rate + slewed * self.slew)


class FollowedClock:
    """Rig time on another host: a local clock, steered. It never steps and never goes back. Any thread.

    The first `steer` sets it. Each later one bends its course so that the error is gone after two seconds, or as soon
    as 500 ppm allow. Between two, and when nobody steers it any more, it goes on at the last known rate (holdover).

    Args:
        local: what it is steered from; its own readings must never go back.
    """

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._course: _Course | None = None
        self._lock = threading.Lock()
        self._last_ns = 0

    def steer(self, local_ns: int, rig_ns: int, rate: float) -> int:
        """Rig time was ``rig_ns`` at ``local_ns``, and gains ``rate`` ns per local ns; returns the error met, ns.

        Raises:
            ClockError: ``rate`` is beyond what a clock can do.
        """
        if not abs(rate) <= MAX_SLEW:
            raise ClockError(f"a drift of {1e6 * rate:g} ppm is beyond {1e6 * MAX_SLEW:g}; one of the clocks is broken")
        with self._lock:
            now = self._local.now_ns()
            wanted = rig_ns + (now - local_ns) + round((now - local_ns) * rate)
            if self._course is None:
                self._course = _Course(now, wanted, rate, 0.0, now)
                return 0
            is_ns = max(self._last_ns, self._course.at(now))
            error = wanted - is_ns
            takes_ns = max(_CORRECTION_NS, round(abs(error) / MAX_SLEW))
            self._course = _Course(now, is_ns, rate, error / takes_ns, now + takes_ns)
            return error

    @property
    def is_set(self) -> bool:
        """Whether it has been steered at all."""
        return self._course is not None

    def now_ns(self) -> int:
        """Rig time now.

        Raises:
            ClockError: it was never steered.
        """
        with self._lock:
            if self._course is None:
                raise ClockError("rig time is not known on this host yet; wait for the time server to answer")
            self._last_ns = max(self._last_ns, self._course.at(self._local.now_ns()))
            return self._last_ns

    def sleep_until_ns(self, t_ns: int) -> None:
        while (left := t_ns - self.now_ns()) > 0:
            # It may run fast or slow by both rates: sleep a little less, and look again.
            self._local.sleep_until_ns(self._local.now_ns() + max(1, round(left * (1 - 2 * MAX_SLEW))))
