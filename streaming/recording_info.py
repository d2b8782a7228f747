"""``recording.json``: what a recording is. Written when it begins and again, by rename, when it is closed."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from ..sync.clock import NS_PER_S
from ..sync.errors import ConfigError, RecordingError
from ..sync.latency import LatencyHistogram
from ..sync.strict import StrictModel, validate
from .durable import write_atomically
from .pixel_format import PixelFormat, frame_shape
from .pose_format import PoseFormat
from .recording_config import CodecName

RECORDING_SCHEMA = 1
INFO_FILE = "recording.json"
EVENTS_FILE = "events.mcap"

_SOFTWARE = (
    "ethostream", "numpy", "av", "pyzmq", "msgspec", "mcap", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu",
)  # fmt: skip


class RecordedFormat(StrictModel):
    """What a camera delivers."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    pixel_format: PixelFormat
    rate_hz: float = Field(gt=0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame, uint8."""
        return frame_shape(self.pixel_format, self.height, self.width)


class RecordedCamera(RecordedFormat):
    """One camera of a recording: its format, and the file that its video is in."""

    file: str
    codec: CodecName


class FrameRun(StrictModel):
    """``n`` frames of one epoch of a camera from ``first_seq`` on."""

    epoch: int
    first_seq: int
    n: int


class RepairNote(StrictModel):
    """What `repair` has done to a recording that was torn.

    Attributes:
        utc: when, ISO 8601.
        ethostream: version that did it.
        t_last_ns: rig time of the last message before the tear.
        cut_bytes: what was left out at the end of each file, since it was no whole message or frame.
        cut_frames: whole video frames of each camera that were left out, since no header names them or they do not
            decode.
        missing: frames of each camera that `repair` declared: received and not in the video, or never received.
        kept: folder inside the recording with the files as they were torn, "" where they were deleted.
    """

    utc: str
    ethostream: str
    t_last_ns: int
    cut_bytes: dict[str, int] = Field(default_factory=dict)
    cut_frames: dict[str, int] = Field(default_factory=dict)
    missing: dict[str, list[FrameRun]] = Field(default_factory=dict)
    kept: str = ""


class LatencyCounts(StrictModel):
    """A latency histogram as it is kept: see `LatencyHistogram`.

    Attributes:
        buckets: upper edge in ns and count of each bucket that is not empty.
        max_ns: the longest.
        sum_ns: of all.
        n_negative: durations below zero, in no bucket.
    """

    buckets: list[tuple[int, int]] = Field(default_factory=list[tuple[int, int]])
    max_ns: int = 0
    sum_ns: int = 0
    n_negative: int = 0

    @classmethod
    def of(cls, histogram: LatencyHistogram) -> "LatencyCounts":
        """What is kept of ``histogram``."""
        return cls(
            buckets=histogram.buckets(),
            max_ns=histogram.max_ns,
            sum_ns=histogram.sum_ns,
            n_negative=histogram.n_negative,
        )

    @property
    def histogram(self) -> LatencyHistogram:
        """The histogram again."""
        return LatencyHistogram.restored(self.buckets, self.max_ns, self.sum_ns, self.n_negative)


class PartLink(StrictModel):
    """The part before this one: a recording of the same session that a crash ended.

    Attributes:
        name: its folder, beside this one.
        t_last_ns: rig time of its last message, by its own anchor.
        gap_s: from there to the start of this part; as right as the computer's UTC was at both starts.
    """

    name: str
    t_last_ns: int
    gap_s: float = 0.0

    def since(self, t_start_ns: int) -> "PartLink":
        """The same, with the gap to a part that starts at ``t_start_ns``."""
        return self.model_copy(update={"gap_s": round((t_start_ns - self.t_last_ns) / NS_PER_S, 3)})


class RecordingInfo(StrictModel):
    """The content of ``recording.json``.

    Attributes:
        schema_version: ``schema`` in the file.
        name: of the recording, as in `RecordingStatus`.
        session: id of the session.
        t_start_ns: rig time of pts 0 of every video.
        software: versions of what wrote it.
        config: the resolved configuration of the run.
        cameras: by name.
        poses: pose sources by name; their points are in the event log.
        video: False: events only, there is no video of any camera.
        closed: it was closed in order; the fields below are then final.
        t_stop_ns: rig time at the close.
        written: frames in each video; of pose sources and of an events-only recording, those whose message is in the
            event log.
        declared: frames of each camera and pose source that are declared as not there.
        n_messages: messages in the event log.
        n_refused: messages that are not in it, since the disk took nothing for too long.
        not_forced: file → why it could not be forced onto the disk; some of it may be lost, whatever it looks like now.
        video_stopped: why video ended before the recording did, "" where it did not.
        anchor_utc_ns, anchor_monotonic_ns: the instant that ties rig time to UTC; 0 in recordings before 0.2.
        part: 1, or the number of this part of a session that was resumed after a crash.
        continues: the part before this one.
        continued_by: name of the part after this one.
        repaired: what `repair` has done to it.
        latency: by path (``exposure_to_behavior``, ``exposure_to_trigger``) the latencies that the recorder saw; empty
            where nothing was decided, in torn recordings, and before 0.2.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="strings", validate_by_name=True
    )

    schema_version: int = Field(default=RECORDING_SCHEMA, alias="schema")
    name: str
    session: str
    t_start_ns: int
    software: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    cameras: dict[str, RecordedCamera]
    closed: bool = False
    t_stop_ns: int = 0
    written: dict[str, int] = Field(default_factory=dict)
    declared: dict[str, int] = Field(default_factory=dict)
    n_messages: int = 0
    video_stopped: str = ""
    n_refused: int = 0
    not_forced: dict[str, str] = Field(default_factory=dict)
    video: bool = True
    anchor_utc_ns: int = 0
    anchor_monotonic_ns: int = 0
    part: int = Field(default=1, ge=1)
    continues: PartLink | None = None
    continued_by: str = ""
    repaired: RepairNote | None = None
    latency: dict[str, LatencyCounts] = Field(default_factory=dict[str, LatencyCounts])
    poses: dict[str, PoseFormat] = Field(default_factory=dict[str, PoseFormat])


def software_versions() -> dict[str, str]:
    """Versions of what takes part in writing and deciding; packages that are not installed are left out."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _SOFTWARE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def write_info(folder: Path, info: RecordingInfo) -> None:
    """Put ``recording.json`` into ``folder``, on the disk: the old or the new one is there at any instant.

    Raises:
        RecordingError: it cannot be written.
    """
    path = folder / INFO_FILE
    try:
        write_atomically(path, info.model_dump_json(by_alias=True, indent=2) + "\n")
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written ({error.strerror}); check the folder and the disk") from error


def read_info(folder: Path) -> RecordingInfo:
    """Read ``recording.json``.

    Raises:
        RecordingError: it is missing, damaged, or of another schema.
    """
    path = folder / INFO_FILE
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordingError(
            f"{path}: cannot be read ({error.strerror}); give the folder of a recording, which holds {INFO_FILE}"
        ) from error
    except ValueError as error:
        raise RecordingError(f"{path}: is not JSON ({error}); restore it from a copy of the recording") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != RECORDING_SCHEMA:
        raise RecordingError(
            f"{path}: schema {schema!r}, this release reads {RECORDING_SCHEMA}; use the release that wrote it"
        )
    try:
        return validate(RecordingInfo, data, str(path))
    except ConfigError as error:
        raise RecordingError(f"{error}; restore it from a copy of the recording") from error
