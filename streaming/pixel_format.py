"""How the pixels of a frame lie in memory: the one place that knows."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["mono8", "bgr8", "mono16"]
"""``mono16``: grey levels as the device gives them (0 ... 1023 of a 10-bit sensor), never stretched to 16 bits."""

BYTES_PER_PIXEL: dict[PixelFormat, int] = {"mono8": 1, "mono16": 2, "bgr8": 3}


def frame_shape(pixel_format: PixelFormat, height: int, width: int) -> tuple[int, ...]:
    """Shape of one frame as uint8: (h, w) for ``mono8``, (h, w, 3) for ``bgr8``, (h, w, 2) for ``mono16``.

    All frames travel as bytes; those of a ``mono16`` pixel are its low and its high one, see `values16`.
    """
    n_bytes = BYTES_PER_PIXEL[pixel_format]
    return (height, width) if n_bytes == 1 else (height, width, n_bytes)


def values16(frame: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The grey levels of a ``mono16`` frame (h, w, 2), as a view (h, w) uint16."""
    return frame.view("<u2")[..., 0]
