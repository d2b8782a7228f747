"""Frame-wise scores of a classifier. What is undefined is None, never 0: a class that the truth does not hold has none.

Definitions follow scikit-learn (and are tested against it), with one difference: averages run over the classes that
occur in the truth. Only numpy is needed, so that a rig without the training libraries can score a run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class. ``support`` is the number of true frames; ``pr_auc`` the average precision."""

    precision: float | None
    recall: float | None
    f1: float | None
    pr_auc: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores over the labelled frames. ``confusion_matrix`` rows are the truth, columns the prediction, class order.

    A prediction that names no class (index below 0: no label yet) is wrong, and stands in ``n_undecided`` instead of a
    column. ``macro_precision`` counts a class that was never named as 0, as scikit-learn does; ``kappa`` is Cohen's.
    """

    n_frames: int
    n_undecided: int
    accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    per_class: dict[str, ClassScores]
    confusion_matrix: list[list[int]]
    macro_precision: float | None = None
    macro_pr_auc: float | None = None
    kappa: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def score(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    classes: Sequence[str],
    p: NDArray[np.floating] | None = None,
) -> Scores:
    """Compare predicted with true class indices.

    Args:
        truth: int [n]; frames below 0 are not labelled and are left out.
        predicted: int [n]; below 0: no class.
        classes: names.
        p: probabilities [n, c] for ``pr_auc``; None leaves it None.
    """
    counts = frame_counts(truth, predicted, len(classes))
    figures = frame_figures(counts)
    matrix, support = counts[:, :-1], counts.sum(1)
    known = truth >= 0
    per_class: dict[str, ClassScores] = {}
    for place, name in enumerate(classes):
        n_true, n_said, n_hit = int(support[place]), int(matrix[:, place].sum()), int(matrix[place, place])
        if not n_true:
            per_class[name] = ClassScores(None, None, None, None, 0)
            continue
        per_class[name] = ClassScores(
            precision=n_hit / n_said if n_said else None,
            recall=n_hit / n_true,
            f1=2 * n_hit / (n_true + n_said),
            pr_auc=None if p is None else average_precision(truth[known] == place, p[known][:, place]),
            support=n_true,
        )
    areas = [entry.pr_auc for entry in per_class.values() if entry.pr_auc is not None]
    return Scores(
        n_frames=int(support.sum()),
        n_undecided=int(counts[:, -1].sum()),
        accuracy=known_value(figures["accuracy"]),
        balanced_accuracy=known_value(figures["balanced_accuracy"]),
        macro_f1=known_value(figures["macro_f1"]),
        per_class=per_class,
        confusion_matrix=matrix.tolist(),
        macro_precision=known_value(figures["macro_precision"]),
        macro_pr_auc=float(np.mean(areas)) if areas else None,
        kappa=known_value(figures["kappa"]),
    )


def frame_counts(truth: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """Labelled frames by true class (row) and prediction (column; the last one: no class), int64 [c, c + 1]."""
    known = truth >= 0
    rows, columns = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    columns = np.where(columns >= 0, columns, n_classes)
    width = n_classes + 1
    return np.bincount(rows * width + columns, minlength=n_classes * width).reshape(n_classes, width)


def frame_figures(counts: NDArray[np.integer] | NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Scores from counts [..., c, c + 1] of `frame_counts`: each [...], or [..., c] by class; NaN where undefined.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``macro_precision``, ``kappa`` and ``f1_by_class``.
    """
    values = counts.astype(np.float64)
    hits = np.diagonal(values[..., :-1], axis1=-2, axis2=-1)
    support, said, n = values.sum(-1), values[..., :-1].sum(-2), values.sum((-2, -1))
    present = support > 0
    n_present = present.sum(-1)
    recall = divided(hits, support)
    f1 = np.where(present, divided(2.0 * hits, support + said), np.nan)
    precision = np.where(said > 0, divided(hits, said), 0.0)
    observed = divided(hits.sum(-1), n)
    chance = divided((support * said).sum(-1), n * n)

    def mean(by_class: NDArray[np.float64]) -> NDArray[np.float64]:
        return divided(np.where(present, by_class, 0.0).sum(-1), n_present)

    return {
        "accuracy": observed,
        "balanced_accuracy": mean(recall),
        "macro_f1": mean(f1),
        "macro_precision": mean(precision),
        "kappa": divided(observed - chance, np.where(chance < 1.0, 1.0 - chance, 0.0)),
        "f1_by_class": f1,
    }


def precision_recall(
    truth: NDArray[np.bool_], p: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and threshold, each [k], falling thresholds: frames with p at or above it are named.

    Args:
        truth: bool [n], with at least one True.
        p: [n] probability of the class.
    """
    order = np.argsort(-p, kind="stable")
    ranked, values = truth[order], p[order].astype(np.float64)
    last_of_tie = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    hits = np.cumsum(ranked)[last_of_tie]
    return hits / (last_of_tie + 1), hits / truth.sum(), values[last_of_tie]


def average_precision(truth: NDArray[np.bool_], p: NDArray[np.floating]) -> float | None:
    """Area under the precision-recall curve as the step sum of precision over recall; None without a positive."""
    if not truth.any():
        return None
    precision, recall, _ = precision_recall(truth, p)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def agreement(one: NDArray[np.integer], other: NDArray[np.integer]) -> dict[str, float | int | None]:
    """Share of equal labels over frames that both label, and Cohen's kappa (None where it is undefined)."""
    both = (one >= 0) & (other >= 0)
    a, b = one[both].astype(np.int64), other[both].astype(np.int64)
    if not len(a):
        return {"n_frames": 0, "agreement": None, "kappa": None}
    figures = frame_figures(frame_counts(a, b, int(max(a.max(), b.max())) + 1))
    return {"n_frames": len(a), "agreement": known_value(figures["accuracy"]), "kappa": known_value(figures["kappa"])}


def known_value(value: NDArray[np.float64] | np.float64) -> float | None:
    """A score for JSON: None for NaN."""
    return None if np.isnan(value) else float(value)


def divided(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Above over below, NaN where below is 0."""
    result = np.full(np.broadcast_shapes(np.shape(above), np.shape(below)), np.nan)
    np.divide(above, below, out=result, where=np.asarray(below) > 0)
    return result
