"""The curves of a training's page: what is taken for what, how sure it is, truth over time, and how it learnt."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...training.scores.answers_file import RecordingAnswers
from ...training.scores.calibration import reliability, top_reliability
from ...training.scores.evaluation_record import said_of
from ...training.scores.frames import average_precision, precision_recall
from ...training.scores.onsets import pooled, score_onsets, trigger_truth
from ..palette import paper_color
from .digest import LearningCurve, TrainingDigest
from .figures import MAX_COLUMNS, Axes, Line, confusion_figure, ethogram, legend, line_chart
from .words import counted, score_text

_CURVE_POINTS: Final = 200
_MEASURES: Final = ("macro_f1", "balanced_accuracy", "accuracy")
_NAMES: Final[Mapping[str, str]] = {"macro_f1": "macro-F1", "bout_f1": "bout-F1", "pr_auc": "PR-AUC"}
_FEW_UNDECIDED: Final = 0.002
"""A smaller share of frames without a label is said in words, and has no column."""
_MANY_CURVES: Final = 6
"""More fits than this are told apart by fold alone."""
_MAX_MS: Final = 3000.0
"""Delays beyond this are not drawn."""


def judgement(digest: TrainingDigest, found: Mapping[str, Any]) -> str:
    """Confusion matrix, precision and recall, reliability, and how soon bouts are noticed."""
    classes = digest.classes
    matrix = found["confusion_matrix"]
    undecided = [
        int(found["per_class"][name]["support"] or 0) - sum(row) for name, row in zip(classes, matrix, strict=True)
    ]
    few = ""
    if 0 < sum(undecided) < _FEW_UNDECIDED * found["n_frames"]:
        few, undecided = f"; {counted(sum(undecided), 'frame')} had no label yet", [0] * len(classes)
    cards = [
        "<div class=card><h3>Confusion matrix</h3><div class=dim>rows: what was true; columns: the stabilised label; "
        f"shares of each row{few}</div>{confusion_figure(classes, matrix, undecided)}</div>"
    ]
    if not digest.recordings:
        cards.append(
            "<div class=card>The run keeps no <code>answers.npz</code>, so there are no curves and no ethograms: "
            "evaluate it again.</div>"
        )
        return f"<div class=two>{''.join(cards)}</div>"
    known = [one for one in digest.recordings if one.known.any()]
    if not known:
        cards.append("<div class=card>No frame that was kept has one behaviour alone, so there are no curves.</div>")
        return f"<div class=two>{''.join(cards)}</div>"
    truth, p = said_of(known)
    cards += [
        _precision_recall(truth, p, classes),
        _reliability(truth, p, classes, found),
        _onsets(digest.recordings, classes),
    ]
    return f"<div class=two>{''.join(cards)}</div>"


def _precision_recall(truth: NDArray[np.int16], p: NDArray[np.float32], classes: Sequence[str]) -> str:
    lines: list[Line] = []
    for place, name in enumerate(classes):
        is_true = truth == place
        area = average_precision(is_true, p[:, place])
        if area is None:
            continue
        precision, recall, _ = precision_recall(is_true, p[:, place])
        shown = np.unique(np.searchsorted(recall, np.linspace(recall[0], 1.0, _CURVE_POINTS)).clip(0, len(recall) - 1))
        words = f"{name}: {area:.2f} (by chance {is_true.mean():.2f})"
        lines.append(Line(words, paper_color(place), recall[shown].tolist(), precision[shown].tolist()))
    chart = line_chart(lines, Axes("recall: share of its frames that is found", "precision: share that is right"))
    return (
        "<div class=card><h3>Precision and recall</h3><div class=dim>of the raw probability, over all thresholds; the "
        f"number is the area below the curve</div>{chart}</div>"
    )


def _reliability(
    truth: NDArray[np.int16], p: NDArray[np.float32], classes: Sequence[str], found: Mapping[str, Any]
) -> str:
    top = top_reliability(truth, p)
    lines: list[Line] = []
    for place in range(len(classes)):
        one = reliability(p[:, place], truth == place)
        there = one.n > 0
        lines.append(Line("", paper_color(place), one.mean_p[there].tolist(), one.share[there].tolist(), thin=True))
    there = top.n > 0
    dots = (2.0 + 7.0 * np.sqrt(top.n[there] / max(int(top.n.sum()), 1))).tolist()
    lines.append(
        Line("the behaviour that is named", "#1b2430", top.mean_p[there].tolist(), top.share[there].tolist(), dots)
    )
    chart = line_chart(lines, Axes("what it says: probability", "how often it is so", diagonal=True))
    calibration = found.get("calibration", {})
    ece, brier = (score_text(calibration.get(name)) for name in ("ece", "brier"))
    told = f"expected calibration error {ece}, Brier score {brier}"
    return (
        f"<div class=card><h3>Are its probabilities true?</h3><div class=dim>{told}; on the dashed line they are, "
        f"below it the model is too sure; thin: each behaviour, in its colour</div>{chart}</div>"
    )


def _onsets(recordings: Sequence[RecordingAnswers], classes: Sequence[str]) -> str:
    """The share of true bouts whose label has begun, by the time since the bout began."""
    told = [trigger_truth(one.truth, one.present, len(classes)) for one in recordings]
    scores = [
        score_onsets(one.t_ns, truth, one.label, classes, one.judged)
        for one, truth in zip(recordings, told, strict=True)
    ]
    lines: list[Line] = []
    low, high = 0.0, 500.0
    for place, name in enumerate(classes):
        one = pooled(each[name] for each in scores)
        if not one.n_bouts:
            continue
        delays = np.sort(one.delays_ms)
        shown = delays[delays <= _MAX_MS]
        found = np.arange(1, len(shown) + 1) / one.n_bouts
        if len(shown):
            low, high = min(low, float(shown[0])), max(high, float(shown[-1]))
        # Steps: nothing is found between one delay and the next.
        x = np.repeat(shown, 2).tolist()
        y = np.concatenate([[0.0], np.repeat(found, 2)[:-1]]).tolist() if len(shown) else []
        lines.append(Line(f"{name}: {len(delays)} of {one.n_bouts} bouts", paper_color(place), x, y))
    if not lines:
        return "<div class=card><h3>How soon is a bout noticed?</h3>No true bout lies whole in what was scored.</div>"
    ends = [Line(one.name, one.color, [*one.x, high], [*one.y, one.y[-1]]) if one.y else one for one in lines]
    chart = line_chart(ends, Axes("ms after the true beginning", "share of bouts", x=(low, high)))
    return (
        "<div class=card><h3>How soon is a bout noticed?</h3><div class=dim>share of the true bouts whose stabilised "
        f"label has begun by then; below 0 it began within the tolerance before</div>{chart}</div>"
    )


def ethograms(digest: TrainingDigest, found: Mapping[str, Any]) -> str:
    """Truth, stabilised and raw answer and other raters of every scored recording."""
    if not digest.recordings:
        return "<div class=card>Not kept by this run.</div>"
    n_classes = len(digest.classes)
    names = list(dict.fromkeys(name for one in digest.recordings for name in one.raters))
    cards = [legend([(name, paper_color(place)) for place, name in enumerate(digest.classes)])]
    for one in digest.recordings:
        if not one.known.any():
            continue
        lanes: list[tuple[str, NDArray[np.integer]]] = [
            ("truth", np.where(one.known, one.truth, -1)),
            ("stabilised", np.where(one.judged, one.label, -1)),
            ("raw", np.where(one.judged, one.raw, -1)),
        ]
        lanes += [(name, np.where(one.judged, labels, -1)) for name, labels in one.raters.items()]
        scores = found.get("recordings", {}).get(one.name, {}).get("stabilised", {})
        told = " · ".join(
            f"{name} {score_text(scores.get(each), 2)}"
            for name, each in (("macro-F1", "macro_f1"), ("bout-F1", "bout_f1"), ("flicker", "flicker"))
        )
        about = " · ".join(
            words for words in (one.group, f"fold {one.fold + 1}" if one.fold >= 0 else "", told) if words
        )
        cards.append(
            f"<div class='card part'><h3>{escape(one.name)} <span class=dim>{escape(about)}</span></h3>"
            f"{ethogram(lanes, n_classes, one.rate_hz, names)}</div>"
        )
    if max(len(one.truth) for one in digest.recordings) > MAX_COLUMNS:
        cards.append(
            "<div class=dim>Grey: not labelled or not scored. In long recordings each column shows the label that is "
            "most frequent in it, so the shortest bouts may not be seen.</div>"
        )
    return "".join(cards)


def learning(curves: Sequence[LearningCurve], monitor: str | None = None) -> str:
    """Loss and validation, epoch by epoch.

    Args:
        curves: of the fits.
        monitor: the measure that chose the best epoch, where that is known.
    """
    if not curves:
        return "<div class=card>This run kept no log of its epochs.</div>"
    last = float(max(2, *(len(one.epochs) for one in curves)))
    drawn = _families(curves)
    losses = [Line(name or "", color, *one.of("loss")) for one, name, color in drawn]
    validated = any(one.of("validation.loss")[0] for one in curves)
    losses += [Line("", color, *one.of("validation.loss"), thin=True) for one, _, color in drawn]
    told = ["thick: training; thin: validation" if validated else "of the training"]
    told += ["fits inside a fold have its colour"] if len(drawn) > _MANY_CURVES else []
    cards = [_epochs("Loss", losses, last, "; ".join(told))]
    measures = [
        name for name in (monitor, *_MEASURES) if name and any(one.of(f"validation.{name}")[0] for one in curves)
    ]
    if measures:
        name = _NAMES.get(measures[0], measures[0].replace("_", " "))
        lines = [Line(told or "", color, *one.of(f"validation.{measures[0]}")) for one, told, color in drawn]
        cards.append(_epochs(f"{name[0].upper()}{name[1:]} on validation data", lines, last))
    else:
        cards.append("<div class=card>No epoch was chosen on validation data: the last one was kept.</div>")
    return f"<div class=two>{''.join(cards)}</div>"


def _families(curves: Sequence[LearningCurve]) -> list[tuple[LearningCurve, str, str]]:
    """Each curve with what the key calls it and its colour; of many, all that belong to one fold share both."""
    names = [one.name.replace("fold-", "fold ").replace("member-", "member ") for one in curves]
    if len(curves) > _MANY_CURVES:
        names = [" ".join(name.split(" ")[:2]) if name.startswith("fold ") else name for name in names]
    families = list(dict.fromkeys(names))
    return [
        (one, name if names.index(name) == place else "", paper_color(families.index(name)))
        for place, (one, name) in enumerate(zip(curves, names, strict=True))
    ]


def _epochs(title: str, lines: Sequence[Line], last: float, note: str = "") -> str:
    drawn = [one for one in lines if len(one.x)]
    if not drawn:
        return f"<div class=card><h3>{escape(title)}</h3>Not logged.</div>"
    values = [y for one in drawn for y in one.y]
    span = (0.0, 1.0) if min(values) >= 0.0 and 0.4 < max(values) <= 1.0 else (min(0.0, *values), max(values) or 1.0)
    chart = line_chart(drawn, Axes("epoch", title.lower(), x=(1.0, last), y=span, whole_x=True))
    told = f"<div class=dim>{escape(note)}</div>" if note else ""
    return f"<div class=card><h3>{escape(title)}</h3>{told}{chart}</div>"
