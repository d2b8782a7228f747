"""How far people agree with each other: what no model can be expected to exceed. Only numpy.

Cohen 1960 for two raters, Fleiss 1971 for several.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .bouts import bout_counts, bout_figures
from .frames import agreement, known_value, score

LABELS: Final = "labels"
"""Name of the labels that a model is scored against, where they stand beside other raters'."""


def rater_figures(raters: Mapping[str, Sequence[NDArray[np.integer]]], classes: Sequence[str]) -> dict[str, Any]:
    """Agreement of every pair of raters, and of all.

    Args:
        raters: by name, class indices of the same recordings in the same order, each (n,); below 0: not labelled.
        classes: names.

    Returns:
        ``pairs``: a list of ``first``, ``second``, ``n_frames``, ``agreement``, ``kappa``, ``macro_f1`` (the second
        scored against the first) and ``bout_f1`` over the frames that both label; ``fleiss_kappa`` and
        ``n_frames_all`` over the frames that all label.
    """
    whole = {name: joined(parts) for name, parts in raters.items()}
    pairs = [_pair(first, second, whole[first], whole[second], classes) for first, second in combinations(whole, 2)]
    stacked = np.stack(list(whole.values())) if whole else np.zeros((0, 0), np.int64)
    return {
        "names": list(whole),
        "pairs": pairs,
        "fleiss_kappa": fleiss_kappa(stacked),
        "n_frames_all": int((stacked >= 0).all(0).sum()) if whole else 0,
    }


def fleiss_kappa(labels: NDArray[np.integer]) -> float | None:
    """Agreement beyond chance of several raters over the frames that all label; None where it is undefined.

    Args:
        labels: class indices [raters, n]; below 0: not labelled.
    """
    n_raters = len(labels)
    if n_raters < 2:
        return None
    shared = labels[:, (labels >= 0).all(0)].astype(np.int64)
    if not shared.shape[1]:
        return None
    n_classes = int(shared.max()) + 1
    votes = np.stack([(shared == place).sum(0) for place in range(n_classes)], axis=1)
    observed = float(((votes**2).sum(1) - n_raters).mean()) / (n_raters * (n_raters - 1))
    shares = votes.sum(0) / votes.sum()
    chance = float((shares**2).sum())
    return None if chance == 1.0 else (observed - chance) / (1.0 - chance)


def joined(parts: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    """Recordings in a row, an unlabelled frame between each two so that no bout reaches across."""
    rows: list[NDArray[np.int64]] = []
    for part in parts:
        rows += [np.maximum(part.astype(np.int64), -1), np.full(1, -1, np.int64)]
    return np.concatenate(rows[:-1]) if rows else np.zeros(0, np.int64)


def _pair(
    first: str, second: str, one: NDArray[np.int64], other: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, Any]:
    both = (one >= 0) & (other >= 0)
    truth, said = np.where(both, one, -1), np.where(both, other, -1)
    return {
        "first": first,
        "second": second,
        **agreement(truth, said),
        "macro_f1": score(truth, said, classes).macro_f1,
        "bout_f1": known_value(bout_figures(bout_counts(truth, said, len(classes)))["bout_f1"]),
    }
