"""Where a board lies before a camera whose lens is known."""

import cv2
import numpy as np

from ...sync.camera_model import Array, CameraModel
from .board import MIN_CORNERS, Corners
from .bundle_adjustment import adjust
from .pose import Pose, in_camera
from .reprojection import Observations, rms

_WIDEST = 20.0
"""Slope of a ray beyond which undistortion tells nothing: 87 degrees off the axis."""


def board_pose(model: CameraModel, corners: Corners, points_mm: Array) -> Pose | None:
    """Pose of a board in the camera's frame, whatever the model's own pose is.

    Returns:
        Board to camera; None where the corners do not make a pose in front of the camera.
    """
    found = pose_and_error(model, corners, points_mm)
    return None if found is None else found[0]


def pose_and_error(model: CameraModel, corners: Corners, points_mm: Array) -> tuple[Pose, float] | None:
    """`board_pose` with its root mean square reprojection error, pixels.

    A flat target has two poses that look nearly alike (Collins and Bartoli, IPPE, IJCV 109:252, 2014); both are tried
    and that with the smaller error is kept.
    """
    normalised = model.undistort(corners.pixels)
    good = np.isfinite(normalised).all(axis=1) & (np.abs(normalised) < _WIDEST).all(axis=1)
    if good.sum() < MIN_CORNERS:
        return None
    shaped = points_mm[corners.ids][good][:, None]
    try:
        _, turns, shifts, _ = cv2.solvePnPGeneric(
            shaped, normalised[good][:, None], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
        )
    except cv2.error:  # corners on one line: no plane to solve for
        return None
    local = in_camera(model)
    best: tuple[Pose, float] | None = None
    for turn, shift in zip(turns, shifts, strict=True):
        if not (np.isfinite(turn).all() and np.isfinite(shift).all()):
            continue
        pose = Pose(np.asarray(cv2.Rodrigues(turn)[0], np.float64), np.asarray(shift, np.float64).ravel())
        error = pose_rms(local, pose, corners, points_mm)
        if np.isfinite(error) and (best is None or error < best[1]):
            best = pose, error
    return best


def refined_pose(model: CameraModel, corners: Corners, points_mm: Array) -> Pose | None:
    """`board_pose`, then least squares on the distances in the picture."""
    start = board_pose(model, corners, points_mm)
    if start is None:
        return None
    seen = Observations(np.zeros(len(corners.ids), np.int64), points_mm[corners.ids], corners.pixels)
    return adjust([in_camera(model)], [start], [seen], free_poses=[False], freedom=[None]).boards[0]


def pose_rms(model: CameraModel, pose: Pose, corners: Corners, points_mm: Array) -> float:
    """Root mean square reprojection error of a board (board to world), pixels; inf where a corner lies behind."""
    pixels = model.project(pose.apply(points_mm[corners.ids]))
    return rms(corners.pixels - pixels) if np.isfinite(pixels).all() else float("inf")
