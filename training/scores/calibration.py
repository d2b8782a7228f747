"""Are probabilities worth their name? Reliability curves, the expected calibration error, the Brier score. Only numpy.

Guo et al. 2017 for the error over equal bins, Brier 1950 for the score.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

N_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often it was so, by how probable it was said to be, in equal bins from 0 to 1.

    Attributes:
        n: cases in each bin, int64 [bins].
        mean_p: what was said on average, float64 [bins]; NaN in an empty bin.
        share: how often it was so, float64 [bins]; NaN in an empty bin.
    """

    n: NDArray[np.int64]
    mean_p: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def error(self) -> float | None:
        """Expected calibration error: the mean distance of both over all cases; None without any."""
        total = int(self.n.sum())
        if not total:
            return None
        there = self.n > 0
        return float(np.sum(self.n[there] * np.abs(self.share[there] - self.mean_p[there])) / total)


def reliability(p: NDArray[np.floating], happened: NDArray[np.bool_], n_bins: int = N_BINS) -> Reliability:
    """Sort cases by their probability into bins.

    Args:
        p: (n,) from 0 to 1.
        happened: bool (n,).
        n_bins: of equal width; each holds its upper edge, the first one 0 as well.
    """
    values = p.astype(np.float64)
    place = np.clip(np.ceil(values * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    n = np.bincount(place, minlength=n_bins)
    there = n > 0
    mean_p, share = np.full(n_bins, np.nan), np.full(n_bins, np.nan)
    np.divide(np.bincount(place, weights=values, minlength=n_bins), n, out=mean_p, where=there)
    np.divide(np.bincount(place, weights=happened.astype(np.float64), minlength=n_bins), n, out=share, where=there)
    return Reliability(n, mean_p, share)


def top_reliability(truth: NDArray[np.integer], p: NDArray[np.floating]) -> Reliability:
    """Of the most probable class: how often it is the true one; frames with a truth below 0 are left out."""
    known = truth >= 0
    shown = p[known]
    return reliability(shown.max(1) if len(shown) else np.zeros(0), shown.argmax(1) == truth[known])


def calibration_scores(truth: NDArray[np.integer], p: NDArray[np.floating]) -> dict[str, Any]:
    """``ece`` (of the most probable class), ``brier`` and ``n_bins``, as plain values; None without a labelled frame.

    Args:
        truth: (n,) class index, below 0: not labelled.
        p: (n, c) probabilities.
    """
    known = truth >= 0
    brier = None
    if known.any():
        exact = np.zeros((int(known.sum()), p.shape[1]))
        exact[np.arange(len(exact)), truth[known]] = 1.0
        brier = float(((p[known] - exact) ** 2).sum(1).mean())
    return {"ece": top_reliability(truth, p).error, "brier": brier, "n_bins": N_BINS}
