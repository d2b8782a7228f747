"""What a bundle says of labelled recordings before any stabiliser, each answer when a rig would get it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...inference.pose.pose_blocks import run_pose_blocks
from ...sync.clock import NS_PER_S, ClockAnchor, RigClock
from ...sync.errors import DataError
from ..answers.learnt_frames import Identity, judgeable
from ..answers.offline import run_offline
from ..config.training_file import TrainConfig
from ..data.pose_recordings import PoseRecording
from ..data.video_sources import Source
from ..splits import PARTS, UNUSED, KFoldSplit, Part, folds_of, parts_of

CHOICE_PART: Final[Part] = "validation"
REPORT_PART: Final[Part] = "test"


@dataclass(frozen=True, slots=True)
class RawAnswers:
    """What a model said of one recording before any stabiliser.

    Attributes:
        name: of the recording.
        t_ns: (n,) int64 exposure times of the model's steps.
        p: (n, n_classes) float32, as the stabiliser gets them on the rig.
        truth: (n,) class index, below 0 without a label.
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
    parts = parts_of(config.split, source.part, source.labels, source.rate_hz, source.name)
    wanted = (parts >= PARTS.index(CHOICE_PART)) & (source.labels >= 0)
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
        truth=source.labels[used],
        parts=parts[used],
    )


def raw_pose_answers(bundle: Bundle, recording: PoseRecording, parts: NDArray[np.int8]) -> RawAnswers | None:
    """Run a bundle over a recording of keypoints; None: no labelled frame of it is chosen or reported on.

    Args:
        bundle: of keypoints.
        recording: at the rate of the model.
        parts: of its frames, int8 [t].
    """
    if not ((parts >= PARTS.index(CHOICE_PART)) & (recording.labels >= 0)).any():
        return None
    found = run_pose_blocks(bundle, recording.points, recording.rate_hz)
    return RawAnswers(
        name=recording.name,
        t_ns=np.rint(found.frames * (NS_PER_S / recording.rate_hz)).astype(np.int64),
        p=found.p,
        truth=recording.labels[found.frames],
        parts=parts[found.frames],
    )


def deal_unseen(
    bundle: Bundle, recordings: Sequence[PoseRecording], seed: int = 0
) -> tuple[list[NDArray[np.int8]], list[str]]:
    """The part of every frame of recordings of a folder: half is chosen on, half is reported on.

    Recordings, or groups of them, are dealt out whole. What the bundle has learnt from is in no part; where one
    recording or group alone is left, everything is reported on.

    Returns:
        The parts, int8 [t] each, and the recordings that resemble one that the bundle has learnt from, by name.

    Raises:
        DataError: the bundle has learnt from all of them.
    """
    whole = [np.ones(one.n_frames, np.bool_) for one in recordings]
    labelled = [one.labels >= 0 for one in recordings]
    found = judgeable(bundle.manifest, [Identity.of_pose(one) for one in recordings], whole, labelled)
    if found.learnt_from:
        raise DataError(
            f"bundle {bundle.manifest.name!r} has learnt from {', '.join(found.learnt_from)}, where its answers are "
            "better than anywhere else: a stabiliser that is chosen there will be too quick; give recordings that it "
            "has not seen"
        )
    seen = [place for place, mask in enumerate(found.masks) if (mask & labelled[place]).any()]
    part_of = dict.fromkeys(seen, REPORT_PART)
    groups = [recordings[place].group for place in seen]
    names = [recordings[place].name for place in seen]
    if len({group or f"recording {name}" for group, name in zip(groups, names, strict=True)}) > 1:
        chosen, _ = folds_of(KFoldSplit(folds=2, seed=seed), names, groups)
        part_of |= {seen[place]: CHOICE_PART for place in chosen}
    parts = [
        np.where(mask, PARTS.index(part_of[place]), UNUSED).astype(np.int8)
        if place in part_of
        else np.full(recordings[place].n_frames, UNUSED, np.int8)
        for place, mask in enumerate(found.masks)
    ]
    return parts, found.doubtful


def _time_ns(place: int, source: Source) -> int:
    return round(place * NS_PER_S / source.rate_hz)
