"""What a model says of whole recordings of keypoints: a head while it is trained, or a bundle as it ships."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...inference.pose.pose_blocks import run_pose_blocks
from ...inference.stabilisation.config import StabiliserConfig
from ..data.pose_recordings import PoseRecording
from ..scores.answers_file import RecordingAnswers
from .stabilised import stabilised_labels


def answers_from(
    recording: PoseRecording,
    p: NDArray[np.float32],
    judged: NDArray[np.bool_],
    classes: Sequence[str],
    stabiliser: StabiliserConfig,
    fold: int = -1,
) -> RecordingAnswers:
    """Answers of a recording from the probabilities of its frames, [t, c]."""
    nothing = RecordingAnswers(
        name=recording.name,
        rate_hz=recording.rate_hz,
        truth=recording.labels,
        raw=p.argmax(1).astype(np.int16),
        label=np.full(len(p), -1, np.int16),
        p=p,
        judged=judged,
        group=recording.group or "",
        raters=recording.compare,
        fold=fold,
        present=recording.targets,
    )
    return with_stabiliser(nothing, classes, stabiliser)


def with_stabiliser(
    answers: RecordingAnswers, classes: Sequence[str], stabiliser: StabiliserConfig
) -> RecordingAnswers:
    """The same answers with the labels that a stabiliser makes of them."""
    return replace(answers, label=stabilised_labels(list(classes), stabiliser, answers.p, answers.t_ns))


def bundle_answers(
    bundle: Bundle, recording: PoseRecording, judged: NDArray[np.bool_], x: NDArray[np.float32] | None = None
) -> RecordingAnswers:
    """Answers of a bundle over a whole recording, from its first row on, as a rig would have given them.

    Args:
        bundle: of keypoints.
        recording: at its rate.
        judged: frames that are scored, bool [t].
        x: the head's input, float32 [t, dims], where it is known; None: it is computed.
    """
    found = run_pose_blocks(bundle, recording.points, recording.rate_hz, x=x).of_their_frames()
    return RecordingAnswers(
        name=recording.name,
        rate_hz=recording.rate_hz,
        truth=recording.labels,
        raw=found.p.argmax(1).astype(np.int16),
        label=found.labels.astype(np.int16),
        p=found.p,
        judged=judged,
        group=recording.group or "",
        raters=recording.compare,
        present=recording.targets,
    )
