"""Poses of cameras and boards, and lenses if wanted, that explain all corners at once.

Least squares over all reprojection errors with a robust loss (Triggs et al., Bundle Adjustment - A Modern Synthesis,
2000). Rotations are rotation vectors relative to the starting pose, so that no pose of a board lies near the
singularity of the vector. Every residual depends on one camera and one board alone, and the Jacobian, which is exact,
is kept sparse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator

from ...sync.camera_model import Array, CameraModel
from ...sync.errors import CalibrationError
from .board import Corners

ROBUST_PX = 1.0
"""Errors above this count less than their square: about three times the noise of a corner in a plain rig."""
_MAX_STEPS = 100
_SMALL_RAD = 1e-8
_SMALLEST = 1e-12
"""Directions flatter than this, of a normal matrix with a diagonal of 1, are not stretched further."""


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


IDENTITY = Pose(np.eye(3), np.zeros(3))


@dataclass(frozen=True, slots=True)
class LensFreedom:
    """Which numbers of a lens are fitted.

    Attributes:
        n_coefficients: of the distortion: 4, 5 or 8; 4 where fisheye.
        fix_aspect: one focal length for both axes.
        fix_centre: the principal point stays in the middle of the picture.
        fix_tangential: no tangential distortion (Brown-Conrady).
        fix_k3: the third radial coefficient stays 0 (Brown-Conrady with 5).
        fisheye: which lens model.
    """

    n_coefficients: int = 5
    fix_aspect: bool = False
    fix_centre: bool = False
    fix_tangential: bool = False
    fix_k3: bool = False
    fisheye: bool = False

    def __post_init__(self) -> None:
        allowed = (4,) if self.fisheye else (4, 5, 8)
        if self.n_coefficients not in allowed:
            raise CalibrationError(
                f"{self.n_coefficients} distortion coefficients: {'a fisheye lens' if self.fisheye else 'a lens'} "
                f"takes {' or '.join(map(str, allowed))}"
            )
        if self.fisheye and (self.fix_tangential or self.fix_k3):
            raise CalibrationError("fix_tangential and fix_k3 are not of the fisheye lens; leave them out")

    def basis(self, matrix: Array) -> Array:
        """(4 + n_coefficients, k) float64: how k free numbers move fx, fy, cx, cy and the coefficients."""
        n = 4 + self.n_coefficients
        columns: list[Array] = []
        if self.fix_aspect:
            both = np.zeros(n)
            both[0], both[1] = 1.0, matrix[1, 1] / matrix[0, 0]
            columns.append(both)
        else:
            columns += [np.eye(n)[0], np.eye(n)[1]]
        if not self.fix_centre:
            columns += [np.eye(n)[2], np.eye(n)[3]]
        for i in range(self.n_coefficients):
            held = not self.fisheye and ((self.fix_tangential and i in (2, 3)) or (self.fix_k3 and i == 4))
            if not held:
                columns.append(np.eye(n)[4 + i])
        return np.stack(columns, axis=1)


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


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """What the adjustment came to.

    Attributes:
        models: cameras, as given, with new poses (and lenses).
        boards: pose of each board, board to world.
        residuals: per camera (n, 2) float64, observed less projected, pixels.
        lens_std: per camera, standard deviations of fx, fy, cx, cy and the coefficients; None where held.
        n_steps: evaluations that it took.
    """

    models: tuple[CameraModel, ...]
    boards: tuple[Pose, ...]
    residuals: tuple[Array, ...]
    lens_std: tuple[Array | None, ...]
    n_steps: int


def rms(residuals: Array) -> float:
    """Root mean square length of (n, 2) residuals; NaN of none."""
    return float(np.sqrt((residuals**2).sum(axis=1).mean())) if len(residuals) else float("nan")


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


@dataclass(slots=True)
class _Layout:
    """Where the numbers of each camera and board stand in the vector, cameras first; -1 where they are held."""

    pose: list[int]
    lens: list[int]
    board: list[int]
    n: int
    n_cameras: int = 0


def adjust(
    models: Sequence[CameraModel],
    boards: Sequence[Pose],
    observations: Sequence[Observations],
    *,
    free_poses: Sequence[bool],
    freedom: Sequence[LensFreedom | None],
    robust_px: float | None = ROBUST_PX,
) -> Adjusted:
    """Refine poses of boards, of cameras and lenses.

    Args:
        models: cameras with their starting poses.
        boards: starting poses, board to world.
        observations: per camera.
        free_poses: which cameras may move; at least one must not, since the world has no other anchor.
        freedom: per camera what of its lens is fitted, None: nothing.
        robust_px: where the loss turns from square to linear (soft L1); None: plain squares.

    Raises:
        CalibrationError: no camera is held, or the numbers run away.
    """
    if all(free_poses):
        raise CalibrationError("bundle adjustment: every camera may move; hold one, it is the world")
    layout = _layout(models, boards, free_poses, freedom)
    problem = _Problem(models, boards, observations, layout, freedom)
    if layout.n == 0:
        return problem.result(np.zeros(0), 0)
    # In these coordinates the problem is round at its start, so that few inner steps solve each outer one.
    start = np.zeros(layout.n)
    size = float(np.linalg.norm(problem.residuals(start)))
    stretch = _whitening(problem.jacobian(start), layout.n_cameras, size)
    turned = stretch.T.copy()

    def jacobian(y: Array) -> "_Stretched":
        return _Stretched(problem.jacobian(_times(stretch, y)), stretch, turned)

    solved: Any = least_squares(
        lambda y: problem.residuals(_times(stretch, y)),
        np.zeros(layout.n),
        jac=jacobian,  # pyright: ignore[reportArgumentType]
        method="trf",
        loss="linear" if robust_px is None else "soft_l1",
        f_scale=robust_px or 1.0,
        ftol=1e-9,
        xtol=1e-9,
        gtol=1e-9,
        tr_solver="lsmr",
        max_nfev=_MAX_STEPS,
    )
    if not np.isfinite(solved.x).all() or solved.status <= 0:
        raise CalibrationError(
            f"the numbers of camera {', '.join(model.name for model in models)} do not settle ({solved.message}); "
            "check the board's numbers, the lens model, and that the pictures show one board"
        )
    return problem.result(stretch @ np.asarray(solved.x, np.float64), int(solved.nfev))


class _Stretched(LinearOperator):
    """A sparse Jacobian in the stretched coordinates, never multiplied out."""

    def __init__(self, sparse: csr_matrix, stretch: Array, turned: Array) -> None:
        self._sparse = sparse
        self._transposed = sparse.T.tocsr()
        self._stretch = stretch
        self._turned = turned
        super().__init__(np.float64, sparse.shape)

    def _matvec(self, x: Array) -> Array:
        return self._sparse @ _times(self._stretch, x.ravel())

    def _rmatvec(self, x: Array) -> Array:
        return _times(self._turned, self._transposed @ x.ravel())


def _times(matrix: Array, vector: Array) -> Array:
    """A product without BLAS, whose threads cost more than they bring at this size, above all on busy cores."""
    return np.einsum("ij,j->i", matrix, vector)


def _whitening(jacobian: csr_matrix, n_cameras: int, size: float) -> Array:
    """(n, n) float64: takes a step of length 1 to one that is expected to change the residuals by ``size``.

    It is a root of the inverse normal matrix, by way of the Schur complement of the boards: each board touches no
    other, so that all decompositions are small. Its first ``n_cameras`` rows and columns give the cameras' covariance.
    """
    normal: Array = (jacobian.T @ jacobian).toarray()  # pyright: ignore[reportAttributeAccessIssue]
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-30))
    normal = normal * scale[:, None] * scale
    n, n_boards = len(normal), (len(normal) - n_cameras) // 6
    each = np.arange(n_boards)
    boards = normal[n_cameras:, n_cameras:].reshape(n_boards, 6, n_boards, 6)[each, :, each, :]
    board_roots = _inverse_root(boards)
    coupling = normal[:n_cameras, n_cameras:].reshape(n_cameras, n_boards, 6)
    solved = np.einsum("bij,bkj,cbk->cbi", board_roots, board_roots, coupling)
    camera_root = _inverse_root(normal[:n_cameras, :n_cameras] - np.einsum("cbi,dbi->cd", solved, coupling))
    out = np.zeros((n, n))
    out[:n_cameras, :n_cameras] = camera_root
    out[n_cameras:, :n_cameras] = -np.einsum("cbi,cd->bid", solved, camera_root).reshape(6 * n_boards, n_cameras)
    for board in range(n_boards):
        rows = slice(n_cameras + 6 * board, n_cameras + 6 * board + 6)
        out[rows, rows] = board_roots[board]
    return scale[:, None] * out * max(size, 1e-9)


def _inverse_root(matrices: Array) -> Array:
    """(..., k, k) R with R R^T the inverse of symmetric ``matrices``; flat directions are held at a floor."""
    if matrices.shape[-1] == 0:
        return matrices
    values, vectors = np.linalg.eigh(matrices)
    return vectors / np.sqrt(np.maximum(values, _SMALLEST))[..., None, :]


def _layout(
    models: Sequence[CameraModel],
    boards: Sequence[Pose],
    free_poses: Sequence[bool],
    freedom: Sequence[LensFreedom | None],
) -> _Layout:
    layout = _Layout([], [], [], 0)

    def take(n: int) -> int:
        layout.n += n
        return layout.n - n

    for model, free, lens in zip(models, free_poses, freedom, strict=True):
        layout.pose.append(take(6) if free else -1)
        layout.lens.append(-1 if lens is None else take(lens.basis(model.matrix).shape[1]))
    layout.n_cameras = layout.n
    layout.board = [take(6) for _ in boards]
    return layout


class _Problem:
    """Residuals and their Jacobian as functions of the vector of changes."""

    def __init__(
        self,
        models: Sequence[CameraModel],
        boards: Sequence[Pose],
        observations: Sequence[Observations],
        layout: _Layout,
        freedom: Sequence[LensFreedom | None],
    ) -> None:
        self._models = models
        self._boards = boards
        self._observations = observations
        self._layout = layout
        self._bases = [
            None if lens is None else lens.basis(model.matrix) for model, lens in zip(models, freedom, strict=True)
        ]

    def residuals(self, x: Array) -> Array:
        models, boards = self._at(x)
        parts = [
            (self._projected(model, boards, seen)[0] - seen.pixels).ravel()
            for model, seen in zip(models, self._observations, strict=True)
        ]
        return np.concatenate(parts)

    def jacobian(self, x: Array) -> csr_matrix:
        models, boards = self._at(x)
        rows: list[NDArray[np.int64]] = []
        columns: list[NDArray[np.int64]] = []
        values: list[Array] = []
        first_row = 0

        def put(block: Array, first_column: NDArray[np.int64]) -> None:
            n, _, width = block.shape
            at = first_row + np.arange(2 * n).reshape(n, 2, 1)
            across = first_column[:, None, None] + np.arange(width)
            rows.append(np.broadcast_to(at, block.shape).ravel())
            columns.append(np.broadcast_to(across, block.shape).ravel())
            values.append(block.ravel())

        starts = np.array(self._layout.board, np.int64)
        for i, (model, seen) in enumerate(zip(models, self._observations, strict=True)):
            _, by_point, by_lens, world, turned = self._projected(model, boards, seen)
            basis = self._bases[i]
            if self._layout.pose[i] >= 0:
                change = _left_jacobian(x[self._layout.pose[i] :][:3])
                by_pose = np.concatenate([by_point @ -_cross(turned) @ change, by_point], axis=2)
                put(by_pose, np.full(len(by_pose), self._layout.pose[i]))
            if basis is not None:
                put(by_lens @ basis, np.full(len(by_lens), self._layout.lens[i]))
            changes = np.stack([_left_jacobian(x[start:][:3]) for start in self._layout.board])[seen.board]
            by_world = by_point @ model.rotation
            put(np.concatenate([by_world @ -_cross(world) @ changes, by_world], axis=2), starts[seen.board])
            first_row += 2 * len(seen.pixels)
        shape = (first_row, self._layout.n)
        data = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return csr_matrix(data, shape=shape)

    def result(self, x: Array, n_steps: int) -> Adjusted:
        models, boards = self._at(x)
        residuals = [
            seen.pixels - self._projected(model, boards, seen)[0]
            for model, seen in zip(models, self._observations, strict=True)
        ]
        return Adjusted(tuple(models), tuple(boards), tuple(residuals), self._deviations(x, residuals), n_steps)

    def _deviations(self, x: Array, residuals: Sequence[Array]) -> tuple[Array | None, ...]:
        if all(basis is None for basis in self._bases):
            return tuple(None for _ in self._models)
        n_free = max(sum(part.size for part in residuals) - self._layout.n, 1)
        variance = sum(float((part**2).sum()) for part in residuals) / n_free
        n_cameras = self._layout.n_cameras
        root = _whitening(self.jacobian(x), n_cameras, 1.0)[:n_cameras, :n_cameras]
        covariance = np.einsum("ij,kj->ik", root, root) * variance
        found: list[Array | None] = []
        for start, basis in zip(self._layout.lens, self._bases, strict=True):
            if basis is None:
                found.append(None)
                continue
            part = covariance[start:, start:][: basis.shape[1], : basis.shape[1]]
            found.append(np.sqrt(np.maximum(np.diag(basis @ part @ basis.T), 0.0)))
        return tuple(found)

    def _at(self, x: Array) -> tuple[list[CameraModel], list[Pose]]:
        models: list[CameraModel] = []
        for model, pose, lens, basis in zip(
            self._models, self._layout.pose, self._layout.lens, self._bases, strict=True
        ):
            if pose >= 0:
                turn = _rotation(x[pose:][:3])
                shift = x[pose + 3 :][:3]
                model = replace(model, rotation=turn @ model.rotation, translation_mm=model.translation_mm + shift)  # noqa: PLW2901
            if basis is not None:
                step = basis @ x[lens:][: basis.shape[1]]
                matrix = model.matrix.copy()
                matrix[[0, 1, 0, 1], [0, 1, 2, 2]] += step[:4]
                model = replace(model, matrix=matrix, distortion=model.distortion + step[4:])  # noqa: PLW2901
            models.append(model)
        boards = [
            Pose(_rotation(x[start:][:3]) @ board.rotation, board.translation_mm + x[start + 3 :][:3])
            for start, board in zip(self._layout.board, self._boards, strict=True)
        ]
        return models, boards

    def _projected(
        self, model: CameraModel, boards: Sequence[Pose], seen: Observations
    ) -> tuple[Array, Array, Array, Array, Array]:
        """Pixels, derivatives by the point and the lens, and the corners turned to the world's and camera's axes."""
        rotations = np.stack([board.rotation for board in boards])[seen.board]
        shifts = np.stack([board.translation_mm for board in boards])[seen.board]
        world = np.einsum("nij,nj->ni", rotations, seen.points_mm)
        turned = (world + shifts) @ model.rotation.T
        pixels, by_point, by_lens = project_with_jacobian(model, turned + model.translation_mm)
        return pixels, by_point, by_lens, world, turned


def _cross(vectors: Array) -> Array:
    """(n, 3) to (n, 3, 3): the matrices of the cross product."""
    out = np.zeros((len(vectors), 3, 3))
    out[:, 0, 1], out[:, 0, 2] = -vectors[:, 2], vectors[:, 1]
    out[:, 1, 0], out[:, 1, 2] = vectors[:, 2], -vectors[:, 0]
    out[:, 2, 0], out[:, 2, 1] = -vectors[:, 1], vectors[:, 0]
    return out


def _rotation(vector: Array) -> Array:
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64))[0], np.float64)


def _left_jacobian(vector: Array) -> Array:
    """(3, 3): how a change of a rotation vector turns the rotated frame (Barfoot, State Estimation for Robotics)."""
    angle = float(np.linalg.norm(vector))
    cross = _cross(np.asarray(vector)[None])[0]
    if angle < _SMALL_RAD:
        return np.eye(3) + cross / 2
    a = (1 - np.cos(angle)) / angle**2
    b = (angle - np.sin(angle)) / angle**3
    return np.eye(3) + a * cross + b * cross @ cross
