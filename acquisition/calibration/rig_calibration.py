"""All cameras of a rig in one frame.

Lenses first, each by itself; then every pair that shares views; the pairs with the most shared corners make a tree that
places every camera; then one bundle adjustment over all. Views that the whole does not explain are left out and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from ...sync.camera_model import Array, CameraModel
from ...sync.errors import CalibrationError
from .board import Board, Corners
from .board_pose import board_pose, pose_rms
from .bundle_adjustment import adjust
from .detection import CameraDetections, Progress, no_progress, require_boards
from .held_out import HeldOut, choose_held_out, judge_held_out
from .intrinsics import MIN_IMAGES, Intrinsics, calibrate_intrinsics
from .lens_freedom import LensFreedom
from .pose import IDENTITY, Pose, placed, pose_of
from .reprojection import gather, rms, rms_by_image
from .stereo import MIN_SHARED, StereoPair, calibrate_pair

_BAD_FACTOR = 4.0
"""A view is bad when its error is this many times the median of its camera ..."""
_BAD_PX = 1.0
"""... and at least this large."""
_MAX_BAD = 0.25
"""When more than this share of all views is bad, it is not the views."""


@dataclass(frozen=True, slots=True)
class RigOptions:
    """How to calibrate.

    Attributes:
        lens: lens model and what of it is fitted, for every camera without an entry in ``lenses``.
        lenses: other lenses, by camera.
        refine_lenses: fit the lenses once more together with all poses; else they stay as each camera alone gave them.
        hold_out: share of the instants kept aside to judge the calibration by; 0: none.
    """

    lens: LensFreedom = field(default_factory=LensFreedom)
    lenses: Mapping[str, LensFreedom] = field(default_factory=dict[str, LensFreedom])
    refine_lenses: bool = True
    hold_out: float = 0.2

    def of(self, camera: str) -> LensFreedom:
        return self.lenses.get(camera, self.lens)


@dataclass(frozen=True, slots=True, eq=False)
class RigCalibration:
    """A calibrated rig. The world is the frame of the first of ``models`` until a floor is set.

    Attributes:
        models: cameras in order of name.
        intrinsics: each camera by itself.
        pairs: every pair that shares views.
        tree: pairs that placed the cameras before the adjustment.
        boards: pose of every board, board to world.
        rms_before_px: over all corners, cameras placed by the tree.
        rms_px: over all corners, after the adjustment.
        camera_rms_px: the same by camera.
        image_rms_px: the same by camera and instant.
        rejected: per camera, instants left out and why.
        residuals: per camera (n, 2) float64, px, observed less projected ...
        pixels: per camera (n, 2) float64, ... and where they were seen.
        held_out: what pictures say that took no part; None where none were kept aside.
        n_steps: evaluations of the adjustment.
        lens_std: per camera (4 + k,) float64, standard deviations of fx, fy, cx, cy and the coefficients of ``models``.
    """

    models: tuple[CameraModel, ...]
    intrinsics: Mapping[str, Intrinsics]
    pairs: tuple[StereoPair, ...]
    tree: tuple[tuple[str, str], ...]
    boards: Mapping[str, Pose]
    rms_before_px: float
    rms_px: float
    camera_rms_px: Mapping[str, float]
    image_rms_px: Mapping[str, Mapping[str, float]]
    rejected: Mapping[str, Mapping[str, str]]
    residuals: Mapping[str, Array]
    pixels: Mapping[str, Array]
    held_out: HeldOut | None
    n_steps: int
    lens_std: Mapping[str, Array]


def calibrate_rig(
    detections: Sequence[CameraDetections], board: Board, options: RigOptions, progress: Progress = no_progress
) -> RigCalibration:
    """Calibrate one camera or many.

    The result uses every picture. To judge it, the same is done once more without some instants, and those are
    compared with it: `RigCalibration.held_out`.

    Raises:
        CalibrationError: too few views, cameras that are not connected by shared views, or views that contradict.
    """
    detections = sorted(detections, key=lambda one: one.camera)
    require_boards(list(detections), board)
    if len(detections) > 1 and not board.directed:
        raise CalibrationError(
            f"board {board.spec}: looks the same when turned by half a circle, so two cameras cannot agree on its "
            "corners; use one with an odd and an even number of inner corners, or a ChArUco board"
        )
    whole = _solve(detections, board, options, progress, "")
    held = choose_held_out(detections, options.hold_out, MIN_IMAGES)
    if not held:
        return whole
    used = [one.subset(set(one.images) - held) for one in detections]
    trained = _solve(used, board, options, progress, " without the held-out pictures")
    judged = judge_held_out(trained.models, [one.subset(held) for one in detections], board)
    return replace(whole, held_out=judged)


def _solve(
    detections: Sequence[CameraDetections], board: Board, options: RigOptions, progress: Progress, note: str
) -> RigCalibration:
    names = [one.camera for one in detections]
    intrinsics: dict[str, Intrinsics] = {}
    for done, one in enumerate(detections):
        progress(f"lenses{note}", done, len(names))
        intrinsics[one.camera] = calibrate_intrinsics(one, board, options.of(one.camera))
    progress(f"lenses{note}", len(names), len(names))
    rejected = {name: dict(intrinsics[name].rejected) for name in names}
    images: dict[str, dict[str, Corners]] = {}
    for one in detections:
        usable = intrinsics[one.camera].poses
        images[one.camera] = {instant: corners for instant, corners in one.images.items() if instant in usable}
    pairs = _pairs(intrinsics, images, board, progress, note)
    tree, placement = _place(names, pairs)
    models = [placed(intrinsics[name].model, placement[name]) for name in names]
    before: float | None = None
    n_views = sum(map(len, images.values()))
    while True:
        boards = _board_poses(models, images, intrinsics, board)
        index = {instant: number for number, instant in enumerate(boards)}
        seen = [gather(images[name], index, board.points_mm) for name in names]
        free = [name != names[0] for name in names]
        if before is None:
            start = adjust(
                models, list(boards.values()), seen, free_poses=[False] * len(names), freedom=[None] * len(names)
            )
            before = rms(np.concatenate(start.residuals))
        progress(f"bundle adjustment{note}", 0, 1)
        adjusted = adjust(models, list(boards.values()), seen, free_poses=free, freedom=[None] * len(names))
        if options.refine_lenses and len(names) > 1:
            freedom = [options.of(name) for name in names]
            adjusted = adjust(adjusted.models, adjusted.boards, seen, free_poses=free, freedom=freedom)
        progress(f"bundle adjustment{note}", 1, 1)
        errors = {name: rms_by_image(images[name], part) for name, part in zip(names, adjusted.residuals, strict=True)}
        bad = _worst(errors)
        if bad is None:
            break
        camera, instant, why = bad
        rejected[camera][instant] = why
        del images[camera][instant]
        models = list(adjusted.models)
        n_bad = n_views - sum(map(len, images.values()))
        if n_bad > max(_MAX_BAD * n_views, 1):
            raise CalibrationError(
                f"{n_bad} of {n_views} views contradict the others (the last: {camera} at {instant}, {why}); are "
                "pictures of the same number taken at the same instant, with the board held still?"
            )
    return RigCalibration(
        adjusted.models,
        intrinsics,
        tuple(pairs.values()),
        tuple(tree),
        dict(zip(boards, adjusted.boards, strict=True)),
        before,
        rms(np.concatenate(adjusted.residuals)),
        {name: rms(part) for name, part in zip(names, adjusted.residuals, strict=True)},
        errors,
        rejected,
        dict(zip(names, adjusted.residuals, strict=True)),
        {name: one.pixels for name, one in zip(names, seen, strict=True)},
        None,
        adjusted.n_steps,
        {
            name: intrinsics[name].std if std is None else std
            for name, std in zip(names, adjusted.lens_std, strict=True)
        },
    )


def _pairs(
    intrinsics: Mapping[str, Intrinsics],
    images: Mapping[str, Mapping[str, Corners]],
    board: Board,
    progress: Progress,
    note: str,
) -> dict[tuple[str, str], StereoPair]:
    found: dict[tuple[str, str], StereoPair] = {}
    couples = list(combinations(intrinsics, 2))
    for done, (first, second) in enumerate(couples):
        progress(f"pairs{note}", done, len(couples))
        pair = calibrate_pair(
            intrinsics[first].model,
            intrinsics[second].model,
            (images[first], images[second]),
            (intrinsics[first].poses, intrinsics[second].poses),
            board.points_mm,
        )
        if pair is not None:
            found[first, second] = pair
    if couples:
        progress(f"pairs{note}", len(couples), len(couples))
    return found


def _place(
    names: Sequence[str], pairs: Mapping[tuple[str, str], StereoPair]
) -> tuple[list[tuple[str, str]], dict[str, Pose]]:
    """World-to-camera poses by the tree of pairs with the most shared corners; the first camera is the world."""
    placement = {names[0]: IDENTITY}
    tree: list[tuple[str, str]] = []
    while len(placement) < len(names):
        reach = [pair for pair in pairs.values() if (pair.first in placement) != (pair.second in placement)]
        if not reach:
            inside, outside = sorted(placement), sorted(set(names) - set(placement))
            raise CalibrationError(
                f"no pair joins {', '.join(inside)} with {', '.join(outside)}: at least {MIN_SHARED} instants must "
                "show the board to one camera of each group at once; take more pictures between the two"
            )
        best = max(reach, key=lambda pair: (pair.n_corners, pair.first, pair.second))
        tree.append((best.first, best.second))
        if best.first in placement:
            placement[best.second] = best.pose.after(placement[best.first])
        else:
            placement[best.first] = best.pose.inverse().after(placement[best.second])
    return tree, placement


def _board_poses(
    models: Sequence[CameraModel],
    images: Mapping[str, Mapping[str, Corners]],
    intrinsics: Mapping[str, Intrinsics],
    board: Board,
) -> dict[str, Pose]:
    """Each board where one of its cameras sees it, the one whose word fits all cameras best."""
    by_name = {model.name: model for model in models}
    instants = dict.fromkeys(instant for one in images.values() for instant in one)
    found: dict[str, Pose] = {}
    for instant in instants:
        viewers = [name for name in by_name if instant in images[name]]
        choices: list[tuple[float, Pose]] = []
        for name in viewers:
            model = by_name[name]
            local = intrinsics[name].poses.get(instant) or board_pose(model, images[name][instant], board.points_mm)
            if local is None:
                continue
            world = pose_of(model).inverse().after(local)
            errors = [pose_rms(by_name[other], world, images[other][instant], board.points_mm) for other in viewers]
            choices.append((float(np.median(errors)), world))
        found[instant] = min(choices, key=lambda one: one[0])[1]
    return found


def _worst(errors: Mapping[str, Mapping[str, float]]) -> tuple[str, str, str] | None:
    worst: tuple[float, str, str, str] | None = None
    for camera, by_instant in errors.items():
        median = float(np.median(list(by_instant.values())))
        for instant, error in by_instant.items():
            if error > max(_BAD_FACTOR * median, _BAD_PX) and (worst is None or error > worst[0]):
                why = f"error {error:.2f} px beside the other cameras, median of the camera {median:.2f} px"
                worst = (error, camera, instant, why)
    return None if worst is None else worst[1:]
