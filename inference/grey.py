"""How a colour frame becomes grey: in one place, for the rig and for training alike."""

import numpy as np
from numpy.typing import NDArray

GREEN = 1


def grey_view(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey image of a frame, as a view: no pixel is copied.

    A ``mono8`` frame (h, w) is returned as it is; of a ``bgr8`` frame (h, w, 3) the green channel is taken, which holds
    most of the light that a colour sensor sees and costs nothing.

    Returns:
        (h, w) uint8, not contiguous for colour.
    """
    return image if image.ndim == 2 else image[:, :, GREEN]
