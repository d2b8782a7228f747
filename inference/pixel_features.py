"""Feature steps that look at the pixels of the crop: where something moves in it, and which way.

Both compare a small picture of the crop with that of the step before, moved by as much as the box has moved: what is
measured is motion in the scene, not that of the box.
"""

from typing import Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ..sync.strict import StrictModel
from .cropper import Crop, State


class PixelStep(Protocol):
    """One causal measure of one view, from its crop. It holds no state itself, so one object serves all views."""

    name: str
    version: int

    @property
    def dims(self) -> int:
        """How many numbers it gives."""
        ...

    def initial(self) -> State:
        """The state before the first frame."""
        ...

    def look(
        self, state: State, crop: Crop, pixels: NDArray[np.uint8], dt_s: float
    ) -> tuple[State, NDArray[np.float32]]:
        """Next state and (dims,) values.

        Args:
            state: of `initial`, or of the step before.
            crop: the box.
            pixels: of the box, (h, w) grey levels.
            dt_s: time since the last step of this view in whole steps.
        """
        ...


class MotionEnergyParameters(StrictModel):
    """Settings of `MotionEnergy`.

    Attributes:
        scales_s: time constants of the smoothing, one set of outputs for each.
        cells: the box is divided into so many rows and columns.
        size_px: side of the small picture that is compared; a multiple of ``cells``.
    """

    scales_s: list[float] = Field(default=[0.1, 0.5], min_length=1)
    cells: int = Field(default=3, ge=1, le=8)
    size_px: int = Field(default=48, ge=16, le=256)

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        if self.size_px % self.cells:
            raise ValueError(f"size_px: {self.size_px} is no multiple of cells ({self.cells})")
        return self


