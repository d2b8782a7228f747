"""Device counters of few bits, continued past their wrap. Pure."""

from .errors import ClockError

FULL_BITS = 64
"""A counter of this width never wraps in the life of a rig."""


class TickUnwrap:
    """Continues a counter of ``bits`` bits: of all values that it could stand for, the one nearest to what is expected.

    A wrap is told apart from a reset by the size of the jump: whatever is left after this is a jump of the clock.

    Args:
        bits: width of the device's counter, 8 to 64.

    Raises:
        ClockError: a width that no counter has.
    """

    __slots__ = ("_half", "_modulus", "bits")

    def __init__(self, bits: int) -> None:
        if not 8 <= bits <= FULL_BITS:
            raise ClockError(f"tick counter of {bits} bits: give the width of the device's counter, 8 to {FULL_BITS}")
        self.bits = bits
        self._modulus = 1 << bits
        self._half = 1 << (bits - 1)

    def nearest(self, raw: int, expected: int) -> int:
        """The value congruent to ``raw`` that is nearest to ``expected``; ``raw`` itself where nothing wraps."""
        if self.bits == FULL_BITS:
            return raw
        return expected + (raw - expected + self._half) % self._modulus - self._half
