"""A camera of the operating system (UVC: webcams and their like) through OpenCV and Video4Linux."""

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.errors import CameraLostError, CameraOpenError

EXPOSURE_STEP_US = 100
"""Video4Linux counts exposure in units of 100 µs."""

_MANUAL = 1
"""V4L2_EXPOSURE_MANUAL."""

_TOLERANCE = 1e-3


class UvcDevice:
    """An open device, as a `FrameSource`; every setting was read back.

    Args:
        name: the camera.
        device: number of ``/dev/video``, or a path below ``/dev``.
        fourcc: format on the cable.
        size: width and height, pixels.
        rate_hz: frames per second.
        exposure_us: a multiple of `EXPOSURE_STEP_US`; None: as the camera has it.
        gain: in the device's own units; None: as the camera has it.
        pixel_format: what `read` gives.

    Raises:
        CameraOpenError: not there, or it refuses a setting.
    """

    def __init__(
        self,
        name: str,
        device: int | str,
        fourcc: str,
        size: tuple[int, int],
        rate_hz: float,
        exposure_us: int | None,
        gain: float | None,
        pixel_format: Literal["mono8", "bgr8"],
    ) -> None:
        self._name = name
        self._device = device
        self._grey = pixel_format == "mono8"
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        try:
            if not self._capture.isOpened():
                raise CameraOpenError(
                    f"camera {name}: device {device} does not open; is it plugged in, may this user read it (group "
                    "video), and does no other program have it?"
                )
            # The format comes first: size and rate depend on it.
            self._set("fourcc", cv2.CAP_PROP_FOURCC, float(_code(fourcc)), fourcc)
            self._set("width", cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._set("height", cv2.CAP_PROP_FRAME_HEIGHT, size[1])
            self._set("rate_hz", cv2.CAP_PROP_FPS, rate_hz)
            if exposure_us is not None:
                self._set("automatic exposure", cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL)
                self._set("exposure_us / 100", cv2.CAP_PROP_EXPOSURE, exposure_us / EXPOSURE_STEP_US)
            if gain is not None:
                self._set("gain", cv2.CAP_PROP_GAIN, gain)
        except CameraOpenError:
            self._capture.release()
            raise

    def read(self) -> NDArray[np.uint8] | None:
        ok, image = self._capture.read()
        if not ok:
            raise CameraLostError(
                f"camera {self._name}: device {self._device} gives no frame; check its cable and the power of its hub"
            )
        if image.dtype != np.uint8:
            raise CameraLostError(
                f"camera {self._name}: device {self._device} gives pixels of {image.dtype}; choose a fourcc of 8 bits"
            )
        if self._grey and image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return image.astype(np.uint8, copy=False)

    def close(self) -> None:
        self._capture.release()

    def _set(self, what: str, key: int, value: float, said: str | None = None) -> None:
        taken = self._capture.set(key, value)
        got = self._capture.get(key)
        if math.isclose(got, value, rel_tol=_TOLERANCE, abs_tol=1e-6):
            return
        has = _letters(int(got)) if said is not None else f"{got:g}"
        raise CameraOpenError(
            f"camera {self._name}: {what}={said or f'{value:g}'} was {'set' if taken else 'refused'}, and the device "
            f"has {has}; choose a mode of its list (ethostream cameras, or v4l2-ctl --list-formats-ext)"
        )


def _code(fourcc: str) -> int:
    return int.from_bytes(fourcc.encode("ascii"), "little")


def _letters(code: int) -> str:
    return "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0") or "none"
