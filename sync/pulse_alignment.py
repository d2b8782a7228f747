"""Frames of one clock laid onto pulses of another, by their intervals and never by counting. Pure.

The two clocks differ by an offset that nobody knows and by a rate of a few hundred parts per million; either side may
lack pulses, have too many, begin late and stop early. How it is done:

1. *Seeds* (`pulse_places`). Stretches of frames are laid onto the pulses at every place where they could begin; the
   best places of each are followed outwards, and a line (offset, rate) is fitted robustly to more and more of the two
   trains (`pulse_line`).
2. *Shifts* (`pulse_places`). With that rate, the number of frames that meet a pulse is counted for every shift of the
   whole train at once, by a fast Fourier transform; the most promising shifts join the seeds.
3. *Evidence.* Each is fitted to all of the data and weighed (`pulse_evidence`). One is accepted when it is ahead of
   every other by `MARGIN_NATS`. A train that repeats itself (equal blocks, a code that comes again) supports shifts by
   a whole repeat as well as the true one, and more so where the overlap is larger: each such shift must also be worse
   by `MARGIN_NATS` on the very frames that it covers (`pulse_rivals`). Else the alignment is ambiguous, and the answer
   is an error that says which shifts fit, unless a declared anchor says which one it is.
4. *Pairs.* Under the accepted line, corrected by the slow wander of the residuals, each frame takes the pulse nearest
   to where it should be, within six standard deviations; two pulses that both could be it leave the frame without one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from .errors import DataError
from .pulse_line import MIN_PAIRS, Candidate, Floats, Ints, Trains, match, scatter
from .pulse_places import anchored, candidates, same
from .pulse_rivals import Balance, cost_of_drop
from .pulses import quantum_s

MARGIN_NATS = 12.0
"""Ahead of every other alignment by odds of 160,000 to 1."""
MARGIN_SHARE = 0.3
"""And by this share of its own evidence: what glitches add by chance grows with the train."""
_MAX_SCATTER = 1 / 8
"""Of a period: standard deviation beyond which frames cannot be told apart by their times."""
_WANDER_PAIRS = 101


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Frames and pulses that belong together. Times on the pulses' clock are seconds as they came in.

    Attributes:
        pulse_of_frame: (n_frames,) int64, -1 where a frame has none.
        frame_of_pulse: (n_pulses,) int64, -1 where a pulse has none.
        frame_time_s: (n_frames,) float64: the frame on the pulses' clock; that of its pulse, or else by the line.
        pulse_time_s: (n_pulses,) float64: the pulse on the frames' clock; that of its frame, or else by the line.
        residual_us: (n_frames,) float64: pulse less line, NaN without a pulse.
        ambiguous: (n_frames,) bool: two pulses could be the frame's, so it has none.
        inside: (n_frames,) bool: the pulses cover the time of the frame.
        pulse_inside: (n_pulses,) bool: the frames cover the time of the pulse.
        offset_s: the line's value at the first frame.
        drift_ppm: how much faster the pulses' clock runs than the frames'.
        tolerance_us: further off the line than this a pulse is not the frame's.
        residual_p50_us, residual_p99_us, residual_max_us: of the absolute residuals.
        evidence_nats: for this alignment over none; see `pulse_evidence`.
        margin_nats: ahead of the next best; where the shift was declared, it may be anything above -`MARGIN_NATS`.
        declared: the shift was declared and not found.
    """

    pulse_of_frame: Ints
    frame_of_pulse: Ints
    frame_time_s: Floats
    pulse_time_s: Floats
    residual_us: Floats
    ambiguous: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    pulse_inside: NDArray[np.bool_]
    offset_s: float
    drift_ppm: float
    tolerance_us: float
    residual_p50_us: float
    residual_p99_us: float
    residual_max_us: float
    evidence_nats: float
    margin_nats: float
    declared: bool

    @property
    def n_paired(self) -> int:
        return int((self.pulse_of_frame >= 0).sum())


