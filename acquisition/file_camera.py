"""A video file as a live camera: its own frames at its own times."""

import logging
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..streaming.video import VideoReader
from ..sync.clock import NS_PER_S, Clock
from ..sync.errors import CameraLostError, CameraOpenError, VideoError
from ..sync.strict import StrictModel
from .camera import CameraFormat, EndOfStream, Grab

log = logging.getLogger(__name__)

RESUME_AFTER_NS = NS_PER_S
"""A camera started later than this after ``t_start_ns`` is a restart: it goes on where the other views are."""


class FileCameraConfig(StrictModel):
    """Settings of one file camera.

    Attributes:
        path: the video; a relative path counts from the working directory.
        pixel_format: what to deliver; ``mono8`` is what models are trained on by default. None decides by the file
            (see `VideoReader`).
        pace: ``timestamps`` delivers each frame at its own time; ``max`` as fast as frames are read.
        loop: begin again at the end; time goes on.
        rate_hz: play frame i at i / rate_hz instead of at the time in the file.
    """

    kind: Literal["file"] = "file"
    path: Path
    pixel_format: Literal["mono8", "bgr8"] | None = "mono8"
    pace: Literal["timestamps", "max"] = "timestamps"
    loop: bool = False
    rate_hz: float | None = Field(default=None, gt=0.0, le=100_000.0)


class FileCamera:
    """One video file, as a `Camera`.

    Frame i is ``seq`` i and is exposed at ``t_start_ns`` plus its own time, so that files started together are
    synchronised views. The next frame is decoded ahead and released at its instant. A host that is late gets every
    frame, late, with its own time. The length of an exposure is not in a file: ``exposure_us`` is 0. Only a camera
    started more than `RESUME_AFTER_NS` after ``t_start_ns`` passes over what lies before now (logged); ``seq`` then
    begins there.
    """

    def __init__(self, name: str, config: FileCameraConfig, clock: Clock) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._reader: VideoReader | None = None
        self._image: NDArray[np.uint8] | None = None
        self._rate = Fraction(1)
        self._t_start_ns: int | None = None
        self._resume_ns = 0
        self._seq = 0
        self._loop_seq = 0
        self._loop_ns = 0
        self._last_pts_ns = 0
        self._ahead_ns: int | None = None
        self._ended = False

    def open(self) -> CameraFormat:
        self.close()
        reader = self._open_reader(CameraOpenError)
        self._reader = reader
        self._image = np.empty(reader.shape, np.uint8)
        rate_hz = self.config.rate_hz or reader.rate_hz
        self._rate = Fraction(str(rate_hz)).limit_denominator(1_000_000)
        return CameraFormat(reader.width, reader.height, reader.pixel_format, rate_hz, "file")

    def start(self, t_start_ns: int) -> None:
        if self._reader is None:
            raise CameraOpenError(f"camera {self.name}: start() before open(); open it first")
        if self._t_start_ns is not None:
            self._reader.close()
            self._reader = self._open_reader(CameraLostError)
        self._t_start_ns = t_start_ns
        late_ns = self._clock.now_ns() - t_start_ns
        self._resume_ns = late_ns if self.config.pace == "timestamps" and late_ns > RESUME_AFTER_NS else 0
        self._seq = self._loop_seq = self._loop_ns = 0
        self._last_pts_ns = 0
        self._ahead_ns = None
        self._ended = False

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        if self._reader is None or self._image is None or self._t_start_ns is None:
            raise CameraLostError(f"camera {self.name}: is not running; open() and start() it before reading")
        deadline_ns = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        if not self._decode_ahead(deadline_ns):
            return None
        assert self._ahead_ns is not None
        t_exposure_ns = self._t_start_ns + self._ahead_ns
        if self.config.pace == "timestamps" and t_exposure_ns > deadline_ns:
            self._clock.sleep_until_ns(deadline_ns)
            return None
        np.copyto(out, self._image)
        if self.config.pace == "timestamps":
            self._clock.sleep_until_ns(t_exposure_ns)
        self._ahead_ns = None
        self._seq += 1
        return Grab(self._seq - 1, t_exposure_ns, 0)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._image = self._t_start_ns = None

    def _decode_ahead(self, deadline_ns: int) -> bool:
        """Have the next frame in ``_image``. False: still passing over old frames at ``deadline_ns``."""
        while self._ahead_ns is None:
            t_ns = self._decode()
            if t_ns >= self._resume_ns:
                if self._resume_ns:
                    log.warning(
                        "camera %s: started %.3f s after the rig; %d frames of %s were passed over",
                        self.name, self._resume_ns / NS_PER_S, self._seq, self.config.path,
                    )  # fmt: skip
                    self._resume_ns = 0
                self._ahead_ns = t_ns
                return True
            self._seq += 1
            if self._clock.now_ns() > deadline_ns:
                return False
        return True

    def _decode(self) -> int:
        """Decode one frame into ``_image``; its time since the start, ns."""
        assert self._reader is not None
        assert self._image is not None
        if self._ended:
            raise EndOfStream(f"camera {self.name}: {self.config.path} has ended")
        try:
            pts_ns = self._reader.read_into(self._image)
        except VideoError as error:
            raise CameraLostError(f"camera {self.name}: frame {self._reader.n_read} cannot be read: {error}") from error
        if pts_ns is None:
            self._end_of_file()
            return self._decode()
        if self.config.rate_hz is not None:
            pts_ns = self._frames_ns(self._seq - self._loop_seq)
        self._last_pts_ns = pts_ns
        return self._loop_ns + pts_ns

    def _end_of_file(self) -> None:
        """Begin again, or end. After a restart whole rounds are passed over without decoding them."""
        n = self._seq - self._loop_seq
        if not self.config.loop or n == 0:
            self._ended = True
            return
        round_ns = self._last_pts_ns + self._frames_ns(1) if self.config.rate_hz is None else self._frames_ns(n)
        n_rounds = max((self._resume_ns - self._loop_ns) // round_ns, 1)
        self._loop_ns += n_rounds * round_ns
        self._loop_seq += n_rounds * n
        self._seq = self._loop_seq
        assert self._reader is not None
        self._reader.close()
        self._reader = self._open_reader(CameraLostError)

    def _frames_ns(self, n: int) -> int:
        return n * NS_PER_S * self._rate.denominator // self._rate.numerator

    def _open_reader(self, error_type: type[CameraOpenError] | type[CameraLostError]) -> VideoReader:
        try:
            return VideoReader(self.config.path, self.config.pixel_format)
        except VideoError as error:
            raise error_type(f"camera {self.name}: {error}") from error
