"""Synthetic rigs: what is put in must come out, for both lens models, with noise, holes and lies."""

from dataclasses import replace

import numpy as np
import pytest
from ethostream.acquisition.calibration.board import ChessBoard, Corners, parse_board
from ethostream.acquisition.calibration.board_pose import board_pose, refined_pose
from ethostream.acquisition.calibration.bundle_adjustment import adjust
from ethostream.acquisition.calibration.detection import CameraDetections
from ethostream.acquisition.calibration.floor import floor_from_board, floor_from_points, in_frame
from ethostream.acquisition.calibration.held_out import choose_held_out
from ethostream.acquisition.calibration.intrinsics import MIN_IMAGES, calibrate_intrinsics
from ethostream.acquisition.calibration.lens_freedom import LensFreedom
from ethostream.acquisition.calibration.pose import IDENTITY, Pose, pose_of
from ethostream.acquisition.calibration.reprojection import Reprojection, gather
from ethostream.acquisition.calibration.rig_calibration import RigOptions, calibrate_rig
from ethostream.sync.camera_model import Array, CameraModel
from ethostream.sync.errors import CalibrationError
from ethostream.sync.triangulation import triangulate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

BOARD = parse_board("charuco:7x9:20:15:DICT_4X4_250")
NOISE_PX = 0.15


def look_at(centre: Array, target: Array, roll: float) -> Pose:
    """World to camera: z towards the target."""
    ahead = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    turn = Rotation.from_euler("z", roll).as_matrix() @ np.stack([right, np.cross(ahead, right), ahead])
    return Pose(turn, -turn @ centre)


def make_rig(seed: int, n: int, fisheye: bool) -> list[CameraModel]:
    """Cameras above a cage floor, all on one side, so that they can see one board."""
    rng = np.random.default_rng(seed)
    models: list[CameraModel] = []
    for i in range(n):
        angle = 2 * np.pi * i / n + rng.uniform(-0.3, 0.3)
        centre = np.array([260 * np.cos(angle), 260 * np.sin(angle), rng.uniform(330, 430)])
        pose = look_at(centre, rng.uniform(-30, 30, 3) * [1, 1, 0], rng.uniform(-3, 3))
        width, height = (960, 720) if i % 2 else (800, 640)
        focal = width * (rng.uniform(0.45, 0.6) if fisheye else rng.uniform(0.8, 1.2))
        matrix = np.array(
            [
                [focal, 0, width / 2 + rng.uniform(-15, 15)],
                [0, focal * rng.uniform(0.995, 1.005), height / 2 + rng.uniform(-15, 15)],
                [0, 0, 1],
            ]
        )
        if fisheye:
            distortion = np.array([rng.uniform(-0.05, 0.08), rng.uniform(-0.02, 0.02), 0.003, -0.001])
        else:
            distortion = np.array(
                [rng.uniform(-0.35, 0.05), rng.uniform(0, 0.12), *rng.uniform(-1e-3, 1e-3, 2), rng.uniform(-0.03, 0.03)]
            )
        models.append(
            CameraModel(f"cam{i}", width, height, matrix, distortion, pose.rotation, pose.translation_mm, fisheye)
        )
    return models


def board_poses(seed: int, n: int) -> list[Pose]:
    rng = np.random.default_rng(seed + 1000)
    middle = BOARD.points_mm.mean(axis=0)
    poses: list[Pose] = []
    for _ in range(n):
        # The print faces up (z of the board goes into it), tilted by up to 40 degrees.
        turn = (
            Rotation.from_rotvec(rng.uniform(-0.5, 0.5, 3) * [1, 1, 0])
            * Rotation.from_euler("z", rng.uniform(-3, 3))
            * Rotation.from_euler("x", np.pi)
        ).as_matrix()
        poses.append(Pose(turn, rng.uniform([-120, -120, 0], [120, 120, 120]) - turn @ middle))
    return poses


def observe(models: list[CameraModel], boards: list[Pose], noise_px: float, seed: int) -> list[CameraDetections]:
    rng = np.random.default_rng(seed + 2000)
    found: list[CameraDetections] = []
    for model in models:
        one = CameraDetections(model.name, model.width, model.height)
        for number, pose in enumerate(boards):
            world = pose.apply(BOARD.points_mm)
            if (world.mean(axis=0) - model.centre_mm) @ pose.rotation[:, 2] <= 0:
                continue  # seen from behind
            pixels = model.project(world)
            seen = (
                np.isfinite(pixels).all(axis=1)
                & (pixels > 2).all(axis=1)
                & (pixels < [model.width - 3, model.height - 3]).all(axis=1)
            )
            if seen.sum() >= 12:
                ids = np.flatnonzero(seen).astype(np.int64)
                one.images[str(number)] = Corners(ids, pixels[seen] + rng.normal(0, noise_px, (seen.sum(), 2)))
        found.append(one)
    return found


