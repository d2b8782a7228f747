"""Two cameras that see the same boards: where one stands before the other, and how well they agree."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...sync.camera_model import Array, CameraModel
from .board import Corners
from .bundle_adjustment import adjust
from .pose import Pose, in_camera, placed, pose_of
from .reprojection import gather, rms

MIN_SHARED = 3
"""A single picture of a board would do in theory; its error would then be the pair's."""


@dataclass(frozen=True, slots=True, eq=False)
class StereoPair:
    """One pair of cameras.

    Attributes:
        first: name.
        second: name.
        pose: first camera's frame to the second's.
        rms_px: over all corners of both, each board at its best place.
        instants: shared.
        n_corners: corner observations in the two.
    """

    first: str
    second: str
    pose: Pose
    rms_px: float
    instants: tuple[str, ...]
    n_corners: int

    @property
    def baseline_mm(self) -> float:
        """Distance of the two optical centres."""
        return float(np.linalg.norm(self.pose.translation_mm))

    @property
    def angle_deg(self) -> float:
        """Angle between the two optical axes."""
        return float(np.degrees(np.arccos(np.clip(self.pose.rotation[2, 2], -1.0, 1.0))))


def calibrate_pair(
    first: CameraModel,
    second: CameraModel,
    images: tuple[Mapping[str, Corners], Mapping[str, Corners]],
    poses: tuple[Mapping[str, Pose], Mapping[str, Pose]],
    points_mm: Array,
) -> StereoPair | None:
    """Relative pose of two cameras with known lenses.

    The two need not see the same corners of a board, only the same board at the same instant.

    Args:
        first: camera; its own pose plays no part.
        second: camera.
        images: corners of each by instant.
        poses: board poses in each camera's frame by instant.
        points_mm: the board.

    Returns:
        None where they share fewer than `MIN_SHARED` instants.
    """
    shared = [instant for instant in poses[0] if instant in poses[1]]
    if len(shared) < MIN_SHARED:
        return None
    start = consensus([poses[1][instant].after(poses[0][instant].inverse()) for instant in shared])
    index = {instant: number for number, instant in enumerate(shared)}
    seen = [gather(one, index, points_mm) for one in images]
    models = [in_camera(first), placed(second, start)]
    boards = [poses[0][instant] for instant in shared]
    adjusted = adjust(models, boards, seen, free_poses=[False, True], freedom=[None, None])
    residuals = np.concatenate(adjusted.residuals)
    return StereoPair(
        first.name,
        second.name,
        pose_of(adjusted.models[1]),
        rms(residuals),
        tuple(shared),
        len(residuals),
    )


def consensus(poses: list[Pose]) -> Pose:
    """The one of several estimates that the others are nearest to; a pose that was seen mirrored does not count.

    Distances add the turn in radians and the shift over the median shift.
    """
    turns = np.stack([pose.rotation for pose in poses])
    shifts = np.stack([pose.translation_mm for pose in poses])
    cosines = (np.einsum("aij,bij->ab", turns, turns) - 1) / 2
    scale = max(float(np.median(np.linalg.norm(shifts, axis=1))), 1e-9)
    apart = np.arccos(np.clip(cosines, -1, 1)) + np.linalg.norm(shifts[:, None] - shifts, axis=2) / scale
    return poses[int(np.argmin(np.median(apart, axis=1)))]
