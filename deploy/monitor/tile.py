"""From a frame to the small picture on the page."""

import struct
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ...streaming.messages import Box, FrameHeader
from ...streaming.pixel_format import BYTES_PER_PIXEL, values16
from ...sync.clock import NS_PER_MS
from ...sync.errors import VideoError

TILE_KIND = 1
TILE_HEADER = struct.Struct("<BBBBIdHHHH")
"""kind, camera index, box valid, reserved, number, exposure in UTC milliseconds, box x, y, width, height.

The box is in 1/65535 of the picture. JPEG bytes follow. ``static/tiles.js`` reads the same layout.
"""
_FULL = 65535


class TileHeader(NamedTuple):
    """The fields of `TILE_HEADER`."""

    kind: int
    camera: int
    box_valid: int
    reserved: int
    number: int
    t_ms: float
    x: int
    y: int
    width: int
    height: int


class TileEncoder:
    """Shrinks and encodes frames. One thread.

    Args:
        width: of the picture; a smaller frame is not enlarged.
        quality: JPEG, 1 to 95.
    """

    def __init__(self, width: int, quality: int) -> None:
        self._width = width
        self._parameters = [int(cv2.IMWRITE_JPEG_QUALITY), quality]

    def shrink(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of ``image`` (shaped as `frame_shape` says), no wider than the tile; of ``mono16`` bits 4 to 11."""
        height, width = image.shape[:2]
        step = 1 if width <= self._width else max(1, width // (2 * self._width))
        if image.ndim == 3 and image.shape[2] == BYTES_PER_PIXEL["mono16"]:
            image = np.minimum(values16(image)[::step, ::step] >> 4, 255).astype(np.uint8)
            step = 1
        if width <= self._width:
            return image.copy()
        # Every k-th pixel first, down to twice the tile: averaging a whole 1080p frame would cost ten times as much.
        sampled = np.ascontiguousarray(image[::step, ::step])
        size = (self._width, max(1, round(self._width * height / width)))
        return np.asarray(cv2.resize(sampled, size, interpolation=cv2.INTER_AREA), np.uint8)

    def encode(self, small: NDArray[np.uint8], header: FrameHeader, camera: int, number: int, box: Box | None) -> bytes:
        """Header and JPEG of a picture made by `shrink`.

        Raises:
            VideoError: the picture cannot be encoded.
        """
        ok, jpeg = cv2.imencode(".jpg", small, self._parameters)
        if not ok:
            raise VideoError(f"camera {header.camera}: a tile of shape {small.shape} cannot be encoded as JPEG")
        corners = (0, 0, 0, 0)
        if box is not None and box.valid:
            corners = (
                _share(box.x_px, header.width),
                _share(box.y_px, header.height),
                _share(box.width_px, header.width),
                _share(box.height_px, header.height),
            )
        valid = int(box is not None and box.valid)
        head = TILE_HEADER.pack(
            TILE_KIND, camera, valid, 0, number & 0xFFFFFFFF, header.t_exposure_ns / NS_PER_MS, *corners
        )
        return head + jpeg.tobytes()


def _share(part: int, whole: int) -> int:
    return min(_FULL, max(0, round(part * _FULL / whole)))
