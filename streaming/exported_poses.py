"""The poses of a recording as rows of a table, with those that are missing."""

import math
from collections.abc import Iterator, Sequence

from ..sync.clock import NS_PER_S
from .header_filter import HeaderFilter
from .messages import Gap, Pose
from .never_came import never_came
from .pose_format import points_of
from .recording_reader import Recording
from .topics import GAP, POSE


def pose_rows(recording: Recording) -> Iterator[Sequence[object]]:
    """A head line, then a row per point of every animal in every frame of every pose source, in order of arrival.

    A point that is missing has no ``x_px`` and ``y_px``. Frames that never came, and of which a message says so, stand
    at the end: a row each, with the ``reason`` and neither times nor points (see `never_came`).

    Raises:
        WireError: a message does not validate.
    """
    yield (
        "source", "epoch", "seq", "t_exposure_ns", "t_received_ns", "time_s", "animal", "keypoint", "x_px", "y_px",
        "likelihood", "reason",
    )  # fmt: skip
    come = {source: HeaderFilter() for source in recording.info.poses}
    gaps: dict[str, list[Gap]] = {source: [] for source in sorted(recording.info.poses)}
    for logged in recording.messages([POSE, GAP]):
        message = logged.message
        if isinstance(message, Gap) and message.camera in gaps:
            gaps[message.camera].append(message)
        elif isinstance(message, Pose) and message.source in come:
            new = come[message.source].is_new(message.epoch, message.seq)
            yield from _points(recording, message) if new else ()
    for source, declared in gaps.items():
        for epoch, seq, reason in never_came(declared, come[source].received):
            yield (source, epoch, seq, "", "", "", "", "", "", "", "", reason)


def _points(recording: Recording, pose: Pose) -> Iterator[Sequence[object]]:
    time_s = f"{(pose.t_exposure_ns - recording.info.t_start_ns) / NS_PER_S:.6f}"
    head = (pose.source, pose.epoch, pose.seq, pose.t_exposure_ns, pose.t_received_ns, time_s)
    # Numbers stay float32, so that each is written with as many digits as it has.
    for animal, points in zip(pose.animals, points_of(pose), strict=True):
        for keypoint, (x, y, likelihood) in zip(pose.keypoints, points, strict=True):
            place = ("", "") if math.isnan(x) or math.isnan(y) else (x, y)
            yield (*head, animal, keypoint, *place, likelihood, "")
