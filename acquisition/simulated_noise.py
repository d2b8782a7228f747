"""Sensor noise as an infrared camera has it: of the read-out, and of the light itself. The same for every run."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

SPAN = (61, 67)  # prime, so that the noise repeats only after 4087 frames
_UNIT = 48  # of the stored normal deviates: one standard deviation
_FINE = 16  # of the strengths: sixteenths of a grey level


class SensorNoise:
    """Adds noise of variance ``read``² + ``shot`` * grey.

    Args:
        width, height: of the largest patch.
        seed: of the pattern.
        view: number of the camera; cameras differ.
        read: standard deviation in the dark, grey levels.
        shot: variance per grey level.
    """

    def __init__(self, width: int, height: int, seed: int, view: int, read: float, shot: float) -> None:
        self.enabled = read > 0 or shot > 0
        if not self.enabled:
            return
        rng = np.random.default_rng([seed, 4, view])
        tile = rng.standard_normal((height + SPAN[0], width + SPAN[1]), np.float32)
        self._tile = np.clip(np.rint(tile * _UNIT), -127, 127).astype(np.int16)
        strength = np.sqrt(read**2 + shot * np.arange(256)) * _FINE
        self._strength = np.clip(np.rint(strength), 0, 255).astype(np.int16).astype(np.uint8)

    def add(self, patch: Image, x0: int, y0: int, instant: int) -> None:
        """To ``patch`` in place, whose corner is at (x0, y0) of the image; ``instant`` picks the pattern."""
        if not self.enabled or not patch.size:
            return
        dy, dx = instant * 37 % SPAN[0], instant * 41 % SPAN[1]
        tile = self._tile[y0 + dy : y0 + dy + patch.shape[0], x0 + dx : x0 + dx + patch.shape[1]]
        strength = cv2.LUT(patch, self._strength)
        noise = cv2.multiply(tile, strength, scale=1.0 / (_UNIT * _FINE), dtype=cv2.CV_16S)
        cv2.add(patch, noise, dst=patch, dtype=cv2.CV_8U)
