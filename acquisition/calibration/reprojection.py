"""How far corners lie from where cameras and boards say, and how that changes with each of their numbers.

Rotations are rotation vectors relative to the starting pose, so that no pose of a board lies near the singularity of
the vector. Every residual depends on one camera and one board alone, and the Jacobian, which is exact, is kept sparse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ...sync.camera_model import Array, CameraModel
from .board import Corners
from .lens_freedom import LensFreedom
from .pose import Pose, cross_matrices, left_jacobian, placed, pose_of


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Corners of all boards in one camera.

    Attributes:
        board: (n,) int64, which board pose each corner belongs to.
        points_mm: (n, 3) float64, on the board.
        pixels: (n, 2) float64.
    """

    board: NDArray[np.int64]
    points_mm: Array
    pixels: Array


def gather(images: Mapping[str, Corners], index: Mapping[str, int], points_mm: Array) -> Observations:
    """The corners of a camera, for those instants that ``index`` gives a board number."""
    known = [(index[instant], corners) for instant, corners in images.items() if instant in index]
    if not known:
        return Observations(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 2)))
    return Observations(
        np.concatenate([np.full(len(corners.ids), number, np.int64) for number, corners in known]),
        np.concatenate([points_mm[corners.ids] for _, corners in known]),
        np.concatenate([corners.pixels for _, corners in known]),
    )


def rms(residuals: Array) -> float:
    """Root mean square length of (n, 2) residuals; NaN of none."""
    return float(np.sqrt((residuals**2).sum(axis=1).mean())) if len(residuals) else float("nan")


def rms_by_image(images: Mapping[str, Corners], residuals: Array) -> dict[str, float]:
    """`rms` of each picture, of the residuals of all corners of ``images`` in their order."""
    ends = np.cumsum([len(corners.ids) for corners in images.values()])[:-1]
    return {instant: rms(part) for instant, part in zip(images, np.split(residuals, ends), strict=True)}


def project_with_jacobian(model: CameraModel, camera_points: Array) -> tuple[Array, Array, Array]:
    """Pixels of points in the camera's frame.

    Returns:
        (n, 2) pixels; (n, 2, 3) derivatives by the point; (n, 2, 4 + k) derivatives by fx, fy, cx, cy and coefficients.
    """
    projector = cv2.fisheye.projectPoints if model.fisheye else cv2.projectPoints
    shaped = np.ascontiguousarray(camera_points, np.float64)[:, None]
    pixels, jacobian = projector(shaped, np.zeros(3), np.zeros(3), model.matrix, model.distortion)
    full = np.asarray(jacobian, np.float64).reshape(len(camera_points), 2, -1)
    if model.fisheye:  # f, c, k, rotation, translation, skew
        by_point, by_lens = full[:, :, 11:14], full[:, :, :8]
    else:  # rotation, translation, f, c, distortion
        by_point, by_lens = full[:, :, 3:6], full[:, :, 6 : 10 + len(model.distortion)]
    return np.asarray(pixels, np.float64).reshape(-1, 2), by_point, by_lens


@dataclass(frozen=True, slots=True, eq=False)
class _Projected:
    """The corners of one camera: pixels, their derivatives, and the corners turned to the world's and camera's axes."""

    pixels: Array
    by_point: Array
    by_lens: Array
    world: Array
    turned: Array


