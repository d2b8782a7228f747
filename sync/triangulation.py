"""Points in several views to points in the cage, in millimetres. Pure.

The linear solution is that of the direct linear transform on undistorted coordinates (Hartley and Zisserman, Multiple
View Geometry, 2nd ed., section 12.2), refined by Gauss-Newton steps on the distances in the image plane (12.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .camera_model import Array, CameraModel
from .errors import CalibrationError

N_REFINE = 3
"""Gauss-Newton steps: the linear solution is near, and a fourth moves nothing."""
_MIN_DEPTH_MM = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Triangulated:
    """Points found by agreement of views.

    Attributes:
        points_mm: (n, 3) float64, NaN where fewer than two views agree.
        errors_px: (v, n) float64, distance of each view's observation from the point's projection; NaN where unseen.
        used: (v, n) bool, views that made the point.
    """

    points_mm: Array
    errors_px: Array
    used: NDArray[np.bool_]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(n,) bool: at least two views agree."""
        return self.used.sum(axis=0) >= 2


def triangulate(models: Sequence[CameraModel], pixels: Array) -> Array:
    """Points from all views that see them.

    Args:
        models: v calibrated cameras.
        pixels: (v, n, 2) float64, NaN where a view does not see a point.

    Returns:
        (n, 3) float64, mm; NaN where fewer than two views see the point, or the rays do not meet in front.

    Raises:
        CalibrationError: shapes that do not fit.
    """
    normalised = _undistort(models, pixels)
    return _solve(models, normalised, _known(normalised))


def triangulate_robust(models: Sequence[CameraModel], pixels: Array, max_error_px: float) -> Triangulated:
    """Points from the views that agree: a wrong detection in one view does not pull the point.

    Every pair of views proposes a point; the proposal that most views confirm within ``max_error_px`` wins (among
    equals that with the smaller summed error), and those views together make the point. A view that the final point
    does not fit is left out again.

    Args:
        models: v calibrated cameras.
        pixels: (v, n, 2) float64, NaN where a view does not see a point.
        max_error_px: distance up to which a view confirms a point.

    Raises:
        CalibrationError: shapes that do not fit.
    """
    normalised = _undistort(models, pixels)
    seen = _known(normalised)
    n_views, n = normalised.shape[:2]
    best_used = np.zeros((n_views, n), np.bool_)
    best_score = np.full(n, -np.inf)
    for first, second in combinations(range(n_views), 2):
        pair = np.zeros_like(seen)
        pair[[first, second]] = seen[first] & seen[second]
        if not pair.any():
            continue
        errors = reprojection_errors(models, _solve(models, normalised, pair), pixels)
        inliers = errors <= max_error_px
        cost = np.where(inliers, errors, 0.0).sum(axis=0) / (max_error_px * n_views)  # below 1: only breaks ties
        # A proposal that its own two views do not confirm is none.
        score = np.where(inliers[first] & inliers[second], inliers.sum(axis=0) - cost, -np.inf)
        better = score > best_score
        best_score = np.where(better, score, best_score)
        best_used[:, better] = inliers[:, better]
    points = _solve(models, normalised, best_used)
    errors = reprojection_errors(models, points, pixels)
    kept = best_used & (errors <= max_error_px)
    changed = (kept != best_used).any(axis=0) & (kept.sum(axis=0) >= 2)
    if changed.any():
        points[changed] = _solve(models, normalised[:, changed], kept[:, changed])
        best_used[:, changed] = kept[:, changed]
        errors = reprojection_errors(models, points, pixels)
    best_used &= np.isfinite(points).all(axis=1)
    return Triangulated(points, errors, best_used)


def reprojection_errors(models: Sequence[CameraModel], points_mm: Array, pixels: Array) -> Array:
    """Distance of each observation from the projection of its point.

    Args:
        models: v cameras.
        points_mm: (n, 3).
        pixels: (v, n, 2), NaN where unseen.

    Returns:
        (v, n) float64 pixels; NaN where there is no observation or no point.
    """
    errors = np.full(pixels.shape[:2], np.nan)
    known = np.isfinite(points_mm).all(axis=1)
    if known.any():
        for view, model in enumerate(models):
            errors[view, known] = np.linalg.norm(model.project(points_mm[known]) - pixels[view, known], axis=1)
    return errors