def align(
    frame_s: Floats,
    pulse_s: Floats,
    *,
    first_frame_pulse: int | None = None,
    resolution_s: float = 0.0,
) -> Alignment:
    """Find which pulse each frame belongs to.

    Args:
        frame_s: (n,) float64 seconds, increasing: exposures on the frames' clock, lost frames left out.
        pulse_s: (m,) float64 seconds, increasing: pulses on the other clock.
        first_frame_pulse: declared: the first frame belongs to the pulse of this number, counted from 0.
        resolution_s: step of the pulses' times, where it is known (one sample without interpolation).

    Raises:
        DataError: too few, not in order, other rates, no place where they fit, more than one, or a declared one that
            does not fit.
    """
    frame_s, pulse_s = _checked(frame_s, "frames"), _checked(pulse_s, "pulses")
    trains = Trains(frame_s, pulse_s, max(resolution_s, quantum_s(pulse_s), quantum_s(frame_s)))
    found = candidates(trains)
    if first_frame_pulse is not None:
        declared = anchored(trains, first_frame_pulse)
        found = [declared, *(one for one in found if not same(one, declared))]
    balance = Balance(trains, cost_of_drop(found))
    for one in found:
        one.nats = balance.nats(one)
    if first_frame_pulse is None:
        found.sort(key=lambda one: -one.nats)
    if not found or len(found[0].frames) < MIN_PAIRS:
        raise DataError(
            f"{len(frame_s)} frames and {len(pulse_s)} pulses: there is no place where more than a few of them agree; "
            "is it the right channel, and was it recorded at the same time?"
        )
    if first_frame_pulse is None:
        margin = _margin(trains, balance, found)
    else:
        margin = _margin_of_declared(trains, balance, found, first_frame_pulse)
    return _paired(trains, found[0], margin, declared=first_frame_pulse is not None)


def _checked(times_s: Floats, what: str) -> Floats:
    times = np.asarray(times_s, np.float64)
    if times.ndim != 1 or len(times) < MIN_PAIRS:
        raise DataError(f"{what}: shape {times.shape}; {MIN_PAIRS} times or more are needed to align anything")
    if not np.isfinite(times).all() or np.any(np.diff(times) <= 0):
        place = int(np.argmax(~(np.diff(times) > 0)))
        raise DataError(
            f"{what}: times do not rise from number {place} ({times[place]:.6f} s) to the next ({times[place + 1]:.6f} "
            "s); sort out repeated or unordered entries first"
        )
    return times


def _margin(trains: Trains, balance: Balance, found: Sequence[Candidate]) -> float:
    """By how much the first candidate is ahead of all others, nats; an error where that is not enough."""
    best = found[0]
    margin = best.nats - max([0.0, *(one.nats for one in found[1:])])
    needed = max(MARGIN_NATS, MARGIN_SHARE * best.nats)
    if margin >= needed:
        margin = min(margin, balance.least_lead(best, found[1:]))
    if margin < needed:
        raise DataError(_ambiguous_words(trains, found))
    return margin


def _margin_of_declared(trains: Trains, balance: Balance, found: Sequence[Candidate], pulse: int) -> float:
    """The same of a declared one, on the frames that it covers: a larger overlap alone is no argument against it."""
    best = found[0]
    rivals = [(balance.nats(one, best), one) for one in found[1:]]
    other, rival = max(rivals, key=lambda one: one[0], default=(0.0, best))
    margin = best.nats - max(other, 0.0)
    if margin < -max(MARGIN_NATS, MARGIN_SHARE * other):
        raise DataError(
            f"the first frame was declared to be pulse {pulse}, and the intervals say otherwise: pulse "
            f"{_first_pulse(trains, rival)} is {-margin:.0f} nats more likely; check the anchor, or leave it out"
        )
    return margin


def _first_pulse(trains: Trains, one: Candidate) -> int:
    """Number of the pulse that would be the first frame's, negative before the first pulse."""
    since_s = trains.frame_s[one.frames[0]] - trains.frame_s[0]
    return int(one.pulses[0] - round(since_s / trains.period))