def within_reach(models: list[CameraModel], boards: list[Pose]) -> list[Pose]:
    """The same boards in an order in which no held-out picture of a camera reaches farther out than all others of it.

    A lens is known as far out as corners were seen; beyond, the polynomial of a wide one is soon off by pixels. To
    judge a lens by its only picture of the edge is to judge a guess: nothing is promised of that.
    """
    order = list(boards)
    for _ in boards:
        seen = observe(models, order, 0.0, 0)
        held = choose_held_out(seen, RigOptions().hold_out, MIN_IMAGES)
        farthest: set[str] = set()
        for model, one in zip(models, seen, strict=True):
            centre = model.matrix[:2, 2]
            reach = {i: np.linalg.norm(corners.pixels - centre, axis=1).max() for i, corners in one.images.items()}
            farthest.add(max(reach, key=lambda i: reach[i]))
        clash = sorted(held & farthest)
        if not clash:
            return order
        free = next(i for i in range(len(order)) if str(i) not in held | farthest)
        order[int(clash[0])], order[free] = order[free], order[int(clash[0])]
    raise AssertionError("no order of these boards leaves the farthest ones to the fit")


def relative(models: list[CameraModel] | tuple[CameraModel, ...]) -> list[CameraModel]:
    """The same rig in the frame of its first camera."""
    return list(in_frame(models, pose_of(models[0])))


def distance_after_fit(points: Array, truth: Array) -> Array:
    """(n,) mm: how far points lie from the truth once turned and shifted onto it, but not scaled."""
    a, b = points - points.mean(axis=0), truth - truth.mean(axis=0)
    turn, _ = Rotation.align_vectors(b, a)
    return np.linalg.norm(turn.apply(a) - b, axis=1)


@settings(max_examples=3)
@given(seed=st.integers(0, 10_000), fisheye=st.booleans(), n=st.integers(2, 4))
@example(seed=40, fisheye=True, n=4)  # as drawn, one camera's only picture of the edge is held out: 1.4 times the error
@example(seed=387, fisheye=True, n=3)  # and here 4.5 times
def test_a_rig_is_recovered(seed: int, fisheye: bool, n: int) -> None:
    truth = make_rig(seed, n, fisheye)
    boards = within_reach(truth, board_poses(seed, 20))
    lens = LensFreedom(4, fisheye=True) if fisheye else LensFreedom()
    found = calibrate_rig(observe(truth, boards, NOISE_PX, seed), BOARD, RigOptions(lens=lens))
    expected = NOISE_PX * np.sqrt(2)  # two coordinates
    assert 0.85 * expected < found.rms_px < 1.05 * expected
    assert found.held_out is not None and found.held_out.total_rms_px < 1.2 * expected
    assert found.held_out.square is not None
    assert found.held_out.square.mean_mm == pytest.approx(20, abs=0.03)
    assert not any(found.rejected.values())
    cage = np.random.default_rng(seed).uniform([-90, -90, 0], [90, 90, 90], (50, 3))
    measured = triangulate(found.models, np.stack([model.project(cage) for model in truth]))
    assert distance_after_fit(measured, cage).max() < 0.1
    for true, got in zip(relative(truth), found.models, strict=True):
        assert np.linalg.norm(true.centre_mm - got.centre_mm) < 2.5
        assert got.matrix[0, 0] == pytest.approx(true.matrix[0, 0], rel=0.005)


@pytest.mark.parametrize("fisheye", [False, True])
def test_without_noise_the_numbers_are_exact(fisheye: bool) -> None:
    truth = make_rig(3, 3, fisheye)
    lens = LensFreedom(4, fisheye=True) if fisheye else LensFreedom()
    found = calibrate_rig(observe(truth, board_poses(3, 18), 0.0, 3), BOARD, RigOptions(lens=lens, hold_out=0))
    assert found.rms_px < 1e-4
    for true, got in zip(relative(truth), found.models, strict=True):
        assert np.allclose(true.matrix, got.matrix, atol=0.01)
        assert np.allclose(true.distortion, got.distortion, atol=1e-3)
        assert np.linalg.norm(true.centre_mm - got.centre_mm) < 0.01


