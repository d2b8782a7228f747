"""Frames of one clock laid onto pulses of another, by their intervals and never by counting. Pure.

The two clocks differ by an offset that nobody knows and by a rate of a few hundred parts per million; either side may
lack pulses, have too many, begin late and stop early. How it is done:

1. *Seeds.* Stretches of frames are laid onto the pulses at every place where they could begin; the best places of each
   are followed outwards, and a line (offset, rate) is fitted robustly to more and more of the two trains.
2. *Shifts.* With that rate, the number of frames that meet a pulse is counted for every shift of the whole train at
   once, by a fast Fourier transform; the most promising shifts join the seeds.
3. *Evidence.* Each is fitted to all of the data and weighed (`pulse_evidence`). One is accepted when it is ahead of
   every other by `MARGIN_NATS`. A train that repeats itself (equal blocks, a code that comes again) supports shifts by
   a whole repeat as well as the true one, and more so where the overlap is larger: each such shift must also be worse
   by `MARGIN_NATS` on the very frames that it covers. Else the alignment is ambiguous, and the answer is an error that
   says which shifts fit, unless a declared anchor says which one it is.
4. *Pairs.* Under the accepted line, corrected by the slow wander of the residuals, each frame takes the pulse nearest
   to where it should be, within six standard deviations; two pulses that both could be it leave the frame without one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from .errors import DataError
from .pulse_evidence import Intervals, drop_cost, evidence
from .pulses import quantum_s

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MARGIN_NATS = 12.0
"""Ahead of every other alignment by odds of 160,000 to 1."""
MARGIN_SHARE = 0.3
"""And by this share of its own evidence: what glitches add by chance grows with the train."""
MIN_PAIRS = 8
_SUPPORTED_NATS, _SUPPORTED_SHARE = 4.0, 0.25
"""A shift with so much evidence, and such a share of that of the best one, is a rival, however far it is behind."""
_REPEATS = 6
_MAX_DRIFT = 1000e-6
"""Two clocks at 500 ppm each, the worst that an oscillator may be."""
_RATE_TOLERANCE = 0.2
"""Of median intervals, which glitches and lost pulses shift; one pulse for every other frame is far beyond it."""
_SEED_FRAMES = 48
_MANY = 20_000
_SHIFTS = 16
_NEIGHBOURS = 3
_BINS_PER_PERIOD = 8
_MAX_BINS = 1 << 26
_SIGMAS = 6.0
_MIN_TOLERANCE_S = 20e-6
_WIDEST = 0.4
"""Of a period: what is further off belongs to the next pulse."""
_MAX_SCATTER = 1 / 8
"""Of a period: standard deviation beyond which frames cannot be told apart by their times."""
_WANDER_PAIRS = 101
_SAME = 0.5


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


@dataclass(slots=True)
class _Line:
    """pulse time = ``at_s`` + ``rate`` * (frame time - ``from_s``)."""

    from_s: float
    at_s: float
    rate: float = 1.0
    sigma_s: float = 0.0

    def __call__(self, frame_s: Floats) -> Floats:
        return self.at_s + self.rate * (frame_s - self.from_s)


@dataclass(slots=True)
class _Candidate:
    line: _Line
    frames: Ints
    pulses: Ints
    n_events: int
    nats: float = 0.0


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
    search = _Search(frame_s, pulse_s, max(resolution_s, quantum_s(pulse_s), quantum_s(frame_s)))
    found = search.candidates()
    if first_frame_pulse is not None:
        anchored = search.anchored(first_frame_pulse)
        found = [anchored, *(one for one in found if not search.same(one, anchored))]
    search.weigh(found)
    if first_frame_pulse is None:
        found.sort(key=lambda one: -one.nats)
    if not found or len(found[0].frames) < MIN_PAIRS:
        raise DataError(
            f"{len(frame_s)} frames and {len(pulse_s)} pulses: there is no place where more than a few of them agree; "
            "is it the right channel, and was it recorded at the same time?"
        )
    best = found[0]
    others = max((one.nats for one in found[1:]), default=0.0)
    margin = best.nats - max(others, 0.0)
    if first_frame_pulse is None:
        needed = max(MARGIN_NATS, MARGIN_SHARE * best.nats)
        if margin >= needed:
            margin = min(margin, search.least_lead(best, found[1:]))
        if margin < needed:
            raise DataError(search.ambiguous_words(found))
    else:
        # On the frames that the declared one covers: a larger overlap alone is no argument against it.
        rivals = [(search.nats_within(one, best), one) for one in found[1:]]
        other, rival = max(rivals, key=lambda one: one[0], default=(0.0, best))
        margin = best.nats - max(other, 0.0)
        if margin < -max(MARGIN_NATS, MARGIN_SHARE * other):
            raise DataError(
                f"the first frame was declared to be pulse {first_frame_pulse}, and the intervals say otherwise: pulse "
                f"{search.first_pulse(rival)} is {-margin:.0f} nats more likely; check the anchor, or leave it out"
            )
    return search.finish(best, margin, declared=first_frame_pulse is not None)


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


class _Search:
    def __init__(self, frame_s: Floats, pulse_s: Floats, resolution_s: float) -> None:
        self.frame_s, self.pulse_s = frame_s, pulse_s
        self.resolution_s = resolution_s
        self.cost = 0.0
        self.period = float(np.median(np.diff(pulse_s)))
        frame_period = float(np.median(np.diff(frame_s)))
        if abs(self.period / frame_period - 1) > _RATE_TOLERANCE:
            raise DataError(
                f"pulses come at {1 / self.period:.4g} Hz and frames at {1 / frame_period:.4g} Hz; is it the channel "
                "of the camera's trigger or exposure, and is --rate right? One pulse per frame is needed"
            )
        self.frame_intervals, self.pulse_intervals = Intervals.of(frame_s), Intervals.of(pulse_s)

    def candidates(self) -> list[_Candidate]:
        """Distinct alignments that are worth weighing."""
        found: list[_Candidate] = []
        for start, at_s in self._seeds():
            if not self._known(found, float(self.frame_s[start]), at_s):
                self._keep(found, self._follow(start, at_s))
        if not found:
            return found
        best = max(found, key=lambda one: len(one.frames) - one.n_events)
        shifts = self._shifts(best.line)
        shifts += [n * self.period for n in range(-_NEIGHBOURS, _NEIGHBOURS + 1) if n]
        for shift in shifts:
            line = _Line(best.line.from_s, best.line.at_s + shift, best.line.rate, best.line.sigma_s)
            if not self._known(found, line.from_s, line.at_s):
                self._keep(found, self._refit(line))
        return found

    def anchored(self, pulse: int) -> _Candidate:
        """The declared alignment."""
        if not 0 <= pulse < len(self.pulse_s):
            raise DataError(
                f"the first frame was declared to be pulse {pulse}; there are pulses 0 to {len(self.pulse_s) - 1}"
            )
        one = self._follow(0, float(self.pulse_s[pulse]))
        if not len(one.frames) or one.frames[0] != 0 or one.pulses[0] != pulse or len(one.frames) <= 2 * one.n_events:
            raise DataError(
                f"the first frame was declared to be pulse {pulse}, and {len(one.frames)} pairs with {one.n_events} "
                "leftovers are found from there on; check the number (pulses count from 0) and the channel"
            )
        return one

    def weigh(self, found: list[_Candidate]) -> None:
        """Fill in the evidence of each; a drop costs what the one with fewest leftovers says that it costs."""
        if not found:
            return
        best = max(found, key=lambda one: len(one.frames) - one.n_events)
        self.cost = drop_cost(best.n_events, len(best.frames))
        for one in found:
            one.nats = self._nats(one)

    def _nats(self, one: _Candidate, first: int = 0, last: int | None = None) -> float:
        """Evidence of the pairs whose frames are ``first`` to ``last``."""
        low = int(np.searchsorted(one.frames, first))
        high = len(one.frames) if last is None else int(np.searchsorted(one.frames, last, side="right"))
        return evidence(
            self.frame_s, self.pulse_s, one.frames[low:high], one.pulses[low:high], one.line.rate, self.resolution_s,
            self.cost, self.frame_intervals, self.pulse_intervals,
        )  # fmt: skip

    def nats_within(self, one: _Candidate, other: _Candidate) -> float:
        """Evidence of ``one`` on the frames that ``other`` covers."""
        return self._nats(one, int(other.frames[0]), int(other.frames[-1]))

    def least_lead(self, best: _Candidate, others: list[_Candidate]) -> float:
        """By how much ``best`` is ahead of its closest rival on the frames that the rival covers, nats."""
        enough = max(_SUPPORTED_NATS, _SUPPORTED_SHARE * best.nats)
        rivals = [one for one in others if one.nats >= enough]
        shifts = self._repeats(self.pulse_s, best.line.sigma_s, enough)
        shifts += self._repeats(self.frame_s, best.line.sigma_s, enough)
        for shift in shifts:
            for sign in (-1, 1):
                line = _Line(best.line.from_s, best.line.at_s + sign * shift, best.line.rate, best.line.sigma_s)
                rivals.append(self._candidate(line))
        leads = [
            self.nats_within(best, one) - self._nats(one)
            if len(one.frames) >= MIN_PAIRS
            else 0.0  # it covers nothing that could speak against it
            for one in rivals
        ]
        return min(leads, default=float("inf"))

    def _repeats(self, times_s: Floats, sigma_s: float, enough: float) -> list[float]:
        """Shifts at which a train supports itself."""
        itself = _Search(times_s, times_s, self.resolution_s)
        itself.cost = self.cost
        line = _Line(float(times_s[0]), float(times_s[0]), 1.0, sigma_s)
        found: list[float] = []
        for shift in [one for one in itself._shifts(line) if one > 0.5 * self.period][:_REPEATS]:
            moved = itself._refit(_Line(line.from_s, line.at_s + shift, 1.0, 1.5 * sigma_s))
            if itself._nats(moved) >= enough:
                found.append(shift)
        return found

    def first_pulse(self, one: _Candidate) -> int:
        """Number of the pulse that would be the first frame's, negative before the first pulse."""
        return int(one.pulses[0] - round((self.frame_s[one.frames[0]] - self.frame_s[0]) / self.period))

    def ambiguous_words(self, found: list[_Candidate]) -> str:
        near = [one for one in found if found[0].nats - one.nats < MARGIN_NATS][:6]
        shifts = ", ".join(
            f"{self.first_pulse(one)} ({len(one.frames)} pairs, {one.n_events} leftovers)" for one in near
        )
        if len(near) == 1:
            shifts += ", which alone is no proof"
        return (
            f"{len(self.frame_s)} frames fit {len(self.pulse_s)} pulses in more than one way: the intervals do not "
            f"tell which pulse is the first frame's; what fits: {shifts}. Declare it with --first-frame-is-pulse N "
            "where you know it (0 where both devices ran before the first pulse), and for the next time make the train "
            "irregular: a pause of a second or two every now and then, or jittered intervals"
        )

    def same(self, one: _Candidate, other: _Candidate) -> bool:
        """Whether most of the pairs that could be the same are."""
        common, a, b = np.intersect1d(one.frames, other.frames, assume_unique=True, return_indices=True)
        if len(common) < _SAME * min(len(one.frames), len(other.frames)):
            return False
        return bool(np.mean(one.pulses[a] == other.pulses[b]) > _SAME)

    def _known(self, found: list[_Candidate], frame_s: float, at_s: float) -> bool:
        """Whether a candidate already has this frame at this time."""
        return any(abs(one.line(np.array([frame_s]))[0] - at_s) < 0.25 * self.period for one in found)

    def _keep(self, found: list[_Candidate], one: _Candidate) -> None:
        if len(one.frames) < 2:
            return
        for place, other in enumerate(found):
            if self.same(one, other):
                if len(one.frames) - one.n_events > len(other.frames) - other.n_events:
                    found[place] = one
                return
        found.append(one)

    def _seeds(self) -> list[tuple[int, float]]:
        """(first frame, pulse time) of the best places of a few stretches of frames."""
        n = len(self.frame_s)
        many = len(self.pulse_s) > _MANY
        length = min(n, _SEED_FRAMES * 2 // 3 if many else _SEED_FRAMES)
        stretches = np.unique(np.linspace(0, n - length, 3 if many else 6).astype(int))
        seeds: list[tuple[int, float]] = []
        widest = 0.25 * self.period
        for stretch in stretches:
            # The first frame of a stretch may lack its pulse: then another one of it is tried.
            for start in {int(stretch), int(min(stretch + 3, n - length))}:
                offsets = self.frame_s[start : start + length] - self.frame_s[start]
                costs = np.empty(len(self.pulse_s))
                for block in range(0, len(self.pulse_s), 8192):
                    expected = self.pulse_s[block : block + 8192, None] + offsets
                    off = expected - self.pulse_s[_nearest(self.pulse_s, expected)]
                    off -= np.median(off, axis=1, keepdims=True)
                    costs[block : block + 8192] = np.minimum(np.abs(off), widest).mean(axis=1)
                best = np.argsort(costs, kind="stable")[:2]
                seeds += [(start, float(self.pulse_s[place])) for place in best]
        return seeds

    def _follow(self, start: int, at_s: float) -> _Candidate:
        """Fit a stretch, then more and more around it."""
        n = len(self.frame_s)
        low, high = start, min(n, start + _SEED_FRAMES)
        line = _Line(float(self.frame_s[start]), at_s)
        tolerance = 0.3 * self.period
        rate: float | None = (
            1.0  # at first: over a second the drift is nothing, and frames without a pulse would bend it
        )
        while True:
            frames, pulses = _match(line(self.frame_s[low:high]), self.pulse_s, tolerance)
            if len(frames) < 3:
                return self._candidate(line)
            line = self._fit(frames + low, pulses, rate)
            # The part that is new may lie a little off the line of the part that is not.
            tolerance = min(self._tolerance(line) + 0.02 * self.period, _WIDEST * self.period)
            if rate is not None:
                rate = None
            elif low == 0 and high == n:
                return self._candidate(self._tightened(line))
            else:
                grow = max(8, (high - low) // 2)
                low, high = max(0, low - grow), min(n, high + grow)

    def _tightened(self, line: _Line) -> _Line:
        """Fitted once more to what is within the tolerance."""
        frames, pulses = _match(line(self.frame_s), self.pulse_s, self._tolerance(line))
        return line if len(frames) < MIN_PAIRS else self._fit(frames, pulses)

    def _refit(self, line: _Line) -> _Candidate:
        frames, pulses = _match(line(self.frame_s), self.pulse_s, self._tolerance(line) + 0.1 * self.period)
        if len(frames) < MIN_PAIRS:
            return self._candidate(line)
        # The rate is kept at first, so that leftovers at the ends do not bend the line.
        return self._candidate(self._tightened(self._fit(frames, pulses, line.rate)))

    def _fit(self, frames: Ints, pulses: Ints, rate: float | None = None) -> _Line:
        """Iteratively reweighted least squares with Huber's weights."""
        origin = float(self.frame_s[frames[len(frames) // 2]])
        x, y = self.frame_s[frames] - origin, self.pulse_s[pulses]
        base, slope, sigma = y[0] - x[0], 0.0, 0.0
        slope = 0.0 if rate is None else rate - 1.0
        y = y - x - base  # what is left is small, so that nothing is lost by rounding
        level = _median(y - slope * x)
        for _ in range(3):
            off = y - level - slope * x
            sigma = max(_scatter(off), 1e-7)
            weight = 1.0 / np.maximum(1.0, np.abs(off) / (1.5 * sigma))
            total = weight.sum()
            mean_x, mean_y = float(weight @ x) / total, float(weight @ y) / total
            if rate is None:
                spread = float(weight @ (x - mean_x) ** 2)
                slope = float(weight @ ((x - mean_x) * (y - mean_y))) / spread if spread > 0 else 0.0
                slope = min(max(slope, -_MAX_DRIFT), _MAX_DRIFT)
            level = float(mean_y - slope * mean_x)
        level, slope = level + float(base), slope + 1.0
        return _Line(origin, level, slope, sigma)

    def _tolerance(self, line: _Line) -> float:
        least = max(_MIN_TOLERANCE_S, 1.5 * self.resolution_s, 0.002 * self.period)
        return min(max(_SIGMAS * line.sigma_s, least), _WIDEST * self.period)

    def _candidate(self, line: _Line) -> _Candidate:
        expected = line(self.frame_s)
        tolerance = self._tolerance(line)
        frames, pulses = _match(expected, self.pulse_s, tolerance)
        inside = (expected >= self.pulse_s[0] - tolerance) & (expected <= self.pulse_s[-1] + tolerance)
        covered = (self.pulse_s >= expected[0] - tolerance) & (self.pulse_s <= expected[-1] + tolerance)
        n_events = int(inside.sum() + covered.sum() - 2 * len(frames))
        return _Candidate(line, frames, pulses, n_events)

    def _shifts(self, line: _Line) -> list[float]:
        """Shifts of the whole train, on top of ``line``, at which most frames meet a pulse and least is left over."""
        expected = line(self.frame_s)
        step = self.period / _BINS_PER_PERIOD
        n_f, n_p = (int((one[-1] - one[0]) / step) + 2 for one in (expected, self.pulse_s))
        size = 1 << (n_f + n_p + 8).bit_length()
        if size > _MAX_BINS:
            return []
        reach = int(np.clip(np.ceil(3 * line.sigma_s / step), 1, _BINS_PER_PERIOD // 2 - 1))
        frames, pulses = np.zeros(size), np.zeros(size)
        np.add.at(frames, ((expected - expected[0]) / step).astype(int), 1.0)
        at = ((self.pulse_s - self.pulse_s[0]) / step).astype(int)
        for off in range(-reach, reach + 1):
            pulses[(at + off) % size] = 1.0
        met = np.fft.irfft(np.fft.rfft(pulses) * np.conj(np.fft.rfft(frames)), size)
        lags = np.arange(-n_f, n_p)
        met = met[lags % size]
        shift = lags * step + (self.pulse_s[0] - expected[0])
        low, high = self.pulse_s[0], self.pulse_s[-1]
        frames_in = np.searchsorted(expected, high - shift + step) - np.searchsorted(expected, low - shift - step)
        low_f, high_f = expected[0] + shift - step, expected[-1] + shift + step
        pulses_in = np.searchsorted(self.pulse_s, high_f) - np.searchsorted(self.pulse_s, low_f)
        score = 1.02 * met - np.maximum(frames_in - met, 0) - np.maximum(pulses_in - met, 0)
        found: list[float] = []
        order = np.argsort(-score, kind="stable")
        taken = np.zeros(len(lags) + 2 * _BINS_PER_PERIOD, bool)
        for place in order:
            if met[place] < MIN_PAIRS or len(found) >= _SHIFTS:
                break
            if not taken[place + _BINS_PER_PERIOD]:
                half = _BINS_PER_PERIOD // 2
                taken[place + _BINS_PER_PERIOD - half : place + _BINS_PER_PERIOD + half + 1] = True
                found.append(float(shift[place]))
        return found

    def finish(self, best: _Candidate, margin: float, *, declared: bool) -> Alignment:
        """The pairs of the accepted line, its slow wander taken out."""
        line = best.line
        frames, pulses = best.frames, best.pulses
        expected = line(self.frame_s)
        if len(frames) > 2 * _WANDER_PAIRS:
            wander = median_filter(self.pulse_s[pulses] - expected[frames], _WANDER_PAIRS, mode="nearest")
            expected = expected + np.interp(np.arange(len(expected)), frames, wander)
        off = self.pulse_s[pulses] - expected[frames]
        sigma = _scatter(off)
        if sigma > _MAX_SCATTER * self.period:
            raise DataError(
                f"frames and pulses scatter by {1e3 * sigma:.2f} ms around each other at a period of "
                f"{1e3 * self.period:.2f} ms; one cannot tell which belongs to which: use the camera's own clock for "
                "the frames (time source device), not their arrival"
            )
        tolerance = self._tolerance(_Line(0.0, 0.0, 1.0, sigma))
        frames, pulses = _match(expected, self.pulse_s, tolerance)
        ambiguous = np.zeros(len(self.frame_s), bool)
        rivals = (
            np.searchsorted(self.pulse_s, expected[frames] + tolerance, side="right")
            - np.searchsorted(self.pulse_s, expected[frames] - tolerance, side="left")
        )  # fmt: skip
        ambiguous[frames[rivals > 1]] = True
        frames, pulses = frames[rivals <= 1], pulses[rivals <= 1]
        pulse_of = np.full(len(self.frame_s), -1, np.int64)
        frame_of = np.full(len(self.pulse_s), -1, np.int64)
        pulse_of[frames], frame_of[pulses] = pulses, frames
        residual = np.full(len(self.frame_s), np.nan)
        residual[frames] = 1e6 * (self.pulse_s[pulses] - line(self.frame_s[frames]))
        times = expected.copy()
        times[frames] = self.pulse_s[pulses]
        back = line.from_s + (self.pulse_s - line.at_s) / line.rate
        back[pulses] = self.frame_s[frames]
        size = np.abs(residual[frames])
        p50, p99, most = (float(one) for one in np.quantile(size, (0.5, 0.99, 1.0))) if len(size) else (0.0, 0.0, 0.0)
        inside = (expected >= self.pulse_s[0] - tolerance) & (expected <= self.pulse_s[-1] + tolerance)
        covered = (self.pulse_s >= expected[0] - tolerance) & (self.pulse_s <= expected[-1] + tolerance)
        return Alignment(
            pulse_of, frame_of, times, back, residual, ambiguous, inside, covered, float(line(self.frame_s[:1])[0]),
            1e6 * (line.rate - 1), 1e6 * tolerance, p50, p99, most, best.nats, margin, declared,
        )  # fmt: skip


def _median(values: Floats) -> float:
    """The upper median; a tenth of the time of numpy's for short arrays."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def _scatter(values: Floats) -> float:
    """Standard deviation of the bulk of normal values, from their median distance to their median."""
    return 1.4826 * _median(np.abs(values - _median(values)))


def _nearest(times_s: Floats, wanted_s: Floats) -> Ints:
    right = np.clip(np.searchsorted(times_s, wanted_s), 1, len(times_s) - 1)
    return right - (wanted_s - times_s[right - 1] < times_s[right] - wanted_s)


def _match(expected_s: Floats, pulse_s: Floats, tolerance_s: float) -> tuple[Ints, Ints]:
    """Pairs (frame, pulse), both rising: each frame's nearest pulse, each pulse's nearest frame, none too far off."""
    nearest = _nearest(pulse_s, expected_s)
    off = np.abs(pulse_s[nearest] - expected_s)
    frames = np.flatnonzero(off <= tolerance_s)
    # Of the frames that want the same pulse the nearest has it.
    order = frames[np.lexsort((off[frames], nearest[frames]))]
    first = np.concatenate([[True], np.diff(nearest[order]) > 0]) if len(order) else np.zeros(0, bool)
    frames = np.sort(order[first])
    return frames, nearest[frames]
