"""A new line is approached over some seconds, so that the time that is given out never jumps. Pure."""

from .clock import NS_PER_S

_SLEW_RATE = 500e-6
_SLEW_NS = 2.0 * NS_PER_S


class Slew:
    """What is left of a correction, as device time goes on. One thread."""

    __slots__ = ("_behind_ns", "_from_ns", "_length_ns")

    def __init__(self) -> None:
        self._behind_ns = self._from_ns = 0.0
        self._length_ns = _SLEW_NS

    def begin(self, behind_ns: float, x_ns: float, least_ns: float) -> None:
        """From device time ``x_ns`` on take off ``behind_ns``, over ``least_ns`` or longer, at 500 ppm at most."""
        self._behind_ns = behind_ns
        self._from_ns = x_ns
        self._length_ns = max(_SLEW_NS, least_ns, abs(behind_ns) / _SLEW_RATE)

    def left_ns(self, x_ns: float) -> float:
        """What is still to be taken off at ``x_ns``."""
        if not self._behind_ns:
            return 0.0
        share = 1.0 - (x_ns - self._from_ns) / self._length_ns
        return self._behind_ns * share if share > 0.0 else 0.0
