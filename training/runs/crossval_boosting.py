"""Gradient boosting under the cross-validation of a model: same folds, same features, the stabiliser chosen alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import ConfigError, DataError
from ..answers.of_pose import answers_from
from ..baselines.gradient_boosting import GradientBoosting
from ..cache.pose_features import pose_features
from ..cache.store import FeatureCache
from ..config.pose import PoseRule
from ..config.training_file import TrainConfig
from ..data.pose_recordings import PoseRecording, with_scale
from ..scores.answers_file import RecordingAnswers
from ..scores.evaluation_record import ANSWERS, evaluation_record
from ..splits import FoldSplit, RecordingSplit, folds_of
from ..stabilising.choice import choose_stabiliser
from .crossval_fold import inner_split

GRADIENT_BOOSTING: Final = "gradient_boosting"
"""Its name under ``baselines`` of an evaluation."""
_KEPT: Final = ("macro_f1", "accuracy", "balanced_accuracy", "kappa", "bout_f1", "flicker")


def refuse_baselines(config: TrainConfig) -> None:
    """Refuse what gradient boosting cannot be compared on.

    Raises:
        ConfigError: the model takes video, or frames may have several behaviours or none.
    """
    if not config.is_pose:
        raise ConfigError("--baselines: gradient boosting learns from features of keypoints; for video leave it out")
    if config.labels.overlap == "each":
        raise ConfigError(
            "--baselines: gradient boosting gives every frame one behaviour, and with `labels: {overlap: each}` there "
            "may be several or none; leave it out"
        )


def refuse_sequences(recordings: Sequence[PoseRecording]) -> None:
    """Refuse recordings that gradient boosting would learn one frame of.

    Raises:
        DataError: one has a single label for all of it.
    """
    if whole := [one.name for one in recordings if one.sequences is not None]:
        raise DataError(
            f"--baselines: gradient boosting learns from single frames, and {', '.join(whole)} has one label for the "
            "whole recording; leave --baselines out"
        )


def crossval_boosting(
    config: TrainConfig,
    rule: PoseRule,
    recordings: Sequence[PoseRecording],
    folds: FoldSplit,
    cache: FeatureCache | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[RecordingAnswers]:
    """Every recording answered by gradient boosting that has not seen it.

    Args:
        config: of the model that it is compared with. The stabiliser is chosen if that of the model is, on the same
            inner folds.
        rule: of the points, without a unit of length: it is measured anew in every fold.
        recordings: all of them.
        folds: the outer ones.
        cache: of features.
        progress: told 1 after every outer fold.

    Raises:
        DataError: too few recordings for the folds, or a fold without two classes.
    """
    found: dict[int, RecordingAnswers] = {}
    for number, held in enumerate(_dealt(folds, recordings)):
        learnt = [one for place, one in enumerate(recordings) if place not in held]
        pose = with_scale(rule, learnt)
        inputs = [pose_features(pose, one, cache) for one in learnt]
        stabiliser = config.stabiliser
        inner = inner_split(config, learnt)
        if config.choose is not None and config.choose.stabiliser and not isinstance(inner, RecordingSplit):
            unseen = _unseen(config, inner, learnt, inputs)
            stabiliser = choose_stabiliser(config.choose, stabiliser, config.classes, unseen).chosen
        model = _fitted(config, learnt, inputs)
        for place in held:
            one = recordings[place]
            p = model.answers(pose_features(pose, one, cache))
            found[place] = answers_from(one, p, np.ones(len(p), np.bool_), config.classes, stabiliser, number)
        if progress is not None:
            progress(1)
    return [found[place] for place in range(len(recordings))]


def boosting_scores(
    answers: Sequence[RecordingAnswers], classes: Sequence[str], split: Mapping[str, Any], chosen: bool
) -> dict[str, Any]:
    """What stands under ``baselines`` of an evaluation: ``about``, ``stabilised``, ``raw`` and their ``intervals``.

    Args:
        answers: of `crossval_boosting`.
        classes: names in order.
        split: as a record keeps it.
        chosen: the stabiliser was chosen, as that of the model; else it is the one of the training file.
    """
    record = evaluation_record(answers, classes, split, causal=True)
    scores = {
        which: {
            **{name: record[which][name] for name in _KEPT},
            "bout_f1_micro": record[which]["bouts"]["bout_f1_micro"],
            "f1_of_classes": {name: one["f1"] for name, one in record[which]["per_class"].items()},
        }
        for which in ANSWERS
    }
    return {
        "about": "gradient boosting on the features of the current frame; its stabiliser is "
        + ("chosen as the model's" if chosen else "that of the training file"),
        **scores,
        "intervals": {which: record["intervals"][which] for which in ANSWERS},
    }


def _unseen(
    config: TrainConfig, rule: FoldSplit, recordings: Sequence[PoseRecording], inputs: Sequence[NDArray[np.float32]]
) -> list[RecordingAnswers]:
    """Answers on every recording by a model without it."""
    found: dict[int, RecordingAnswers] = {}
    for held in _dealt(rule, recordings):
        learnt = [place for place in range(len(recordings)) if place not in held]
        model = _fitted(config, [recordings[place] for place in learnt], [inputs[place] for place in learnt])
        for place in held:
            p = model.answers(inputs[place])
            judged = np.ones(len(p), np.bool_)
            found[place] = answers_from(recordings[place], p, judged, config.classes, config.stabiliser)
    return [found[place] for place in range(len(recordings))]


def _dealt(rule: FoldSplit, recordings: Sequence[PoseRecording]) -> list[list[int]]:
    return folds_of(rule, [one.name for one in recordings], [one.group for one in recordings])


def _fitted(
    config: TrainConfig, recordings: Sequence[PoseRecording], inputs: Sequence[NDArray[np.float32]]
) -> GradientBoosting:
    model = GradientBoosting(len(config.classes), config.seed, config.fit.threads)
    model.fit(inputs, [one.labels for one in recordings])
    return model
