"""Rigid motions: how one frame lies in another, where a camera stands, and what a small change does."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...sync.camera_model import Array, CameraModel

_SMALL_RAD = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """X in one frame is at ``rotation @ X + translation_mm`` in another.

    Attributes:
        rotation: (3, 3) float64.
        translation_mm: (3,) float64.
    """

    rotation: Array
    translation_mm: Array

    def apply(self, points_mm: Array) -> Array:
        """(n, 3) to (n, 3)."""
        return points_mm @ self.rotation.T + self.translation_mm

    def after(self, first: "Pose") -> "Pose":
        """The pose that applies ``first``, then this one."""
        return Pose(self.rotation @ first.rotation, self.apply(first.translation_mm[None])[0])

    def inverse(self) -> "Pose":
        return Pose(self.rotation.T, -self.rotation.T @ self.translation_mm)

    def changed(self, change: Array) -> "Pose":
        """Turned by a rotation vector and shifted: (6,), radians and mm. The shift is not turned."""
        return Pose(_rotation(change[:3]) @ self.rotation, self.translation_mm + change[3:])


IDENTITY = Pose(np.eye(3), np.zeros(3))


def pose_of(model: CameraModel) -> Pose:
    """World to camera."""
    return Pose(model.rotation, model.translation_mm)


def placed(model: CameraModel, pose: Pose) -> CameraModel:
    """The same lens at another place: ``pose`` is world to camera."""
    return replace(model, rotation=pose.rotation, translation_mm=pose.translation_mm)


def in_camera(model: CameraModel) -> CameraModel:
    """The same lens at the origin of the world; the model itself where it was put there."""
    there = model.rotation is IDENTITY.rotation and model.translation_mm is IDENTITY.translation_mm
    return model if there else placed(model, IDENTITY)


def cross_matrices(vectors: Array) -> Array:
    """(n, 3) to (n, 3, 3): the matrices of the cross product."""
    out = np.zeros((len(vectors), 3, 3))
    out[:, 0, 1], out[:, 0, 2] = -vectors[:, 2], vectors[:, 1]
    out[:, 1, 0], out[:, 1, 2] = vectors[:, 2], -vectors[:, 0]
    out[:, 2, 0], out[:, 2, 1] = -vectors[:, 1], vectors[:, 0]
    return out


def left_jacobian(vector: Array) -> Array:
    """(3, 3): how a change of a rotation vector turns the rotated frame (Barfoot, State Estimation for Robotics)."""
    angle = float(np.linalg.norm(vector))
    cross = cross_matrices(np.asarray(vector)[None])[0]
    if angle < _SMALL_RAD:
        return np.eye(3) + cross / 2
    a = (1 - np.cos(angle)) / angle**2
    b = (angle - np.sin(angle)) / angle**3
    return np.eye(3) + a * cross + b * cross @ cross


def _rotation(vector: Array) -> Array:
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64))[0], np.float64)
