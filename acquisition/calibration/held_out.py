"""Judging a calibration by pictures that took no part in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...sync.camera_model import CameraModel
from ...sync.errors import CalibrationError
from ...sync.triangulation import reprojection_errors, triangulate
from .board import Board
from .board_pose import board_pose, pose_rms, refined_pose
from .bundle_adjustment import adjust
from .detection import CameraDetections
from .pose import Pose, in_camera, pose_of
from .reprojection import gather, rms

_MIN_INSTANTS = 8
"""With fewer instants none can be spared."""


@dataclass(frozen=True, slots=True, eq=False)
class SquareCheck:
    """The known square, measured from triangulated corners.

    Attributes:
        mean_mm: of the sides.
        std_mm: of the sides.
        true_mm: what the board says.
        n: sides measured.
        reprojection_rms_px: of the triangulated corners, over all views.
    """

    mean_mm: float
    std_mm: float
    true_mm: float
    n: int
    reprojection_rms_px: float


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What held-out pictures say.

    A picture that reaches farther out than all others of its camera is judged by a lens that was never shown so much of
    the edge: its error is then that of a guess, and larger than that of the calibration, which used it.

    Attributes:
        instants: held out.
        lens_rms_px: per camera, each board placed by that camera alone: the lens.
        rig_rms_px: per camera, each board placed once for all cameras: lens and place.
        total_rms_px: of the latter, all corners.
        square: None where no corner was seen by two cameras.
    """

    instants: tuple[str, ...]
    lens_rms_px: Mapping[str, float]
    rig_rms_px: Mapping[str, float]
    total_rms_px: float
    square: SquareCheck | None


def choose_held_out(detections: Sequence[CameraDetections], share: float, min_images: int) -> set[str]:
    """Instants to keep aside, evenly spread; none where a camera would be left with too few pictures."""
    if not 0.0 <= share < 1.0:
        raise CalibrationError(f"share of held-out pictures {share}: choose 0 (none) up to less than 1, as 0.2")
    instants = list(dict.fromkeys(instant for one in detections for instant in one.images))
    if share == 0.0 or len(instants) < _MIN_INSTANTS:
        return set()
    step = max(round(1 / share), 2)
    held = set(instants[step // 2 :: step])
    if any(len(set(one.images) - held) < min_images for one in detections):
        return set()
    return held


def judge_held_out(models: Sequence[CameraModel], held: Sequence[CameraDetections], board: Board) -> HeldOut:
    """Compare pictures with cameras that were calibrated without them.

    Args:
        models: cameras, in the order of ``held``.
        held: their held-out pictures.
        board: what they show.
    """
    by_name = {model.name: model for model in models}
    points = board.points_mm
    lens: dict[str, float] = {}
    for one in held:
        errors: list[tuple[float, int]] = []
        for corners in one.images.values():
            pose = refined_pose(by_name[one.camera], corners, points)
            if pose is not None:
                errors.append((pose_rms(in_camera(by_name[one.camera]), pose, corners, points), len(corners.ids)))
        total = sum(n for _, n in errors)
        lens[one.camera] = float(np.sqrt(sum(e * e * n for e, n in errors) / total)) if total else float("nan")
    instants = list(dict.fromkeys(instant for one in held for instant in one.images))
    boards: list[Pose] = []
    for instant in instants:
        choices: list[tuple[float, Pose]] = []
        viewers = [one for one in held if instant in one.images]
        for one in viewers:
            model = by_name[one.camera]
            local = board_pose(model, one.images[instant], points)
            if local is not None:
                world = pose_of(model).inverse().after(local)
                worst = max(pose_rms(by_name[v.camera], world, v.images[instant], points) for v in viewers)
                choices.append((worst, world))
        if not choices:
            raise CalibrationError(f"held-out picture {instant}: its corners make no pose of a flat board; remove it")
        boards.append(min(choices, key=lambda choice: choice[0])[1])
    index = {instant: number for number, instant in enumerate(instants)}
    ordered = [by_name[one.camera] for one in held]
    seen = [gather(one.images, index, points) for one in held]
    n = len(ordered)
    placed = adjust(ordered, boards, seen, free_poses=[False] * n, freedom=[None] * n)
    return HeldOut(
        tuple(instants),
        lens,
        {one.camera: rms(part) for one, part in zip(held, placed.residuals, strict=True)},
        rms(np.concatenate(placed.residuals)),
        measure_squares(models, held, board),
    )


def measure_squares(
    models: Sequence[CameraModel], detections: Sequence[CameraDetections], board: Board
) -> SquareCheck | None:
    """Sides of the board's squares from corners that two cameras or more see, each triangulated by itself."""
    by_name = {one.camera: one for one in detections}
    columns, rows = board.grid
    sides: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    for instant in dict.fromkeys(instant for one in detections for instant in one.images):
        pixels = np.full((len(models), columns * rows, 2), np.nan)
        for view, model in enumerate(models):
            corners = by_name[model.name].images.get(instant)
            if corners is not None:
                pixels[view, corners.ids] = corners.pixels
        found = triangulate(models, pixels)
        distances = reprojection_errors(models, found, pixels)
        errors.append(distances[np.isfinite(distances)])
        grid = found.reshape(rows, columns, 3)
        for axis in (0, 1):
            length = np.linalg.norm(np.diff(grid, axis=axis), axis=2).ravel()
            sides.append(length[np.isfinite(length)])
    measured = np.concatenate(sides) if sides else np.zeros(0)
    if not len(measured):
        return None
    off = np.concatenate(errors)
    return SquareCheck(
        float(measured.mean()),
        float(measured.std()),
        board.square_mm,
        len(measured),
        float(np.sqrt((off**2).mean())),
    )
