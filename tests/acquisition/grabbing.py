"""Reading from a camera that may keep a test waiting."""

import numpy as np
from ethostream.acquisition.camera import Camera, CameraFormat, Grab
from numpy.typing import NDArray

PATIENCE = 400
"""Reads of 0.1 s each."""


def next_grab(camera: Camera, form: CameraFormat) -> tuple[Grab, NDArray[np.uint8]]:
    """The next frame and its picture."""
    out = np.empty(form.shape, np.uint8)
    for _ in range(PATIENCE):
        if (grab := camera.read_into(out, 0.1)) is not None:
            return grab, out
    raise AssertionError("no frame")
