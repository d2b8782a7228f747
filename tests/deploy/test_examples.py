"""The example rigs on real video: played live at its own rate, recorded, verified, replayed."""

from pathlib import Path

import pytest
from ethostream.deploy.config import load_run, load_task
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.supervised_run import RunResult
from ethostream.deploy.terminal import make_display
from ethostream.training.config.training_file import load_config

pytestmark = pytest.mark.timeout(300)
EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder: Path, rig: str, task: str | None, overrides: list[str], seconds: float | None) -> RunResult:
    config = load_run(
        EXAMPLES / rig,
        None if task is None else EXAMPLES / task,
        overrides=[*overrides, "monitor.enabled=false", "recording.reserve_mb=10"],
    )
    result = run_rig(config, make_display(config, headless=True), seconds, folder, None)
    assert result.outcome.failures == []
    assert result.verified is not None and result.verified.ok, result.verified and result.verified.errors
    return result


def test_the_rule_of_the_task_is_a_class_of_the_model_that_the_example_trains(test_data: Path) -> None:
    config, _ = load_config(EXAMPLES / "openfield_train.yaml", test_data)
    assert {rule.on_enter for rule in load_task(EXAMPLES / "openfield_task.yaml", "any").rules} <= set(config.classes)


@pytest.mark.long
def test_one_open_field_video_as_a_live_camera(test_data: Path, tmp_path: Path) -> None:
    video = test_data / "openfield_top" / "m3v1mp4.mp4"
    # The shipped model stands in for one trained on this video; what it says of a real mouse is not looked at.
    overrides = [f"cameras.top.path={video}", "task.bundle=demo"]
    result = run(tmp_path, "openfield.yaml", "openfield_task.yaml", overrides, 5.0)
    camera = result.report["cameras"]["top"]
    assert camera["rate_hz"] == pytest.approx(30.0, abs=0.1)
    assert result.report["sets"]["partial"] == 0
    assert result.report["inference"]["steps"] > 100
    assert result.recording is not None
    replay = run_replay(result.recording, make_display(None, headless=True), None, None, None, False, None)
    assert replay.report["replay"]["exact"] is True, replay.report["replay"]


def test_four_videos_as_synchronised_views(test_data: Path, tmp_path: Path) -> None:
    paths = {name: test_data / "four_cameras" / name / f"minimal_{name}.mp4" for name in ("back", "mid", "side", "top")}
    result = run(
        tmp_path, "four_views.yaml", None, [f"cameras.{name}.path={path}" for name, path in paths.items()], None
    )
    assert result.outcome.reason == "sources ended"
    assert {camera["captured"] for camera in result.report["cameras"].values()} == {120}
    sets = result.report["sets"]
    # How many are complete depends on the machine; that every frame is in a set, or said to be late for it, does not.
    n_in_sets = 4 * (sets["complete"] + sets["partial"]) - sum(sets["missing"].values())
    assert n_in_sets + sets["late"] == 480 and sets["complete"] > 0
    assert result.verified is not None and result.verified.ok, result.verified
    assert result.recording is not None
    replay = run_replay(result.recording, make_display(None, headless=True), None, None, None, False, None)
    assert replay.outcome.failures == []
    assert replay.report["sets"]["complete"] == sets["complete"]
