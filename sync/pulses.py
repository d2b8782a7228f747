"""Pulses in a sampled voltage: threshold with hysteresis, edge times between the samples. Pure."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError

Floats = NDArray[np.float64]
EdgeKind = Literal["rising", "falling"]

HYSTERESIS_SHARE = 0.2
"""Of the distance between the two levels, where nothing else is said."""
_LEVEL_QUANTILES = (0.001, 0.999)
_MIN_SEPARATION = 4.0
"""The two levels must lie this many times their own noise apart to be two."""


def edge_times(
    samples: ArrayLike,
    rate_hz: float,
    threshold: float,
    hysteresis: float = 0.0,
    edge: EdgeKind = "rising",
    t0_s: float = 0.0,
) -> Floats:
    """When a sampled signal crosses ``threshold``, interpolated between the two samples around it.

    The signal counts as high once it reaches ``threshold + hysteresis / 2`` and as low once it falls to ``threshold -
    hysteresis / 2``; noise that stays between these makes no edge. The time is that of the last crossing of
    ``threshold`` itself before the other side was reached. A signal that begins high gives no rising edge for that.

    Args:
        samples: (n,) volts, or any unit that ``threshold`` is in.
        rate_hz: samples per second.
        threshold: in the unit of the samples.
        hysteresis: width of the band around it, same unit.
        edge: which edges.
        t0_s: time of the first sample.

    Returns:
        (n_edges,) float64 seconds, increasing.

    Raises:
        DataError: not one finite channel, or numbers that cannot be.
    """
    values = np.asarray(samples, np.float64)
    if values.ndim != 1:
        raise DataError(f"samples have shape {values.shape}; give one channel, shape (n,)")
    if not rate_hz > 0 or hysteresis < 0:
        raise DataError(f"rate {rate_hz:g} Hz, hysteresis {hysteresis:g}: a rate above 0, a hysteresis of 0 or more")
    if not np.isfinite(values).all():
        raise DataError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} samples are not numbers; cut the file to the part "
            "that was recorded"
        )
    if edge == "falling":
        values, threshold = -values, -threshold
    side = np.zeros(len(values), np.int8)
    side[values >= threshold + hysteresis / 2] = 1
    side[values <= threshold - hysteresis / 2] = -1
    if hysteresis == 0:
        side[values == threshold] = 1
    known = np.flatnonzero(side)
    reached = known[1:][(side[known[1:]] > 0) & (side[known[:-1]] < 0)]
    crossings = np.flatnonzero((values[1:] >= threshold) & (values[:-1] < threshold)) + 1
    last = crossings[np.searchsorted(crossings, reached, side="right") - 1]
    before, after = values[last - 1], values[last]
    return t0_s + (last - 1 + (threshold - before) / (after - before)) / rate_hz


def choose_threshold(samples: ArrayLike) -> tuple[float, float]:
    """Threshold halfway between the two levels of a signal, and a fifth of their distance as hysteresis.

    Raises:
        DataError: the signal has no two levels that stand out of its noise.
    """
    values = np.asarray(samples, np.float64)
    low, high = (float(one) for one in np.quantile(values, _LEVEL_QUANTILES)) if len(values) else (0.0, 0.0)
    middle = (low + high) / 2
    below, above = values[values < middle], values[values >= middle]
    if len(below) and len(above):
        centres = float(np.median(below)), float(np.median(above))
        noise = float(max(np.median(np.abs(below - centres[0])), np.median(np.abs(above - centres[1]))))
        if high > low and centres[1] - centres[0] > _MIN_SEPARATION * noise:
            return (centres[0] + centres[1]) / 2, HYSTERESIS_SHARE * (centres[1] - centres[0])
    raise DataError(
        f"the signal lies between {low:g} and {high:g} and shows no two levels; is it the right channel? give its "
        "threshold and hysteresis where it is"
    )


def quantum_s(times_s: Floats) -> float:
    """The step that times were rounded to, 0.0 where none shows: intervals then take only a few values."""
    intervals = np.round(np.diff(times_s), 9)
    values = np.unique(intervals)
    if len(values) < 2 or len(values) > len(intervals) / 4:
        return 0.0
    return float(np.median(np.diff(values)))
