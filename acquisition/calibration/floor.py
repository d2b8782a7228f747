"""Millimetres of the cage: the world becomes the floor, z up.

The floor is given by a board that lies on it, or by three or more points of it that were marked in the pictures.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...sync.camera_model import Array, CameraModel
from ...sync.errors import CalibrationError
from ...sync.triangulation import reprojection_errors, triangulate
from .board import Board
from .board_pose import board_pose, pose_rms
from .bundle_adjustment import adjust
from .detection import CameraDetections
from .pose import Pose, placed, pose_of
from .reprojection import gather, rms

MAX_ERROR_PX = 3.0
"""A floor that the cameras see worse than this is not where they think: they were moved, or the points are mixed up."""
MAX_BEND_MM = 5.0
"""Marked points farther from one plane than this are not all on the floor."""


def floor_from_board(
    models: Sequence[CameraModel],
    detections: Sequence[CameraDetections],
    board: Board,
    *,
    thickness_mm: float = 0.0,
    seen_from_below: bool = False,
) -> Pose:
    """The floor by a board that lies on it; its origin is the board's, x runs along its rows.

    Args:
        models: calibrated cameras.
        detections: pictures of the board on the floor, of one instant or more in which it did not move.
        board: what lies there.
        thickness_mm: the print lies this much above the floor.
        seen_from_below: the cameras look up through a clear floor; else the side on which most cameras are is up.

    Returns:
        World to floor.

    Raises:
        CalibrationError: no camera sees the board, or they do not agree on where it is.
    """
    known = {model.name: model for model in models}
    used = [one for one in detections if one.images and one.camera in known]
    if not used:
        raise CalibrationError(f"floor: no camera sees the board {board.spec}; lay it where at least one sees it well")
    choices: list[tuple[float, Pose]] = []
    for one in used:
        model = known[one.camera]
        for corners in one.images.values():
            local = board_pose(model, corners, board.points_mm)
            if local is not None:
                world = pose_of(model).inverse().after(local)
                errors = [
                    pose_rms(known[other.camera], world, seen, board.points_mm)
                    for other in used
                    for seen in other.images.values()
                ]
                choices.append((float(np.median(errors)), world))
    if not choices:
        raise CalibrationError(
            "floor: the corners seen make no pose of a flat board; lay the board flat and take again"
        )
    start = min(choices, key=lambda one: one[0])[1]
    instants = dict.fromkeys(instant for one in used for instant in one.images)
    index = dict.fromkeys(instants, 0)  # one board that did not move
    ordered = [known[one.camera] for one in used]
    seen = [gather(one.images, index, board.points_mm) for one in used]
    n = len(ordered)
    found = adjust(ordered, [start], seen, free_poses=[False] * n, freedom=[None] * n)
    for one, part in zip(used, found.residuals, strict=True):
        if rms(part) > MAX_ERROR_PX:
            raise CalibrationError(
                f"floor: camera {one.camera} sees the board {rms(part):.1f} px from where the others do (allowed "
                f"{MAX_ERROR_PX:g}); has a camera or the board moved since the calibration?"
            )
    pose = found.boards[0]
    return _upright(pose.rotation, pose.translation_mm, models, thickness_mm, seen_from_below)


def floor_from_points(
    models: Sequence[CameraModel], pixels: Array, *, seen_from_below: bool = False
) -> tuple[Pose, Array]:
    """The floor by marked points: the first is the origin, the second lies on the x axis, all span the plane.

    Args:
        models: v calibrated cameras.
        pixels: (v, n, 2) float64, n >= 3, NaN where a camera does not see a point; each is seen by two or more.
        seen_from_below: the cameras look up through a clear floor.

    Returns:
        World to floor; (n, 3) the points in floor coordinates, mm (z says how flat they are).

    Raises:
        CalibrationError: too few points, points on one line, not flat, or views that disagree.
    """
    if pixels.shape[1] < 3:
        raise CalibrationError(f"floor: {pixels.shape[1]} points; a plane takes three or more that are not on one line")
    points = triangulate(models, pixels)
    lost = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(lost):
        raise CalibrationError(f"floor: point {lost[0]} is seen by fewer than two cameras; mark it in two or more")
    errors = reprojection_errors(models, points, pixels)
    if np.nanmax(errors) > MAX_ERROR_PX:
        view, point = np.unravel_index(int(np.nanargmax(errors)), errors.shape)
        raise CalibrationError(
            f"floor: point {point} as marked in {models[int(view)].name} is {np.nanmax(errors):.1f} px from where the "
            f"other cameras see it (allowed {MAX_ERROR_PX:g}); is it the same point of the floor?"
        )
    middle = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - middle)
    if spread[1] < 1e-2 * spread[0]:
        raise CalibrationError("floor: the marked points lie on one line; mark one well beside it")
    normal = axes[2]
    off = (points - middle) @ normal
    if np.abs(off).max() > MAX_BEND_MM:
        raise CalibrationError(
            f"floor: point {int(np.abs(off).argmax())} lies {np.abs(off).max():.1f} mm off the plane of the others "
            f"(allowed {MAX_BEND_MM:g}); is it on the floor?"
        )
    along = points[1] - points[0]
    x = along - normal * (along @ normal)
    x /= np.linalg.norm(x)
    origin = points[0] - normal * off[0]
    rotation = np.stack([x, np.cross(normal, x), normal], axis=1)
    pose = _upright(rotation, origin, models, 0.0, seen_from_below)
    return pose, pose.apply(points)


def _upright(
    rotation: Array, origin: Array, models: Sequence[CameraModel], thickness_mm: float, seen_from_below: bool
) -> Pose:
    """World to floor, given axes (columns) and origin of the plane in the world; z is turned to the cameras' side."""
    centres = np.stack([model.centre_mm for model in models])
    heights = (centres - origin) @ rotation[:, 2]
    up = np.median(heights) < 0 if seen_from_below else np.median(heights) > 0
    if not up:
        rotation = rotation @ np.diag([1.0, -1.0, -1.0])
    to_floor = Pose(rotation, origin).inverse()
    return Pose(to_floor.rotation, to_floor.translation_mm + np.array([0.0, 0.0, thickness_mm]))


