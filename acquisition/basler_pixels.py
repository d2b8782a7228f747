"""From the bytes that a Basler camera sends to the pixels that the rig carries. Pure."""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..streaming.pixel_format import BYTES_PER_PIXEL, PixelFormat
from .basler_config import BaslerPixels

Layout = Literal["copy", "mono10p", "mono12p", "mono10packed", "mono12packed", "rgb", "bayer"]


class PixelRecipe(NamedTuple):
    """How one pixel format is read.

    Attributes:
        symbols: what models call it on the wire, with the layout of each; the first one that a model offers is taken.
        delivered: pixel format of the frames.
        bayer: OpenCV's conversion code, -1 where there is none.
    """

    symbols: dict[str, Layout]
    delivered: PixelFormat
    bayer: int = -1


RECIPES: dict[BaslerPixels, PixelRecipe] = {
    "mono8": PixelRecipe({"Mono8": "copy"}, "mono8"),
    "mono10": PixelRecipe({"Mono10": "copy"}, "mono16"),
    "mono12": PixelRecipe({"Mono12": "copy"}, "mono16"),
    "mono10p": PixelRecipe({"Mono10p": "mono10p", "Mono10Packed": "mono10packed"}, "mono16"),
    "mono12p": PixelRecipe({"Mono12p": "mono12p", "Mono12Packed": "mono12packed"}, "mono16"),
    "bayer_rg8": PixelRecipe({"BayerRG8": "bayer"}, "bgr8", cv2.COLOR_BayerRGGB2BGR),
    "bayer_gr8": PixelRecipe({"BayerGR8": "bayer"}, "bgr8", cv2.COLOR_BayerGRBG2BGR),
    "bayer_gb8": PixelRecipe({"BayerGB8": "bayer"}, "bgr8", cv2.COLOR_BayerGBRG2BGR),
    "bayer_bg8": PixelRecipe({"BayerBG8": "bayer"}, "bgr8", cv2.COLOR_BayerBGGR2BGR),
    "rgb8": PixelRecipe({"BGR8": "copy", "BGR8Packed": "copy", "RGB8": "rgb", "RGB8Packed": "rgb"}, "bgr8"),
}

_PACKED_BITS: dict[Layout, int] = {"mono10p": 10, "mono12p": 12, "mono10packed": 12, "mono12packed": 12}


class PixelReader:
    """Writes the image of a buffer to the rig's frame, once, without a copy in between. One thread.

    Values are never scaled: a 12-bit pixel of 4095 is 4095 in ``mono16``. Bayer images are demosaicked bilinearly.

    Args:
        recipe: of the pixel format.
        symbol: what the camera calls it.
        width: pixels.
        height: pixels.
    """

    def __init__(self, recipe: PixelRecipe, symbol: str, width: int, height: int) -> None:
        self._recipe = recipe
        self._layout = recipe.symbols[symbol]
        self._width = width
        self._height = height
        n = width * height
        self._scratch = np.empty(n if self._layout in _PACKED_BITS else 0, np.uint16)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of pixels in the buffer, without padding; 0 where rows do not begin on a byte."""
        if self._layout in _PACKED_BITS:
            bits = self._width * _PACKED_BITS[self._layout]
            return bits // 8 if bits % 8 == 0 else 0
        if self._layout == "bayer":
            return self._width
        return self._width * BYTES_PER_PIXEL[self._recipe.delivered]

    @property
    def image_bytes(self) -> int:
        """Bytes of an image without padding."""
        if self._layout in _PACKED_BITS:
            return -(-self._width * self._height * _PACKED_BITS[self._layout] // 8)
        return self.row_bytes * self._height

    def read(self, buffer: memoryview, stride: int, out: NDArray[np.uint8]) -> None:
        """Fill ``out``.

        Args:
            buffer: as the camera sent it; at least the image.
            stride: bytes from one row to the next.
            out: the rig's frame, uint8 in the shape of `frame_shape`, C-contiguous.

        Raises:
            ValueError: the buffer is too short.
        """
        data = np.frombuffer(buffer, np.uint8)
        if self._layout in _PACKED_BITS:
            self._unpack(data[: self.image_bytes], out)
            return
        row = self.row_bytes
        rows = np.ndarray((self._height, row), np.uint8, data, strides=(stride, 1))
        if self._layout == "copy":
            np.copyto(out.reshape(self._height, -1), rows)
        elif self._layout == "rgb":
            cv2.cvtColor(rows.reshape(self._height, self._width, 3), cv2.COLOR_RGB2BGR, dst=out)
        else:
            cv2.cvtColor(rows, self._recipe.bayer, dst=out)

    def _unpack(self, data: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        flat = out.view("<u2").reshape(-1)
        n = flat.size
        scratch = self._scratch
        if self._layout == "mono10p":
            # GenICam's p formats: pixels follow each other from the least significant bit on, 4 in 5 bytes.
            for i in range(4):
                part, m = flat[i::4], len(range(i, n, 4))
                np.right_shift(data[i::5][:m], 2 * i, out=part, dtype=np.uint16)
                np.left_shift(data[i + 1 :: 5][:m], 8 - 2 * i, out=scratch[:m], dtype=np.uint16)
                np.bitwise_or(part, scratch[:m], out=part)
                np.bitwise_and(part, 0x3FF, out=part)
            return
        even, odd = flat[0::2], flat[1::2]
        low, middle, high = data[0::3], data[1::3], data[2::3]
        n_even, n_odd = even.size, odd.size
        if self._layout == "mono12p":
            np.bitwise_and(middle[:n_even], 0x0F, out=even, dtype=np.uint16)
            np.left_shift(even, 8, out=even)
            np.bitwise_or(even, low[:n_even], out=even)
            np.left_shift(high[:n_odd], 4, out=odd, dtype=np.uint16)
            np.right_shift(middle[:n_odd], 4, out=scratch[:n_odd], dtype=np.uint16)
            np.bitwise_or(odd, scratch[:n_odd], out=odd)
            return
        # GigE Vision's Packed formats: the high bits in a byte of their own, the low bits of two pixels in the middle.
        bits = 2 if self._layout == "mono10packed" else 4
        mask = (1 << bits) - 1
        np.left_shift(low[:n_even], bits, out=even, dtype=np.uint16)
        np.bitwise_and(middle[:n_even], mask, out=scratch[:n_even], dtype=np.uint16)
        np.bitwise_or(even, scratch[:n_even], out=even)
        np.left_shift(high[:n_odd], bits, out=odd, dtype=np.uint16)
        np.right_shift(middle[:n_odd], 4, out=scratch[:n_odd], dtype=np.uint16)
        np.bitwise_and(scratch[:n_odd], mask, out=scratch[:n_odd])
        np.bitwise_or(odd, scratch[:n_odd], out=odd)
