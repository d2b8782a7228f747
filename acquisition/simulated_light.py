"""The light of a simulated scene: how bright it is, and the empty scene under it."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

DRIFT_PERIOD_S = 90.0
SHADOW = 0.72
"""Brightness of the floor in an animal's shadow."""


def gain_at(t_s: float, brightness: float, drift: float) -> float:
    """Brightness with its slow change, of relative amplitude ``drift``."""
    return brightness * (1.0 + drift * float(np.sin(2 * np.pi * t_s / DRIFT_PERIOD_S)))


class SceneLight:
    """An empty scene under changing light, in steps of 1/256, since most frames then need no new one. One thread.

    Attributes:
        scene: (height, width) uint8, the empty scene under the light.
        shadow: the same, in shadow.
        greys: 256 colours for OpenCV: what a grey level is under the light.

    Args:
        empty: (height, width) uint8, the empty scene under plain light.
        drift: relative amplitude of a slow change.
    """

    def __init__(self, empty: Image, drift: float) -> None:
        self._empty, self._drift = empty, drift
        self._step = -1
        self.scene = self.shadow = empty
        self.greys: list[tuple[int]] = []

    def follow(self, t_s: float, brightness: float) -> bool:
        """Whether the light has changed since the last call."""
        step = round(gain_at(t_s, brightness, self._drift) * 256)
        if step == self._step:
            return False
        self._step = step
        table = np.clip(np.rint(np.arange(256) * (step / 256)), 0, 255).astype(np.uint8)
        self.greys = [(value,) for value in table.tolist()]
        self.scene = np.asarray(cv2.LUT(self._empty, table), np.uint8)
        self.shadow = np.asarray(cv2.convertScaleAbs(self.scene, alpha=SHADOW), np.uint8)
        return True
