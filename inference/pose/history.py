"""What features remember of earlier frames, over blocks: the same values however a recording is cut.

A memory begins with its first frame: what lies before it is taken as equal to it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .measures import Values


def latest(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each frame (axis 0) the last one up to it where ``marked`` is set, -1 before the first."""
    places = np.arange(len(marked), dtype=np.int64).reshape(-1, *[1] * (marked.ndim - 1))
    return np.maximum.accumulate(np.where(marked, places, -1), axis=0)


def held(values: NDArray[Any], marked: NDArray[np.bool_], before: NDArray[Any]) -> NDArray[Any]:
    """``values`` where marked, else the last marked one, ``before`` ahead of the first.

    Args:
        values: (t, ..., 2).
        marked: (t, ...).
        before: (..., 2), from the frame before the block.
    """
    at = latest(marked)
    kept = np.take_along_axis(values, np.maximum(at, 0)[..., None], axis=0)
    return np.where((at >= 0)[..., None], kept, before)


def frames_since(marked: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frames since the last marked one, 0 where marked; ``before`` is the number at the frame before the block."""
    at = latest(marked)
    places = np.arange(len(marked), dtype=np.int64).reshape(-1, *[1] * (marked.ndim - 1))
    return np.where(at >= 0, places - at, before + places + 1)


def with_past(block: Values, past: Values, started: bool) -> Values:
    """The past and the block, (n + t, ...); a past that has not started is its first frame."""
    if not started:
        past = np.repeat(block[:1], len(past), axis=0)
    return np.concatenate([past, block])


def past_of(joined: Values, n_frames: int) -> Values:
    """Of `with_past` what is the past of the next block, after one of ``n_frames``."""
    past = joined[n_frames:]
    # After one frame it is all but a row of what it is cut from: a copy would save nothing.
    return past if n_frames == 1 else past.copy()


def delayed(joined: Values, n_past: int, n_frames: int) -> Values:
    """Of `with_past` what was there ``n_frames`` before each frame of the block."""
    return joined[n_past - n_frames : len(joined) - n_frames]


class Smoothing:
    """s(t) = s(t - 1) + w (x(t) - s(t - 1)) with w = 1 - exp(-dt / time constant), as an IIR filter in double."""

    def __init__(self, time_constant_s: float, dt_s: float) -> None:
        self._weight = -float(np.expm1(-dt_s / time_constant_s))

    def run(self, x: Values, carry: Values, started: bool) -> tuple[Values, Values]:
        """Smooth (t, n) values; returns them and what is carried to the next block, (n,)."""
        from scipy.signal import lfilter  # costs seconds: models of video need not wait for it

        keep = 1.0 - self._weight
        if not started:
            carry = keep * x[0]
        y, after = lfilter([self._weight], [1.0, -keep], x, axis=0, zi=carry[None])
        return y, after[0]


def sliding_highest(joined: Values, width: int) -> Values:
    """Largest of each frame and the ``width - 1`` before it; ``joined`` is (width - 1 + t, n) from `with_past`."""
    if len(joined) == width:  # one frame
        return joined.max(axis=0, keepdims=True)
    from scipy.ndimage import maximum_filter1d

    return maximum_filter1d(joined, width, axis=0, origin=(width - 1) // 2)[width - 1 :]


def sliding_lowest(joined: Values, width: int) -> Values:
    """Smallest, likewise."""
    if len(joined) == width:
        return joined.min(axis=0, keepdims=True)
    from scipy.ndimage import minimum_filter1d

    return minimum_filter1d(joined, width, axis=0, origin=(width - 1) // 2)[width - 1 :]
