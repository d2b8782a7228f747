"""What a bundle says of labelled recordings before any stabiliser, each answer when a rig would get it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...inference.pose.pose_blocks import run_pose_blocks
from ...sync.clock import NS_PER_S, ClockAnchor, RigClock
from ...sync.errors import DataError
from ..answers.learnt_frames import Identity, judgeable, refuse_parts, unseen_mask
from ..answers.offline import run_offline
from ..config.training_file import TrainConfig
from ..data.pose_recordings import PoseRecording
from ..data.video_sources import Source
from ..scores.onsets import trigger_truth
from ..splits import PARTS, UNUSED, KFoldSplit, Part, SplitRule, folds_of, parts_of, unit_of

CHOICE_PART: Final[Part] = "validation"
REPORT_PART: Final[Part] = "test"


@dataclass(frozen=True, slots=True)
class RawAnswers:
    """What a model said of one recording before any stabiliser.

    Attributes:
        name: of the recording.
        t_ns: (n,) int64 exposure times of the model's steps.
        p: (n, n_classes) float32, as the stabiliser gets them on the rig.
        truth: (n,) class index, below 0 without a label; see `trigger_truth`.
        parts: (n,) index into ``PARTS``, below 0: in none.
    """

    name: str
    t_ns: NDArray[np.int64]
    p: NDArray[np.float32]
    truth: NDArray[np.int16]
    parts: NDArray[np.int8]


def raw_answers(
    bundle: Bundle, config: TrainConfig, source: Source, progress: Callable[[int], None] | None = None
) -> RawAnswers | None:
    """Run a bundle over a recording, from its first frame to the last that is chosen or reported on; None: it has none.

    Raises:
        DataError: the video ends before its labels do.
    """
    parts = parts_of(config.split, source)
    wanted = (parts >= PARTS.index(CHOICE_PART)) & source.known
    if not wanted.any():
        return None
    n_run = int(np.flatnonzero(wanted)[-1]) + 1

    def frames() -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
        for place, images in enumerate(source.open_frames()):
            if place == n_run:
                return
            yield _time_ns(place, source), images

    used: list[int] = []
    rows: list[tuple[float, ...]] = []
    n_done = 0
    answers = run_offline(bundle, source.views, source.rate_hz, frames(), RigClock(ClockAnchor.take()))
    for place, answer in enumerate(answers):
        n_done = place + 1
        if progress is not None:
            progress(1)
        if answer is not None:
            used.append(place)
            rows.append(answer.p)
    if n_done < n_run:
        raise DataError(
            f"{source.name}: labels go up to frame {n_run - 1}, but only {n_done} frames can be read; "
            "is the video whole?"
        )
    return RawAnswers(
        name=source.name,
        t_ns=np.array([_time_ns(place, source) for place in used], np.int64),
        p=np.array(rows, np.float32),
        truth=trigger_truth(source.labels, source.targets, len(config.classes))[used],
        parts=parts[used],
    )


def raw_pose_answers(bundle: Bundle, recording: PoseRecording, parts: NDArray[np.int8]) -> RawAnswers | None:
    """Run a bundle over a recording of keypoints; None: no labelled frame of it is chosen or reported on.

    Args:
        bundle: of keypoints.
        recording: at the rate of the model.
        parts: of its frames, int8 [t].
    """
    if not ((parts >= PARTS.index(CHOICE_PART)) & recording.known).any():
        return None
    found = run_pose_blocks(bundle, recording.points, recording.rate_hz)
    return RawAnswers(
        name=recording.name,
        t_ns=np.rint(found.frames * (NS_PER_S / recording.rate_hz)).astype(np.int64),
        p=found.p,
        truth=trigger_truth(recording.labels, recording.targets, len(bundle.manifest.classes))[found.frames],
        parts=parts[found.frames],
    )


def raw_answers_of_file(
    bundle: Bundle, recordings: Iterable[PoseRecording], split: SplitRule, progress: Callable[[int], None] | None = None
) -> list[RawAnswers]:
    """Run a bundle over recordings of keypoints, one after the other, with the parts of a training file.

    Args:
        bundle: of keypoints.
        recordings: as it takes them.
        split: of the training file.
        progress: told 1 after every recording.

    Raises:
        DataError: the bundle has learnt from what is chosen or reported on (of the first such recording, after those
            before it were answered), or the split makes folds.
    """
    found: list[RawAnswers] = []
    for one in recordings:
        parts = parts_of(split, one)
        refuse_parts(bundle.manifest, [Identity.of_pose(one)], [parts])  # before the time for its answers is spent
        answers = raw_pose_answers(bundle, one, parts)
        if answers is not None:
            found.append(answers)
        if progress is not None:
            progress(1)
    return found


def raw_answers_of_folder(
    bundle: Bundle, recordings: Iterable[PoseRecording], progress: Callable[[int], None] | None = None, seed: int = 0
) -> tuple[list[RawAnswers], list[str]]:
    """Run a bundle over recordings of a folder, one after the other: half is chosen on, half is reported on.

    Recordings, or groups of them, are dealt out whole. What the bundle has learnt from is in no part; where one
    recording or group alone is left, everything is reported on.

    Args:
        bundle: of keypoints.
        recordings: as it takes them.
        progress: told 1 after every recording.
        seed: of the order in which they are dealt out.

    Returns:
        The answers, and the recordings that resemble one that the bundle has learnt from, by name.

    Raises:
        DataError: the bundle has learnt from all of them.
    """
    manifest = bundle.manifest
    identities: list[Identity] = []
    known: list[NDArray[np.bool_]] = []
    found: list[RawAnswers] = []
    groups: list[str | None] = []
    for one in recordings:
        identities.append(Identity.of_pose(one))
        known.append(one.known)
        unseen = unseen_mask(manifest, identities[-1], np.ones(one.n_frames, np.bool_))
        parts = np.where(unseen, PARTS.index(REPORT_PART), UNUSED).astype(np.int8)
        if (answers := raw_pose_answers(bundle, one, parts)) is not None:
            found.append(answers)
            groups.append(one.group)
        if progress is not None:
            progress(1)
    judged = judgeable(manifest, identities, [np.ones(len(one), np.bool_) for one in known], known)
    if judged.learnt_from:
        raise DataError(
            f"bundle {manifest.name!r} has learnt from {', '.join(judged.learnt_from)}, where its answers are "
            "better than anywhere else: a stabiliser that is chosen there will be too quick; give recordings that it "
            "has not seen"
        )
    names = [one.name for one in found]
    if len({unit_of(name, group) for name, group in zip(names, groups, strict=True)}) > 1:
        for place in folds_of(KFoldSplit(folds=2, seed=seed), names, groups)[0]:
            chosen = np.where(found[place].parts == UNUSED, UNUSED, PARTS.index(CHOICE_PART)).astype(np.int8)
            found[place] = replace(found[place], parts=chosen)
    return found, judged.doubtful


def _time_ns(place: int, source: Source) -> int:
    return round(place * NS_PER_S / source.rate_hz)
