"""A rectified pair: rows match, disparity is depth, for both lens models."""

import numpy as np
import pytest
from ethostream.sync.camera_model import CameraModel
from ethostream.sync.errors import CalibrationError
from ethostream.sync.stereo_rectification import StereoRectifier
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

BASE_MM = 60.0


def pair(seed: int, fisheye: bool, shift: tuple[float, float] = (BASE_MM, 0.0)) -> tuple[CameraModel, CameraModel]:
    """Two cameras that look along z with small turns, the second ``shift`` right and below; the world is turned."""
    rng = np.random.default_rng(seed)
    world = Rotation.random(rng=rng).as_matrix()
    models: list[CameraModel] = []
    for place in (np.zeros(3), np.array([*shift, rng.uniform(-3, 3)])):
        focal = 380.0 if fisheye else 600.0
        matrix = np.array([[focal + rng.uniform(-9, 9), 0, 320 + rng.uniform(-9, 9)], [0, focal, 240], [0, 0, 1.0]])
        lens = np.array([0.03, -0.01, 0.002, 0.0]) if fisheye else np.array([-0.2, 0.08, 1e-3, -1e-3, 0.0])
        turn = Rotation.from_rotvec(rng.uniform(-0.04, 0.04, 3)).as_matrix() @ world
        models.append(CameraModel(f"c{len(models)}", 640, 480, matrix, lens, turn, -turn @ (world.T @ place), fisheye))
    return models[0], models[1]


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), fisheye=st.booleans(), alpha=st.sampled_from([0.0, 0.5, 1.0]))
def test_rows_match_and_disparity_is_depth(seed: int, fisheye: bool, alpha: float) -> None:
    left, right = pair(seed, fisheye)
    rectifier = StereoRectifier(left, right, alpha)
    rng = np.random.default_rng(seed)
    local = rng.uniform([-120, -80, 250], [120, 80, 600], (40, 3))
    points = (local - left.translation_mm) @ left.rotation
    a = rectifier.rectify_points(left.project(points), 0)
    b = rectifier.rectify_points(right.project(points), 1)
    assert np.abs(a[:, 1] - b[:, 1]).max() < 1e-2
    disparity = a[:, 0] - b[:, 0]
    assert (disparity > 0).all()
    back = rectifier.world_mm(a, disparity)
    assert np.linalg.norm(back - points, axis=1).max() < 0.2
    depth = rectifier.depth_mm(disparity)
    assert depth.dtype == np.float32
    homogeneous = np.column_stack([a, disparity, np.ones(len(a))]) @ rectifier.q.T
    assert np.allclose(homogeneous[:, 2] / homogeneous[:, 3], depth, rtol=1e-3)
    assert rectifier.disparity_px(float(depth[0])) == pytest.approx(disparity[0], rel=1e-5)
    assert rectifier.baseline_mm == pytest.approx(np.linalg.norm(left.centre_mm - right.centre_mm))


@pytest.mark.parametrize("fisheye", [False, True])
def test_the_maps_say_what_the_points_say(fisheye: bool) -> None:
    left, right = pair(7, fisheye)
    rectifier = StereoRectifier(left, right)
    for side, maps in enumerate((rectifier.maps_left, rectifier.maps_right)):
        assert maps[0].shape == maps[1].shape == (480, 640) and maps[0].dtype == np.float32
        rows, columns = np.mgrid[100:400:60, 100:600:80].reshape(2, -1)
        source = np.stack([maps[0][rows, columns], maps[1][rows, columns]], axis=1).astype(np.float64)
        assert np.allclose(rectifier.rectify_points(source, side), np.stack([columns, rows], axis=1), atol=0.05)


def test_pictures_are_made_parallel() -> None:
    left, right = pair(3, False)
    rectifier = StereoRectifier(left, right)
    points = (np.array([[0.0, 0, 400], [60, 30, 350], [-70, -40, 450]]) - left.translation_mm) @ left.rotation
    images: list[np.ndarray] = []
    for model in (left, right):
        yy, xx = np.mgrid[:480, :640]
        blobs = [255 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 18) for x, y in model.project(points)]
        images.append(np.maximum.reduce(blobs).astype(np.uint8))
    for side, image in enumerate(rectifier.rectify(images[0], images[1])):
        for x, y in rectifier.rectify_points((left, right)[side].project(points), side):
            patch = image[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7].astype(float)
            rows, columns = np.mgrid[-6:7, -6:7]
            assert abs((patch * rows).sum() / patch.sum() - (y - round(y))) < 0.3
            assert abs((patch * columns).sum() / patch.sum() - (x - round(x))) < 0.3
    with pytest.raises(CalibrationError, match="a picture of 320x240, calibrated at 640x480"):
        rectifier.rectify(images[0][:240, :320], images[1])


def test_unknown_disparity_is_no_depth() -> None:
    rectifier = StereoRectifier(*pair(1, False))
    depth = rectifier.depth_mm(np.array([-1.0, 0.0, np.nan, 20.0]))
    assert np.isnan(depth[:3]).all() and depth[3] > 0


def test_pairs_that_cannot_be() -> None:
    left, right = pair(1, False)
    with pytest.raises(CalibrationError, match=r"c1 stands to the right of|exchange"):
        StereoRectifier(right, left)
    with pytest.raises(CalibrationError, match="stand side by side"):
        StereoRectifier(*pair(1, False, (5.0, 50.0)))
    with pytest.raises(CalibrationError, match="one lens model"):
        StereoRectifier(left, pair(1, True)[1])
    with pytest.raises(CalibrationError, match="alpha 2"):
        StereoRectifier(left, right, 2)