class Reprojection:
    """Residuals and their Jacobian as functions of the vector of changes to the starting numbers.

    The vector holds what may change of each camera, pose before lens, then six numbers of each board.

    Attributes:
        n: length of the vector.
        n_cameras: of which belong to cameras.

    Args:
        models: cameras with their starting poses.
        boards: starting poses, board to world.
        observations: per camera.
        free_poses: which cameras may move.
        freedom: per camera what of its lens may change, None: nothing.
    """

    def __init__(
        self,
        models: Sequence[CameraModel],
        boards: Sequence[Pose],
        observations: Sequence[Observations],
        free_poses: Sequence[bool],
        freedom: Sequence[LensFreedom | None],
    ) -> None:
        self._models = models
        self._boards = boards
        self._observations = observations
        self._bases = [
            None if lens is None else lens.basis(model.matrix) for model, lens in zip(models, freedom, strict=True)
        ]
        self.n = 0
        self._poses: list[slice | None] = []
        self._lenses: list[slice | None] = []
        for free, basis in zip(free_poses, self._bases, strict=True):
            self._poses.append(self._take(6) if free else None)
            self._lenses.append(None if basis is None else self._take(basis.shape[1]))
        self.n_cameras = self.n
        self._take(6 * len(boards))

    def _take(self, n: int) -> slice:
        self.n += n
        return slice(self.n - n, self.n)

    @property
    def fits_lenses(self) -> bool:
        """Whether any lens may change."""
        return any(basis is not None for basis in self._bases)

    def at(self, x: Array) -> tuple[list[CameraModel], list[Pose]]:
        """Cameras and boards, changed by ``x``."""
        models: list[CameraModel] = []
        for start, pose, lens, basis in zip(self._models, self._poses, self._lenses, self._bases, strict=True):
            model = start if pose is None else placed(start, pose_of(start).changed(x[pose]))
            if lens is not None and basis is not None:
                step = basis @ x[lens]
                matrix = model.matrix.copy()
                matrix[[0, 1, 0, 1], [0, 1, 2, 2]] += step[:4]
                model = replace(model, matrix=matrix, distortion=model.distortion + step[4:])
            models.append(model)
        boards = [board.changed(change) for board, change in zip(self._boards, self._changes(x), strict=True)]
        return models, boards

    def residuals_by_camera(self, x: Array) -> list[Array]:
        """Per camera (n, 2) pixels: projected less observed."""
        models, boards = self.at(x)
        return [
            _project(model, boards, seen).pixels - seen.pixels
            for model, seen in zip(models, self._observations, strict=True)
        ]

    def residuals(self, x: Array) -> Array:
        """All of them in one vector."""
        return np.concatenate([part.ravel() for part in self.residuals_by_camera(x)])

    def jacobian(self, x: Array) -> csr_matrix:
        """Derivatives of `residuals`, (len(residuals), n)."""
        models, boards = self.at(x)
        rows: list[NDArray[np.int64]] = []
        columns: list[NDArray[np.int64]] = []
        values: list[Array] = []
        first_row = 0

        def put(block: Array, first_column: NDArray[np.int64] | int) -> None:
            n, _, width = block.shape
            at = first_row + np.arange(2 * n).reshape(n, 2, 1)
            across = np.reshape(first_column, (-1, 1, 1)) + np.arange(width)
            rows.append(np.broadcast_to(at, block.shape).ravel())
            columns.append(np.broadcast_to(across, block.shape).ravel())
            values.append(block.ravel())

        turns = np.array([left_jacobian(change[:3]) for change in self._changes(x)])
        for model, seen, pose, lens, basis in zip(
            models, self._observations, self._poses, self._lenses, self._bases, strict=True
        ):
            one = _project(model, boards, seen)
            if pose is not None:
                turn = left_jacobian(x[pose][:3])
                put(_by_pose(one.by_point, one.turned, turn), pose.start)
            if lens is not None and basis is not None:
                put(one.by_lens @ basis, lens.start)
            by_world = one.by_point @ model.rotation
            put(_by_pose(by_world, one.world, turns[seen.board]), self.n_cameras + 6 * seen.board)
            first_row += 2 * len(seen.pixels)
        data = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return csr_matrix(data, shape=(first_row, self.n))

    def lens_variances(self, covariance: Array) -> list[Array | None]:
        """Per camera the variances of fx, fy, cx, cy and the coefficients; None where held.

        Args:
            covariance: (n_cameras, n_cameras), of the cameras' part of the vector.
        """
        return [
            None if lens is None or basis is None else np.diag(basis @ covariance[lens, lens] @ basis.T)
            for lens, basis in zip(self._lenses, self._bases, strict=True)
        ]

    def _changes(self, x: Array) -> Array:
        """(n_boards, 6)."""
        return x[self.n_cameras :].reshape(-1, 6)


def _by_pose(by_point: Array, turned: Array, turn: Array) -> Array:
    """(n, 2, 6) derivatives by the change of a pose: ``turned`` are points that it has rotated and not yet shifted."""
    return np.concatenate([by_point @ -cross_matrices(turned) @ turn, by_point], axis=2)


def _project(model: CameraModel, boards: Sequence[Pose], seen: Observations) -> _Projected:
    rotations = np.stack([board.rotation for board in boards])[seen.board]
    shifts = np.stack([board.translation_mm for board in boards])[seen.board]
    world = np.einsum("nij,nj->ni", rotations, seen.points_mm)
    turned = (world + shifts) @ model.rotation.T
    return _Projected(*project_with_jacobian(model, turned + model.translation_mm), world, turned)
