"""The evaluation of a model as one JSON value, whatever the model saw: scores, intervals, and what to compare with.

Definitions stand in ``docs/metrics.md``. Only numpy and scipy's special functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from ..splits import Part, unit_of
from ..stretches import runs_of
from .answers_file import RecordingAnswers
from .behaviors import behavior_scores
from .bouts import bout_counts, bout_figures, score_bouts
from .calibration import calibration_scores
from .frames import agreement, frame_counts, frame_figures, known_value, score
from .intervals import Intervals, bootstrap
from .onsets import TOLERANCE_MS
from .raters import LABELS, rater_figures
from .score_warnings import LabelSource, about_the_data, about_the_dropped, about_the_scores

SCHEMA: Final = 1
RECORD_KEYS: Final = frozenset(
    {
        "causal", "look_ahead_frames", "part", "split", "label_source", "classes", "stabilised", "raw", "n_frames",
        "per_class", "confusion_matrix", "macro_f1", "accuracy", "balanced_accuracy", "bout_f1", "flicker", "bouts",
        "intervals", "recordings", "baselines", "calibration", "raters", "compare", "compute", "notes", "warnings",
    }
)  # fmt: skip
"""What every record holds; its reader asks for them."""
Answer = Literal["stabilised", "raw"]
ANSWERS: Final[tuple[Answer, ...]] = ("stabilised", "raw")


def evaluation_record(
    recordings: Sequence[RecordingAnswers],
    classes: Sequence[str],
    split: Mapping[str, Any],
    *,
    causal: bool,
    look_ahead_frames: int = 0,
    part: Part = "test",
    learnt_counts: Mapping[str, int] | None = None,
    label_source: LabelSource = "unknown",
    learnt_from: Sequence[str] = (),
    doubtful: Sequence[str] = (),
    notes: Sequence[str] = (),
    compute: Mapping[str, Any] | None = None,
    tolerance_ms: float = TOLERANCE_MS,
    seed: int = 0,
) -> dict[str, Any]:
    """Score recordings.

    Args:
        recordings: what was said of each, with what of it is judged.
        classes: names.
        split: how judged and learnt frames were kept apart, as the training file has it; ``by`` names the rule.
        causal: no answer used a later frame.
        look_ahead_frames: of a model that is not causal, how many later frames an answer uses; 0: without bound.
        part: that is judged.
        learnt_counts: frames of each class that were learnt from, for the majority baseline; None: not known, the
            baseline then knows the scored frames, which flatters it.
        label_source: who labelled.
        learnt_from: judged recordings that the model has learnt from; their scores say nothing, and the record says so.
        doubtful: judged recordings that resemble one that the model has learnt from, and are not known to be it.
        notes: what was assumed about the data, one line each; kept as given.
        compute: times, kept as given: ``training_s``, ``per_minute_s``, ``machine``, ``threads``.
        tolerance_ms: of `score_onsets`.
        seed: of the bootstrap.

    Returns:
        Top-level scores are those of the stabilised label; ``raw`` has those of the most probable class. Beside them
        ``intervals``, ``recordings``, ``baselines``, ``raters``, ``compare``, ``calibration``, ``compute``, ``notes``
        and ``warnings``; where several behaviours may be there at once also ``behaviors``, see `behavior_scores`.

    Raises:
        DataError: no judged frame is labelled.
    """
    judged = _judged(recordings, part)
    scores = {which: _scored(judged, classes, which, tolerance_ms) for which in ANSWERS}
    intervals = {which: _intervals(judged, classes, which, split, seed) for which in ANSWERS}
    drawn = intervals["stabilised"]
    behaviors = behavior_scores(recordings, classes)
    return {
        "schema": SCHEMA,
        "causal": causal,
        "look_ahead_frames": 0 if causal else look_ahead_frames or None,
        "part": part,
        "split": dict(split),
        "label_source": label_source,
        "classes": list(classes),
        **scores["stabilised"],
        **scores,
        "intervals": {**drawn.about(), **{which: one.plain_values() for which, one in intervals.items()}},
        "recordings": {one.name: _of_one(one, classes, tolerance_ms) for one in judged},
        "baselines": {"majority": _majority(judged, classes, learnt_counts)},
        "calibration": calibration_scores(*said_of(judged)),
        "raters": _raters(judged, classes),
        "compare": _compared(judged, classes, tolerance_ms),
        **({} if behaviors is None else {"behaviors": behaviors}),
        "compute": dict(compute or {}),
        "notes": list(notes),
        "warnings": [
            *about_the_data(split, causal, look_ahead_frames, part, label_source, learnt_from, doubtful),
            *about_the_scores(scores["stabilised"], classes, drawn),
            *about_the_dropped(recordings),
        ],
    }


def said_of(recordings: Sequence[RecordingAnswers]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Truth (n,) and probabilities (n, c) of all scored frames for which something was said."""
    masks = [one.known & (one.raw >= 0) for one in recordings]
    return (
        _joined([one.truth[mask] for one, mask in zip(recordings, masks, strict=True)]),
        _joined([one.p[mask] for one, mask in zip(recordings, masks, strict=True)]),
    )


