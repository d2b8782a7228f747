"""A line between two clocks, fitted to the frames and pulses that meet under it. Pure."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_PAIRS = 8
STRETCH_FRAMES = 48
"""So many frames are laid onto the pulses first; the line grows from there."""
_MAX_DRIFT = 1000e-6
"""Two clocks at 500 ppm each, the worst that an oscillator may be."""
_RATE_TOLERANCE = 0.2
"""Of median intervals, which glitches and lost pulses shift; one pulse for every other frame is far beyond it."""
_SIGMAS = 6.0
_MIN_TOLERANCE_S = 20e-6
_WIDEST = 0.4
"""Of a period: what is further off belongs to the next pulse."""


@dataclass(frozen=True, slots=True)
class Line:
    """pulse time = ``at_s`` + ``rate`` * (frame time - ``from_s``); pairs scatter about it by ``sigma_s``."""

    from_s: float
    at_s: float
    rate: float = 1.0
    sigma_s: float = 0.0

    def __call__(self, frame_s: Floats) -> Floats:
        return self.at_s + self.rate * (frame_s - self.from_s)

    def shifted(self, by_s: float) -> "Line":
        """The same line, ``by_s`` later on the pulses' clock."""
        return replace(self, at_s=self.at_s + by_s)


@dataclass(slots=True)
class Candidate:
    """A line and what meets under it.

    Attributes:
        line: frames' clock to pulses' clock.
        frames: indices of the paired frames, increasing.
        pulses: indices of their pulses, increasing.
        n_events: frames and pulses without a partner where the two trains overlap.
        nats: evidence, once it is weighed.
    """

    line: Line
    frames: Ints
    pulses: Ints
    n_events: int
    nats: float = 0.0

    @property
    def agreement(self) -> int:
        """Pairs less leftovers."""
        return len(self.frames) - self.n_events


