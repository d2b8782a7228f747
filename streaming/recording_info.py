"""``recording.json``: what a recording is. Written when it begins and again, by rename, when it is closed."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ..sync.errors import ConfigError, RecordingError
from ..sync.strict import StrictModel, validate
from .recording_config import CodecName

RECORDING_SCHEMA = 1
INFO_FILE = "recording.json"
EVENTS_FILE = "events.mcap"

_SOFTWARE = ("ethostream", "numpy", "av", "pyzmq", "msgspec", "mcap", "opencv-python-headless", "onnxruntime")


class RecordedFormat(StrictModel):
    """What a camera delivers."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    pixel_format: Literal["mono8", "bgr8"]
    rate_hz: float = Field(gt=0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame, uint8."""
        return (self.height, self.width) if self.pixel_format == "mono8" else (self.height, self.width, 3)


class RecordedCamera(RecordedFormat):
    """One camera of a recording: its format, and the file that its video is in."""

    file: str
    codec: CodecName


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
        video: False: events only, there is no video of any camera.
        closed: it was closed in order; the fields below are then final.
        t_stop_ns: rig time at the close.
        written: frames in each video; of an events-only recording, frames whose header is in the event log.
        declared: frames of each camera that are declared as not in its video.
        n_messages: messages in the event log.
        n_refused: messages that are not in it, since the disk took nothing for too long.
        video_stopped: why video ended before the recording did, "" where it did not.
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
    video: bool = True


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
    """Put ``recording.json`` into ``folder``: the old or the new one is there at any instant, never half of one.

    Raises:
        RecordingError: it cannot be written.
    """
    path = folder / INFO_FILE
    new = folder / f"{INFO_FILE}.new"
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(info.model_dump_json(by_alias=True, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
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
