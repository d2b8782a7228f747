"""Bouts instead of frames: are the stretches found, how often are they torn, how late do they begin. Only numpy.

A bout is a stretch of frames of one class without another class or an unscored frame in between. Definitions stand in
``docs/metrics.md``; delays and false detections are those of `onset_scores`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..stretches import bout_runs
from .answers_file import RecordingAnswers
from .frames import divided, known_value
from .onsets import TOLERANCE_MS, OnsetScores, pooled, score_onsets, trigger_truth

IOU: Final = 0.5
"""Least overlap (frames in both over frames in either) of a true and a predicted bout that are taken for the same."""
FEW_BOUTS: Final = 10
"""A class with fewer true bouts is hardly learnt, and its scores hang on single bouts."""
TRUE, PREDICTED, MATCHED = 0, 1, 2
"""Columns of what `bout_counts` counts."""


def matched_pairs(
    true_starts: NDArray[np.int64],
    true_stops: NDArray[np.int64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    iou: float = IOU,
) -> list[tuple[int, int]]:
    """Pairs (true, predicted) of one class that overlap by ``iou`` or more: as many as can be, each bout in one.

    Bouts of one class do not overlap each other, so pairs never cross in time: taking each true bout's first free
    partner from the left gives the largest number of pairs.

    Args:
        true_starts: int64 [n], rising.
        true_stops: int64 [n], exclusive.
        starts: of the predicted bouts, int64 [m].
        stops: of these.
        iou: above 0.
    """
    pairs: list[tuple[int, int]] = []
    place = 0
    begins, ends = starts.tolist(), stops.tolist()
    for number, (begin, end) in enumerate(zip(true_starts.tolist(), true_stops.tolist(), strict=True)):
        while place < len(begins) and ends[place] <= begin:
            place += 1
        for other in range(place, len(begins)):
            if begins[other] >= end:
                break
            shared = min(end, ends[other]) - max(begin, begins[other])
            either = max(end, ends[other]) - min(begin, begins[other])  # they touch, so there is no hole between them
            if shared >= iou * either:
                pairs.append((number, other))
                place = other + 1
                break
    return pairs


def bout_counts(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int, iou: float = IOU
) -> NDArray[np.int64]:
    """True, predicted and matched bouts of each class, int64 [n_classes, 3]; counts of recordings may be added up.

    Args:
        truth: (n,) class index of one recording; frames below 0 are not scored, and end bouts of both.
        predicted: (n,) class index, below 0: none.
        n_classes: how many there are.
        iou: of `matched_pairs`.
    """
    true_starts, true_stops, true_kinds = bout_runs(truth)
    starts, stops, kinds = bout_runs(np.where(truth >= 0, predicted, -1))
    counts = np.zeros((n_classes, 3), np.int64)
    for place in range(n_classes):
        mine, other = true_kinds == place, kinds == place
        pairs = matched_pairs(true_starts[mine], true_stops[mine], starts[other], stops[other], iou)
        counts[place] = int(mine.sum()), int(other.sum()), len(pairs)
    return counts


def bout_figures(counts: NDArray[np.integer] | NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Scores from counts [..., classes, 3]: each [...], or [..., classes] for those by class; NaN where undefined.

    Returns:
        ``bout_f1`` (mean over the classes that have true bouts), ``bout_f1_micro`` (over all bouts as one class) and
        ``flicker`` (predicted per true bout); ``f1_by_class``, ``precision_by_class``, ``recall_by_class`` and
        ``flicker_by_class``.
    """
    values = counts.astype(np.float64)
    n_true, n_said, n_both = values[..., TRUE], values[..., PREDICTED], values[..., MATCHED]
    present = n_true > 0
    f1 = divided(np.where(present, 2.0 * n_both, 0.0), np.where(present, n_true + n_said, 0.0))
    n_present = present.sum(-1)
    return {
        "bout_f1": divided(np.where(present, f1, 0.0).sum(-1), n_present),
        "bout_f1_micro": divided(2.0 * n_both.sum(-1), (n_true + n_said).sum(-1)),
        "flicker": divided(n_said.sum(-1), n_true.sum(-1)),
        "f1_by_class": f1,
        "precision_by_class": divided(n_both, n_said),
        "recall_by_class": divided(n_both, n_true),
        "flicker_by_class": divided(n_said, n_true),
    }