class MotionEnergy:
    """How much changes in each part of the box, smoothed causally at every scale.

    Per scale, row by row from the upper left cell: mean absolute difference of grey levels to the step before, over 16
    and over the time between them in units of 1/30 s. 0 in the first step and after the box jumped.
    """

    name = "motion_energy"
    version = 1

    def __init__(self, parameters: MotionEnergyParameters) -> None:
        self.parameters = parameters
        self._scales_s = np.array(parameters.scales_s, np.float64)

    @property
    def dims(self) -> int:
        return self.parameters.cells**2 * len(self._scales_s)

    def initial(self) -> State:
        size, n_cells = self.parameters.size_px, self.parameters.cells**2
        return {
            "picture": np.zeros((size, size), np.uint8),
            "corner": np.zeros(2, np.float64),
            "smoothed": np.zeros((len(self._scales_s), n_cells), np.float64),
            "n_seen": np.zeros(1, np.float64),
        }

    def look(
        self, state: State, crop: Crop, pixels: NDArray[np.uint8], dt_s: float
    ) -> tuple[State, NDArray[np.float32]]:
        size, cells = self.parameters.size_px, self.parameters.cells
        picture: NDArray[np.uint8] = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)
        corner = np.array([crop.x_px, crop.y_px], np.float64)
        shift = (state["corner"] - corner) * size / (crop.width_px, crop.height_px)
        first = state["n_seen"][0] == 0.0
        now = np.zeros(cells * cells, np.float64)
        if not first and np.abs(shift).max() < size / 2:
            moved = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
            before = cv2.warpAffine(state["picture"], moved, (size, size), borderMode=cv2.BORDER_REPLICATE)
            change = cv2.absdiff(picture, before).reshape(cells, size // cells, cells, size // cells)
            now = change.mean(axis=(1, 3), dtype=np.float64).ravel() / 16.0 / (30.0 * dt_s)
        weight = (1.0 - np.exp(-dt_s / self._scales_s))[:, None]
        smoothed = state["smoothed"] + weight * (now - state["smoothed"])
        after = {"picture": picture, "corner": corner, "smoothed": smoothed, "n_seen": state["n_seen"] + 1.0}
        return after, smoothed.astype(np.float32).ravel()


class OpticalFlowParameters(StrictModel):
    """Settings of `OpticalFlow`.

    Attributes:
        scales_s: time constants of the smoothing, one set of outputs for each.
        cells: the box is divided into so many rows and columns, each with a speed of its own.
        size_px: side of the small picture in which the flow is computed; a multiple of ``cells``.
        textured: grey levels per pixel of the small picture from which on flow is believed; plain places have none.
    """

    scales_s: list[float] = Field(default=[0.1, 0.5], min_length=1)
    cells: int = Field(default=2, ge=1, le=8)
    size_px: int = Field(default=64, ge=32, le=256)
    textured: float = Field(default=4.0, ge=0.0)

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        if self.size_px % self.cells:
            raise ValueError(f"size_px: {self.size_px} is no multiple of cells ({self.cells})")
        return self


class OpticalFlow:
    """Which way the pixels of the box move, smoothed causally at every scale.

    Dense inverse search (Kroeger et al. 2016) between this crop and the one before. Places without texture do not
    count. Per scale, in this order: velocity to the right, down; speed about that mean; expansion; rotation
    (clockwise on the screen); then speed in each cell, row by row. Velocities are sides of the box per second,
    expansion and rotation per second. 0 in the first step and after the box jumped.
    """

    name = "optical_flow"
    version = 1
    n_whole = 5

    def __init__(self, parameters: OpticalFlowParameters) -> None:
        self.parameters = parameters
        self._scales_s = np.array(parameters.scales_s, np.float64)
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        size, cells = parameters.size_px, parameters.cells
        self._parts = (cells, size // cells, cells, size // cells)
        self._y, self._x = np.indices((size, size), np.float64) / size

    @property
    def dims(self) -> int:
        return (self.n_whole + self.parameters.cells**2) * len(self._scales_s)

    def initial(self) -> State:
        size, n = self.parameters.size_px, self.n_whole + self.parameters.cells**2
        return {
            "picture": np.zeros((size, size), np.uint8),
            "corner": np.zeros(2, np.float64),
            "smoothed": np.zeros((len(self._scales_s), n), np.float64),
            "n_seen": np.zeros(1, np.float64),
        }

    def look(
        self, state: State, crop: Crop, pixels: NDArray[np.uint8], dt_s: float
    ) -> tuple[State, NDArray[np.float32]]:
        size = self.parameters.size_px
        picture: NDArray[np.uint8] = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)
        corner = np.array([crop.x_px, crop.y_px], np.float64)
        shift = (state["corner"] - corner) * size / (crop.width_px, crop.height_px)
        first = state["n_seen"][0] == 0.0
        now = np.zeros(state["smoothed"].shape[1], np.float64)
        if not first and np.abs(shift).max() < size / 2:
            moved = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
            before = cv2.warpAffine(state["picture"], moved, (size, size), borderMode=cv2.BORDER_REPLICATE)
            flow = np.zeros((size, size, 2), np.float32)
            self._search.calc(before, picture, flow)
            now = self._of_field(flow, picture) / dt_s
        weight = (1.0 - np.exp(-dt_s / self._scales_s))[:, None]
        smoothed = state["smoothed"] + weight * (now - state["smoothed"])
        after = {"picture": picture, "corner": corner, "smoothed": smoothed, "n_seen": state["n_seen"] + 1.0}
        return after, smoothed.astype(np.float32).ravel()

    def _of_field(self, flow: NDArray[np.float32], picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What is told of a field of (h, w, 2) pixels per step, in sides of the box per step."""
        size, n = self.parameters.size_px, self.n_whole + self.parameters.cells**2
        slope = cv2.magnitude(cv2.Sobel(picture, cv2.CV_32F, 1, 0), cv2.Sobel(picture, cv2.CV_32F, 0, 1))
        # Blurred, so that the inside of what has an edge counts with it; 8 is the gain of the filter.
        weight = (np.asarray(cv2.blur(slope, (5, 5))) >= 8.0 * self.parameters.textured).astype(np.float64)
        whole = weight.sum()
        if not whole:
            return np.zeros(n, np.float64)
        right, down = flow[..., 0] / size, flow[..., 1] / size
        mean = np.array([(weight * right).sum(), (weight * down).sum()]) / whole
        speed = np.hypot(right - mean[0], down - mean[1])
        x = self._x - (weight * self._x).sum() / whole
        y = self._y - (weight * self._y).sum() / whole
        spread = max(float((weight * (x * x + y * y)).sum()), 1e-6)
        expansion = (weight * (x * right + y * down)).sum() / spread
        rotation = (weight * (x * down - y * right)).sum() / spread
        of_cells = (weight * np.hypot(right, down)).reshape(self._parts).mean(axis=(1, 3))
        return np.array([*mean, (weight * speed).sum() / whole, expansion, rotation, *of_cells.ravel()])