def _ambiguous_words(trains: Trains, found: Sequence[Candidate]) -> str:
    near = [one for one in found if found[0].nats - one.nats < MARGIN_NATS]
    near = sorted(near, key=lambda one: (-len(one.frames), one.n_events))[:6]
    fitting = ", ".join(
        f"{_first_pulse(trains, one)} ({len(one.frames)} pairs, {one.n_events} leftovers)" for one in near
    )
    if len(near) == 1:
        fitting += ", which alone is no proof"
    return (
        f"{len(trains.frame_s)} frames fit {len(trains.pulse_s)} pulses in more than one way: the intervals do not "
        f"tell which pulse is the first frame's; what fits: {fitting}. Declare it with --first-frame-is-pulse N "
        "where you know it (0 where both devices ran before the first pulse), and for the next time make the train "
        "irregular: a pause of a second or two every now and then, or jittered intervals"
    )


def _paired(trains: Trains, best: Candidate, margin: float, *, declared: bool) -> Alignment:
    """The pairs of the accepted line, its slow wander taken out."""
    frame_s, pulse_s, line = trains.frame_s, trains.pulse_s, best.line
    expected = line(frame_s)
    if len(best.frames) > 2 * _WANDER_PAIRS:
        wander = median_filter(pulse_s[best.pulses] - expected[best.frames], _WANDER_PAIRS, mode="nearest")
        expected = expected + np.interp(np.arange(len(expected)), best.frames, wander)
    sigma = scatter(pulse_s[best.pulses] - expected[best.frames])
    if sigma > _MAX_SCATTER * trains.period:
        raise DataError(
            f"frames and pulses scatter by {1e3 * sigma:.2f} ms around each other at a period of "
            f"{1e3 * trains.period:.2f} ms; one cannot tell which belongs to which: use the camera's own clock for "
            "the frames (time source device), not their arrival"
        )
    tolerance = trains.tolerance_s(sigma)
    frames, pulses = match(expected, pulse_s, tolerance)
    n_near = (
        np.searchsorted(pulse_s, expected[frames] + tolerance, side="right")
        - np.searchsorted(pulse_s, expected[frames] - tolerance, side="left")
    )  # fmt: skip
    ambiguous = np.zeros(len(frame_s), bool)
    ambiguous[frames[n_near > 1]] = True
    frames, pulses = frames[n_near <= 1], pulses[n_near <= 1]
    pulse_of = np.full(len(frame_s), -1, np.int64)
    frame_of = np.full(len(pulse_s), -1, np.int64)
    pulse_of[frames], frame_of[pulses] = pulses, frames
    residual = np.full(len(frame_s), np.nan)
    residual[frames] = 1e6 * (pulse_s[pulses] - line(frame_s[frames]))
    times = expected.copy()
    times[frames] = pulse_s[pulses]
    back = line.from_s + (pulse_s - line.at_s) / line.rate
    back[pulses] = frame_s[frames]
    size = np.abs(residual[frames])
    p50, p99, most = (float(one) for one in np.quantile(size, (0.5, 0.99, 1.0))) if len(size) else (0.0, 0.0, 0.0)
    inside, covered = trains.overlap(expected, tolerance)
    return Alignment(
        pulse_of_frame=pulse_of,
        frame_of_pulse=frame_of,
        frame_time_s=times,
        pulse_time_s=back,
        residual_us=residual,
        ambiguous=ambiguous,
        inside=inside,
        pulse_inside=covered,
        offset_s=float(line(frame_s[:1])[0]),
        drift_ppm=1e6 * (line.rate - 1),
        tolerance_us=1e6 * tolerance,
        residual_p50_us=p50,
        residual_p99_us=p99,
        residual_max_us=most,
        evidence_nats=best.nats,
        margin_nats=margin,
        declared=declared,
    )