@pytest.mark.parametrize(
    "freedom",
    [
        LensFreedom(),
        LensFreedom(4),
        LensFreedom(8),
        LensFreedom(fix_aspect=True, fix_tangential=True, fix_k3=True),
        LensFreedom(fix_centre=True),
        LensFreedom(4, fisheye=True),
    ],
)
def test_the_jacobian_is_that_of_the_residuals(freedom: LensFreedom) -> None:
    rng = np.random.default_rng(0)
    models = make_rig(5, 2, freedom.fisheye)
    models = [replace(m, distortion=np.resize(m.distortion * 0.2, freedom.n_coefficients)) for m in models]
    boards = board_poses(5, 3)
    detections = observe(models, boards, 0.3, 5)
    index = {str(i): i for i in range(3)}
    seen = [gather(one.images, index, BOARD.points_mm) for one in detections]
    problem = Reprojection(models, boards, seen, [False, True], [freedom, freedom])
    x = rng.normal(0, 1e-2, problem.n)
    exact = problem.jacobian(x).toarray()
    for i in range(problem.n):
        step = np.zeros(problem.n)
        step[i] = 1e-6
        numeric = (problem.residuals(x + step) - problem.residuals(x - step)) / 2e-6
        scale = max(float(np.abs(numeric).max()), 1.0)
        assert np.abs(exact[:, i] - numeric).max() < 1e-4 * scale, i


def test_a_lens_keeps_what_is_held() -> None:
    truth = make_rig(9, 1, False)
    seen = observe(truth, board_poses(9, 15), 0.05, 9)[0]
    free = LensFreedom(fix_aspect=True, fix_centre=True, fix_tangential=True, fix_k3=True)
    lens = calibrate_intrinsics(seen, BOARD, free).model
    assert lens.matrix[0, 0] == pytest.approx(lens.matrix[1, 1], rel=1e-12)
    assert lens.matrix[0, 2] == (truth[0].width - 1) / 2
    assert (lens.distortion[[2, 3, 4]] == 0).all()


def test_a_picture_that_lies_is_left_out_and_named() -> None:
    truth = make_rig(11, 1, False)
    seen = observe(truth, board_poses(11, 16), 0.1, 11)[0]
    bad = next(iter(seen.images))
    corners = seen.images[bad]
    seen.images[bad] = Corners(
        corners.ids, corners.pixels + np.random.default_rng(1).normal(0, 4, corners.pixels.shape)
    )
    lens = calibrate_intrinsics(seen, BOARD, LensFreedom())
    assert list(lens.rejected) == [bad]
    assert "px" in lens.rejected[bad]
    assert lens.rms_px < 0.2


def test_a_view_of_another_instant_is_left_out_and_named() -> None:
    truth = make_rig(12, 3, False)
    boards = board_poses(12, 18)
    seen = observe(truth, boards, 0.1, 12)
    later = observe(truth, [Pose(p.rotation, p.translation_mm + np.array([12.0, 0, 0])) for p in boards], 0.1, 12)
    wrong = next(i for i in seen[2].images if all(i in one.images for one in seen) and i in later[2].images)
    seen[2].images[wrong] = later[2].images[wrong]
    found = calibrate_rig(seen, BOARD, RigOptions(hold_out=0))
    assert [(camera, list(one)) for camera, one in found.rejected.items() if one] == [("cam2", [wrong])]
    assert found.rms_px < 0.2


def test_cameras_without_shared_views_are_named() -> None:
    truth = make_rig(13, 3, False)
    seen = observe(truth, board_poses(13, 24), 0.1, 13)
    for one in seen:
        keep = {str(i) for i in range(24) if (i % 2 == 0) == (one.camera == "cam1")}
        one.images = {instant: corners for instant, corners in one.images.items() if instant in keep}
    with pytest.raises(CalibrationError, match=r"no pair joins cam0, cam2 with cam1.*more pictures between"):
        calibrate_rig(seen, BOARD, RigOptions(hold_out=0))


def test_pictures_of_another_board_are_refused() -> None:
    seen = observe(make_rig(14, 1, False), board_poses(14, 12), 0.1, 14)[0]
    wrong = parse_board("charuco:9x7:20:15:DICT_4X4_250")
    with pytest.raises(CalibrationError, match="camera cam0"):
        calibrate_intrinsics(seen, wrong, LensFreedom())


def test_too_few_pictures() -> None:
    seen = observe(make_rig(15, 1, False), board_poses(15, 4), 0.1, 15)
    with pytest.raises(CalibrationError, match=r"camera cam0: 4 usable pictures.*takes 5"):
        calibrate_rig(seen, BOARD, RigOptions())
    seen[0].images.clear()
    with pytest.raises(CalibrationError, match=r"cam0: no board of the kind charuco:7x9"):
        calibrate_rig(seen, BOARD, RigOptions())


