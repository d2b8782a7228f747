"""The calibration file: what is written is read, what is wrong is named."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tomli_w
from ethostream.sync.calibration_file import read_calibration, utc_text, write_calibration
from ethostream.sync.camera_model import CameraModel
from ethostream.sync.errors import CalibrationError
from hypothesis import given
from hypothesis import strategies as st


def model(name: str, seed: int, n: int = 5, fisheye: bool = False) -> CameraModel:
    rng = np.random.default_rng(seed)
    matrix = np.array([[rng.uniform(400, 900), 0, 320.5], [0, rng.uniform(400, 900), 241], [0, 0, 1]])
    rotation = cv2.Rodrigues(rng.uniform(-1.7, 1.7, 3))[0]
    return CameraModel(name, 640, 480, matrix, rng.normal(0, 0.1, n), rotation, rng.normal(0, 200, 3), fisheye)


@given(seed=st.integers(0, 10_000), kinds=st.lists(st.sampled_from([4, 5, 8, -4]), min_size=1, max_size=12))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, seed: int, kinds: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "c.toml"
    models = [model(f"cam-{i}", seed + i, abs(n), n < 0) for i, n in enumerate(kinds)]
    write_calibration(path, models, {"adjusted": True, "error": 0.25, "world": "floor"})
    read = read_calibration(path)
    assert read.on_floor and read.names == tuple(m.name for m in models)
    for one, same in zip(models, read.models, strict=True):
        assert (one.width, one.height, one.fisheye) == (same.width, same.height, same.fisheye)
        assert np.array_equal(one.matrix, same.matrix) and np.array_equal(one.distortion, same.distortion)
        assert np.allclose(one.rotation, same.rotation, atol=1e-12)
        assert np.array_equal(one.translation_mm, same.translation_mm)
    assert read.subset([models[-1].name]).models[0].name == models[-1].name
    with pytest.raises(CalibrationError, match="no calibration of camera 'other'"):
        read.model("other")


def test_the_layout_is_that_of_anipose(tmp_path: Path) -> None:
    """Keys as aniposelib's CameraGroup.load takes them; everything but metadata is a camera to it."""
    write_calibration(tmp_path / "c.toml", [model("a", 1), model("b", 2, 4, True)], {"adjusted": True, "error": 0.3})
    data = tomllib.loads((tmp_path / "c.toml").read_text())
    assert list(data) == ["cam_0", "cam_1", "metadata"]
    assert list(data["cam_0"]) == ["name", "size", "matrix", "distortions", "rotation", "translation"]
    assert data["cam_1"]["fisheye"] is True
    assert np.allclose(cv2.Rodrigues(np.array(data["cam_0"]["rotation"]))[0], model("a", 1).rotation)


def test_the_published_broken_file_is_refused(test_data: Path) -> None:
    path = test_data / "four_cameras" / "calibration.BROKEN.toml"
    with pytest.raises(CalibrationError, match="cameras side and top have identical parameters"):
        read_calibration(path)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["cam_0"].pop("size"), "cam_0 (a): lacks size"),
        (lambda d: d["cam_0"].update(siez=[1, 2]), "cam_0 (a): unknown key siez"),
        (lambda d: d["cam_1"].update(name=3), "cam_1: name is 3"),
        (lambda d: d["cam_1"].update(name="a"), "two cameras are called a"),
        (lambda d: d["cam_0"].update(size=[640.5, 480]), "cam_0 (a): size is [640.5, 480]"),
        (lambda d: d["cam_0"].update(size=[640]), "cam_0 (a): size is [640], expected 2 finite numbers"),
        (lambda d: d["cam_0"].update(matrix=[[1, 0, 0], [0, -1, 0], [0, 0, 1]]), "cam_0 (a): matrix is"),
        (lambda d: d["cam_0"]["matrix"][0].__setitem__(1, 0.5), "skew of 0.5"),
        (lambda d: d["cam_0"].update(distortions=[0.0] * 14), "distortions has 14 numbers"),
        (lambda d: d["cam_0"].update(fisheye=True), "a fisheye lens takes 4"),
        (lambda d: d["cam_0"].update(fisheye="yes"), "fisheye is 'yes'"),
        (lambda d: d["cam_0"].update(rotation=[0.0, float("nan"), 0.0]), "cam_0 (a): rotation is"),
        (lambda d: d["cam_0"].update(translation="far"), "cam_0 (a): translation is 'far'"),
        (lambda d: d.update(extra={"x": 1}), "extra at the top level"),
        (lambda d: d.update(metadata=4), "metadata is int"),
        (lambda d: [d.pop("cam_0"), d.pop("cam_1")], "holds no camera"),
        (
            lambda d: d["cam_1"].update(rotation=d["cam_0"]["rotation"], translation=d["cam_0"]["translation"]),
            "cameras a and b have the same rotation and translation",
        ),
    ],
)
def test_a_wrong_file_is_told_by_file_camera_and_key(tmp_path: Path, change: Change, told: str) -> None:
    path = tmp_path / "c.toml"
    write_calibration(path, [model("a", 1), model("b", 2)], {"adjusted": True})
    data = tomllib.loads(path.read_text())
    change(data)
    path.write_text(tomli_w.dumps(data))
    with pytest.raises(CalibrationError, match=re.escape(str(path)) + ".*" + re.escape(told)):
        read_calibration(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.toml: cannot be read"):
        read_calibration(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("[cam_0\n")
    with pytest.raises(CalibrationError, match="not valid TOML"):
        read_calibration(tmp_path / "x.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match="not UTF-8"):
        read_calibration(tmp_path / "b.toml")


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="identical parameters"):
        write_calibration(tmp_path / "c.toml", [model("a", 1), model("b", 1)], {})
    assert not list(tmp_path.iterdir())
    with pytest.raises(CalibrationError, match="cannot be written"):
        write_calibration(tmp_path / "no" / "c.toml", [model("a", 1)], {})


def test_utc_text() -> None:
    assert utc_text(1_700_000_000_123_456_789) == "2023-11-14T22:13:20Z"
