"""What is refused of a run with a model on pose before any process starts, and by which words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.acquisition.camera import CameraFormat
from ethostream.deploy.config import RigConfig, RunConfig, SessionConfig
from ethostream.deploy.doctor import ask_poses
from ethostream.deploy.pose_checks import check_inputs, pose_source_of, probe_poses
from ethostream.deploy.run_checks import check_pixels
from ethostream.inference.bundle import Bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.gap import StepGrid
from ethostream.streaming.pose_format import PoseFormat
from ethostream.sync.errors import ConfigError, ProviderError
from pose_worlds import KEYPOINTS, RATE_HZ, animals_at, write_pose_bundle

FORM = PoseFormat(rate_hz=RATE_HZ, animals=["a", "b"], keypoints=KEYPOINTS)
UNIQUE = "corner"
"""DeepLabCut's unique body part: a point of the cage, of an individual of its own."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pose_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def write_points(path: Path, n_animals: int = 2, unique: bool = False) -> Path:
    """A DeepLabCut CSV; the unique point is of the individual ``single``."""
    points = animals_at(20, n_animals, seed=4)
    columns = [(f"m{a}", name, c) for a in range(n_animals) for name in KEYPOINTS for c in ("x", "y", "likelihood")]
    values = points.reshape(len(points), -1)
    if unique:
        columns += [("single", UNIQUE, c) for c in ("x", "y", "likelihood")]
        values = np.concatenate([values, np.full((len(values), 3), 0.5, np.float32)], axis=1)
    head = [["scorer", *["net"] * len(columns)]]
    head += [
        [level, *names]
        for level, names in zip(("individuals", "bodyparts", "coords"), zip(*columns, strict=True), strict=True)
    ]
    rows = [[i, *("" if np.isnan(v) else repr(float(v)) for v in one)] for i, one in enumerate(values)]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [*head, *rows]))
    return path


def rig_of(**parts: Any) -> RigConfig:
    return RigConfig.model_validate({"name": "posed", **parts})


def run_of(bundle: Path | None, **parts: Any) -> RunConfig:
    return RunConfig(rig=rig_of(**parts), task=TaskConfig(bundle=bundle), session=SessionConfig())


def source(path: Path, **options: Any) -> dict[str, Any]:
    return {"tracker": {"kind": "file", "path": str(path), "rate_hz": RATE_HZ, **options}}


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "tensorrt_native"])
def test_a_provider_for_an_embedder_is_refused_where_there_is_none(bundle: Path, provider: Any) -> None:
    """On a machine without a GPU as well: nothing is opened on the cores in its name."""
    with pytest.raises(ProviderError, match=f"takes pose.*{provider}.*set provider: cpu"):
        Bundle.load(bundle, provider=provider)
    task = TaskConfig(bundle=bundle, provider=provider)
    with pytest.raises(ConfigError, match=f"provider: {provider}.*set it to cpu"):
        check_inputs(task, rig_of(pose=source(bundle)))
    check_inputs(TaskConfig(bundle=bundle), rig_of(pose=source(bundle)))


def test_a_camera_of_16_bits_is_no_matter_for_a_model_on_pose(bundle: Path) -> None:
    deep = {"deep": CameraFormat(64, 48, "mono16", 30.0, "host")}
    parts: dict[str, Any] = {"cameras": {"deep": {"kind": "file", "path": "a.mp4"}}, "recording": {"codec": "ffv1"}}
    check_pixels(run_of(bundle, **parts), deep)
    with pytest.raises(ConfigError, match="models see 8-bit images"):
        check_pixels(run_of(Path("demo"), **parts), deep)
    with pytest.raises(ConfigError, match=r"recording\.codec=h264"):
        check_pixels(run_of(bundle, **(parts | {"recording": {"codec": "h264"}})), deep)


@pytest.mark.parametrize(("rate_hz", "words"), [(25.0, "come at 25 Hz"), (45.0, "no whole multiple")])
def test_a_rate_that_does_not_suit_is_refused_before_the_start(bundle: Path, rate_hz: float, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"poses .*{words}.*pose\.NAME\.rate_hz") as refused:
        pose_source_of(TaskConfig(bundle=bundle), {"tracker": FORM.model_copy(update={"rate_hz": rate_hz})})
    assert "camera" not in str(refused.value)
    assert pose_source_of(TaskConfig(bundle=bundle), {"tracker": FORM}) == "tracker"
    with pytest.raises(ConfigError, match=r"frame sets .*set the cameras to 30 Hz"):
        StepGrid(30.0, rate_hz, "refuse")


def test_what_is_no_animal_of_the_model_is_left_out_by_name(bundle: Path, tmp_path: Path) -> None:
    path = write_points(tmp_path / "a.csv", unique=True)
    task = TaskConfig(bundle=bundle)
    whole = probe_poses(run_of(bundle, pose=source(path)))
    assert whole["tracker"].animals == ["m0", "m1", "single"]
    with pytest.raises(ConfigError, match=r"has 3 animal\(s\) \(m0, m1, single\).*takes 2.*pose\.NAME\.animals"):
        pose_source_of(task, whole)
    chosen = probe_poses(run_of(bundle, pose=source(path, animals=["m1", "m0"])))
    assert chosen["tracker"].animals == ["m1", "m0"]
    assert pose_source_of(task, chosen) == "tracker"


def test_the_doctor_gives_the_cure_of_each_fault(tmp_path: Path) -> None:
    path = write_points(tmp_path / "a.csv")
    rig = rig_of(
        pose={
            "mute": {"kind": "file", "path": str(path)},
            "gone": {"kind": "file", "path": str(tmp_path / "gone.csv"), "rate_hz": 30},
            "well": {"kind": "file", "path": str(path), "rate_hz": 30},
        }
    )
    mute, gone, well = ask_poses(rig.pose)
    assert (mute.level, gone.level, well.level) == ("error", "error", "ok")
    assert "does not say how many frames" in mute.text and mute.cure == "set it to the rate of its video"
    assert "cannot be read" in gone.text and gone.cure == "give a CSV that DeepLabCut wrote"
