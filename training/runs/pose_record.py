"""How the scores of a training on keypoints were had, for its record and for the manifest of its bundle."""

from collections.abc import Mapping
from typing import Any

from ...inference.manifest import Scores
from ..config.training_file import TrainConfig
from .fit_pose import FittedPose


def split_of(config: TrainConfig, fitted: FittedPose, measured: bool) -> dict[str, Any]:
    """How what is scored was kept apart from what was learnt, for the record.

    Args:
        config: of the training.
        fitted: with it.
        measured: the unit of length was measured on the recordings, and not stated.

    Returns:
        The rule; with folds also ``scored``, and ``chosen``: what had a look at the scored recordings.
    """
    split: dict[str, Any] = config.split.model_dump(mode="json")
    if fitted.folds:
        split["scored"] = "every recording by the model of the fold that has not seen it"
        if chosen := chosen_on_folds(fitted.summary, measured):
            split["chosen"] = ", ".join(chosen)
    return split


def chosen_on_folds(summary: Mapping[str, Any], measured: bool) -> list[str]:
    """What the folds have decided beside giving scores, in so far as there was something to decide it on.

    Args:
        summary: of `FittedPose`, with folds.
        measured: the unit of length was measured on the recordings, and not stated.
    """
    decided = {
        "unit of length": measured,
        "epochs": any(one["best_value"] is not None for one in summary["folds"]),
        "temperature": "calibration" in summary,
        "stabiliser": "stabiliser" in summary,
    }
    return [name for name, yes in decided.items() if yes]


def scores_of_pose(evaluation: dict[str, Any], config: TrainConfig, fitted: FittedPose) -> Scores:
    """An evaluation as the manifest keeps it."""
    how = "folds" if fitted.folds else "test part"
    chosen = evaluation["split"].get("chosen")
    return Scores(
        evaluated_on=f"{how}, {config.split.by}, raw keypoints to label, stabilised"
        + (", causal" if evaluation["causal"] else ", not causal")
        + (f"; chosen on the very recordings that are scored: {chosen}" if chosen else ""),
        n_frames=evaluation["n_frames"],
        accuracy=evaluation["accuracy"],
        balanced_accuracy=evaluation["balanced_accuracy"],
        macro_f1=evaluation["macro_f1"],
        per_class=evaluation["stabilised"]["per_class"],
        confusion=evaluation["confusion_matrix"],
        more={name: evaluation[name] for name in ("raw", "compare", "bout_f1", "flicker", "intervals", "warnings")},
    )
