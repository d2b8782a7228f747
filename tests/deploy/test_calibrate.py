"""``ethostream calibrate``, from pictures to file, page and exit status."""

import json
import re
from pathlib import Path
from typing import Any

import board_pictures
import cv2
import numpy as np
import pytest
from click.testing import Result
from ethostream.acquisition.calibration.board import parse_board
from ethostream.acquisition.calibration.pose import Pose
from ethostream.deploy import cli
from ethostream.sync.calibration_file import read_calibration
from ethostream.sync.errors import CalibrationError, ConfigError
from typer.testing import CliRunner

SPEC = "charuco:7x5:20:15:DICT_4X4_50"
RIG = """
name: pair
cameras:
  cam0: {kind: simulated, view: 0, width: 480, height: 360}
  cam1: {kind: simulated, view: 1, width: 480, height: 360}
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``boards`` of two cameras, and ``floor`` with one picture of the board lying flat."""
    board = parse_board(SPEC)
    models = board_pictures.two_cameras()
    middle = board.points_mm.mean(axis=0)
    rng = np.random.default_rng(0)
    flat = Pose(np.eye(3), np.array([0.0, 0, 300]) - middle)
    folder = tmp_path_factory.mktemp("pictures")
    for model in models:
        painter = board_pictures.BoardPainter(model, board, 4.0)
        for name, poses in (("boards", board_pictures.shown_poses(10, middle)), ("floor", [flat])):
            (folder / name / model.name).mkdir(parents=True)
            for i, pose in enumerate(poses):
                cv2.imwrite(str(folder / name / model.name / f"{i}.png"), painter.paint(pose, rng))
    return folder


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["calibrate", *map(str, words)])


def test_pictures_become_a_file_a_page_and_figures(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "rig.yaml").write_text(RIG)
    out, page, figures = (tmp_path / name for name in ("c.toml", "c.html", "c.json"))
    done = invoke(
        pictures / "boards", "--board", SPEC, "--rig", tmp_path / "rig.yaml", "--out", out, "--report", page, "--json",
        figures, "--floor", pictures / "floor", "--board-thickness-mm", 4,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "written:" in done.output

    result: dict[str, Any] = json.loads(figures.read_text())
    assert result["ok"] and result["rms_px"] < 0.2 and result["held_out"]["rms_px"] < 0.3
    assert result["pairs"][0]["baseline_mm"] == pytest.approx(80.0, abs=1.0)
    assert result["cameras"]["cam0"]["images_used"] == 10

    file = read_calibration(out)
    assert file.names == ("cam0", "cam1") and file.on_floor
    assert file.metadata["board"] == SPEC and file.metadata["error"] == result["rms_px"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", file.metadata["created_utc"])
    # The board lay square before the pair: its print is 4 mm above the floor, the cameras 300 mm above the print.
    for model in file.models:
        assert model.centre_mm[2] == pytest.approx(304.0, abs=3.0)

    text = page.read_text()
    assert text.count("<svg") == 3 + 2 * 3
    assert "cam0" in text and "cam1" in text and "held-out" in text
    assert not re.search(r"<(script|link|img)\b|https?://", text)  # nothing beside it is needed


def test_a_large_error_writes_no_calibration(pictures: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "c.toml", tmp_path / "c.html"
    done = invoke(
        pictures / "boards", "--board", SPEC, "--out", out, "--report", page, "--max-rms-px", 0.01, "--hold-out", 0
    )
    assert isinstance(done.exception, CalibrationError) and done.exception.exit_code == 5
    assert re.search(r"error 0\.\d\d px, allowed 0\.01; .*was not written.*long bars", str(done.exception), re.DOTALL)
    assert not out.exists()
    assert "allowed 0.01" in page.read_text()


def test_json_on_stdout_is_json_alone(pictures: Path, tmp_path: Path) -> None:
    done = invoke(
        pictures / "boards",
        "--board",
        SPEC,
        "--out",
        tmp_path / "c.toml",
        "--json",
        "-",
        "--hold-out",
        0,
        "--keep-lenses",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["held_out"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("cam1:", "east:"), r"pictures of cam1, and .* has cam0, east"),
        (("  cam1", "  third: {kind: simulated, view: 2}\n  cam1"), "no pictures of third"),
        (("width: 480", "width: 640"), "cam0: the pictures have a width of 480 px, .* says 640"),
    ],
)
def test_another_rig_is_told(pictures: Path, tmp_path: Path, change: tuple[str, str], told: str) -> None:
    (tmp_path / "rig.yaml").write_text(RIG.replace(change[0], change[1], 1))
    # One picture per camera is enough: the rig is looked at before anything is fitted.
    done = invoke(pictures / "floor", "--board", SPEC, "--rig", tmp_path / "rig.yaml", "--out", tmp_path / "c.toml")
    assert isinstance(done.exception, ConfigError)
    assert re.search(told, str(done.exception)), done.exception


def test_another_board_is_told(pictures: Path, tmp_path: Path) -> None:
    done = invoke(pictures / "floor", "--board", "charuco:7x5:20:15:DICT_6X6_50", "--out", tmp_path / "c.toml")
    assert isinstance(done.exception, CalibrationError)
    assert "cam0, cam1: no board of the kind charuco:7x5:20:15:DICT_6X6_50" in str(done.exception)


def test_live_cameras_without_a_board_end(tmp_path: Path) -> None:
    (tmp_path / "rig.yaml").write_text(RIG)
    done = invoke(
        tmp_path / "new",
        "--live",
        tmp_path / "rig.yaml",
        "--board",
        SPEC,
        "--blind-seconds",
        0.3,
        "--out",
        tmp_path / "c.toml",
    )
    assert isinstance(done.exception, CalibrationError)
    assert f"no camera saw the board {SPEC}" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "no/such/c.toml"), "--out no/such/c.toml"),
        (("--floor", ".", "--floor-points", "x.csv"), "give one"),
        (("--fisheye", "--coefficients", "7"), ""),
        (("--coefficients", "7"), "7 distortion coefficients"),
    ],
)
def test_options_that_cannot_be(pictures: Path, words: tuple[str, ...], told: str) -> None:
    done = invoke(pictures / "none", "--board", SPEC, *words)
    assert isinstance(done.exception, ConfigError | CalibrationError)
    assert told in str(done.exception)
