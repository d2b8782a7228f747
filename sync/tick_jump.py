"""Stamps that are not where their frame numbers say: put aside until it is known what they mean. Pure.

A stamp that was wrong alone is an outlier; stamps that agree with each other are a jump, either of the clock (a step)
or of the exposures themselves (a pause of the trigger), which the arrivals then show as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .clock import NS_PER_MS
from .tick_envelope import Envelope
from .tick_unwrap import TickUnwrap

HELD_FRAMES = 8
"""Frames put aside at most before a jump is judged."""
MIN_STEP_NS = 2.0 * NS_PER_MS
"""A jump of the stamps below this is followed as a correction."""


@dataclass(frozen=True, slots=True)
class TickStamp:
    """One frame: its number, its ticks, and the earliest exposure that its arrival allows, rig time."""

    seq: int
    ticks: int
    t_ns: int


class Aside:
    """The stamps put aside. One thread.

    Attributes:
        stamps: in order.

    Args:
        ns_per_tick: of the device's clock.
        unwrap: of its counter.
    """

    def __init__(self, ns_per_tick: float, unwrap: TickUnwrap) -> None:
        self._ns_per_tick = ns_per_tick
        self._unwrap = unwrap
        self.stamps: list[TickStamp] = []
        self._n_put = 0

    @property
    def full(self) -> bool:
        """Enough to judge by."""
        return len(self.stamps) >= HELD_FRAMES or self._n_put > HELD_FRAMES

    def put(self, one: TickStamp, period_ns: float, limit_ns: float) -> int:
        """Put one more aside.

        Args:
            one: the stamp.
            period_ns: of the frames; 0 where it is not known.
            limit_ns: what two stamps that belong together may differ by; 0 where it is not known.

        Returns:
            How many of those before it were wrong alone, and are dropped.
        """
        self._n_put += 1
        n_dropped = 0
        if self.stamps:
            before = self.stamps[-1]
            expected = (one.seq - before.seq) * period_ns
            ticks = self._unwrap.nearest(one.ticks, before.ticks + round(expected / self._ns_per_tick))
            one = TickStamp(one.seq, ticks, one.t_ns)
            apart = (ticks - before.ticks) * self._ns_per_tick
            if apart <= 0.0 or (limit_ns and abs(apart - expected) > limit_ns):
                n_dropped = len(self.stamps)
                self.stamps = []
        self.stamps.append(one)
        return n_dropped

    def taken(self) -> list[TickStamp]:
        """All of them; none is left."""
        stamps, self.stamps, self._n_put = self.stamps, [], 0
        return stamps


def is_pause(jump_ns: float, delays_ns: Sequence[int], line: Envelope, limit_ns: float) -> bool:
    """Whether the arrivals confirm what the stamps say: the trigger was late, and the clock is right.

    Args:
        jump_ns: size of the jump of the stamps.
        delays_ns: of the frames after it, arrival less exposure by the line.
        line: of the frames before it.
        limit_ns: smallest jump that is one.
    """
    if jump_ns < 2.0 * line.spread_ns:
        return False  # the arrivals of a few frames cannot tell
    delays = sorted(delays_ns)
    # Held up as well, or not at all: what is not plainly a pause is declared as a step.
    apart = abs(delays[len(delays) // 4] - line.quarter_ns)
    return delays[0] > -limit_ns and apart < min(jump_ns / 2.0, 2.0 * line.spread_ns + MIN_STEP_NS)
