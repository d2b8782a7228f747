"""Scores of a bundle of keypoints on any labelled recordings; the first question is whether it has learnt from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...inference.manifest import Manifest
from ...sync.clock import NS_PER_S, MonotonicClock
from ...sync.errors import ConfigError, DataError
from ..answers.learnt_frames import Identity, judgeable
from ..answers.of_pose import bundle_answers
from ..answers.of_video import refuse_classes
from ..answers.pose_bundle import load_pose_bundle
from ..cache.pose_features import bundle_features
from ..cache.store import FeatureCache
from ..config.features import FeatureConfig
from ..config.labels import LabelOptions
from ..config.pose import PoseRule, ScaleRule
from ..config.recordings import PoseData
from ..config.training_file import TrainConfig
from ..data.checks import DataCheck, check_data
from ..data.dataset_file import Dataset
from ..data.layouts import labels_for
from ..data.pose_recordings import PoseRecording, open_poses
from ..export.bundle_record import this_machine
from ..scores.answers_file import RecordingAnswers
from ..scores.evaluation_record import evaluation_record
from ..splits import PARTS, FoldSplit, SplitRule, parts_of

UNSEEN: Final = "unseen recordings"
_CLOCK: Final = MonotonicClock()


@dataclass(frozen=True, slots=True)
class PoseEvaluation:
    """What was found.

    Attributes:
        record: for JSON; see `evaluation_record`.
        check: of the data.
        answers: frame by frame.
        warning: the model has learnt from what is scored; "" where it has not.
    """

    record: dict[str, Any]
    check: DataCheck
    answers: list[RecordingAnswers]
    warning: str


def evaluate_folder(
    bundle_path: Path,
    dataset: Dataset,
    progress: Callable[[str], None] | None = None,
    cache: FeatureCache | None = None,
) -> PoseEvaluation:
    """Score a bundle on every labelled recording of a folder that it has not learnt from.

    Where it has learnt from all of them, all are scored, ``split.by`` is `TRAINING_DATA`, and there is a warning.

    Args:
        bundle_path: folder, zip or name of a shipped bundle.
        dataset: of recordings of keypoints.
        progress: told the name of each recording, once it is read and once it is scored.
        cache: where features are looked for and kept; None: they are computed.

    Raises:
        ConfigError: the bundle takes no keypoints, or the recordings are none.
        DataError: the recordings do not fit the bundle.
        BundleError: the bundle cannot be used.
    """
    bundle = load_pose_bundle(bundle_path)
    recordings, options = open_dataset(bundle.manifest, dataset, progress)
    whole = [np.ones(one.n_frames, np.bool_) for one in recordings]
    return _evaluated(bundle, recordings, whole, options, dataset.notes, progress, cache)


def evaluate_config(
    bundle_path: Path,
    config: TrainConfig,
    root: Path,
    progress: Callable[[str], None] | None = None,
    cache: FeatureCache | None = None,
) -> PoseEvaluation:
    """Score a bundle on the test part of a training file; with folds on every recording.

    Raises:
        ConfigError: the bundle knows other classes.
        DataError, BundleError: as `evaluate_folder`.
    """
    bundle = load_pose_bundle(bundle_path)
    refuse_classes(bundle, config)
    recordings = open_file(bundle.manifest, config, root, progress)
    judged: list[NDArray[np.bool_]] = []
    for one in recordings:
        if isinstance(config.split, FoldSplit):
            judged.append(np.ones(one.n_frames, np.bool_))
        else:
            parts = parts_of(config.split, one.part, one.labels, one.rate_hz, one.name)
            judged.append(parts == PARTS.index("test"))
    return _evaluated(bundle, recordings, judged, config.labels, config.notes, progress, cache)


def open_dataset(
    manifest: Manifest, dataset: Dataset, progress: Callable[[str], None] | None = None
) -> tuple[list[PoseRecording], LabelOptions]:
    """The recordings of a folder as a bundle takes them, and how their labels became its classes.

    Raises:
        ConfigError: they are videos, or the labels' options name a class that the bundle does not know.
        DataError: they do not fit the bundle.
    """
    entries = [one for one in dataset.entries if isinstance(one, PoseData)]
    if len(entries) != len(dataset.entries):
        raise ConfigError(f"{dataset.root}: holds videos, and bundle {manifest.name!r} takes keypoints")
    options = labels_for(dataset.labels, manifest.classes, manifest.name)
    return _open(manifest, entries, dataset.root, options, None, progress), options


def open_file(
    manifest: Manifest, config: TrainConfig, root: Path, progress: Callable[[str], None] | None = None
) -> list[PoseRecording]:
    """The recordings of a training file as a bundle takes them.

    Raises:
        DataError: they do not fit the bundle.
    """
    entries = [one for one in config.data if isinstance(one, PoseData)]
    return _open(manifest, entries, root, config.labels, config.split, progress)


def rule_of(manifest: Manifest) -> PoseRule:
    """What a bundle asks of recordings."""
    given = manifest.pose
    return PoseRule(
        keypoints=list(given.keypoints),
        n_animals=given.n_animals,
        rate_hz=manifest.rate_hz,
        other_rates=manifest.other_rates,
        identity=given.identity,
        fill=given.fill,
        scale=ScaleRule(**given.scale.model_dump()),
        features=[
            FeatureConfig(name=one.name, version=one.version, parameters=one.parameters) for one in manifest.features
        ],
    )


def _open(
    manifest: Manifest,
    entries: Sequence[PoseData],
    root: Path,
    options: LabelOptions,
    split: SplitRule | None,
    progress: Callable[[str], None] | None,
) -> list[PoseRecording]:
    return open_poses(entries, root, rule_of(manifest), list(manifest.classes), options, split, progress)[0]


def _evaluated(
    bundle: Bundle,
    recordings: Sequence[PoseRecording],
    asked: Sequence[NDArray[np.bool_]],
    options: LabelOptions,
    notes: Sequence[str],
    progress: Callable[[str], None] | None,
    cache: FeatureCache | None,
) -> PoseEvaluation:
    manifest = bundle.manifest
    identities = [Identity.of_pose(one) for one in recordings]
    judged = judgeable(manifest, identities, asked, [one.labels >= 0 for one in recordings])
    split = judged.about({"by": manifest.split.unit if judged.in_part else UNSEEN})
    check = check_data([one.checked for one in recordings], manifest.classes, [*notes, *judged.notes])
    answers: list[RecordingAnswers] = []
    scored: list[PoseRecording] = []
    began_ns = _CLOCK.now_ns()
    for one, mask in zip(recordings, judged.masks, strict=True):
        if (mask & (one.labels >= 0)).any():
            answers.append(bundle_answers(bundle, one, mask, bundle_features(bundle, one, cache)))
            scored.append(one)
        if progress is not None:
            progress(one.name)
    if not answers:
        raise DataError("no frame of the recordings has a label that the bundle knows; are these its labels?")
    if cache is not None:  # what lies in the cache took no time here, and on the rig there is none
        scored = [max(scored, key=lambda one: one.n_frames)]
        began_ns = _CLOCK.now_ns()
        bundle_answers(bundle, scored[0], np.ones(scored[0].n_frames, np.bool_))
    spent_s = (_CLOCK.now_ns() - began_ns) / NS_PER_S
    n_minutes = sum(one.n_frames / one.rate_hz / 60.0 for one in scored)
    record = evaluation_record(
        answers,
        manifest.classes,
        split,
        causal=manifest.look_ahead_frames == 0,
        look_ahead_frames=manifest.look_ahead_frames or 0,
        label_source=options.made_by or "unknown",
        learnt_from=judged.learnt_from,
        doubtful=judged.doubtful,
        notes=check.notes,
        compute={"per_minute_s": spent_s / n_minutes, "machine": this_machine(), "threads": 1},
    )
    record = {"bundle": bundle.identity, "provider": bundle.provider, **record}
    return PoseEvaluation(record, check, answers, judged.warning(manifest))
