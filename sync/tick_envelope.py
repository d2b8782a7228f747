"""The line under a cloud of delays: how a clock is read through a queue. Pure, numpy.

A frame cannot arrive before it was taken: in the plane of (device time, arrival less device time) all points lie on or
above one line, the clock. Queues only ever add. So the line is not fitted through the points but laid under them: of
all lines below every point the one with the least sum of distances, which is the edge of the lower convex hull at the
mean device time (Moon, Skelly and Towsley, INFOCOM 1999; Zhang, Liu and Xia, INFOCOM 2002). Its error falls with 1/n,
where that of an average falls with 1/sqrt(n) and keeps the mean delay as a bias.

Stamps that jitter themselves break the bound by as much. Cameras expose at a steady period, so their jitter is taken
out first: a straight line of device time against frame number. Where frames are not steady (triggers by hand) that
would add an error instead of removing one; which of the two it is shows in the arrivals: they follow a true
irregularity of the exposures and do not follow an error of the stamps.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BUCKET = 16
"""Frames of which only the lowest is kept before the hull is searched."""
_SMALL_JITTER_NS = 5_000.0
"""Stamps steadier than this need no smoothing."""
_FOLLOWS = 0.5
"""Share of the irregularity that arrivals must follow to count it as true."""
_SURE = 4.0
"""Standard errors that the share must lie above zero."""
_N_LOWEST = 8
_BIAS_SPACINGS = 3.0
"""The lowest of n points lies above the true minimum by a few spacings: 1 to 2 where delays are spread evenly, 7 where
short ones are rare. The line is laid lower by this."""
_MAX_TURNS = 64


@dataclass(frozen=True, slots=True)
class Envelope:
    """A fitted line ``offset + slope * x`` and what is known of its quality. All in nanoseconds but the slope.

    Attributes:
        offset_ns: at x = 0.
        slope: rise per nanosecond of device time (1e-6 is one ppm).
        jitter_ns: standard deviation of the stamps about a steady period.
        spacing_ns: mean distance between the lowest residuals: how densely the hard minimum is touched.
        smoothed: the stamps' jitter was taken out.
        period_ns: of the frames, device time per frame number.
        quarter_ns: 25th percentile of the distance of the points above the line.
        spread_ns: four times the distance from the 5th to the 25th percentile, so that it is the width where delays are
            spread evenly. Half of the window may have been held up by a stall: the upper percentiles say nothing.
    """

    offset_ns: float
    slope: float
    jitter_ns: float
    spacing_ns: float
    smoothed: bool
    period_ns: float
    quarter_ns: float = 0.0
    spread_ns: float = 0.0

    def at(self, x_ns: float) -> float:
        """Height of the line at device time ``x_ns``."""
        return self.offset_ns + self.slope * x_ns


def fit_envelope(
    seq: Floats, x_ns: Floats, z_ns: Floats, breaks: list[int], slope: float, slope_low: float, slope_high: float
) -> Envelope:
    """Lay a line under the points.

    Args:
        seq: frame numbers, rising, shape (n,), n >= 4.
        x_ns: device time of the frames, nominal nanoseconds, shape (n,).
        z_ns: earliest exposure that the arrival allows, less ``x_ns``, shape (n,).
        breaks: places in the arrays where the steady period was broken (a pause of the trigger).
        slope: a guess, to begin the search at.
        slope_low: least slope that is believed.
        slope_high: greatest slope that is believed.
    """
    period, error = _steady(seq, x_ns, breaks)
    jitter = float(np.sqrt(error.dot(error) / len(error)))
    smoothed = jitter > _SMALL_JITTER_NS and not _arrivals_follow(x_ns, z_ns, error, jitter, slope)
    if smoothed:
        x_ns, z_ns = x_ns - error, z_ns + error
    low = z_ns - slope * x_ns
    n_whole = len(low) // _BUCKET * _BUCKET
    if n_whole >= 8 * _BUCKET:
        whole = low[:n_whole].reshape(-1, _BUCKET).argmin(axis=1) + np.arange(0, n_whole, _BUCKET)
        kept = np.concatenate((whole, np.arange(n_whole, len(low))))
        hull_x, hull_z = x_ns[kept], z_ns[kept]
    else:
        hull_x, hull_z = x_ns, z_ns
    pivot = 0.5 * float(x_ns[0] + x_ns[-1])
    slope = min(max(_edge_slope(hull_x, hull_z, pivot, slope), slope_low), slope_high)
    low = z_ns - slope * x_ns
    lowest = np.partition(low, min(_N_LOWEST, len(low) - 1))[: _N_LOWEST + 1]
    least = float(lowest.min())
    spacing = (float(lowest.max()) - least) / max(len(lowest) - 1, 1)
    n = len(low)
    ranks = (n // 20, n // 4)
    twentieth, quarter = (float(one) for one in np.partition(low, ranks)[list(ranks)])
    offset = least - _BIAS_SPACINGS * spacing
    return Envelope(offset, slope, jitter, spacing, smoothed, period, quarter - offset, 4.0 * (quarter - twentieth))


def _steady(seq: Floats, x_ns: Floats, breaks: list[int]) -> tuple[float, Floats]:
    """Period, and the distance of each stamp from it; each stretch between breaks has a phase of its own."""
    edges = [0, *breaks, len(seq)]
    ds, dx = np.empty_like(seq), np.empty_like(x_ns)
    for start, stop in pairwise(edges):
        if stop > start:
            ds[start:stop] = seq[start:stop] - seq[start:stop].mean()
            dx[start:stop] = x_ns[start:stop] - x_ns[start:stop].mean()
    square = float(ds.dot(ds))
    period = float(ds.dot(dx)) / square if square > 0.0 else 0.0
    dx -= period * ds
    return period, dx


def _arrivals_follow(x_ns: Floats, z_ns: Floats, error: Floats, jitter: float, slope: float) -> bool:
    """Whether the exposures themselves are irregular: then arrivals move with ``error``, else they do not."""
    delay = z_ns + error - slope * (x_ns - error)
    middle = np.partition(delay, len(delay) // 2)[len(delay) // 2]
    # A burst that was held up says nothing of frames and would drown all that do.
    delay = np.minimum(delay, middle + 2.0 * (middle - delay.min()))
    delay -= delay.mean()
    share = float(delay.dot(error)) / (jitter * jitter * len(error))
    spread = float(np.sqrt(delay.dot(delay) / len(delay)))
    return share > _FOLLOWS and share * jitter * np.sqrt(len(error)) > _SURE * spread


def _edge_slope(x: Floats, z: Floats, pivot: float, slope: float) -> float:
    """Slope of the edge of the lower convex hull above ``pivot``: a line is turned until it lies there."""
    at = int((z - slope * x).argmin())
    for _ in range(_MAX_TURNS):
        if x[at] <= pivot:
            later = np.flatnonzero(x > x[at])
            if not len(later):
                return slope
            rise = (z[later] - z[at]) / (x[later] - x[at])
            best = int(rise.argmin())
            slope, at = float(rise[best]), int(later[best])
            if x[at] > pivot:
                return slope
        else:
            sooner = np.flatnonzero(x < x[at])
            if not len(sooner):
                return slope
            rise = (z[at] - z[sooner]) / (x[at] - x[sooner])
            best = int(rise.argmax())
            slope, at = float(rise[best]), int(sooner[best])
            if x[at] <= pivot:
                return slope
    return slope