def _judged(recordings: Sequence[RecordingAnswers], part: Part) -> list[RecordingAnswers]:
    """Those of which something is scored.

    Raises:
        DataError: there is none.
    """
    judged = [one for one in recordings if one.known.any()]
    if judged:
        return judged
    if any(one.present is not None for one in recordings):
        raise DataError(
            f"no frame of the {part} part has one behaviour alone, and scores are of such; name in labels.priority "
            "those that meet, or in labels.rest what frames without any are"
        )
    raise DataError(f"the {part} part holds no labelled frame; label some, or choose another split")


def _of_one(one: RecordingAnswers, classes: Sequence[str], tolerance_ms: float) -> dict[str, Any]:
    """What is said of a recording by itself."""
    return {
        "n_frames": int(one.known.sum()),
        "seconds": float(one.known.sum() / one.rate_hz),
        "group": one.group,
        **{which: _scored([one], classes, which, tolerance_ms) for which in ANSWERS},
    }


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(list(parts))


def _truth(recordings: Sequence[RecordingAnswers]) -> NDArray[np.int16]:
    return _joined([one.truth[one.known] for one in recordings])


def _answer(one: RecordingAnswers, which: Answer) -> NDArray[np.int16]:
    return one.label if which == "stabilised" else one.raw


def _scored(
    recordings: Sequence[RecordingAnswers], classes: Sequence[str], which: Answer, tolerance_ms: float
) -> dict[str, Any]:
    """Frame and bout scores of one kind of answer; those of a class stand together."""
    predicted = _joined([_answer(one, which)[one.known] for one in recordings])
    frames = score(_truth(recordings), predicted, classes, _joined([one.p[one.known] for one in recordings])).to_dict()
    bouts = score_bouts(recordings, [_answer(one, which) for one in recordings], classes, tolerance_ms)
    by_class = bouts.pop("per_class")
    return {
        **frames,
        "bout_f1": bouts.pop("bout_f1"),
        "flicker": bouts.pop("flicker"),
        "bouts": bouts,
        "per_class": {name: {**frames["per_class"][name], **by_class[name]} for name in classes},
    }


def _intervals(
    recordings: Sequence[RecordingAnswers], classes: Sequence[str], which: Answer, split: Mapping[str, Any], seed: int
) -> Intervals:
    """Bootstrap over what is independent under the split."""
    unit, units = _units(recordings, split)
    n_classes = len(classes)
    frames, bouts = np.zeros((len(units), n_classes, n_classes + 1)), np.zeros((len(units), n_classes, 3))
    for place, stretches in enumerate(units):
        for one, start, stop in stretches:
            cut = slice(start, stop)
            truth = np.where(one.known[cut], one.truth[cut], -1)
            said = _answer(one, which)[cut]
            frames[place] += frame_counts(truth, said, n_classes)
            bouts[place] += bout_counts(truth, said, n_classes)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        by_frame = frame_figures(np.tensordot(weights, frames, 1))
        by_bout = bout_figures(np.tensordot(weights, bouts, 1))
        return {
            **{name: by_frame[name] for name in ("macro_f1", "accuracy", "balanced_accuracy", "kappa")},
            **{name: by_bout[name] for name in ("bout_f1", "bout_f1_micro", "flicker")},
            **{f"f1.{name}": by_frame["f1_by_class"][:, place] for place, name in enumerate(classes)},
            **{f"bout_f1.{name}": by_bout["f1_by_class"][:, place] for place, name in enumerate(classes)},
        }

    return bootstrap(len(units), statistic, unit, seed=seed)