def _undistort(models: Sequence[CameraModel], pixels: Array) -> Array:
    if pixels.ndim != 3 or pixels.shape[0] != len(models) or pixels.shape[2] != 2:
        raise CalibrationError(
            f"triangulation of {len(models)} camera(s) was given observations of shape {pixels.shape}; it takes "
            f"({len(models)}, points, 2)"
        )
    return np.stack([model.undistort(one) for model, one in zip(models, pixels, strict=True)])


def _known(normalised: Array) -> NDArray[np.bool_]:
    return np.isfinite(normalised[..., 0]) & np.isfinite(normalised[..., 1])


def _solve(models: Sequence[CameraModel], normalised: Array, used: NDArray[np.bool_]) -> Array:
    """(n, 3) from normalised (v, n, 2) observations, those that are ``used`` (v, n)."""
    n = used.shape[1]
    points = np.full((n, 3), np.nan)
    enough = used.sum(axis=0) >= 2
    if not enough.any():
        return points
    weights = used[:, enough].astype(np.float64)
    observed = np.where(used[:, enough, None], normalised[:, enough], 0.0)
    projections = np.stack([model.projection for model in models])
    # Rows x P3 - P1 and y P3 - P2 of every view, as one (v, m, 2, 4) array.
    rows = observed[..., None] * projections[:, None, None, 2] - projections[:, None, :2]
    rows *= weights[:, :, None, None]
    system = np.einsum("vmri,vmrj->mij", rows, rows)
    solution = np.linalg.eigh(system)[1][:, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = solution[:, :3] / solution[:, 3:]
    focal = np.array([np.sqrt(abs(model.matrix[0, 0] * model.matrix[1, 1])) for model in models])
    found = _refine(projections, observed, weights * focal[:, None], found)
    depth = np.einsum("vi,mi->vm", projections[:, 2, :3], found) + projections[:, 2, 3:]
    found[((depth <= _MIN_DEPTH_MM) & (weights > 0)).any(axis=0)] = np.nan
    points[enough] = found
    return points


def _refine(projections: Array, observed: Array, weights: Array, points: Array) -> Array:
    """Gauss-Newton on the weighted distances in the normalised image planes."""
    points = points.copy()
    good = np.isfinite(points).all(axis=1)
    points[~good] = 0.0
    for _ in range(N_REFINE):
        local = np.einsum("vij,mj->vmi", projections[:, :, :3], points) + projections[:, None, :, 3]
        depth = local[..., 2]
        depth = np.where(np.abs(depth) < _MIN_DEPTH_MM, _MIN_DEPTH_MM, depth)
        image = local[..., :2] / depth[..., None]
        residual = (observed - image) * weights[..., None]
        rotation = projections[:, None, :, :3]
        jacobian = (rotation[..., :2, :] - image[..., None] * rotation[..., 2:, :]) / depth[..., None, None]
        jacobian = jacobian * weights[..., None, None]
        normal = np.einsum("vmri,vmrj->mij", jacobian, jacobian)
        gradient = np.einsum("vmri,vmr->mi", jacobian, residual)
        # A tiny ridge keeps points on the line between two cameras from failing the whole batch.
        ridge = 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-18 * np.eye(3)
        points += np.linalg.solve(normal + ridge, gradient[..., None])[..., 0]
    points[~good] = np.nan
    return points


def epipolar_distance_px(first: CameraModel, second: CameraModel, pixels_first: Array, pixels_second: Array) -> Array:
    """How far observations in ``second`` lie from the epipolar lines of observations in ``first``.

    Args:
        first: one camera.
        second: another camera.
        pixels_first: (n, 2) observations in ``first``.
        pixels_second: (m, 2) observations in ``second``.

    Returns:
        (n, m) float64, in pixels of ``second`` as an ideal pinhole of its focal length; NaN where one is unknown.
    """
    relative = second.rotation @ first.rotation.T
    shift = second.translation_mm - relative @ first.translation_mm
    cross = np.array([[0.0, -shift[2], shift[1]], [shift[2], 0.0, -shift[0]], [-shift[1], shift[0], 0.0]])
    essential = cross @ relative
    lines = np.hstack([first.undistort(pixels_first), np.ones((len(pixels_first), 1))]) @ essential.T
    points = np.hstack([second.undistort(pixels_second), np.ones((len(pixels_second), 1))])
    focal = np.sqrt(abs(second.matrix[0, 0] * second.matrix[1, 1]))
    return focal * np.abs(lines @ points.T) / np.linalg.norm(lines[:, :2], axis=1)[:, None]
