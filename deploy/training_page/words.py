"""What the page of a training says in words: the splits, the scores, and how values are written."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

SPLITS: Final[Mapping[str, str]] = {
    "recording": "Whole recordings were kept apart: the model has seen no frame of the recordings scored here.",
    "group": "Whole groups (animals, days) were kept apart: the model has seen no recording of the groups scored here.",
    "time_block": "Blocks of time of the same recordings were kept apart, with a guard between them.",
    "leave_one_out": "Cross-validation: each recording was scored by a model that was trained on all the others.",
    "k_fold": "Cross-validation: the recordings were dealt into folds, and each was scored by a model that was trained "
    "on the other folds.",
    "unseen recordings": "Scored on recordings that the model has not learnt from.",
    "training data": "SCORED ON TRAINING DATA: these scores say what the model knows by heart.",
}
_CHIPS: Final[Mapping[str, tuple[str, str]]] = {
    "recording": ("scored on recordings kept apart", "good"),
    "group": ("scored on groups kept apart", "good"),
    "time_block": ("scored on blocks of the same recordings", "warn"),
    "leave_one_out": ("leave-one-out cross-validation", "good"),
    "k_fold": ("cross-validation", "good"),
    "unseen recordings": ("scored on unseen recordings", "good"),
    "training data": ("scored on training data", "bad"),
}
WORDS: Final[Sequence[tuple[str, str]]] = (
    (
        "stabilised, raw",
        "Raw is the most probable behaviour of each single frame. The stabiliser turns it into a label that holds; "
        "that label is what rules act on, and what the scores at the top are of.",
    ),
    (
        "macro-F1",
        "F1 of each behaviour (high when it is neither missed nor named wrongly), averaged: rare behaviours count as "
        "much as frequent ones.",
    ),
    (
        "precision, recall",
        "Of the frames that were named so, the share that is right; of those that are so, the share that was found.",
    ),
    ("accuracy", "The share of frames with the right label; a frequent behaviour decides it."),
    ("balanced accuracy", "The share of its frames that was found, averaged over behaviours."),
    ("kappa", "Agreement beyond what chance would give: 1 is perfect, 0 is chance."),
    (
        "bout-F1",
        "The same F1 for whole bouts. A bout is found when a predicted one of the same behaviour overlaps it: the time "
        "that lies in both is at least half of the time that lies in either.",
    ),
    (
        "flicker",
        "Predicted bouts per true bout: 1 is ideal; more means that bouts are torn or invented, fewer that they are "
        "missed or run together.",
    ),
    (
        "onset delay",
        "How long after the true beginning of a bout its label begins: in the middle (p50), and for the slowest tenth "
        "(p90). Bouts that were not found have none.",
    ),
    ("false detections per hour", "Onsets of the label with no true bout of that behaviour nearby."),
    ("interval", "Recordings (not frames) were drawn anew many times: the range of the middle 95 % of the scores."),
    ("majority", "What a model would score that names the most frequent behaviour in every frame."),
    (
        "gradient boosting",
        "Decision trees on the features of the current frame alone, with a stabiliser chosen as for the model: what "
        "can be had without a network and without memory.",
    ),
    (
        "calibration error, Brier score",
        "How far what it says (its probability) lies from how often it is right, on average; 0 is ideal. The Brier "
        "score adds how sharp it is: 0 is perfect.",
    ),
    ("PR-AUC", "Area below precision over recall, over all thresholds; by chance it is the behaviour's share."),
)


def split_words(split: Mapping[str, Any]) -> tuple[str, str]:
    """How what is scored was kept apart, in short, and the kind of chip that says so."""
    rule = str(split.get("by", "unknown"))
    words, kind = _CHIPS.get(rule, (f"split: {rule.replace('_', ' ')}", "dim"))
    n_folds = split.get("n_folds") or split.get("folds")
    return (f"{n_folds}-fold {words}" if rule == "k_fold" and n_folds else words), kind


def with_range(value: float | None, interval: Mapping[str, float] | None) -> str:
    """A score with its interval below, as HTML."""
    if value is None or interval is None:
        return score_text(value)
    return f"{value:.3f}<br><span class=range>{interval['low']:.3f} to {interval['high']:.3f}</span>"


def score_text(value: float | None, digits: int = 3) -> str:
    """A score; a dash where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def seconds_text(value: float | None) -> str:
    """A length; a dash where there is none."""
    return "-" if value is None else f"{value:.2f} s"


def delay_text(one: Mapping[str, Any]) -> str:
    """Both percentiles of the onset delay."""
    middle, late = one.get("onset_delay_p50_ms"), one.get("onset_delay_p90_ms")
    return "-" if middle is None or late is None else f"{middle:.0f} · {late:.0f} ms"


def duration_text(seconds: float) -> str:
    """How long a training took."""
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(n: int, what: str) -> str:
    """A number of things."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