def score_bouts(
    recordings: Sequence[RecordingAnswers],
    answers: Sequence[NDArray[np.integer]],
    classes: Sequence[str],
    tolerance_ms: float = TOLERANCE_MS,
    iou: float = IOU,
) -> dict[str, Any]:
    """Bout scores over recordings, as plain values for JSON.

    Args:
        recordings: truth and what of it is judged.
        answers: (n,) class index per recording, stabilised or raw, below 0: none.
        classes: names.
        tolerance_ms: of `score_onsets`.
        iou: of `matched_pairs`.

    Returns:
        ``bout_f1``, ``bout_f1_micro``, ``flicker``, ``onset_delay_p50_ms``, ``onset_delay_p90_ms`` and
        ``false_per_hour`` of all classes together, ``hours``, ``iou``, ``tolerance_ms``, and ``per_class`` with the
        same for each, its counts and its median lengths.
    """
    counts = np.zeros((len(classes), 3), np.int64)
    onsets: list[dict[str, OnsetScores]] = []
    lengths: dict[str, list[list[NDArray[np.float64]]]] = {"true": [], "predicted": []}
    for one, said in zip(recordings, answers, strict=True):
        truth = np.where(one.known, one.truth, -1)
        shown = np.where(one.known, said, -1)
        counts += bout_counts(truth, shown, len(classes), iou)
        told = trigger_truth(one.truth, one.present, len(classes))
        onsets.append(score_onsets(one.t_ns, told, said, classes, one.judged, tolerance_ms))
        for name, labels in (("true", truth), ("predicted", shown)):
            lengths[name].append(bout_lengths_s(labels, one.rate_hz, len(classes)))
    figures = bout_figures(counts)
    by_class = {name: pooled(one[name] for one in onsets) for name in classes}
    # The hours are those of the recordings, not of every class once more.
    hours = max((one.hours for one in by_class.values()), default=0.0)
    together = pooled(by_class.values())
    per_class: dict[str, Any] = {}
    for place, name in enumerate(classes):
        per_class[name] = {
            "bout_f1": known_value(figures["f1_by_class"][place]),
            "bout_precision": known_value(figures["precision_by_class"][place]),
            "bout_recall": known_value(figures["recall_by_class"][place]),
            "flicker": known_value(figures["flicker_by_class"][place]),
            "n_true": int(counts[place, TRUE]),
            "n_predicted": int(counts[place, PREDICTED]),
            "n_matched": int(counts[place, MATCHED]),
            "median_true_s": _median([one[place] for one in lengths["true"]]),
            "median_predicted_s": _median([one[place] for one in lengths["predicted"]]),
            **_onset_values(by_class[name]),
        }
    return {
        "iou": iou,
        "tolerance_ms": tolerance_ms,
        "bout_f1": known_value(figures["bout_f1"]),
        "bout_f1_micro": known_value(figures["bout_f1_micro"]),
        "flicker": known_value(figures["flicker"]),
        "n_true": int(counts[:, TRUE].sum()),
        "n_predicted": int(counts[:, PREDICTED].sum()),
        **_onset_values(together),
        "false_per_hour": together.n_false / hours if hours > 0.0 else None,
        "hours": hours,
        "per_class": per_class,
    }


def bout_lengths_s(labels: NDArray[np.integer], rate_hz: float, n_classes: int) -> list[NDArray[np.float64]]:
    """Length of every bout in seconds, one array per class."""
    starts, stops, kinds = bout_runs(labels)
    lengths = (stops - starts) / rate_hz
    return [lengths[kinds == place] for place in range(n_classes)]


def _onset_values(one: OnsetScores) -> Mapping[str, float | int | None]:
    return {
        "onset_delay_p50_ms": one.delay_ms(50),
        "onset_delay_p90_ms": one.delay_ms(90),
        "onset_recall": one.recall,
        "false_per_hour": one.false_per_hour,
        "n_whole_bouts": one.n_bouts,
        "n_false": one.n_false,
    }


def _median(parts: Sequence[NDArray[np.float64]]) -> float | None:
    together = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.median(together)) if len(together) else None
