"""The seam between a camera SDK and the rig."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..streaming.messages import FrameTruth
from ..streaming.pixel_format import PixelFormat, frame_shape


@dataclass(frozen=True, slots=True)
class CameraFormat:
    """What an open camera delivers, read back from the device.

    Attributes:
        width: pixels.
        height: pixels.
        pixel_format: ``mono8``, ``bgr8`` or ``mono16``; `frame_shape` says how each lies in memory.
        rate_hz: nominal frame rate.
        time_source: where ``t_exposure_ns`` comes from. ``device``: the grabs carry ticks of the device's clock, and
            the camera node maps them to rig time.
        tick_hz: nominal rate of that clock; 0.0 where there is none.
        transport_ns: the least time from the start of exposure to the arrival of a frame at the host, without the
            exposure, as far as it is known: readout and transfer. 0 where nothing is known.
        tick_bits: width of that clock's counter, where it wraps in the life of a rig.
    """

    width: int
    height: int
    pixel_format: PixelFormat
    rate_hz: float
    time_source: Literal["simulated", "file", "device", "host"]
    tick_hz: float = 0.0
    transport_ns: int = 0
    tick_bits: int = 64

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame as a numpy array of uint8."""
        return frame_shape(self.pixel_format, self.height, self.width)


@dataclass(frozen=True, slots=True)
class Grab:
    """One delivered frame.

    Attributes:
        seq: the device's frame counter; a jump is a frame that the device dropped, a repeat is a duplicate.
        t_exposure_ns: start of exposure, rig time; a repeat has the time of its frame. -1: the camera knows only its
            ``ticks`` (time source ``device``), or nothing but that the frame has come (``host``); the node fills it in.
        exposure_us: length of the exposure.
        trigger_id: hardware trigger counter, -1 where there is none.
        truth: what a simulator knows of this frame (``epoch`` is filled in by the node), else None.
        ticks: start of exposure on the device's own clock, -1 where there is none.
        line_status: bit field of the input lines at exposure, -1 where there is none.
    """

    seq: int
    t_exposure_ns: int
    exposure_us: int
    trigger_id: int = -1
    truth: FrameTruth | None = None
    ticks: int = -1
    line_status: int = -1


class EndOfStream(Exception):  # noqa: N818 - a signal, as StopIteration is
    """A finite source (a file that does not loop) has delivered its last frame."""


class Camera(Protocol):
    """A source of frames. One thread opens, reads and closes it.

    ``seq`` never goes back within one `open`: frames may come twice, and up to 32 frames late, but a counter that the
    device wraps or resets is continued by the camera, or the camera is lost (`CameraLostError`). One that goes back all
    the same is taken as lost by the node, since its frames could not be told from repeats.
    """

    def open(self) -> CameraFormat:
        """Connect, apply every setting and read it back.

        Raises:
            CameraOpenError: not there, or it refuses a setting; the message names camera, setting and value.
        """
        ...

    def start(self, t_start_ns: int) -> None:
        """Begin to deliver; the first exposure is at rig time ``t_start_ns`` where the device can obey that."""
        ...

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        """Wait for the next frame and write its pixels to ``out`` (shape of the format, C-contiguous, uint8).

        Returns None when no frame came within ``timeout_s``; ``out`` may then hold anything.

        Raises:
            EndOfStream: a finite source has ended.
            CameraLostError: the device is gone or broken.
        """
        ...

    def close(self) -> None:
        """Release the device; may be called twice."""
        ...


@runtime_checkable
class CountsLosses(Protocol):
    """What a `Camera` offers as well where its driver counts lost frames."""

    def lost_at_end(self) -> int:
        """Frames that the driver knows to be lost and no jump in ``seq`` has shown; asked once, before `Camera.close`.

        Never raises: 0 where the device cannot be asked any more.
        """
        ...
