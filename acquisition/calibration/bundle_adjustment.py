"""Poses of cameras and boards, and lenses if wanted, that explain all corners at once.

Least squares over all reprojection errors with a robust loss (Triggs et al., Bundle Adjustment - A Modern Synthesis,
2000).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from ...sync.camera_model import Array, CameraModel
from ...sync.errors import CalibrationError
from .lens_freedom import LensFreedom
from .pose import Pose
from .reprojection import Observations, Reprojection
from .whitening import Stretched, times, whitening

ROBUST_PX = 1.0
"""Errors above this count less than their square: about three times the noise of a corner in a plain rig."""
_MAX_STEPS = 100


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
    problem = Reprojection(models, boards, observations, free_poses, freedom)
    start = np.zeros(problem.n)
    if problem.n == 0:
        return _adjusted(problem, start, 0)
    size = float(np.linalg.norm(problem.residuals(start)))
    stretch = whitening(problem.jacobian(start), problem.n_cameras, size)
    turned = stretch.T.copy()

    def jacobian(y: Array) -> Stretched:
        return Stretched(problem.jacobian(times(stretch, y)), stretch, turned)

    solved: Any = least_squares(
        lambda y: problem.residuals(times(stretch, y)),
        start,
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
    return _adjusted(problem, stretch @ np.asarray(solved.x, np.float64), int(solved.nfev))


def _adjusted(problem: Reprojection, x: Array, n_steps: int) -> Adjusted:
    models, boards = problem.at(x)
    residuals = tuple(-part for part in problem.residuals_by_camera(x))
    return Adjusted(tuple(models), tuple(boards), residuals, _lens_deviations(problem, x, residuals), n_steps)


def _lens_deviations(problem: Reprojection, x: Array, residuals: Sequence[Array]) -> tuple[Array | None, ...]:
    if not problem.fits_lenses:
        return tuple(None for _ in residuals)
    n_free = max(sum(part.size for part in residuals) - problem.n, 1)
    variance = sum(float((part**2).sum()) for part in residuals) / n_free
    n = problem.n_cameras
    root = whitening(problem.jacobian(x), n, 1.0)[:n, :n]
    found = problem.lens_variances(np.einsum("ij,kj->ik", root, root) * variance)
    return tuple(None if one is None else np.sqrt(np.maximum(one, 0.0)) for one in found)