class Trains:
    """Frames and pulses, and how a line is laid between them.

    Attributes:
        frame_s: (n,) float64, seconds on the frames' clock, increasing.
        pulse_s: (m,) float64, seconds on the pulses' clock, increasing.
        resolution_s: differences below this are rounding.
        period: median interval of the pulses, seconds.

    Raises:
        DataError: the two come at different rates.
    """

    def __init__(self, frame_s: Floats, pulse_s: Floats, resolution_s: float) -> None:
        self.frame_s, self.pulse_s = frame_s, pulse_s
        self.resolution_s = resolution_s
        self.period = float(np.median(np.diff(pulse_s)))
        frame_period = float(np.median(np.diff(frame_s)))
        if abs(self.period / frame_period - 1) > _RATE_TOLERANCE:
            raise DataError(
                f"pulses come at {1 / self.period:.4g} Hz and frames at {1 / frame_period:.4g} Hz; is it the channel "
                "of the camera's trigger or exposure, and is --rate right? One pulse per frame is needed"
            )

    def tolerance_s(self, sigma_s: float) -> float:
        """How far off the line a pulse may be and still be the frame's."""
        least = max(_MIN_TOLERANCE_S, 1.5 * self.resolution_s, 0.002 * self.period)
        return min(max(_SIGMAS * sigma_s, least), _WIDEST * self.period)

    def overlap(self, expected_s: Floats, tolerance_s: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which frames lie within the time of the pulses, and which pulses within that of the frames."""
        inside = (expected_s >= self.pulse_s[0] - tolerance_s) & (expected_s <= self.pulse_s[-1] + tolerance_s)
        covered = (self.pulse_s >= expected_s[0] - tolerance_s) & (self.pulse_s <= expected_s[-1] + tolerance_s)
        return inside, covered

    def under(self, line: Line) -> Candidate:
        """What meets under a line."""
        expected = line(self.frame_s)
        tolerance = self.tolerance_s(line.sigma_s)
        frames, pulses = match(expected, self.pulse_s, tolerance)
        inside, covered = self.overlap(expected, tolerance)
        n_events = int(inside.sum() + covered.sum() - 2 * len(frames))
        return Candidate(line, frames, pulses, n_events)

    def follow(self, start: int, at_s: float) -> Candidate:
        """The stretch that begins with frame ``start`` laid at ``at_s``, then fitted to more and more around it."""
        n = len(self.frame_s)
        low, high = start, min(n, start + STRETCH_FRAMES)
        line = Line(float(self.frame_s[start]), at_s)
        tolerance = 0.3 * self.period
        # At first: over a second the drift is nothing, and frames without a pulse would bend it.
        rate: float | None = 1.0
        while True:
            frames, pulses = match(line(self.frame_s[low:high]), self.pulse_s, tolerance)
            if len(frames) < 3:
                return self.under(line)
            line = self._fit(frames + low, pulses, rate)
            # The part that is new may lie a little off the line of the part that is not.
            tolerance = min(self.tolerance_s(line.sigma_s) + 0.02 * self.period, _WIDEST * self.period)
            if rate is not None:
                rate = None
            elif low == 0 and high == n:
                return self.under(self._tightened(line))
            else:
                grow = max(8, (high - low) // 2)
                low, high = max(0, low - grow), min(n, high + grow)

    def refit(self, line: Line) -> Candidate:
        """A line that is nearly right, fitted to everything."""
        frames, pulses = match(line(self.frame_s), self.pulse_s, self.tolerance_s(line.sigma_s) + 0.1 * self.period)
        if len(frames) < MIN_PAIRS:
            return self.under(line)
        # The rate is kept at first, so that leftovers at the ends do not bend the line.
        return self.under(self._tightened(self._fit(frames, pulses, line.rate)))

    def _tightened(self, line: Line) -> Line:
        """Fitted once more to what is within the tolerance."""
        frames, pulses = match(line(self.frame_s), self.pulse_s, self.tolerance_s(line.sigma_s))
        return line if len(frames) < MIN_PAIRS else self._fit(frames, pulses)

    def _fit(self, frames: Ints, pulses: Ints, rate: float | None = None) -> Line:
        """Iteratively reweighted least squares with Huber's weights."""
        origin = float(self.frame_s[frames[len(frames) // 2]])
        x, y = self.frame_s[frames] - origin, self.pulse_s[pulses]
        base = float(y[0] - x[0])
        y = y - x - base  # what is left is small, so that nothing is lost by rounding
        slope = 0.0 if rate is None else rate - 1.0
        level, sigma = _median(y - slope * x), 0.0
        for _ in range(3):
            off = y - level - slope * x
            sigma = max(scatter(off), 1e-7)
            weight = 1.0 / np.maximum(1.0, np.abs(off) / (1.5 * sigma))
            total = weight.sum()
            mean_x, mean_y = float(weight @ x) / total, float(weight @ y) / total
            if rate is None:
                spread = float(weight @ (x - mean_x) ** 2)
                slope = float(weight @ ((x - mean_x) * (y - mean_y))) / spread if spread > 0 else 0.0
                slope = min(max(slope, -_MAX_DRIFT), _MAX_DRIFT)
            level = float(mean_y - slope * mean_x)
        return Line(origin, level + base, slope + 1.0, sigma)


def _median(values: Floats) -> float:
    """The upper median; a tenth of the time of numpy's for short arrays."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def scatter(values: Floats) -> float:
    """Standard deviation of the bulk of normal values, from their median distance to their median."""
    return 1.4826 * _median(np.abs(values - _median(values)))


def nearest(times_s: Floats, wanted_s: Floats) -> Ints:
    """Index of the time nearest to each wanted one."""
    right = np.clip(np.searchsorted(times_s, wanted_s), 1, len(times_s) - 1)
    return right - (wanted_s - times_s[right - 1] < times_s[right] - wanted_s)


def match(expected_s: Floats, pulse_s: Floats, tolerance_s: float) -> tuple[Ints, Ints]:
    """Pairs (frame, pulse), both rising: each frame's nearest pulse, each pulse's nearest frame, none too far off."""
    closest = nearest(pulse_s, expected_s)
    off = np.abs(pulse_s[closest] - expected_s)
    frames = np.flatnonzero(off <= tolerance_s)
    # Of the frames that want the same pulse the nearest has it.
    order = frames[np.lexsort((off[frames], closest[frames]))]
    first = np.concatenate([[True], np.diff(closest[order]) > 0]) if len(order) else np.zeros(0, bool)
    frames = np.sort(order[first])
    return frames, closest[frames]
