"""A stereo pair made parallel: rows of the two pictures match, and a shift along them is a depth. Pure.

The maps follow Bouguet's algorithm as OpenCV has it, for both lens models.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera_model import Array, CameraModel
from .errors import CalibrationError

Image = NDArray[np.uint8]


class StereoRectifier:
    """Rectification of two calibrated cameras that stand side by side. Immutable; any thread may use it.

    Attributes:
        left: the left camera, seen from behind the pair.
        right: the right camera.
        size: (width, height) of a rectified picture.
        focal_px: of the rectified pictures.
        baseline_mm: distance of the two optical centres.
        q: (4, 4) float64, OpenCV's matrix from (x, y, disparity, 1) to points in the left rectified frame.
        maps_left: two (height, width) float32, where each rectified pixel is in the left picture (x, y).
        maps_right: the same of the right picture.

    Args:
        left: camera.
        right: camera.
        alpha: 0 keeps only pixels that both pictures have, 1 keeps every pixel of the pictures; between: between.
        size: (width, height) of the rectified pictures; default that of the cameras.

    Raises:
        CalibrationError: the lens models or sizes differ, the two stand one above the other, or left is right.
    """

    def __init__(
        self, left: CameraModel, right: CameraModel, alpha: float = 0.0, size: tuple[int, int] | None = None
    ) -> None:
        pair = f"stereo pair {left.name}, {right.name}"
        if left.fisheye != right.fisheye or (left.width, left.height) != (right.width, right.height):
            raise CalibrationError(
                f"{pair}: {left.width}x{left.height} fisheye={left.fisheye} and {right.width}x{right.height} "
                f"fisheye={right.fisheye}; a pair needs one picture size and one lens model: calibrate both alike"
            )
        if not 0.0 <= alpha <= 1.0:
            raise CalibrationError(f"{pair}: alpha {alpha}; choose 0 (only what both see) to 1 (every pixel)")
        turn = right.rotation @ left.rotation.T
        shift = right.translation_mm - turn @ left.translation_mm
        if abs(shift[1]) > abs(shift[0]):
            raise CalibrationError(
                f"{pair}: the second camera is {shift[1]:.1f} mm below and {-shift[0]:.1f} mm beside the first; "
                "disparity is computed along rows: pair cameras that stand side by side, or turn both by a quarter"
            )
        if shift[0] > 0:
            raise CalibrationError(f"{pair}: {left.name} stands to the right of {right.name}; exchange the two")
        self.left, self.right = left, right
        self.size = size or (left.width, left.height)
        self.baseline_mm = float(np.linalg.norm(shift))
        full = (left.width, left.height)
        both = (left.matrix, left.distortion, right.matrix, right.distortion, full, turn, shift[:, None])
        flags = cv2.CALIB_ZERO_DISPARITY
        if left.fisheye:
            r1, r2, p1, p2, q = cv2.fisheye.stereoRectify(*both, flags, newImageSize=self.size, balance=alpha)
        else:
            r1, r2, p1, p2, q, *_ = cv2.stereoRectify(*both, flags=flags, alpha=alpha, newImageSize=self.size)
        self.focal_px = float(p1[0, 0])
        self.q: Array = np.asarray(q, np.float64)
        self._rotation: Array = np.asarray(r1, np.float64)
        self._rotations = (self._rotation, np.asarray(r2, np.float64))
        self._projections = (np.asarray(p1, np.float64), np.asarray(p2, np.float64))
        self.maps_left = self._maps(left, 0)
        self.maps_right = self._maps(right, 1)

    def rectify(self, left: Image, right: Image) -> tuple[Image, Image]:
        """Both pictures, (h, w) or (h, w, 3) uint8, made parallel; black where a picture does not reach.

        Raises:
            CalibrationError: their size is not that of the calibration.
        """
        for model, image in ((self.left, left), (self.right, right)):
            if image.shape[:2] != (model.height, model.width):
                raise CalibrationError(
                    f"camera {model.name}: a picture of {image.shape[1]}x{image.shape[0]}, calibrated at {model.width}x"
                    f"{model.height}; a calibration holds for one size and region of the sensor"
                )
        return self._remap(left, self.maps_left), self._remap(right, self.maps_right)

    def depth_mm(self, disparity_px: NDArray[np.floating]) -> NDArray[np.float32]:
        """Disparity (any shape, pixels; <= 0 or NaN: unknown) to depth along the rectified axis, mm; NaN if unknown."""
        disparity = np.asarray(disparity_px, np.float32)
        known = disparity > 0
        scale = np.float32(self.focal_px * self.baseline_mm)
        return np.where(known, scale / np.where(known, disparity, 1), np.float32(np.nan)).astype(np.float32)

    def disparity_px(self, depth_mm: float) -> float:
        """Disparity of a depth: the range to search for an animal that is ``depth_mm`` away."""
        return self.focal_px * self.baseline_mm / depth_mm

    def world_mm(self, pixels: Array, disparity_px: Array) -> Array:
        """(n, 2) pixels of the rectified left picture with (n,) disparities to (n, 3) points of the world, mm."""
        known = disparity_px > 0
        depth = np.where(known, self.focal_px * self.baseline_mm / np.where(known, disparity_px, 1), np.nan)
        projection = self._projections[0]
        x = (pixels[:, 0] - projection[0, 2]) / projection[0, 0] * depth
        y = (pixels[:, 1] - projection[1, 2]) / projection[1, 1] * depth
        local = np.stack([x, y, depth], axis=1) @ self._rotation
        return (local - self.left.translation_mm) @ self.left.rotation

    def rectify_points(self, pixels: Array, side: int) -> Array:
        """(n, 2) pixels of the left (side 0) or right (1) picture to (n, 2) pixels of the rectified one."""
        model = (self.left, self.right)[side]
        normalised = model.undistort(pixels)
        turned = np.hstack([normalised, np.ones((len(normalised), 1))]) @ self._rotations[side].T
        projection = self._projections[side]
        scaled = turned @ projection[:, :3].T
        return scaled[:, :2] / scaled[:, 2:]

    def _maps(self, model: CameraModel, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        make = cv2.fisheye.initUndistortRectifyMap if model.fisheye else cv2.initUndistortRectifyMap
        projection = self._projections[side][:, :3]
        x, y = make(model.matrix, model.distortion, self._rotations[side], projection, self.size, cv2.CV_32FC1)
        return np.asarray(x, np.float32), np.asarray(y, np.float32)

    def _remap(self, image: Image, maps: tuple[NDArray[np.float32], NDArray[np.float32]]) -> Image:
        return np.asarray(cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR), np.uint8)