def in_frame(models: Sequence[CameraModel], to_frame: Pose) -> tuple[CameraModel, ...]:
    """The same cameras in another world: ``to_frame`` takes points of the old world to the new."""
    back = to_frame.inverse()
    return tuple(placed(model, pose_of(model).after(back)) for model in models)


def read_floor_points(path: Path, models: Sequence[CameraModel]) -> Array:
    """Marked points from a CSV with a header ``point,camera,x_px,y_px``; points are taken in the order of the file.

    Returns:
        (v, n, 2) float64, NaN where a camera does not see a point.

    Raises:
        CalibrationError: no such file, a wrong header, an unknown camera, or what is no number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path}: cannot be read ({error}); a CSV is expected here") from error
    if not lines or [cell.strip() for cell in lines[0].split(",")] != ["point", "camera", "x_px", "y_px"]:
        raise CalibrationError(f"{path}: the first line must be point,camera,x_px,y_px")
    views = {model.name: view for view, model in enumerate(models)}
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        try:
            point, camera, x, y = cells[0], cells[1], float(cells[2]), float(cells[3])
        except (IndexError, ValueError) as error:
            raise CalibrationError(
                f"{path} line {number}: {line!r}; expected a name, a camera and two numbers"
            ) from error
        if camera not in views:
            raise CalibrationError(
                f"{path} line {number}: camera {camera!r} is not calibrated; there are {', '.join(views)}"
            )
        points.setdefault(point, {})[views[camera]] = (x, y)
    pixels = np.full((len(models), len(points), 2), np.nan)
    for place, seen in enumerate(points.values()):
        for view, pixel in seen.items():
            pixels[view, place] = pixel
    return pixels
