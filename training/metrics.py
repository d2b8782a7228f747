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
    column.
    """

    n_frames: int
    n_undecided: int
    accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    per_class: dict[str, ClassScores]
    confusion_matrix: list[list[int]]

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
    known = truth >= 0
    truth, predicted = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    n_classes, n = len(classes), len(truth)
    decided = predicted >= 0
    matrix = np.bincount(truth[decided] * n_classes + predicted[decided], minlength=n_classes * n_classes)
    matrix = matrix.reshape(n_classes, n_classes)
    support = np.bincount(truth, minlength=n_classes)
    hits = np.diag(matrix)
    per_class: dict[str, ClassScores] = {}
    for place, name in enumerate(classes):
        n_true, n_said, n_hit = int(support[place]), int(matrix[:, place].sum()), int(hits[place])
        if not n_true:
            per_class[name] = ClassScores(None, None, None, None, 0)
            continue
        per_class[name] = ClassScores(
            precision=n_hit / n_said if n_said else None,
            recall=n_hit / n_true,
            f1=2 * n_hit / (n_true + n_said),
            pr_auc=None if p is None else average_precision(truth == place, p[known][:, place]),
            support=n_true,
        )
    recalls = [entry.recall for entry in per_class.values() if entry.recall is not None]
    f1s = [entry.f1 for entry in per_class.values() if entry.f1 is not None]
    return Scores(
        n_frames=n,
        n_undecided=int(n - decided.sum()),
        accuracy=float(hits.sum() / n) if n else None,
        balanced_accuracy=float(np.mean(recalls)) if recalls else None,
        macro_f1=float(np.mean(f1s)) if f1s else None,
        per_class=per_class,
        confusion_matrix=matrix.tolist(),
    )


def average_precision(truth: NDArray[np.bool_], p: NDArray[np.floating]) -> float | None:
    """Area under the precision-recall curve as the step sum of precision over recall; None without a positive."""
    n_positive = int(truth.sum())
    if not n_positive:
        return None
    order = np.argsort(-p, kind="stable")
    ranked, values = truth[order], p[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    hits = np.cumsum(ranked)[last_of_tie]
    precision = hits / (last_of_tie + 1)
    return float(np.sum(np.diff(hits, prepend=0) / n_positive * precision))


def agreement(one: NDArray[np.integer], other: NDArray[np.integer]) -> dict[str, float | int | None]:
    """Share of equal labels over frames that both label, and Cohen's kappa (None where it is undefined)."""
    both = (one >= 0) & (other >= 0)
    a, b = one[both].astype(np.int64), other[both].astype(np.int64)
    if not len(a):
        return {"n_frames": 0, "agreement": None, "kappa": None}
    n_classes = int(max(a.max(), b.max())) + 1
    observed = float(np.mean(a == b))
    share_a = np.bincount(a, minlength=n_classes) / len(a)
    share_b = np.bincount(b, minlength=n_classes) / len(b)
    chance = float(np.sum(share_a * share_b))
    return {
        "n_frames": len(a),
        "agreement": observed,
        "kappa": None if chance == 1.0 else (observed - chance) / (1.0 - chance),
    }
