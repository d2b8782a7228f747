"""The folder of one recording: ``recording.json``, ``events.mcap`` and one video per camera."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..sync.errors import RecordingError
from .event_log import EventLogWriter
from .recording_config import RecordingConfig
from .recording_info import (
    EVENTS_FILE,
    INFO_FILE,
    RecordedCamera,
    RecordedFormat,
    RecordingInfo,
    software_versions,
    write_info,
)
from .video_writer import VideoWriter

RESERVE_FILE = ".reserve"
RESERVE_BYTES = 1024 * 1024
"""Kept from the start and given back at the end, so that a full disk does not keep a recording from being closed."""


class RecordingWriter:
    """Creates a recording and closes it. One thread; each `VideoWriter` that it opens belongs to a thread of its own.

    The folder opens as a torn recording from the first moment on, and as a closed one after `close`.

    Attributes:
        folder: of the recording.
        info: as written last.
        events: the event log.

    Args:
        folder: must not hold a recording.
        session: id of the session.
        cameras: format of each.
        config: codec and quality.
        t_start_ns: rig time of pts 0.
        run: the resolved configuration, kept as it is.

    Raises:
        RecordingError: the folder holds a recording, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        session: str,
        cameras: Mapping[str, RecordedFormat],
        config: RecordingConfig,
        t_start_ns: int,
        run: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self._config = config
        if (folder / INFO_FILE).exists() or (folder / EVENTS_FILE).exists():
            raise RecordingError(f"{folder}: holds a recording already; a recording needs a folder of its own")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / RESERVE_FILE).write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            raise RecordingError(
                f"{folder}: cannot be written ({error.strerror}); check path, rights and free space"
            ) from error
        self.info = RecordingInfo(
            name=folder.name,
            session=session,
            t_start_ns=t_start_ns,
            software=software_versions(),
            config=run or {},
            video=config.video,
            cameras={
                name: RecordedCamera(**one.model_dump(include=set(RecordedFormat.model_fields)), file=f"{name}.mkv",
                                     codec=config.codec)
                for name, one in cameras.items()
            },
        )  # fmt: skip
        write_info(folder, self.info)
        self.events = EventLogWriter(folder / EVENTS_FILE)
        self.events.flush()

    def open_video(self, camera: str) -> VideoWriter:
        """Create the video of one camera; the caller's thread owns it.

        Raises:
            VideoError, DiskFullError: see `VideoWriter`.
        """
        one = self.info.cameras[camera]
        return VideoWriter(
            self.folder / one.file,
            one.codec,
            one.width,
            one.height,
            one.pixel_format,
            one.rate_hz,
            self.info.t_start_ns,
            self._config.crf,
        )

    def close(
        self, t_stop_ns: int, written: Mapping[str, int], declared: Mapping[str, int], video_stopped: str = ""
    ) -> None:
        """Close the event log, then mark the recording as closed. The videos must be closed before.

        Raises:
            RecordingError: no room or no right to write; the recording then opens as a torn one.
        """
        (self.folder / RESERVE_FILE).unlink(missing_ok=True)
        self.events.close()
        self.info = self.info.model_copy(
            update={
                "closed": True,
                "t_stop_ns": t_stop_ns,
                "written": dict(written),
                "declared": dict(declared),
                "n_messages": self.events.n_messages,
                "n_refused": self.events.n_refused,
                "video_stopped": video_stopped,
            }
        )
        write_info(self.folder, self.info)
