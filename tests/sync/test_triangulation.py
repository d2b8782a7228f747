"""Points come back from their projections; a view that lies is found out; epipolar lines pass through their points."""

import numpy as np
import pytest
from ethostream.sync.camera_model import CameraModel
from ethostream.sync.errors import CalibrationError
from ethostream.sync.triangulation import (
    epipolar_distance_px,
    reprojection_errors,
    triangulate,
    triangulate_robust,
)
from hypothesis import given
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)


def camera(name: str, position: np.ndarray, target: np.ndarray, focal_px: float, fisheye: bool) -> CameraModel:
    """A camera at ``position`` that looks at ``target``."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    distortion = np.array([0.02, -0.01, 0.002, 0.0]) if fisheye else np.array([-0.2, 0.05, 1e-3, -5e-4, 0.0])
    matrix = np.array([[focal_px, 0.0, 320.0], [0.0, focal_px, 240.0], [0.0, 0.0, 1.0]])
    return CameraModel(name, 640, 480, matrix, distortion, rotation, -rotation @ position, fisheye)


def rig(rng: np.random.Generator, n: int) -> list[CameraModel]:
    """``n`` cameras around the origin, in turn with ordinary and wide lenses."""
    angles = 2 * np.pi * (np.arange(n) + rng.uniform(-0.2, 0.2, n)) / n
    return [
        camera(
            f"cam{i}",
            np.array([400 * np.cos(a), 400 * np.sin(a), rng.uniform(50, 250)]),
            rng.uniform(-20, 20, 3),
            rng.uniform(400, 700),
            bool(i % 2),
        )
        for i, a in enumerate(angles)
    ]


@given(SEEDS, st.integers(2, 8))
def test_points_come_back_from_their_projections(seed: int, n_views: int) -> None:
    rng = np.random.default_rng(seed)
    models = rig(rng, n_views)
    truth = rng.uniform(-60, 60, (30, 3))
    pixels = np.stack([model.project(truth) for model in models])
    np.testing.assert_allclose(triangulate(models, pixels), truth, atol=1e-3)


@given(SEEDS)
def test_a_view_that_lies_is_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    models = rig(rng, 5)
    truth = rng.uniform(-60, 60, (40, 3))
    pixels = np.stack([model.project(truth) for model in models]) + rng.normal(0, 0.2, (5, 40, 2))
    liar = rng.integers(0, 5, 40)
    angle = rng.uniform(0, 2 * np.pi, 40)
    pixels[liar, np.arange(40)] += 120 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = triangulate_robust(models, pixels, 4.0)
    assert found.valid.all()
    error_mm = np.linalg.norm(found.points_mm - truth, axis=1)
    assert np.median(error_mm) < 0.5
    assert not found.used[liar, np.arange(40)].any()
    assert found.used.sum() == 4 * 40


def test_what_fewer_than_two_views_see_is_unknown() -> None:
    rng = np.random.default_rng(3)
    models = rig(rng, 4)
    truth = rng.uniform(-60, 60, (3, 3))
    pixels = np.stack([model.project(truth) for model in models])
    pixels[1:, 0] = np.nan
    pixels[:, 1] = np.nan
    plain, robust = triangulate(models, pixels), triangulate_robust(models, pixels, 2.0)
    for points in (plain, robust.points_mm):
        assert np.isnan(points[:2]).all()
        np.testing.assert_allclose(points[2], truth[2], atol=1e-3)
    assert robust.valid.tolist() == [False, False, True]


def test_views_that_do_not_agree_give_no_point() -> None:
    rng = np.random.default_rng(4)
    models = rig(rng, 2)
    pixels = np.stack([model.project(rng.uniform(-60, 60, (20, 3))) for model in models])  # different points
    far = epipolar_distance_px(models[0], models[1], pixels[0], pixels[1]).diagonal() > 20
    found = triangulate_robust(models, pixels, 2.0)
    assert far.any()
    assert not found.valid[far].any()


@given(SEEDS)
def test_epipolar_lines_pass_through_their_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rig(rng, 2)
    truth = rng.uniform(-60, 60, (8, 3))
    distance = epipolar_distance_px(first, second, first.project(truth), second.project(truth))
    assert distance.shape == (8, 8)
    assert distance.diagonal().max() < 1e-2
    assert np.median(distance[~np.eye(8, dtype=bool)]) > 5


def test_errors_are_the_distances_in_pixels() -> None:
    models = rig(np.random.default_rng(5), 3)
    truth = np.array([[1.0, 2.0, 3.0], [10.0, -20.0, 30.0]])
    pixels = np.stack([model.project(truth) for model in models])
    pixels[1, 0] += (3.0, 4.0)
    pixels[2, 1] = np.nan
    errors = reprojection_errors(models, truth, pixels)
    np.testing.assert_allclose(errors[:, 0], [0.0, 5.0, 0.0], atol=1e-9)
    assert np.isnan(errors[2, 1])


def test_wrong_shapes_are_refused() -> None:
    models = rig(np.random.default_rng(6), 2)
    with pytest.raises(CalibrationError, match=r"\(2, points, 2\)"):
        triangulate(models, np.zeros((3, 4, 2)))
