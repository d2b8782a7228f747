"""How much one way of laying frames onto pulses is supported by the data, in nats. Pure.

Equal intervals say nothing: a perfectly periodic train fits itself at every shift. What tells shifts apart is

- jitter that both sides saw: an interval that is a little long is a little long on both;
- pauses and codes: a rare interval that meets its like;
- pauses that are torn: at a wrong shift a frame lacks its pulse on one side of the pause, and a pulse its frame on the
  other. Each costs what a drop costs, minus the logarithm of how often drops are seen.

Each is a likelihood ratio against "frames and pulses have nothing to do with each other", whose intervals are then
drawn from what the file holds. Jitter that the two sides do not share, rounding of times and drops in the middle of a
train give none on average, at any shift.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SIGMAS, _INSIDE = 3.0, 0.98
"""An interval meets its partner within so many standard deviations, with this probability: the tails are not normal."""
_MIXTURE = np.array([0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
_BULK = 0.2
"""An interval like a fifth of all or more is a common one."""
_PAUSE_PERIODS = 4.5
_WHOLE = 0.05
"""Of a period: as near as this to a multiple, an interval is one."""
_DROP_COST = (2.5, 9.0)


@dataclass(frozen=True, slots=True)
class Intervals:
    """The intervals of one train, sorted: how rare is one? ``m`` steps at a time."""

    ordered: Floats
    widest_s: float

    @classmethod
    def of(cls, times_s: Floats) -> "Intervals":
        """Of times in order, two or more."""
        ordered = np.sort(np.diff(times_s))
        return cls(ordered, float(max(ordered[-1], 2 * np.median(ordered))))

    def share(self, intervals: Floats, half_width_s: float) -> Floats:
        """Share of the train's other intervals within the half width of each, and a little for never seen ones.

        A pause counts as if one like it had been seen: pauses are often of one length by design.
        """
        high = np.searchsorted(self.ordered, intervals + half_width_s, side="right")
        low = np.searchsorted(self.ordered, intervals - half_width_s, side="left")
        others = np.maximum(high - low - 1, 0)
        unseen = min(0.5, 2 * half_width_s / self.widest_s)
        pause = intervals > _PAUSE_PERIODS * self.ordered[len(self.ordered) // 2]
        return np.minimum((others + np.where(pause, 1.0, unseen)) / len(self.ordered), 1.0)


def drop_cost(n_events: int, n_places: int) -> float:
    """Nats that an unexplained drop or extra pulse costs, from how many there are in the best alignment."""
    low, high = _DROP_COST
    return float(np.clip(-math.log((n_events + 1) / (n_places + 2)), low, high))


def evidence(
    frame_s: Floats,
    pulse_s: Floats,
    frames: Ints,
    pulses: Ints,
    rate: float,
    resolution_s: float,
    cost: float,
    frame_intervals: Intervals,
    pulse_intervals: Intervals,
) -> float:
    """Nats for this pairing against none.

    Args:
        frame_s: times on the frames' clock.
        pulse_s: times on the pulses' clock.
        frames: indices of the paired frames, increasing.
        pulses: indices of their pulses, increasing.
        rate: seconds of the pulses' clock per second of the frames'.
        resolution_s: differences below this are rounding.
        cost: see `drop_cost`.
        frame_intervals: of the frames.
        pulse_intervals: of the pulses.
    """
    if len(frames) < 2:
        return 0.0
    period = float(np.median(pulse_intervals.ordered))
    gap_f, gap_p = np.diff(frame_s[frames]), np.diff(pulse_s[pulses])
    n_f, n_p = np.diff(frames), np.diff(pulses)
    off = np.abs(gap_p - rate * gap_f)
    single = (n_f == 1) & (n_p == 1)
    sigma = 1.4826 * float(np.median(off[single])) if single.any() else float(np.median(off))
    half = max(_SIGMAS * sigma, 1.001 * resolution_s, 1e-7)
    share = pulse_intervals.share(gap_p[single], half)
    fits = np.where(off[single] <= half, _INSIDE, (1 - _INSIDE) * min(1.0, 2 * half / period))
    ratio = fits / share
    # Two or three periods are what any drop leaves behind: that both sides have one is no sign of a common cause.
    steps = gap_p[single] / period
    drops = (np.abs(steps - np.round(steps)) < _WHOLE) & (np.round(steps) > 1) & (steps < _PAUSE_PERIODS)
    ratio, share = ratio[~drops], share[~drops]
    common = share >= _BULK
    total = _best_mixture(ratio[common]) + _best_mixture(ratio[~common])
    # Where something is unpaired between two pairs: a rare interval on either side is explained once for both.
    for place in np.flatnonzero(~single):
        steps_f = np.diff(frame_s[frames[place] : frames[place + 1] + 1])
        steps_p = np.diff(pulse_s[pulses[place] : pulses[place + 1] + 1])
        both = min(int(n_f[place]), int(n_p[place])) - 1
        if max(steps_f.max(), steps_p.max()) < _PAUSE_PERIODS * period:
            total -= cost * both
            continue
        rare_f = -float(np.log(frame_intervals.share(steps_f[[steps_f.argmax()]], half))[0])
        rare_p = -float(np.log(pulse_intervals.share(steps_p[[steps_p.argmax()]], half))[0])
        total += max(rare_f, rare_p) - cost * (int(n_f[place]) + int(n_p[place]) - 2)
    return total


def _best_mixture(ratio: Floats) -> float:
    """Evidence where an unknown share of these intervals follows its partner; never below 0."""
    if not len(ratio):
        return 0.0
    return max(float(np.log1p(share * (ratio - 1)).sum()) for share in _MIXTURE)