def _units(
    recordings: Sequence[RecordingAnswers], split: Mapping[str, Any]
) -> tuple[str, list[list[tuple[RecordingAnswers, int, int]]]]:
    """What is drawn, each as (recording, start, stop).

    The judged blocks of a split by blocks of time, else groups where recordings share them, else recordings. Frames
    that nobody labelled part no block in two.
    """
    if split.get("by") == "time_block":
        blocks = [(one, start, stop) for one in recordings for start, stop in runs_of(one.judged | (one.truth < 0))]
        return "block", [[(one, start, stop)] for one, start, stop in blocks if one.known[start:stop].any()]
    groups: dict[tuple[str, str], list[tuple[RecordingAnswers, int, int]]] = {}
    for one in recordings:
        groups.setdefault(unit_of(one.name, one.group), []).append((one, 0, len(one.truth)))
    return ("group" if len(groups) < len(recordings) else "recording"), list(groups.values())


def _majority(
    recordings: Sequence[RecordingAnswers], classes: Sequence[str], learnt_counts: Mapping[str, int] | None
) -> dict[str, Any]:
    """What the most frequent class scores when it is named in every frame."""
    counts = (
        np.bincount(_truth(recordings), minlength=len(classes))
        if learnt_counts is None
        else np.array([learnt_counts.get(name, 0) for name in classes])
    )
    place = int(counts.argmax())
    frames = score(_truth(recordings), np.full(len(_truth(recordings)), place), classes)
    total = np.zeros((len(classes), 3), np.int64)
    for one in recordings:
        total += bout_counts(np.where(one.known, one.truth, -1), np.full(len(one.truth), place), len(classes))
    bouts = bout_figures(total)
    return {
        "class": classes[place],
        "counted_in": "the scored frames" if learnt_counts is None else "the training part",
        "accuracy": frames.accuracy,
        "balanced_accuracy": frames.balanced_accuracy,
        "macro_f1": frames.macro_f1,
        "kappa": frames.kappa,
        "bout_f1": known_value(bouts["bout_f1"]),
        "flicker": known_value(bouts["flicker"]),
    }


def _raters(recordings: Sequence[RecordingAnswers], classes: Sequence[str]) -> dict[str, Any] | None:
    """How far people agree with each other on the judged frames; None where only one has labelled."""
    names = list(dict.fromkeys(name for one in recordings for name in one.raters))
    if not names:
        return None
    shown: dict[str, list[NDArray[np.integer]]] = {LABELS: [np.where(one.known, one.truth, -1) for one in recordings]}
    for name in names:
        shown[name] = [
            np.where(one.known, one.raters[name], -1) if name in one.raters else np.full(len(one.truth), -1)
            for one in recordings
        ]
    return rater_figures(shown, classes)


def _compared(recordings: Sequence[RecordingAnswers], classes: Sequence[str], tolerance_ms: float) -> dict[str, Any]:
    """Per other rater: the model against that rater, and that rater against the labels."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in recordings for name in one.raters):
        having = [one for one in recordings if name in one.raters]
        against = [
            RecordingAnswers(one.name, one.rate_hz, one.raters[name], one.raw, one.label, one.p, one.known, one.group)
            for one in having
        ]
        theirs = _joined([one.raters[name][one.known] for one in having])
        result[name] = {
            **{which: _scored(against, classes, which, tolerance_ms) for which in ANSWERS},
            "agreement_with_labels": agreement(_truth(having), theirs),
        }
    return result
