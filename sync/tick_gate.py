"""Which arrivals say something of a clock: not those that were held up, and none can come before it was taken. Pure."""

from typing import Literal

from .clock import NS_PER_MS
from .tick_envelope import Envelope

Verdict = Literal["used", "late", "too early"]

_LATE_SPREADS, _LATE_NS = 6.0, 1.0 * NS_PER_MS
"""A frame that is later than a quarter of the others by so many spreads and this was held up: it says nothing."""
_MAX_LATE = 1024
"""After so many in a row the way itself has become longer, and they are used."""
_N_BELOW = 4
"""Frames since the last fit that came before they can have been taken: the clock has stepped unseen."""


class ArrivalGate:
    """Judges frames by their height above the line. One thread.

    Attributes:
        worst_late_ns: greatest height of a frame that was held up; whoever reads it sets it back.
    """

    def __init__(self) -> None:
        self.worst_late_ns = 0.0
        self.reset()

    def reset(self) -> None:
        """Let everything through: no line is known."""
        self._late_ns, self._floor_ns = float("inf"), -float("inf")
        self._n_late = self._n_below = 0

    def refitted(self, line: Envelope, *, learnt: bool, floor_ns: float | None) -> None:
        """There is a new line.

        Args:
            line: under the delays.
            learnt: it rests on enough frames to say what is late.
            floor_ns: height below which no frame can be; None: not known.
        """
        if learnt:
            self._late_ns = line.quarter_ns + _LATE_SPREADS * line.spread_ns + _LATE_NS
        if floor_ns is not None:
            self._floor_ns = floor_ns
        self._n_below = 0

    def judge(self, above_ns: float) -> Verdict:
        """One frame, by its height above the line. ``too early``: the clock has stepped."""
        if above_ns > self._late_ns:
            self._n_late += 1
            self.worst_late_ns = max(self.worst_late_ns, above_ns)
            if self._n_late < _MAX_LATE:
                return "late"
        else:
            self._n_late = 0
        if above_ns < self._floor_ns:
            self._n_below += 1
            if self._n_below >= _N_BELOW:
                return "too early"
        return "used"
