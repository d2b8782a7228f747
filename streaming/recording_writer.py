"""The folder of one recording: ``recording.json``, ``events.mcap`` and one video per camera."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..sync.clock import ClockAnchor
from ..sync.errors import RecordingError, VideoError
from ..sync.latency import LatencyHistogram
from .durable import FileSync, sync_folder
from .event_flusher import EventFlusher
from .event_log import EventLogWriter
from .folder_lock import FolderLock
from .pose_format import PoseFormat
from .recording_config import RecordingConfig
from .recording_info import (
    EVENTS_FILE,
    INFO_FILE,
    LatencyCounts,
    PartLink,
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

    The folder opens as a torn recording from the first moment on, and as a closed one after `close`. Threads beside
    hand the event log to the operating system and force all files onto the disk, the event log before the videos.

    Attributes:
        folder: of the recording.
        info: as written last.
        events: the event log.
        flusher: writes it.
        syncs: what forces each file onto the disk.

    Args:
        folder: must not hold a recording.
        session: id of the session.
        cameras: format of each.
        config: codec and quality.
        t_start_ns: rig time of pts 0.
        run: the resolved configuration, kept as it is.
        anchor: of rig time, kept as it is.
        continues: the part of the session before this one, and the number of this part.
        poses: what each pose source delivers.

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
        anchor: ClockAnchor | None = None,
        continues: tuple[PartLink, int] | None = None,
        poses: Mapping[str, PoseFormat] | None = None,
    ) -> None:
        self.folder = folder
        self._config = config
        if (folder / INFO_FILE).exists() or (folder / EVENTS_FILE).exists():
            raise RecordingError(f"{folder}: holds a recording already; a recording needs a folder of its own")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            (folder / RESERVE_FILE).write_bytes(bytes(RESERVE_BYTES))
        except OSError as error:
            raise RecordingError(
                f"{folder}: cannot be written ({error.strerror}); check path, rights and free space"
            ) from error
        self._lock = FolderLock(folder, "recorder")
        self.info = RecordingInfo(
            name=folder.name,
            session=session,
            t_start_ns=t_start_ns,
            software=software_versions(),
            config=run or {},
            video=config.video,
            anchor_utc_ns=anchor.utc_ns if anchor else 0,
            anchor_monotonic_ns=anchor.monotonic_ns if anchor else 0,
            continues=continues[0].since(t_start_ns) if continues else None,
            part=continues[1] if continues else 1,
            poses=dict(poses or {}),
            cameras={
                name: RecordedCamera(**one.model_dump(include=set(RecordedFormat.model_fields)), file=f"{name}.mkv",
                                     codec=config.codec)
                for name, one in cameras.items()
            },
        )  # fmt: skip
        write_info(folder, self.info)
        self.events = EventLogWriter(folder / EVENTS_FILE)
        self.events.flush()
        sync_folder(folder)
        self.flusher = EventFlusher(self.events)
        self.syncs = [FileSync(self.events.path, after=self._sync_videos)]

    def _sync_videos(self) -> None:
        """The headers are on the disk: now the frames that they name."""
        for one in self.syncs[1:]:
            one.kick()

    def open_video(self, camera: str) -> VideoWriter:
        """Create the video of one camera; the caller's thread owns it.

        Raises:
            VideoError, DiskFullError: see `VideoWriter`.
        """
        one = self.info.cameras[camera]
        path = self.folder / one.file
        video = VideoWriter(
            path,
            one.codec,
            one.width,
            one.height,
            one.pixel_format,
            one.rate_hz,
            self.info.t_start_ns,
            self._config.crf,
        )
        try:
            sync_folder(self.folder)
            self.syncs.append(FileSync(path, period_s=None))
        except OSError as error:
            raise VideoError(f"{path}: cannot be forced onto the disk ({error.strerror}); check the disk") from error
        return video

    def end_threads(self) -> None:
        """Force all files onto the disk a last time and end the threads that do it; may be called twice."""
        self.flusher.end()
        for one in self.syncs:
            one.end()

    def close(
        self,
        t_stop_ns: int,
        written: Mapping[str, int],
        declared: Mapping[str, int],
        video_stopped: str = "",
        latency: Mapping[str, LatencyHistogram] | None = None,
    ) -> None:
        """Close the event log, then mark the recording as closed. The videos must be closed before.

        Raises:
            RecordingError: no room or no right to write; the recording then opens as a torn one.
        """
        (self.folder / RESERVE_FILE).unlink(missing_ok=True)
        self.flusher.end()
        self.events.close()
        self.end_threads()
        self.info = self.info.model_copy(
            update={
                "closed": True,
                "t_stop_ns": t_stop_ns,
                "written": dict(written),
                "declared": dict(declared),
                "n_messages": self.events.n_messages,
                "n_refused": self.events.n_refused,
                "video_stopped": video_stopped,
                "latency": {name: LatencyCounts.of(one) for name, one in (latency or {}).items() if one.n},
                "not_forced": {one.path.name: one.error for one in self.syncs if one.error},
            }
        )
        write_info(self.folder, self.info)
        self._lock.close()
