"""From pictures to corners: boards, folders, videos, coverage, and pictures taken live."""

import shutil
from collections.abc import Callable
from pathlib import Path

import board_pictures
import cv2
import numpy as np
import pytest
from ethostream.acquisition.calibration.board import ChessBoard, Corners, parse_board
from ethostream.acquisition.calibration.coverage import TARGET_IMAGES, TARGET_SHARED, CoverageTracker
from ethostream.acquisition.calibration.detection import detect_images, find_sources
from ethostream.acquisition.calibration.lens_freedom import LensFreedom
from ethostream.acquisition.calibration.live_capture import BoardWatcher, LiveCapture
from ethostream.acquisition.calibration.pose import Pose
from ethostream.acquisition.calibration.rig_calibration import RigOptions, calibrate_rig
from ethostream.acquisition.calibration.video_frames import detect_videos
from ethostream.acquisition.file_camera import FileCamera, FileCameraConfig
from ethostream.acquisition.simulated_camera import SimulatedCamera, SimulatedCameraConfig
from ethostream.sync.camera_model import CameraModel
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import CalibrationError, CameraOpenError
from numpy.typing import NDArray

Image = NDArray[np.uint8]
BOARD = parse_board("charuco:7x5:20:15:DICT_4X4_50")
CHESS = ChessBoard(7, 4, 16.0)


def paint(models: list[CameraModel], poses: list[Pose], board: object = BOARD) -> dict[str, list[Image]]:
    rng = np.random.default_rng(0)
    painters = {model.name: board_pictures.BoardPainter(model, board, 4.0) for model in models}
    return {name: [painter.paint(pose, rng) for pose in poses] for name, painter in painters.items()}


@pytest.fixture(scope="module")
def shown() -> tuple[list[CameraModel], list[Pose], dict[str, list[Image]]]:
    models = board_pictures.two_cameras()
    poses = board_pictures.shown_poses(18, BOARD.points_mm.mean(axis=0))
    return models, poses, paint(models, poses)


def write(folder: Path, images: dict[str, list[Image]]) -> Path:
    for name, taken in images.items():
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(taken):
            cv2.imwrite(str(folder / name / f"{name}-2026-{i:02d}.png"), image)
    return folder


def test_from_pictures_to_a_rig(
    shown: tuple[list[CameraModel], list[Pose], dict[str, list[Image]]], tmp_path: Path
) -> None:
    models, _, images = shown
    detections = detect_images(find_sources(write(tmp_path, images)), BOARD)
    assert [one.camera for one in detections] == ["cam0", "cam1"]
    found = calibrate_rig(detections, BOARD, RigOptions(lens=LensFreedom(fix_k3=True)))
    assert found.rms_px < 0.15
    assert found.pairs[0].baseline_mm == pytest.approx(80.0, abs=0.3)
    assert found.held_out is not None and found.held_out.square is not None
    assert found.held_out.square.mean_mm == pytest.approx(20.0, abs=0.03)
    for model, got in zip(models, found.models, strict=True):
        assert got.matrix[0, 0] == pytest.approx(model.matrix[0, 0], rel=0.005)


@pytest.mark.parametrize("fisheye", [False, True])
@pytest.mark.parametrize("board", [BOARD, CHESS], ids=lambda board: board.spec)
def test_corners_are_where_they_were_drawn(board: object, fisheye: bool) -> None:
    model = board_pictures.two_cameras(fisheye)[0]
    assert isinstance(board, ChessBoard) or board is BOARD
    points = board.points_mm  # pyright: ignore[reportAttributeAccessIssue]
    poses = board_pictures.shown_poses(6, points.mean(axis=0), 120.0 if fisheye else 200.0)
    # A board is found turned by half a circle, too, and its corners keep their names.
    poses += [
        Pose(pose.rotation @ np.diag([-1.0, -1, 1]), pose.apply(2 * points.mean(axis=0)[None])[0]) for pose in poses[:3]
    ]
    found = 0
    for pose, image in zip(poses, paint([model], poses, board)["cam0"], strict=True):
        corners = board.detect(image)  # pyright: ignore[reportAttributeAccessIssue]
        if corners is None:
            continue
        found += 1
        true = model.project(pose.apply(points[corners.ids]))
        assert np.linalg.norm(corners.pixels - true, axis=1).max() < 1.0
        assert np.median(np.linalg.norm(corners.pixels - true, axis=1)) < 0.15
    assert found >= 6


