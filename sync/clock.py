"""Rig time: int64 nanoseconds, UTC anchored once per session, advanced by the monotonic clock; never steps.

The only file that reads the machine's clocks. Everything else is handed a `Clock`.
"""

import time
from dataclasses import dataclass
from typing import Protocol

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
