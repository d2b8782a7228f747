"""What features remember of earlier frames, over blocks: the same values however a recording is cut.

A memory begins with its first frame: what lies before it is taken as equal to it.
"""

from typing import Any, ClassVar

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
    """s(t) = s(t - 1) + w (x(t) - s(t - 1)) with w = 1 - exp(-dt / time constant), as a running sum in double.

    With k = 1 - w, s(t) k^-t is the sum of w x(i) k^-i: frames are added up in turn, whatever the block they came in,
    and exponents are counted anew every `MOST_FRAMES` frames, or sooner, so that no power runs away.
    """

    MOST_FRAMES: ClassVar[int] = 512
    LARGEST_EXPONENT: ClassVar[float] = 300.0
    """Of a power of e: its square is still a number."""

    def __init__(self, time_constant_s: float, dt_s: float) -> None:
        weight = -float(np.expm1(-dt_s / time_constant_s))
        self._keep = 1.0 - weight
        n_frames = int(min(self.MOST_FRAMES, max(1.0, self.LARGEST_EXPONENT * time_constant_s / dt_s)))
        powers = np.exp(dt_s / time_constant_s * np.arange(n_frames))[:, None]
        self._in, self._out = weight * powers, 1.0 / powers

    def run(self, x: Values, carry: Values, n_before: int) -> tuple[Values, Values]:
        """Smooth the next (t, n) values, ``n_before`` frames after the first.

        Args:
            x: (t, n), t > 0.
            carry: (n,) from the block before; of no matter before the first frame.
            n_before: frames of all blocks before.

        Returns:
            The smoothed values, and what is carried to the next block.
        """
        if not n_before:
            carry = self._keep * x[0]
        smoothed, n_frames, done = np.empty_like(x), len(self._in), 0
        while done < len(x):
            place = (n_before + done) % n_frames
            take = slice(place, min(place + len(x) - done, n_frames))
            part = self._in[take] * x[done : done + take.stop - place]
            part[0] += carry
            if len(part) > 1:
                np.add.accumulate(part, axis=0, out=part)
            values = np.multiply(self._out[take], part, out=smoothed[done : done + len(part)])
            carry = self._keep * values[-1] if take.stop == n_frames else part[-1]
            done += len(part)
        return smoothed, carry


def sliding(of_two: np.ufunc, joined: Values, width: int) -> Values:
    """The largest or smallest of each frame and the ``width - 1`` before it.

    Windows of 2, 4, 8 ... frames are made of two of half as many, and the one asked for of two that overlap.

    Args:
        of_two: np.maximum or np.minimum.
        joined: (width - 1 + t, n) from `with_past`.
        width: in frames.
    """
    if len(joined) == width:  # one frame
        return of_two.reduce(joined, axis=0, keepdims=True)
    found, n = joined, 1
    while n < width:
        step = min(n, width - n)
        found, n = of_two(found[:-step], found[step:]), n + step
    return found
