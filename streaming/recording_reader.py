"""Reading a recording, closed or torn, without changing it."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import RecordingError
from .event_log import EventLog, LoggedMessage
from .frame_index import CameraIndex, Pairing, demux_pts_ms, pair_frames
from .messages import FrameHeader, Gap
from .recording_info import EVENTS_FILE, RecordedCamera, RecordingInfo, read_info
from .topics import FRAME, GAP, Topic
from .video import VideoReader

__all__ = ["LoggedMessage", "Recording"]


class Recording:
    """One recording folder, read-only. Iterators are independent of each other; each belongs to one thread.

    Attributes:
        path: the folder.
        info: what ``recording.json`` says.
        events: the event log.
    """

    def __init__(self, path: Path, info: RecordingInfo, events: EventLog) -> None:
        self.path = path
        self.info = info
        self.events = events

    @classmethod
    def open(cls, path: Path | str) -> "Recording":
        """Open a recording folder.

        Raises:
            RecordingError: it is not one, or was written by a release that cannot be read.
        """
        folder = Path(path)
        info = read_info(folder)
        return cls(folder, info, EventLog(folder / EVENTS_FILE))

    @property
    def closed(self) -> bool:
        """It was closed in order; False after a crash, or while it is being written."""
        return self.info.closed and self.events.closed

    def messages(self, topics: Collection[Topic] | None = None) -> Iterator[LoggedMessage]:
        """Messages in order of arrival, of ``topics`` only where given; of a torn recording those before the tear.

        Raises:
            WireError: a message does not validate.
        """
        return self.events.messages(topics)

    def video_path(self, camera: str) -> Path:
        """The video of one camera; it is not there where no frame was written."""
        return self.path / self.camera(camera).file

    def camera(self, camera: str) -> RecordedCamera:
        """Format, codec and file of one camera.

        Raises:
            RecordingError: no such camera.
        """
        one = self.info.cameras.get(camera)
        if one is None:
            raise RecordingError(f"{self.path}: has no camera {camera!r}; it has {', '.join(self.info.cameras)}")
        return one

    def index(self, camera: str) -> tuple[CameraIndex, Pairing]:
        """Headers of one camera, and which of its video frames belongs to which; nothing is decoded."""
        index = CameraIndex()
        for logged in self.messages([FRAME, GAP]):
            if logged.camera != camera:
                continue
            if isinstance(logged.message, FrameHeader):
                index.add_header(logged.message)
            elif isinstance(logged.message, Gap):
                index.add_gap(logged.message)
        path = self.video_path(camera)
        pts = list(demux_pts_ms(path)) if path.exists() else []
        return index, pair_frames(index, pts, self.info.t_start_ns)

    def headers(self, camera: str) -> Iterator[FrameHeader]:
        """Headers of one camera in logged order, duplicates left out; frames without video included."""
        index = CameraIndex()
        for logged in self.messages([FRAME]):
            if logged.camera == camera and isinstance(logged.message, FrameHeader) and index.add_header(logged.message):
                yield logged.message

    def frames(self, camera: str) -> Iterator[tuple[FrameHeader, NDArray[np.uint8]]]:
        """Every written frame of one camera with its header, in order.

        The image is (height, width) or (height, width, 3) uint8, a new array each.

        Raises:
            RecordingError: no such camera.
            VideoError: the video is damaged.
        """
        one = self.camera(camera)
        _, pairing = self.index(camera)
        if not pairing.header_of:
            return
        headers = enumerate(self.headers(camera))
        with VideoReader(self.video_path(camera), one.pixel_format, allow_torn=not self.closed) as video:
            for wanted, (_, image) in zip(pairing.header_of, video, strict=False):
                if wanted < 0:
                    continue
                header = next(header for position, header in headers if position == wanted)
                yield header, image
