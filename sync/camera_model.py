"""One calibrated camera: how millimetres in the cage become pixels, and back to rays. Pure.

The conventions are OpenCV's: a point X of the world is at ``R X + t`` in the camera's frame, x to the right, y down, z
forward; pixel (0, 0) is the centre of the upper left pixel. Two lens models are known: Brown-Conrady with 4, 5 or 8
coefficients (``fisheye`` False), and the equidistant one of Kannala and Brandt (IEEE TPAMI 28:1335, 2006) with 4
coefficients (``fisheye`` True), for lenses as wide as 120 degrees.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import CalibrationError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """One camera of a calibrated rig.

    Attributes:
        name: as in the rig file.
        width: pixels.
        height: pixels.
        matrix: (3, 3) float64, pixels.
        distortion: (4,), (5,) or (8,) float64; (4,) where ``fisheye``.
        rotation: (3, 3) float64, world to camera.
        translation_mm: (3,) float64, world to camera, mm.
        fisheye: which lens model.

    Raises:
        CalibrationError: shapes that do not fit, or a rotation that is none.
    """

    name: str
    width: int
    height: int
    matrix: Array
    distortion: Array
    rotation: Array
    translation_mm: Array
    fisheye: bool = False

    def __post_init__(self) -> None:
        shapes = (self.matrix.shape, self.rotation.shape, self.translation_mm.shape)
        n_distortion = (4,) if self.fisheye else (4, 5, 8)
        if shapes != ((3, 3), (3, 3), (3,)) or self.distortion.ndim != 1 or len(self.distortion) not in n_distortion:
            raise CalibrationError(
                f"camera {self.name}: matrix, rotation, translation and distortion have shapes {shapes} and "
                f"{self.distortion.shape}; expected (3, 3), (3, 3), (3,) and one of {n_distortion}"
            )
        if not np.allclose(self.rotation @ self.rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(self.rotation) < 0:
            raise CalibrationError(f"camera {self.name}: its rotation is no rotation matrix; calibrate again")

    @property
    def centre_mm(self) -> Array:
        """(3,) float64: the optical centre in the world."""
        return -self.rotation.T @ self.translation_mm

    @property
    def projection(self) -> Array:
        """(3, 4) float64: from the world to undistorted, normalised image coordinates."""
        return np.hstack([self.rotation, self.translation_mm[:, None]])

    def to_camera(self, points_mm: Array) -> Array:
        """(n, 3) world to (n, 3) camera frame, mm; behind the camera where z <= 0."""
        return points_mm @ self.rotation.T + self.translation_mm

    def project(self, points_mm: Array) -> Array:
        """(n, 3) world, mm, to (n, 2) pixels; NaN for points that lie behind the camera."""
        points = np.ascontiguousarray(points_mm, np.float64).reshape(-1, 3)
        out = np.full((len(points), 2), np.nan)
        front = self.to_camera(points)[:, 2] > 0
        if front.any():
            projector = cv2.fisheye.projectPoints if self.fisheye else cv2.projectPoints
            rotation_vector = cv2.Rodrigues(self.rotation)[0]
            shaped = points[front][:, None]
            pixels = projector(shaped, rotation_vector, self.translation_mm, self.matrix, self.distortion)[0]
            out[front] = pixels.reshape(-1, 2)
        return out

    def undistort(self, pixels: Array) -> Array:
        """(n, 2) pixels to (n, 2) normalised image coordinates (x / z, y / z) of an ideal pinhole; NaN stays NaN."""
        points = np.ascontiguousarray(pixels, np.float64).reshape(-1, 2)
        out = np.full((len(points), 2), np.nan)
        known = np.isfinite(points).all(axis=1)
        if known.any():
            undistorter = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
            out[known] = undistorter(points[known][:, None], self.matrix, self.distortion).reshape(-1, 2)
        return out

    def rays(self, pixels: Array) -> Array:
        """(n, 2) pixels to (n, 3) unit vectors in the world, from `centre_mm` towards what is seen there."""
        normalised = self.undistort(pixels)
        rays = np.hstack([normalised, np.ones((len(normalised), 1))]) @ self.rotation
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)
