"""Reading a recording, closed or torn, without changing it."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..sync.errors import RecordingError
from .event_log import EventLog, LoggedMessage
from .frame_index import CameraIndex, Pairing, Progress, pair_frames, read_pts_ms
from .messages import FrameHeader, Gap
from .recording_info import EVENTS_FILE, RecordedCamera, RecordingInfo, read_info
from .topics import FRAME, GAP, Topic
from .video import VideoReader

__all__ = ["LoggedMessage", "Recording"]

_MESSAGES_PER_PROGRESS = 2048


class Recording:
    """One recording folder, read-only. Iterators are independent of each other; each belongs to one thread.

    Which frame belongs to which header is worked out once and kept: of a recording that is still being written, as it
    was then.

    Attributes:
        path: the folder.
        info: what ``recording.json`` says.
        events: the event log.
    """

    def __init__(self, path: Path, info: RecordingInfo, events: EventLog) -> None:
        self.path = path
        self.info = info
        self.events = events
        self._indices: dict[str, CameraIndex] | None = None
        self._pairings: dict[str, Pairing] = {}

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

    def need_video(self, what_not: str) -> None:
        """Refuse an events-only recording of cameras; ``what_not`` says what cannot be done with it.

        Raises:
            RecordingError: it holds no video.
        """
        if self.info.cameras and not self.info.video:
            raise RecordingError(
                f"{self.path}: events only, it was recorded without video (recording.video: false), so {what_not}; "
                "record with recording.video: true for that"
            )

    def load_indices(self, on_progress: Progress | None = None) -> None:
        """Index the headers of all cameras in one pass over the event log, and match them to the videos.

        `index`, `headers` and `frames` do what they need of it by themselves; a node that has to stay alive meanwhile
        calls this first. ``on_progress`` is called often, from this thread. Done once; later calls return at once.

        Raises:
            WireError: a message does not validate.
            VideoError: a video cannot be read.
        """
        self._load_headers(on_progress)
        for camera in self.info.cameras:
            self._pair(camera, on_progress)

    def _load_headers(self, on_progress: Progress | None = None) -> dict[str, CameraIndex]:
        if self._indices is None:
            indices = {name: CameraIndex() for name in self.info.cameras}
            for n, logged in enumerate(self.messages([FRAME, GAP])):
                if on_progress is not None and n % _MESSAGES_PER_PROGRESS == 0:
                    on_progress()
                index = indices.get(logged.camera)
                if index is None:
                    continue
                if isinstance(logged.message, FrameHeader):
                    index.add_header(logged.message, logged.place)
                elif isinstance(logged.message, Gap):
                    index.add_gap(logged.message)
            self._indices = indices
        return self._indices

    def _pair(self, camera: str, on_progress: Progress | None = None) -> Pairing:
        pairing = self._pairings.get(camera)
        if pairing is None:
            path = self.video_path(camera)
            pts = read_pts_ms(path, on_progress) if path.exists() else ()
            index = self._load_headers(on_progress)[camera]
            pairing = self._pairings[camera] = pair_frames(index, pts, self.info.t_start_ns, on_progress)
        return pairing

    def index(self, camera: str) -> tuple[CameraIndex, Pairing]:
        """Headers of one camera, and which of its video frames belongs to which; nothing is decoded.

        Raises:
            RecordingError: no such camera.
            VideoError: the video cannot be read.
        """
        pairing = self._pair(camera)
        return self._load_headers()[camera], pairing

    def headers(self, camera: str) -> Iterator[FrameHeader]:
        """Headers of one camera in logged order, duplicates left out; frames without video included.

        Raises:
            RecordingError: no such camera.
        """
        self.camera(camera)
        return self._headers_at(camera, self._load_headers()[camera].places)

    def _headers_at(self, camera: str, places: Iterable[int]) -> Iterator[FrameHeader]:
        for logged in self.events.at(FRAME, camera, places):
            assert isinstance(logged.message, FrameHeader)
            yield logged.message

    def frames(self, camera: str) -> Iterator[tuple[FrameHeader, NDArray[np.uint8]]]:
        """Every written frame of one camera with its header, in order.

        The image is (height, width) or (height, width, 3) uint8, a new array each.

        Raises:
            RecordingError: no such camera, or an events-only recording.
            VideoError: the video is damaged.
        """
        one = self.camera(camera)
        self.need_video("its frames cannot be read")
        index, pairing = self.index(camera)
        if not pairing.header_of:
            return
        headers = self._headers_at(camera, (index.places[header] for header in pairing.header_of if header >= 0))
        with VideoReader(self.video_path(camera), one.pixel_format, allow_torn=not self.closed) as video:
            for wanted, (_, image) in zip(pairing.header_of, video, strict=False):
                if wanted >= 0:
                    yield next(headers), image
