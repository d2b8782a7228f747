"""What a model answers, without its video: a model of its probabilities, fitted to real answers of the real bundle.

Probabilities are taken as centred log ratios y (log p less its mean over the classes). A bout of class c that follows
one of class b settles at ``to`` = mean of c + an offset of its own (a whole bout may be harder than another), and comes
from where the one before it had settled:

    onset, the first `ONSET_S`:  y(k) = from + w(k) (to - from) + q(k)
    settled, all that follows:   y(k) = to + r(k),     r(k) = phi r(k - 1) + e(k)    by component

Offset, course w(k) and deviation q(k) are those of one real bout of c after b, drawn at random: most false answers
fall into a change of behaviour, when the body passes through postures of a third one. e(k) is drawn from the real
innovations of the class, as whole vectors, so that their tails and their correlation between classes are kept. What is
not in it: that a certain posture is hard again and again, and anything that lasts longer than a bout.
"""

from dataclasses import dataclass

import numpy as np
from ethostream.training.stabilising.raw_answers import RawAnswers
from numpy.typing import NDArray
from scipy.signal import lfilter

ONSET_S = 0.5
FLOOR = 1e-6  # of a probability, before its logarithm
MAX_PHI = 0.995
Floats = NDArray[np.float64]


def log_ratios(p: NDArray[np.floating]) -> Floats:
    """(n, c) probabilities as centred log ratios."""
    y = np.log(np.maximum(p.astype(np.float64), FLOOR))
    return y - y.mean(axis=1, keepdims=True)


def bouts_of(truth: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """First frame, frame after the last, class of every bout."""
    edges = np.flatnonzero(np.diff(truth, prepend=-2))
    return [
        (int(start), int(stop), int(truth[start]))
        for start, stop in zip(edges, np.append(edges[1:], len(truth)), strict=True)
    ]


@dataclass(frozen=True)
class RealBout:
    """What is drawn again: offset (c,), course of the onset (n,) and deviation from it (n, c)."""

    offset: Floats
    course: Floats
    deviation: Floats


@dataclass(frozen=True)
class ClassifierNoise:
    """The fitted model.

    Attributes:
        means: (c, c) mean of the settled part of bouts, by class.
        bouts: (class before, class) -> its real bouts; with None before: those after any.
        phi: (c,) autoregression from frame to frame.
        innovations: by class (frames, c).
        n_onset: frames of an onset.
    """

    means: Floats
    bouts: dict[tuple[int | None, int], list[RealBout]]
    phi: Floats
    innovations: list[Floats]
    n_onset: int

    @classmethod
    def fit(cls, recordings: list[RawAnswers], n_classes: int, rate_hz: float) -> "ClassifierNoise":
        """Fit to answers of the real model at ``rate_hz``."""
        n_onset = round(ONSET_S * rate_hz)
        streams = [(log_ratios(one.p), bouts_of(one.truth)) for one in recordings]
        levels = [[_settled(y, start, stop, n_onset) for start, stop, _ in bouts] for y, bouts in streams]
        kinds = [[kind for _, _, kind in bouts] for _, bouts in streams]
        flat = [(level, kind) for ls, ks in zip(levels, kinds, strict=True) for level, kind in zip(ls, ks, strict=True)]
        means = np.stack([np.mean([level for level, kind in flat if kind == c], axis=0) for c in range(n_classes)])
        found: dict[tuple[int | None, int], list[RealBout]] = {}
        residuals: list[tuple[Floats, int]] = []
        for (y, bouts), own in zip(streams, levels, strict=True):
            for place in range(1, len(bouts)):
                start, stop, kind = bouts[place]
                here = y[start : min(stop, start + n_onset)]
                step = own[place] - own[place - 1]
                course = (here - own[place - 1]) @ step / max(float(step @ step), 1e-9)
                deviation = here - own[place - 1] - course[:, None] * step
                bout = RealBout(own[place] - means[kind], course, deviation)
                for before in (bouts[place - 1][2], None):
                    found.setdefault((before, kind), []).append(bout)
                if stop - start > n_onset + 2:
                    residuals.append((y[start + n_onset : stop] - own[place], kind))
        now = np.concatenate([r[1:] for r, _ in residuals])
        last = np.concatenate([r[:-1] for r, _ in residuals])
        phi = np.clip((now * last).sum(axis=0) / (last * last).sum(axis=0), 0.0, MAX_PHI)
        pools = [np.concatenate([r[1:] - phi * r[:-1] for r, kind in residuals if kind == c]) for c in range(n_classes)]
        return cls(means, found, phi, [pool - pool.mean(axis=0) for pool in pools], n_onset)

    def draw(self, truth: NDArray[np.integer], random: np.random.Generator) -> NDArray[np.float32]:
        """Probabilities (n, c) for a true course of behaviour at the rate of the fit."""
        n_classes = len(self.means)
        noise = np.empty((len(truth), n_classes))
        for kind, pool in enumerate(self.innovations):
            here = truth == kind
            noise[here] = pool[random.integers(len(pool), size=int(here.sum()))]
        y = np.empty_like(noise)
        level: Floats | None = None
        last = -1
        for start, stop, kind in bouts_of(truth):
            pool = self.bouts.get((last, kind)) or self.bouts[None, kind]
            bout = pool[int(random.integers(len(pool)))]
            before, level, last = level, self.means[kind] + bout.offset, kind
            y[start:stop] = level
            if before is None:
                continue
            n = min(len(bout.course), stop - start)
            y[start : start + n] = before + bout.course[:n, None] * (level - before) + bout.deviation[:n]
            noise[start : start + n] = 0.0  # what is real needs no more
            if start + n < stop:
                noise[start + n] += self.phi * bout.deviation[n - 1]  # and goes on from there
        for component in range(n_classes):
            y[:, component] += lfilter([1.0], [1.0, -self.phi[component]], noise[:, component])
        odds = np.exp(y - y.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def _settled(y: Floats, start: int, stop: int, n_onset: int) -> Floats:
    """Mean of what follows the onset; of a short bout, of its last third."""
    return y[min(start + n_onset, stop - max(1, (stop - start) // 3)) : stop].mean(axis=0)


def confusion(recordings: list[RawAnswers], n_classes: int) -> list[list[float]]:
    """Share of each true class (rows) that is most probable as each class (columns)."""
    matrix = np.zeros((n_classes, n_classes))
    for one in recordings:
        np.add.at(matrix, (one.truth, one.p.argmax(axis=1)), 1.0)
    return (matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)).round(4).tolist()


def autocorrelation(recordings: list[RawAnswers], lags: tuple[int, ...]) -> dict[int, float]:
    """Of the probability that the true class gets: correlation of frames of one bout that are so many frames apart."""
    result: dict[int, float] = {}
    for lag in lags:
        first: list[NDArray[np.float32]] = []
        second: list[NDArray[np.float32]] = []
        for one in recordings:
            right = one.p[np.arange(len(one.p)), one.truth]
            for start, stop, _ in bouts_of(one.truth):
                if stop - start > lag:
                    first.append(right[start : stop - lag])
                    second.append(right[start + lag : stop])
        result[lag] = round(float(np.corrcoef(np.concatenate(first), np.concatenate(second))[0, 1]), 3)
    return result