def test_a_board_without_direction_joins_no_cameras() -> None:
    seen = observe(make_rig(16, 2, False), board_poses(16, 12), 0.1, 16)
    with pytest.raises(CalibrationError, match="turned by half a circle"):
        calibrate_rig(seen, ChessBoard(6, 8, 20.0), RigOptions())


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), fisheye=st.booleans())
def test_a_board_is_placed_by_one_camera(seed: int, fisheye: bool) -> None:
    model = make_rig(seed, 1, fisheye)[0]
    boards = board_poses(seed, 3)
    for instant, corners in observe([model], boards, 0.0, seed)[0].images.items():
        true = pose_of(model).after(boards[int(instant)])
        for pose in (board_pose(model, corners, BOARD.points_mm), refined_pose(model, corners, BOARD.points_mm)):
            assert pose is not None
            assert np.linalg.norm(pose.apply(BOARD.points_mm) - true.apply(BOARD.points_mm), axis=1).max() < 0.05


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    fisheye=st.booleans(),
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    thickness=st.floats(0, 10),
    below=st.booleans(),
)
def test_the_floor_is_at_zero(
    seed: int, fisheye: bool, turn: tuple[float, float, float], thickness: float, below: bool
) -> None:
    """Whatever the world was: the print is at the board's thickness, the floor below it, the cameras on their side."""
    rig = make_rig(seed, 3, fisheye)
    middle = BOARD.points_mm.mean(axis=0)
    flat = Rotation.from_euler("x", np.pi).as_matrix()
    board = Pose(flat, -flat @ middle)
    marks = np.array([[10.0, 5, 0], [90, 20, 0], [-60, 80, 0], [-20, -70, 0]])
    other = Pose(Rotation.from_rotvec(turn).as_matrix(), np.array([30.0, -80.0, 500.0]))
    models = in_frame(rig, other)
    seen = observe(rig, [board], 0.0, seed)
    pose = floor_from_board(models, seen, BOARD, thickness_mm=thickness, seen_from_below=below)
    on_floor = in_frame(models, pose)
    up = -1.0 if below else 1.0
    printed = pose.apply(other.apply(board.apply(BOARD.points_mm)))
    assert np.abs(printed[:, 2] - thickness).max() < 0.02
    assert all(up * (model.centre_mm[2] - thickness) > 0 for model in on_floor)
    for model, same in zip(rig, on_floor, strict=True):
        moved = pose.apply(other.apply(marks))
        assert np.allclose(model.project(marks), same.project(moved), atol=1e-6)
    pixels = np.stack([model.project(marks) for model in rig])
    pose, points = floor_from_points(models, pixels, seen_from_below=below)
    assert np.abs(points[:, 2]).max() < 1e-3
    assert np.allclose(points[0], 0, atol=1e-3) and np.allclose(points[1, 1:], 0, atol=1e-3) and points[1, 0] > 0
    assert np.allclose(points[1, 0], np.linalg.norm(marks[1] - marks[0]), atol=1e-3)
    assert all(up * model.centre_mm[2] > 0 for model in in_frame(models, pose))


def test_a_floor_that_cannot_be() -> None:
    rig = make_rig(1, 3, False)
    marks = np.array([[10.0, 5, 0], [90, 20, 0], [-60, 80, 0], [-20, -70, 30]])
    pixels = np.stack([model.project(marks) for model in rig])
    with pytest.raises(CalibrationError, match="off the plane"):
        floor_from_points(rig, pixels)
    with pytest.raises(CalibrationError, match="2 points"):
        floor_from_points(rig, pixels[:, :2])
    line = np.stack([model.project(np.array([[0.0, 0, 0], [50, 0, 0], [90, 0, 0]])) for model in rig])
    with pytest.raises(CalibrationError, match="one line"):
        floor_from_points(rig, line)
    pixels[1, 0] += 40
    with pytest.raises(CalibrationError, match="point 0"):
        floor_from_points(rig, pixels)
    moved = [rig[0], replace(rig[1], translation_mm=rig[1].translation_mm + np.array([30.0, 0, 0])), rig[2]]
    with pytest.raises(CalibrationError, match="moved since"):
        floor_from_board(moved, observe(rig, board_poses(1, 1), 0.0, 1), BOARD)


def test_nothing_holds_the_world() -> None:
    with pytest.raises(CalibrationError, match="hold one"):
        adjust(make_rig(1, 2, False), [IDENTITY], [], free_poses=[True, True], freedom=[None, None])
