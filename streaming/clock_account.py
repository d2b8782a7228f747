"""What was heard of each clock over a run or a recording: its state, how well it held, how often it stepped. Pure.

The report, the live table and `verify` look at clocks through this.
"""

from collections.abc import Iterator
from typing import Any

from .messages import ClockStatus

MAX_CLOCKS = 1_000
"""Other hosts send the names of theirs: what comes after so many is left out."""


class ClockAccount:
    """One clock over all its epochs. One thread.

    Attributes:
        last: the newest status.
        settled: it was locked, or trusted, at some time.
        n_steps, n_outliers: over all epochs.
    """

    def __init__(self, first: ClockStatus) -> None:
        self.last = first
        self._n_steps_before = 0
        self._n_outliers_before = 0
        self._known: ClockStatus | None = None
        self._p99_us = 0.0
        self._max_us = 0.0
        self._take(first)

    def add(self, status: ClockStatus) -> None:
        """Take the next status; counts that begin anew, with a new process, are added to those before."""
        last = self.last
        if status.epoch < last.epoch:
            return
        if status.epoch > last.epoch or status.n_steps < last.n_steps:
            self._n_steps_before += last.n_steps
            self._n_outliers_before += last.n_outliers
        self._take(status)

    def _take(self, status: ClockStatus) -> None:
        self.last = status
        if status.state in ("locked", "trusted"):
            # Before a fit has settled its residuals say nothing of the times that were used.
            self._known = status
            self._p99_us = max(self._p99_us, status.residual_p99_us)
            self._max_us = max(self._max_us, status.residual_max_us)

    @property
    def settled(self) -> bool:
        return self._known is not None

    @property
    def n_steps(self) -> int:
        return self._n_steps_before + self.last.n_steps

    @property
    def n_outliers(self) -> int:
        return self._n_outliers_before + self.last.n_outliers

    def to_dict(self) -> dict[str, Any]:
        """As in the report; what was never known is None."""
        known = self._known
        return {
            "state": self.last.state,
            "drift_ppm": None if known is None or known.state == "trusted" else round(known.drift_ppm, 4),
            "offset_ns": None if known is None else known.offset_ns,
            "residual_p99_us": None if known is None else round(self._p99_us, 3),
            "residual_max_us": None if known is None else round(self._max_us, 3),
            "n_steps": self.n_steps,
            "n_outliers": self.n_outliers,
        }


class ClockAccounts:
    """Every clock that was heard, by name; bounded. One thread."""

    def __init__(self) -> None:
        self._clocks: dict[str, ClockAccount] = {}

    def add(self, status: ClockStatus) -> None:
        """Take one message."""
        if (known := self._clocks.get(status.clock)) is not None:
            known.add(status)
        elif len(self._clocks) < MAX_CLOCKS:
            self._clocks[status.clock] = ClockAccount(status)

    def __iter__(self) -> Iterator[tuple[str, ClockAccount]]:
        """Names and accounts, sorted by name."""
        return iter(sorted(self._clocks.items()))
