"""Every place where a train of frames could lie on a train of pulses. Pure."""

from collections.abc import Iterator

import numpy as np

from .errors import DataError
from .pulse_line import MIN_PAIRS, STRETCH_FRAMES, Candidate, Floats, Ints, Line, Trains, nearest

_MANY = 20_000
"""Pulses; beyond it fewer and shorter stretches are tried everywhere."""
_SHIFTS = 16
_NEIGHBOURS = 3
_BINS_PER_PERIOD = 8
_MAX_BINS = 1 << 26
_SAME = 0.5


def candidates(trains: Trains) -> list[Candidate]:
    """Distinct alignments that are worth weighing, found from stretches of frames and from shifts of the best."""
    found: list[Candidate] = []
    for start, at_s in _seeds(trains):
        if not _known(trains, found, float(trains.frame_s[start]), at_s):
            _keep(found, trains.follow(start, at_s))
    if not found:
        return found
    best = max(found, key=lambda one: one.agreement).line
    neighbours = [n * trains.period for n in range(-_NEIGHBOURS, _NEIGHBOURS + 1) if n]
    for shift in shifts(trains, best) + neighbours:
        line = best.shifted(shift)
        if not _known(trains, found, line.from_s, line.at_s):
            _keep(found, trains.refit(line))
    return found


def anchored(trains: Trains, pulse: int) -> Candidate:
    """The alignment whose first frame is declared to be a pulse.

    Raises:
        DataError: there is no such pulse, or what follows does not fit.
    """
    if not 0 <= pulse < len(trains.pulse_s):
        raise DataError(
            f"the first frame was declared to be pulse {pulse}; there are pulses 0 to {len(trains.pulse_s) - 1}"
        )
    one = trains.follow(0, float(trains.pulse_s[pulse]))
    if not len(one.frames) or one.frames[0] != 0 or one.pulses[0] != pulse or len(one.frames) <= 2 * one.n_events:
        raise DataError(
            f"the first frame was declared to be pulse {pulse}, and {len(one.frames)} pairs with {one.n_events} "
            "leftovers are found from there on; check the number (pulses count from 0) and the channel"
        )
    return one


def same(one: Candidate, other: Candidate) -> bool:
    """Whether most of the pairs that could be the same are."""
    common, a, b = np.intersect1d(one.frames, other.frames, assume_unique=True, return_indices=True)
    if len(common) < _SAME * min(len(one.frames), len(other.frames)):
        return False
    return bool(np.mean(one.pulses[a] == other.pulses[b]) > _SAME)


def _known(trains: Trains, found: list[Candidate], frame_s: float, at_s: float) -> bool:
    """Whether a candidate already has this frame at this time."""
    return any(abs(one.line(np.array([frame_s]))[0] - at_s) < 0.25 * trains.period for one in found)


def _keep(found: list[Candidate], one: Candidate) -> None:
    if len(one.frames) < 2:
        return
    for place, other in enumerate(found):
        if same(one, other):
            if one.agreement > other.agreement:
                found[place] = one
            return
    found.append(one)


def _seeds(trains: Trains) -> Iterator[tuple[int, float]]:
    """(first frame, pulse time) of the best places of a few stretches of frames."""
    frame_s, pulse_s = trains.frame_s, trains.pulse_s
    n, many = len(frame_s), len(pulse_s) > _MANY
    length = min(n, STRETCH_FRAMES * 2 // 3 if many else STRETCH_FRAMES)
    for stretch in np.unique(np.linspace(0, n - length, 3 if many else 6).astype(int)):
        # The first frame of a stretch may lack its pulse: then another one of it is tried.
        for start in {int(stretch), int(min(stretch + 3, n - length))}:
            costs = _costs(frame_s[start : start + length] - frame_s[start], pulse_s, 0.25 * trains.period)
            for place in np.argsort(costs, kind="stable")[:2]:
                yield start, float(pulse_s[place])


def _costs(offsets_s: Floats, pulse_s: Floats, widest_s: float) -> Floats:
    """(m,) seconds: how badly a stretch fits where its first frame is laid onto each pulse."""
    costs = np.empty(len(pulse_s))
    for block in range(0, len(pulse_s), 8192):
        expected = pulse_s[block : block + 8192, None] + offsets_s
        off = expected - pulse_s[nearest(pulse_s, expected)]
        off -= np.median(off, axis=1, keepdims=True)
        costs[block : block + 8192] = np.minimum(np.abs(off), widest_s).mean(axis=1)
    return costs


def shifts(trains: Trains, line: Line) -> list[float]:
    """Shifts of the whole train, on top of ``line``, at which most frames meet a pulse and least is left over."""
    expected, pulse_s = line(trains.frame_s), trains.pulse_s
    step = trains.period / _BINS_PER_PERIOD
    reach = int(np.clip(np.ceil(3 * line.sigma_s / step), 1, _BINS_PER_PERIOD // 2 - 1))
    lags, met = _meetings(expected - expected[0], pulse_s - pulse_s[0], step, reach)
    shift = lags * step + (pulse_s[0] - expected[0])
    low, high = pulse_s[0], pulse_s[-1]
    frames_in = np.searchsorted(expected, high - shift + step) - np.searchsorted(expected, low - shift - step)
    low_f, high_f = expected[0] + shift - step, expected[-1] + shift + step
    pulses_in = np.searchsorted(pulse_s, high_f) - np.searchsorted(pulse_s, low_f)
    score = 1.02 * met - np.maximum(frames_in - met, 0) - np.maximum(pulses_in - met, 0)
    found: list[float] = []
    half = _BINS_PER_PERIOD // 2
    taken = np.zeros(len(lags) + 2 * half, bool)
    for place in np.argsort(-score, kind="stable"):
        if met[place] < MIN_PAIRS or len(found) >= _SHIFTS:
            break
        if not taken[place + half]:
            taken[place : place + 2 * half + 1] = True
            found.append(float(shift[place]))
    return found


def _meetings(frame_s: Floats, pulse_s: Floats, step_s: float, reach: int) -> tuple[Ints, Floats]:
    """Lags in steps, and how many frames meet a pulse within ``reach`` steps at each, by a fast Fourier transform.

    Both trains begin at 0. Nothing where they are too long for it.
    """
    n_f, n_p = (int(one[-1] / step_s) + 2 for one in (frame_s, pulse_s))
    size = 1 << (n_f + n_p + 8).bit_length()
    if size > _MAX_BINS:
        return np.zeros(0, np.int64), np.zeros(0)
    frames, pulses = np.zeros(size), np.zeros(size)
    np.add.at(frames, (frame_s / step_s).astype(int), 1.0)
    at = (pulse_s / step_s).astype(int)
    for off in range(-reach, reach + 1):
        pulses[(at + off) % size] = 1.0
    met = np.fft.irfft(np.fft.rfft(pulses) * np.conj(np.fft.rfft(frames)), size)
    lags = np.arange(-n_f, n_p)
    return lags, met[lags % size]
