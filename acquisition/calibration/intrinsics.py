"""The lens of one camera: focal length, principal point, distortion.

The start is the focal length, out of a wide range, under which the boards of all pictures fit best as flat boards; then
focal length, centre and distortion are freed one after another. Brown-Conrady and fisheye lenses go the same way, so
that a wide lens needs no lucky start. Pictures that the lens cannot explain while it explains the others are left out,
one at a time, and named in the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...sync.camera_model import Array, CameraModel
from ...sync.errors import CalibrationError
from .board import Board, Corners
from .board_pose import board_pose, pose_and_error
from .bundle_adjustment import Adjusted, adjust
from .detection import CameraDetections
from .lens_freedom import LensFreedom
from .pose import IDENTITY, Pose
from .reprojection import gather, rms, rms_by_image

MIN_IMAGES = 5
"""Fewer pictures leave focal length and distance of the board tied together."""
_N_START = 12
"""Pictures that the search for the start looks at."""
_FOCAL_RANGE = (0.2, 3.0)
"""Focal lengths tried, in widths of the picture: from 136 to 19 degrees of view."""
_N_FOCAL = 28
_BAD_FACTOR = 3.0
"""A picture is bad when its error is this many times the median of all ..."""
_BAD_PX = 0.5
"""... and at least this large: among pictures of 0.1 px one of 0.3 px is no fault."""
_MAX_BAD = 0.34
"""When more than this share is bad, it is not the pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Intrinsics:
    """The lens of a camera and how well it is known.

    Attributes:
        model: at the origin.
        rms_px: over all corners of the pictures used.
        image_rms_px: per picture used.
        rejected: pictures left out, and why.
        std: (4 + k,) float64, standard deviations of fx, fy, cx, cy and the coefficients.
        poses: boards in the camera's frame, per picture used.
        residuals: (n, 2) float64 px, observed less projected, of all corners used ...
        pixels: (n, 2) float64, ... and where they were seen.
    """

    model: CameraModel
    rms_px: float
    image_rms_px: Mapping[str, float]
    rejected: Mapping[str, str]
    std: Array
    poses: Mapping[str, Pose]
    residuals: Array
    pixels: Array


def calibrate_intrinsics(detections: CameraDetections, board: Board, freedom: LensFreedom) -> Intrinsics:
    """Fit the lens of one camera to pictures of a board.

    Args:
        detections: of this camera.
        board: what was shown.
        freedom: lens model, and what of it is fitted.

    Raises:
        CalibrationError: too few pictures, or no lens explains them.
    """
    name = detections.camera
    images = dict(detections.images)
    rejected: dict[str, str] = {}
    model = _start(detections, board, freedom)
    while True:
        if len(images) < MIN_IMAGES:
            told = "".join(f"\n  {instant}: {why}" for instant, why in rejected.items())
            raise CalibrationError(
                f"camera {name}: {len(images)} usable pictures of the board, a lens takes {MIN_IMAGES} and is better "
                f"with 20 or more; show the board at more places and tilts{told}"
            )
        poses: dict[str, Pose] = {}
        for instant, corners in list(images.items()):
            pose = board_pose(model, corners, board.points_mm)
            if pose is None:
                rejected[instant] = "its corners make no pose of a flat board"
                del images[instant]
            else:
                poses[instant] = pose
        if len(images) < MIN_IMAGES:
            continue
        fitted = _fit(model, images, poses, board, freedom)
        errors = rms_by_image(images, fitted.residuals[0])
        worst = max(errors, key=lambda instant: errors[instant])
        median = float(np.median(list(errors.values())))
        if errors[worst] <= max(_BAD_FACTOR * median, _BAD_PX):
            return _result(fitted, images, errors, rejected)
        rejected[worst] = f"error {errors[worst]:.2f} px, median of the others {median:.2f} px"
        del images[worst]
        model = fitted.models[0]
        if len(rejected) > _MAX_BAD * len(detections.images):
            raise CalibrationError(
                f"camera {name}: {len(rejected)} of {len(detections.images)} pictures do not fit one lens (error of "
                f"the last {errors[worst]:.2f} px, median {median:.2f} px); check the board's numbers ({board.spec}), "
                "that it is flat, that zoom and focus were not touched, and the lens model (--fisheye for very wide "
                "lenses)"
            )


def _start(detections: CameraDetections, board: Board, freedom: LensFreedom) -> CameraModel:
    """The undistorted lens under which the boards are flattest."""
    views = list(detections.images.values())
    chosen = views[:: max(len(views) // _N_START, 1)]
    best: tuple[float, CameraModel] | None = None
    for focal in np.geomspace(*_FOCAL_RANGE, _N_FOCAL) * detections.width:
        matrix = np.array(
            [[focal, 0.0, (detections.width - 1) / 2], [0.0, focal, (detections.height - 1) / 2], [0.0, 0.0, 1.0]]
        )
        model = CameraModel(
            detections.camera,
            detections.width,
            detections.height,
            matrix,
            np.zeros(freedom.n_coefficients),
            IDENTITY.rotation,
            IDENTITY.translation_mm,
            freedom.fisheye,
        )
        error = _flatness(model, chosen, board.points_mm)
        if best is None or error < best[0]:
            best = (error, model)
    assert best is not None
    return best[1]


def _flatness(model: CameraModel, chosen: Sequence[Corners], points_mm: Array) -> float:
    """Median error of the pictures under a lens; a picture without a pose counts as a large one."""
    errors: list[float] = []
    for corners in chosen:
        found = pose_and_error(model, corners, points_mm)
        errors.append(1e3 if found is None else found[1])
    return float(np.median(errors)) if errors else 1e3


def _fit(
    model: CameraModel, images: Mapping[str, Corners], poses: Mapping[str, Pose], board: Board, freedom: LensFreedom
) -> Adjusted:
    """Free the lens in stages: focal length and first radial terms, then all."""
    index = {instant: number for number, instant in enumerate(images)}
    seen = gather(images, index, board.points_mm)
    adjusted = Adjusted((model,), tuple(poses[instant] for instant in images), (), (), 0)
    if freedom.fisheye:
        stages = [replace(freedom, fix_aspect=True, fix_centre=True), freedom]
    else:
        first = LensFreedom(freedom.n_coefficients, fix_aspect=True, fix_centre=True, fix_tangential=True, fix_k3=True)
        stages = [first, freedom] if freedom.n_coefficients < 8 else [freedom]
    for stage in stages:
        adjusted = adjust(adjusted.models, adjusted.boards, [seen], free_poses=[False], freedom=[stage])
    return adjusted


def _result(
    fitted: Adjusted, images: Mapping[str, Corners], errors: Mapping[str, float], rejected: Mapping[str, str]
) -> Intrinsics:
    std = fitted.lens_std[0]
    assert std is not None
    return Intrinsics(
        fitted.models[0],
        rms(fitted.residuals[0]),
        dict(errors),
        dict(rejected),
        std,
        dict(zip(images, fitted.boards, strict=True)),
        fitted.residuals[0],
        np.concatenate([corners.pixels for corners in images.values()]),
    )
