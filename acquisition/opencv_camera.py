"""Cameras of the operating system (UVC) and cameras on the network (RTSP, HTTP)."""

import logging
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..sync.clock import NS_PER_US, Clock
from ..sync.errors import CameraError, CameraLostError, CameraOpenError
from ..sync.strict import StrictModel
from .camera import CameraFormat, Grab
from .network_stream import NetworkStream, without_password
from .newest_frame import FrameSource, NewestFrame
from .uvc_device import EXPOSURE_STEP_US, UvcDevice

log = logging.getLogger(__name__)

_FIRST_FRAMES = 30
"""So many frames may be damaged before the first whole one: streams are joined in their middle."""

_STALL_PERIODS = 2

_DEEP = ("Y10", "Y12", "Y14", "Y16", "Z16")
"""Formats of 10 to 16 bits (V4L2): OpenCV scales them to 8 and says nothing."""


class OpencvCameraConfig(StrictModel):
    """Settings of one camera without an SDK of its own: a ``device`` or a ``url``.

    Attributes:
        device: number of ``/dev/video``, or better a path of ``/dev/v4l/by-id``, which stays with the camera.
        url: ``rtsp://`` or ``http://``.
        rate_hz: of a device, set; of a stream, what it is known to deliver.
        width: of a device, set; of a stream, checked where given.
        height: likewise.
        fourcc: format of a device on its cable.
        exposure_us: of a device; automatic exposure is switched off.
        gain: of a device, in its own units.
        pixel_format: what is delivered.
        rtsp_transport: how RTSP carries the pictures; ``udp`` loses packets under load.
        stall_s: silence of a stream that counts as a loss.
        away_s: how long a lost stream is called again, before the camera counts as lost.
        transport_us: least time from the end of exposure to arrival, where it was measured.
        link: name of the port that its cable is in; ``ethostream doctor`` sums the bandwidth of each.
    """

    kind: Literal["opencv"] = "opencv"
    device: int | str | None = None
    url: str | None = Field(default=None, pattern=r"^(rtsp|rtsps|http|https)://")
    rate_hz: float = Field(gt=0, le=10_000)
    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    fourcc: str | None = Field(default=None, pattern=r"^[ -~]{4}$")
    exposure_us: int | None = Field(default=None, gt=0, multiple_of=EXPOSURE_STEP_US)
    gain: float | None = None
    pixel_format: Literal["mono8", "bgr8"] = "mono8"
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    stall_s: float = Field(default=0.8, gt=0, le=30)
    away_s: float = Field(default=4.0, ge=0, le=3600)
    transport_us: int = Field(default=0, ge=0)
    link: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_source(self) -> "OpencvCameraConfig":
        if (self.device is None) == (self.url is None):
            raise ValueError("name either a device or a url")
        if self.device is not None and None in (self.fourcc, self.width, self.height):
            raise ValueError("a device needs fourcc, width and height: what it would choose by itself is not known")
        if self.fourcc is not None and self.fourcc.upper().startswith(_DEEP):
            raise ValueError(f"fourcc {self.fourcc!r} has more than 8 bits, which would be cut here; choose one of 8")
        if self.url is not None and (self.fourcc, self.exposure_us, self.gain) != (None, None, None):
            raise ValueError("fourcc, exposure_us and gain are settings of a device; a stream is set up in the camera")
        if self.url is not None and self.stall_s * self.rate_hz < _STALL_PERIODS:
            raise ValueError(f"stall_s is below {_STALL_PERIODS} periods of rate_hz: every pause would be a loss")
        return self


class OpencvCamera:
    """A UVC device or a network stream, as a `Camera`.

    Neither gives a frame counter or a time: ``seq`` counts what is read, and the time is that of arrival. A stream that
    is lost is called again; the frames that its rate says were missed are missing from ``seq``.
    """

    def __init__(self, name: str, config: OpencvCameraConfig, clock: Clock) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._reader: NewestFrame | None = None
        self._format: CameraFormat | None = None
        self._running = False

    def open(self) -> CameraFormat:
        self.close()
        config = self.config
        source = self._open_source()
        try:
            shape = self._first_shape(source)
        except CameraOpenError:
            source.close()
            raise
        self._format = CameraFormat(
            shape[1], shape[0], config.pixel_format, config.rate_hz, "host", 0.0, config.transport_us * NS_PER_US
        )
        reopen = None if config.url is None else self._open_source
        self._reader = NewestFrame(self.name, source, reopen, config.rate_hz, config.away_s, self._clock)
        return self._format

    def start(self, t_start_ns: int) -> None:
        if self._reader is None:
            raise CameraOpenError(f"camera {self.name}: start() before open(); open it first")
        self._running = True
        self._reader.start(t_start_ns)

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        if self._reader is None or self._format is None or not self._running:
            raise CameraLostError(f"camera {self.name}: is not running; open() and start() it before reading")
        frame = self._reader.take(timeout_s)
        if frame is None:
            return None
        if frame.image.shape != self._format.shape:
            raise CameraLostError(
                f"camera {self.name}: its frames changed from {_size(self._format.shape)} to "
                f"{_size(frame.image.shape)}; did somebody set the camera?"
            )
        np.copyto(out, frame.image)
        return Grab(frame.seq, -1, self.config.exposure_us or 0)

    def close(self) -> None:
        reader, self._reader = self._reader, None
        self._format = None
        self._running = False
        if reader is not None:
            reader.close()

    def _open_source(self) -> FrameSource:
        config = self.config
        if config.url is not None:
            return NetworkStream(self.name, config.url, config.pixel_format, config.stall_s, config.rtsp_transport)
        assert config.device is not None
        assert config.fourcc is not None
        assert config.width is not None
        assert config.height is not None
        return UvcDevice(
            self.name,
            config.device,
            config.fourcc,
            (config.width, config.height),
            config.rate_hz,
            config.exposure_us,
            config.gain,
            config.pixel_format,
        )

    def _first_shape(self, source: FrameSource) -> tuple[int, ...]:
        """Shape of the first whole frame, compared with what was asked for."""
        where = without_password(self.config.url) if self.config.url is not None else f"device {self.config.device}"
        image = None
        try:
            for _ in range(_FIRST_FRAMES):
                image = source.read()
                if image is not None:
                    break
        except CameraError as error:
            raise CameraOpenError(f"camera {self.name}: {where} opens, and delivers nothing: {error}") from error
        if image is None:
            raise CameraOpenError(f"camera {self.name}: {where}: the first {_FIRST_FRAMES} frames cannot be decoded")
        for what, wanted, got in (
            ("width", self.config.width, image.shape[1]),
            ("height", self.config.height, image.shape[0]),
        ):
            if wanted is not None and wanted != got:
                raise CameraOpenError(
                    f"camera {self.name}: {what}={wanted}, and {where} delivers {_size(image.shape)}; set it in the "
                    "camera, or write what it delivers"
                )
        return image.shape


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}" + (" colour" if shape[2:] else " grey")