def test_a_chessboard_is_turned_by_its_first_square() -> None:
    model = board_pictures.two_cameras()[0]
    pose = board_pictures.shown_poses(1, CHESS.points_mm.mean(axis=0), 200.0)[0]
    image = paint([model], [pose], CHESS)["cam0"][0]
    pixels = model.project(pose.apply(CHESS.points_mm))
    assert not CHESS._upside_down(image, pixels)  # pyright: ignore[reportPrivateUsage]
    assert CHESS._upside_down(image, pixels[::-1])  # pyright: ignore[reportPrivateUsage]


def test_a_marker_that_the_board_does_not_bear_is_nothing_to_it() -> None:
    """Only its own markers are looked for: what the whole dictionary finds is found, to the bit."""
    whole = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    image = np.pad(BOARD.draw(4.0, 12.0), ((0, 0), (0, 160)), constant_values=255)
    image[40:140, -130:-30] = cv2.aruco.generateImageMarker(whole, 40, 100)
    pixels, ids, _, markers = cv2.aruco.CharucoDetector(cv2.aruco.CharucoBoard((7, 5), 20.0, 15.0, whole)).detectBoard(
        image
    )
    corners = BOARD.detect(image)
    assert corners is not None and 40 in markers and len(corners.ids) == 24
    assert corners.ids.tolist() == ids.ravel().tolist()
    assert np.array_equal(corners.pixels, pixels.reshape(-1, 2))


def test_no_board_is_no_corners() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (360, 480)).astype(np.uint8)
    assert BOARD.detect(noise) is None
    assert CHESS.detect(np.full((360, 480), 128, np.uint8)) is None


def test_sharp_pictures_are_told_from_smeared_ones(
    shown: tuple[list[CameraModel], list[Pose], dict[str, list[Image]]],
) -> None:
    image = shown[2]["cam0"][4]
    sharp, smeared = BOARD.detect(image), BOARD.detect(cv2.blur(image, (5, 1)))
    assert sharp is not None and smeared is not None
    assert smeared.sharpness < 0.75 * sharp.sharpness


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("charuco:8x11:24", "is no board; write charuco:"),
        ("charuco:8x11:24:30:DICT_4X4_50", "markers smaller than the squares"),
        ("charuco:8x11:24:18:DICT_9", "no dictionary 'DICT_9'"),
        ("charuco:20x20:24:18:DICT_4X4_50", "needs 200 markers and DICT_4X4_50 has 50"),
        ("charuco:axb:24:18:DICT_4X4_50", "invalid literal"),
        ("chessboard:2x6:30", "at least 3 x 3"),
        ("circles:3x3:4", "is no board"),
    ],
)
def test_boards_that_cannot_be(text: str, told: str) -> None:
    with pytest.raises(CalibrationError, match=told):
        parse_board(text)


@pytest.mark.parametrize(
    "text", ["charuco:8x11:24:18.75:DICT_4X4_1000", "charuco:6x6:5:3:DICT_5X5_50:legacy", "chessboard:9x6:30"]
)
def test_a_board_is_written_as_it_is_read(text: str) -> None:
    assert parse_board(text).spec == text


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    blank = {name: [np.zeros((20, 30), np.uint8)] * 3 for name in ("a", "b")}
    with pytest.raises(CalibrationError, match="is no folder"):
        find_sources(tmp_path / "none")
    with pytest.raises(CalibrationError, match="holds no pictures"):
        find_sources(tmp_path)
    folder = write(tmp_path / "f", blank)
    (folder / "b" / "b-2026-01.png").unlink()
    with pytest.raises(CalibrationError, match=r"b: 2 pictures, without 1"):
        find_sources(folder)
    assert list(find_sources(folder, allow_missing=True)["b"].images) == ["0", "2"]
    shutil.copy(folder / "a" / "a-2026-00.png", folder / "a" / "again-0.png")
    with pytest.raises(CalibrationError, match=r"both end in number 0"):
        find_sources(folder, allow_missing=True)
    (folder / "a" / "again-0.png").unlink()
    (folder / "a" / "a-2026-01.png").write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match="cannot be read as a picture"):
        detect_images(find_sources(folder, allow_missing=True), BOARD)
    cv2.imwrite(str(folder / "a" / "a-2026-01.png"), np.zeros((21, 30), np.uint8))
    with pytest.raises(CalibrationError, match="is 30x21, the other pictures of a are 30x20"):
        detect_images(find_sources(folder, allow_missing=True), BOARD)
    (folder / "b.mp4").touch()
    with pytest.raises(CalibrationError, match="as a folder and as a video"):
        find_sources(folder)


