"""One thread per camera that turns frames into video: a bounded queue in, an outcome per frame out."""

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from ..sync.errors import BusError, DiskFullError, FrameOverwrittenError, VideoError
from .frame_index import demux_pts_ms
from .frames import FrameReceiver
from .messages import FrameHeader
from .ring import RingReader
from .video_writer import VideoWriter

DISK_FULL = "disk full"
ENCODER_ERROR = "encoder error"
ENDED = "came when the recorder was closing its videos"
OVERWRITTEN = "overwritten in shared memory before it was encoded"
_MAX_REASON = 300
_LAST_FRAMES = 8192
"""Outcomes remembered, more than one cluster can hold; what a full disk takes back is among them."""
_POLL_S = 0.1
_PAUSE_POLLS = 2
"""A camera that is silent for so many polls pauses."""


@dataclass(frozen=True, slots=True)
class FrameJob:
    """A frame to write: its header, where its pixels are, and how far the log reaches with its header."""

    header: FrameHeader
    ring: RingReader | None
    pixels: memoryview | None
    log_position: int = 0


class Outcome(NamedTuple):
    """What became of one frame: ``reason`` is empty where it was written, ``taken_back`` where it had been."""

    epoch: int
    seq: int
    reason: str = ""
    taken_back: bool = False


class CameraEncoder:
    """Owns the video of one camera. All methods are for the main thread; the video belongs to the thread inside.

    Attributes:
        camera: its name.
        failure: why no more frames are written, "" while they are: `DISK_FULL` or `ENCODER_ERROR`.
        detail: the error in full.

    Args:
        camera: its name.
        open_video: creates the video; called in the thread when the first frame comes.
        queue_frames: frames that may wait.
        wait_logged: returns once the event log is out of this process up to a position. A frame goes to its video after
            that, so that no crash leaves a frame which nothing names.
    """

    def __init__(
        self,
        camera: str,
        open_video: Callable[[], VideoWriter],
        queue_frames: int,
        wait_logged: Callable[[int], None] | None = None,
    ) -> None:
        self.camera = camera
        self._wait_logged = wait_logged
        self.failure = ""
        self.detail = ""
        self._open_video = open_video
        self._jobs: queue.Queue[FrameJob] = queue.Queue(queue_frames)
        self._outcomes: deque[Outcome] = deque()
        self._recent: deque[tuple[int, int]] = deque(maxlen=_LAST_FRAMES)
        self._video: VideoWriter | None = None
        self._unpacker = FrameReceiver()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"encoder-{camera}", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Frames handed over without an outcome yet."""
        return self._jobs.unfinished_tasks

    @property
    def ended(self) -> bool:
        """The thread has closed its video and is gone."""
        return not self._thread.is_alive()

    def put(self, job: FrameJob) -> str:
        """Hand over a frame; returns why it was not taken, "" where it was. Never waits."""
        if self.failure:
            return self.failure
        if self._ending.is_set() or self.ended:
            return ENDED
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return f"encoder queue of {self._jobs.maxsize} frames is full"
        return ""

    def take_outcomes(self) -> list[Outcome]:
        """What became of the frames since the last call, in their order; once the thread is gone, of all frames."""
        gone = self.ended  # asked first: what the thread said before it ended is then there
        outcomes: list[Outcome] = []
        while self._outcomes:
            outcomes.append(self._outcomes.popleft())
        while gone and not self._jobs.empty():
            header = self._jobs.get_nowait().header
            outcomes.append(Outcome(header.epoch, header.seq, self.failure or ENDED))
            self._jobs.task_done()
        return outcomes

    def stop_video(self, reason: str, detail: str) -> None:
        """Write no more frames; those that wait are refused with ``reason`` and the video is closed."""
        if not self.failure:
            self.detail = detail
            self.failure = reason

    def end(self) -> None:
        """Write what waits, close the video, end the thread; `ended` tells when."""
        self._ending.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; True when it has ended."""
        self._thread.join(timeout_s)
        return self.ended

    def _run(self) -> None:
        try:
            self._write_all()
        finally:
            # What nobody foresaw ends the thread, and Python prints it with its trace; this tells the rig.
            error = sys.exception()
            if error is not None:
                self.stop_video(ENCODER_ERROR, f"its encoder ended with {error!r}; the log has the trace: report it")
            self._close_video()

    def _write_all(self) -> None:
        n_silent = 0
        while True:
            try:
                job = self._jobs.get(timeout=_POLL_S)
                n_silent = 0
            except queue.Empty:
                n_silent += 1
                if self.failure:
                    self._close_video()
                if n_silent == _PAUSE_POLLS:
                    self._keep_tail()
                # The last frame may have come between the wait and the wish to end; after that wish none is taken.
                if self._ending.is_set() and self._jobs.empty():
                    return
                continue
            reason = ENCODER_ERROR
            try:
                reason = self.failure or self._write(job)
            finally:
                if not reason:
                    self._recent.append((job.header.epoch, job.header.seq))
                self._outcomes.append(Outcome(job.header.epoch, job.header.seq, reason))
                self._jobs.task_done()

    def _write(self, job: FrameJob) -> str:
        header = job.header
        try:
            if job.ring is not None:
                image = job.ring.view(header.slot, header.generation)
            else:
                image = self._unpacker.view(header, job.pixels)
            if self._video is None:
                self._video = self._open_video()
            self._video.load(image)
            if job.ring is not None:
                job.ring.check(header.slot, header.generation)
        except FrameOverwrittenError:
            return OVERWRITTEN
        except BusError as error:
            return str(error)[:_MAX_REASON]
        except (VideoError, DiskFullError) as error:
            return self._fail(error)
        if self._wait_logged is not None:
            self._wait_logged(job.log_position)
        try:
            self._video.encode(header.t_exposure_ns)
        except (VideoError, DiskFullError) as error:
            return self._fail(error)
        return ""

    def _keep_tail(self) -> None:
        """No frame for a while: the last one shall not wait in memory for the next."""
        if self._video is None:
            return
        try:
            self._video.keep_tail()
        except (VideoError, DiskFullError) as error:
            self._fail(error)

    def _fail(self, error: VideoError | DiskFullError) -> str:
        self.stop_video(DISK_FULL if isinstance(error, DiskFullError) else ENCODER_ERROR, str(error))
        self._close_video()
        return self.failure

    def _close_video(self) -> None:
        video, self._video = self._video, None
        if video is None:
            return
        try:
            video.close()
        except (VideoError, DiskFullError) as error:
            self.stop_video(DISK_FULL if isinstance(error, DiskFullError) else ENCODER_ERROR, str(error))
            self._take_back(video)

    def _take_back(self, video: VideoWriter) -> None:
        """The muxer held up to one cluster of frames that never reached the disk: count what did."""
        n_in_file = 0
        with suppress(VideoError):
            n_in_file = sum(1 for _ in demux_pts_ms(video.path))
        n_gone = min(max(0, video.n_written - n_in_file), len(self._recent))
        gone = [self._recent.pop() for _ in range(n_gone)][::-1]
        self._outcomes.extend(Outcome(epoch, seq, self.failure, taken_back=True) for epoch, seq in gone)
