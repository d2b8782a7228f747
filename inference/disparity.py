"""Disparity of stereo pairs as further views of a model: how near things are, as a grey image.

Semi-global block matching (Hirschmueller 2008, IEEE TPAMI 30:328) as OpenCV has it, on rectified images of a fixed
size. A pixel is 0 where nothing was matched, else 1 (``farthest_mm``) to 255 (``nearest_mm``), linear in disparity and
so in the inverse of depth.
"""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.calibration_file import Calibration
from ..sync.errors import ConfigError
from ..sync.stereo_rectification import StereoRectifier
from .disparity_config import DisparityConfig, DisparityView
from .grey import grey_view

_SUBPIXEL: Final = 16.0
"""OpenCV gives disparities in sixteenths of a pixel."""
_STEP: Final = 16
"""The range that is searched is a multiple of this."""
_SMOOTH: Final = (8, 32)
"""Penalties per pixel of a block for a change of disparity by one, and by more (OpenCV's own suggestion)."""


class StereoDisparity:
    """The disparity view of one pair. One thread; the state is scratch only.

    Args:
        name: of the view.
        view: the pair and its options.
        calibration: of both cameras.

    Raises:
        CalibrationError: a camera is not calibrated, or the two do not form a pair.
        ConfigError: the range of depths is too small to be measured by this pair.
    """

    def __init__(self, name: str, view: DisparityView, calibration: Calibration) -> None:
        left, right = calibration.model(view.left), calibration.model(view.right)
        options = view.options
        width = min(options.width_px, left.width)
        self.shape = (max(1, round(left.height * width / left.width)), width)
        self.left, self.right = view.left, view.right
        self._full = (left.height, left.width)
        self._rectifier = StereoRectifier(left, right, size=(width, self.shape[0]))
        self._low = self._rectifier.disparity_px(options.farthest_mm)
        self._high = self._rectifier.disparity_px(options.nearest_mm)
        first, last = int(np.floor(self._low)), int(np.ceil(self._high))
        n = -(-max(last - first, 1) // _STEP) * _STEP
        if first + n >= width:
            raise ConfigError(
                f"disparity view {name}: things at {options.nearest_mm:g} mm are {self._high:.0f} px apart in images "
                f"of {width} px; raise nearest_mm"
            )
        block = options.block_px
        self._matcher = cv2.StereoSGBM.create(
            minDisparity=first,
            numDisparities=n,
            blockSize=block,
            P1=_SMOOTH[0] * block * block,
            P2=_SMOOTH[1] * block * block,
            disp12MaxDiff=1,
            uniquenessRatio=5,
            speckleWindowSize=60,
            speckleRange=1,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )
        self._first, self._border = first, first + n
        self._image: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)

    def step(self, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view of one instant.

        Args:
            left: (h, w) or (h, w, 3) uint8, as calibrated.
            right: likewise.

        Returns:
            (h', w') uint8, valid until the next step.
        """
        rectified = self._rectifier.rectify(grey_view(left), grey_view(right))
        # The matcher leaves out as many columns as it searches: with a border before them it is asked for all.
        first, second = (
            cv2.copyMakeBorder(image, 0, 0, self._border, 0, cv2.BORDER_CONSTANT, value=0) for image in rectified
        )
        disparity = self._matcher.compute(first, second)[:, self._border :].astype(np.float32) / np.float32(_SUBPIXEL)
        known = disparity >= self._first
        scaled = 1.0 + 254.0 * (disparity - self._low) / (self._high - self._low)
        np.copyto(self._image, np.where(known, np.clip(np.rint(scaled), 1, 255), 0), casting="unsafe")
        return self._image

    def depth_mm(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Values of the view back to depths along the rectified axis, mm; NaN where nothing was matched."""
        disparity = self._low + (image.astype(np.float32) - 1.0) / 254.0 * (self._high - self._low)
        return self._rectifier.depth_mm(np.where(image > 0, disparity, 0.0))

    @property
    def rectifier(self) -> StereoRectifier:
        return self._rectifier


class DisparityViews:
    """All disparity views of a rig.

    Attributes:
        shapes: view → (h, w) of its images.
        cameras: those that are needed.

    Args:
        config: pairs.
        calibration: of their cameras.
        views: camera → shape of its frames.

    Raises:
        ConfigError: a name that is a camera's, a camera that is not there, or one of another size.
        CalibrationError: see `StereoDisparity`.
    """

    def __init__(self, config: DisparityConfig, calibration: Calibration, views: Mapping[str, tuple[int, ...]]) -> None:
        for name, view in config.views.items():
            if name in views:
                raise ConfigError(f"disparity view {name}: is the name of a camera, too; choose another")
            for camera in (view.left, view.right):
                if camera not in views:
                    raise ConfigError(f"disparity view {name}: {camera} is not a camera here ({', '.join(views)})")
                model = calibration.model(camera)
                if tuple(views[camera][:2]) != (model.height, model.width):
                    raise ConfigError(
                        f"disparity view {name}: camera {camera} delivers {views[camera][1]}x{views[camera][0]}, "
                        f"it was calibrated at {model.width}x{model.height}: set the camera back, or calibrate again"
                    )
        self._pairs = {name: StereoDisparity(name, view, calibration) for name, view in config.views.items()}
        self.shapes: dict[str, tuple[int, ...]] = {name: pair.shape for name, pair in self._pairs.items()}
        self.cameras = {camera for pair in self._pairs.values() for camera in (pair.left, pair.right)}

    def step(self, images: Mapping[str, NDArray[np.uint8]], wanted: set[str]) -> dict[str, NDArray[np.uint8]]:
        """The views among ``wanted`` of which both cameras are there."""
        return {
            name: pair.step(images[pair.left], images[pair.right])
            for name, pair in self._pairs.items()
            if name in wanted and pair.left in images and pair.right in images
        }
