"""Scores of a bundle of keypoints on any labelled recordings; the first question is whether it has learnt from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...sync.clock import NS_PER_S, MonotonicClock
from ...sync.errors import DataError
from ..answers.learnt_frames import UNSEEN, Identity, judgeable, unseen_mask
from ..answers.of_pose import bundle_answers
from ..answers.of_video import refuse_classes
from ..answers.pose_bundle import load_pose_bundle
from ..cache.pose_features import bundle_features
from ..cache.store import FeatureCache
from ..config.training_file import TrainConfig
from ..data.bundle_recordings import BundleRecordings
from ..data.checks import CheckedRecording, DataCheck, check_data
from ..data.dataset_file import Dataset
from ..data.pose_recordings import PoseRecording
from ..export.bundle_record import this_machine
from ..scores.answers_file import RecordingAnswers
from ..scores.evaluation_record import evaluation_record
from ..splits import FoldSplit, part_mask

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
    recordings = BundleRecordings.of_folder(bundle.manifest, dataset)
    return _evaluated(bundle, recordings, _whole, dataset.notes, progress, cache)


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
    split = config.split

    def of_test(one: PoseRecording) -> NDArray[np.bool_]:
        return part_mask(split, one, "test")

    asked = _whole if isinstance(split, FoldSplit) else of_test
    recordings = BundleRecordings.of_file(bundle.manifest, config, root)
    return _evaluated(bundle, recordings, asked, config.notes, progress, cache)


@dataclass(slots=True)
class _Answering:
    """Runs a bundle over recordings, and keeps what it says and how long it takes."""

    bundle: Bundle
    cache: FeatureCache | None
    found: list[RecordingAnswers] = field(default_factory=list[RecordingAnswers])
    spent_s: float = 0.0
    minutes: float = 0.0
    longest: PoseRecording | None = None

    def add(self, one: PoseRecording, judged: NDArray[np.bool_]) -> None:
        began_ns = _CLOCK.now_ns()
        self.found.append(bundle_answers(self.bundle, one, judged, bundle_features(self.bundle, one, self.cache)))
        self.spent_s += (_CLOCK.now_ns() - began_ns) / NS_PER_S
        self.minutes += _minutes(one)
        if self.cache is not None and (self.longest is None or one.n_frames > self.longest.n_frames):
            self.longest = one

    def per_minute_s(self) -> float:
        """Seconds per minute of recording; what lies in a cache took no time, and on the rig there is none."""
        if self.longest is None:
            return self.spent_s / self.minutes
        began_ns = _CLOCK.now_ns()
        bundle_answers(self.bundle, self.longest, _whole(self.longest))
        return (_CLOCK.now_ns() - began_ns) / NS_PER_S / _minutes(self.longest)


def _evaluated(
    bundle: Bundle,
    recordings: BundleRecordings,
    asked_of: Callable[[PoseRecording], NDArray[np.bool_]],
    notes: Sequence[str],
    progress: Callable[[str], None] | None,
    cache: FeatureCache | None,
) -> PoseEvaluation:
    manifest = bundle.manifest
    identities: list[Identity] = []
    asked: list[NDArray[np.bool_]] = []
    known: list[NDArray[np.bool_]] = []
    checked: list[CheckedRecording] = []
    answering = _Answering(bundle, cache)
    for one in recordings.each(progress):
        identities.append(Identity.of_pose(one))
        asked.append(asked_of(one))
        known.append(one.known)
        checked.append(one.checked)
        unseen = unseen_mask(manifest, identities[-1], asked[-1])
        if (unseen & one.known).any():
            answering.add(one, unseen)
        if progress is not None:
            progress(one.name)
    judged = judgeable(manifest, identities, asked, known)
    if not answering.found:  # it has learnt from all of them: they are scored all the same, and it is said
        for place, mask in enumerate(judged.masks):
            if (mask & known[place]).any():
                answering.add(recordings.read(place), mask)
    if not answering.found:
        raise DataError("no frame of the recordings has a label that the bundle knows; are these its labels?")
    check = check_data(checked, manifest.classes, [*notes, *judged.notes])
    record = evaluation_record(
        answering.found,
        manifest.classes,
        judged.about({"by": manifest.split.unit if judged.in_part else UNSEEN}),
        causal=manifest.look_ahead_frames == 0,
        look_ahead_frames=manifest.look_ahead_frames or 0,
        label_source=recordings.options.made_by or "unknown",
        learnt_from=judged.learnt_from,
        doubtful=judged.doubtful,
        notes=check.notes,
        compute={"per_minute_s": answering.per_minute_s(), "machine": this_machine(), "threads": 1},
    )
    record = {"bundle": bundle.identity, "provider": bundle.provider, **record}
    return PoseEvaluation(record, check, answering.found, judged.warning(manifest))


def _whole(recording: PoseRecording) -> NDArray[np.bool_]:
    return np.ones(recording.n_frames, np.bool_)


def _minutes(recording: PoseRecording) -> float:
    return recording.n_frames / recording.rate_hz / 60.0