def test_sharp_and_various_frames_of_videos_are_taken(
    shown: tuple[list[CameraModel], list[Pose], dict[str, list[Image]]],
    tmp_path: Path,
    write_video: Callable[..., Path],
) -> None:
    _, _, images = shown
    n = 8
    for name, taken in images.items():
        # Each place is held for two frames, then the board moves: the third is smeared.
        frames = [frame for image in taken[:n] for frame in (image, image, cv2.blur(image, (9, 9)))]
        # One place is seen in passing only: it would be something new, and is not taken.
        frames += [cv2.blur(taken[n], (1, 5))] * 2
        write_video(tmp_path / f"{name}.mkv", frames)
    found = detect_videos(find_sources(tmp_path), BOARD)
    chosen = {int(instant) for one in found for instant in one.images}
    assert len(chosen) >= n - 2
    assert not {frame for frame in chosen if frame % 3 == 2 or frame >= 3 * n}
    assert len({frame // 3 for frame in chosen}) >= n - 2
    write_video(tmp_path / "cam1.mkv", images["cam1"][:5])
    with pytest.raises(CalibrationError, match=r"cam1 ends after 5 frames and cam0 goes on"):
        detect_videos(find_sources(tmp_path), BOARD)


def corners_at(x: float, y: float, tilt: tuple[float, float]) -> Corners:
    """The board seen by a 600 x 450 camera around (x, y), leaning to a side."""
    matrix = np.array([[480.0, 0, 299.5], [0, 480.0, 224.5], [0, 0, 1]])
    model = CameraModel("c", 600, 450, matrix, np.zeros(4), np.eye(3), np.zeros(3))
    turn = cv2.Rodrigues(np.array([*tilt, 0.0]))[0]
    centre = np.array([(x - 299.5) / 480, (y - 224.5) / 480, 1.0]) * 700
    pose = Pose(turn, centre - turn @ BOARD.points_mm.mean(axis=0))
    return Corners(np.arange(len(BOARD.points_mm)), model.project(pose.apply(BOARD.points_mm)))


def test_coverage_says_what_is_missing() -> None:
    tracker = CoverageTracker({"a": (600, 450), "b": (600, 450)}, BOARD)
    assert tracker.camera("a").hints == ("the board was never seen; show it to this camera",)
    assert tracker.link_hints()
    for x in (100, 300, 500):
        for y in (75, 225, 375):
            if (x, y) != (100, 375):
                seen = {"a": corners_at(x, y, (0, 0))}
                assert tracker.gain(seen) > 0
                tracker.add(seen)
    coverage = tracker.camera("a")
    assert coverage.cells[2, 0] == 0 and coverage.cells[0, 2] > 0
    assert coverage.hints[0] == "no corners in the lower left ninth; bring the board there"
    assert any(hint.startswith("tilt the board more") for hint in coverage.hints)
    assert not tracker.done


def test_coverage_comes_to_an_end() -> None:
    tracker = CoverageTracker({"a": (600, 450), "b": (600, 450)}, BOARD)
    tilts = [(0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5)]
    places = [(x, y) for x in (100, 300, 500) for y in (75, 225, 375)] * 2
    for i, (x, y) in enumerate(places):
        one = corners_at(x, y, tilts[i % 4])
        tracker.add({"a": one, "b": one} if i < TARGET_SHARED + 10 else {"a": one})
    assert tracker.camera("a").n_images == 18 >= TARGET_IMAGES
    assert set(tracker.camera("a").tilts.values()) != {0} and min(tracker.camera("a").tilts.values()) > 0
    assert tracker.camera("a").done and not tracker.link_hints()
    assert tracker.gain({"a": corners_at(300, 225, (0, 0))}) == 0


@pytest.mark.parametrize(
    ("tilt", "name"),
    [
        ((0.0, 0.5), "left edge away"),
        ((0.0, -0.5), "right edge away"),
        ((-0.5, 0.0), "upper edge away"),
        ((0.5, 0.0), "lower edge away"),
    ],
)
def test_tilts_are_named_by_the_edge_that_is_farther(tilt: tuple[float, float], name: str) -> None:
    turn = cv2.Rodrigues(np.array([*tilt, 0.0]))[0]
    left, upper = turn @ [-50.0, 0, 0], turn @ [0.0, -50, 0]
    farther = {
        "left edge away": left[2],
        "right edge away": -left[2],
        "upper edge away": upper[2],
        "lower edge away": -upper[2],
    }
    assert farther[name] > 20  # the case itself
    tracker = CoverageTracker({"a": (600, 450)}, BOARD)
    tracker.add({"a": corners_at(300, 225, tilt)})
    assert tracker.camera("a").tilts[name] == 1


def test_live_pictures_are_kept_while_the_board_is_still(
    shown: tuple[list[CameraModel], list[Pose], dict[str, list[Image]]], tmp_path: Path
) -> None:
    _, _, images = shown
    watcher = BoardWatcher({"cam0": (480, 360), "cam1": (480, 360)}, BOARD, tmp_path)
    looks = [watcher.look({name: taken[i // 2] for name, taken in images.items()}) for i in range(12)]
    assert [look.kept for look in looks[:4]] == [None, 0, None, 1]  # the first look at a new place is no stillness
    assert all(not look.still for look in looks[::2]) and all(look.still for look in looks[1::2])
    assert sorted(path.name for path in (tmp_path / "cam1").iterdir()) == [f"{i:04d}.png" for i in range(6)]
    assert np.array_equal(cv2.imread(str(tmp_path / "cam0" / "0002.png"), cv2.IMREAD_GRAYSCALE), images["cam0"][2])
    with pytest.raises(CalibrationError, match="is not empty"):
        BoardWatcher({"cam0": (480, 360)}, BOARD, tmp_path)


def test_live_cameras_run_in_threads(
    shown: tuple[list[CameraModel], list[Pose], dict[str, list[Image]]],
    tmp_path: Path,
    write_video: Callable[..., Path],
) -> None:
    _, _, images = shown
    clock = RigClock(ClockAnchor.take())
    cameras = {
        name: FileCamera(
            name, FileCameraConfig(path=write_video(tmp_path / f"{name}.mkv", [taken[4]] * 3), loop=True), clock
        )
        for name, taken in images.items()
    }
    looks: list[int | None] = []
    watcher = LiveCapture(cameras, BOARD, tmp_path / "out", clock).run(
        lambda _, look: looks.append(look.kept), blind_s=60, should_stop=lambda: any(kept is not None for kept in looks)
    )
    assert watcher.tracker.n_instants == 1
    assert watcher.tracker.shared("cam0", "cam1") == 1
    assert (tmp_path / "out" / "cam0" / "0000.png").is_file()


def test_live_cameras_that_see_no_board(tmp_path: Path) -> None:
    clock = RigClock(ClockAnchor.take())
    cameras = {"north": SimulatedCamera("north", SimulatedCameraConfig(view=0, width=320, height=240), clock)}
    with pytest.raises(CalibrationError, match="no camera saw the board"):
        LiveCapture(cameras, BOARD, tmp_path, clock).run(lambda *_: None, blind_s=0.3)


def test_live_cameras_that_do_not_open(tmp_path: Path) -> None:
    clock = RigClock(ClockAnchor.take())
    cameras = {"gone": FileCamera("gone", FileCameraConfig(path=tmp_path / "none.mkv"), clock)}
    with pytest.raises(CameraOpenError, match="gone"):
        LiveCapture(cameras, BOARD, tmp_path, clock).run(lambda *_: None, blind_s=1)
