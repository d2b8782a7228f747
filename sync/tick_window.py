"""The newest frames of a clock, in arrays that never grow. Pure."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_FRAMES = 2048
"""Frames that a line is laid under: 34 s at 60 Hz; the drift of a crystal is constant over that."""
WINDOW_S = 5.0
"""And no less than this, for fast cameras."""
SLOW_HZ, SLOW_WINDOW_FRAMES = 50.0, 4096
"""Below this rate frames may queue for so long that twice the number is needed."""


def window_frames(rate_hz: float) -> int:
    """Frames that a line is laid under, for a camera of this rate."""
    return max(WINDOW_FRAMES, round(rate_hz * WINDOW_S)) if rate_hz >= SLOW_HZ else SLOW_WINDOW_FRAMES


class TickWindow:
    """A sliding window over (frame number, device time, delay), the newest last. One thread.

    Attributes:
        n_frames: that it holds at most.
        n_total: frames that were ever added since it was cleared.

    Args:
        n_frames: that it holds at most.
    """

    def __init__(self, n_frames: int) -> None:
        self.n_frames = n_frames
        # Twice the room, so that the window slides along and is moved back only once in a while.
        self._seq, self._x, self._z = (np.empty(2 * n_frames) for _ in range(3))
        self.clear()

    def __len__(self) -> int:
        return self._stop - self._start

    def clear(self) -> None:
        """Forget all frames."""
        self._start = self._stop = 0
        self.n_total = 0
        self._breaks: list[int] = []

    def add(self, seq: int, x_ns: float, z_ns: float) -> None:
        """One more frame; the oldest makes room where it is full."""
        stop = self._stop
        if stop == len(self._x):
            keep = self.n_frames - 1
            for one in (self._seq, self._x, self._z):
                one[:keep] = one[-keep:]
            self._start, stop = 0, keep
        elif stop - self._start == self.n_frames:
            self._start += 1
        self._seq[stop] = seq
        self._x[stop] = x_ns
        self._z[stop] = z_ns
        self._stop = stop + 1
        self.n_total += 1

    def break_here(self) -> None:
        """The steady period is broken between the last frame and the next."""
        self._breaks.append(self.n_total)

    def breaks(self) -> list[int]:
        """Places in the arrays where the steady period is broken."""
        first = self.n_total - len(self)
        self._breaks = [at for at in self._breaks if at > first]
        return [at - first for at in self._breaks]

    @property
    def seq(self) -> Floats:
        """Frame numbers."""
        return self._seq[self._start : self._stop]

    @property
    def x_ns(self) -> Floats:
        """Device time."""
        return self._x[self._start : self._stop]

    @property
    def z_ns(self) -> Floats:
        """Earliest exposure that the arrival allows, less device time."""
        return self._z[self._start : self._stop]
