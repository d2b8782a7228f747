"""A session that goes on after its recorder was killed: repaired, a new part, linked both ways, each part whole."""

import json
from pathlib import Path

import pytest
import yaml
from ethostream.acquisition.simulated_lens import simulated_view_model, view_names
from ethostream.deploy.config import load_run
from ethostream.deploy.kept_calibration import keep_calibrations
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.resume import plan_resume, resume
from ethostream.deploy.rig_run import run_rig
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat, read_info
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.verify import verify
from ethostream.sync.calibration_file import read_calibration, write_calibration
from ethostream.sync.errors import RecordingError
from small_rig import Quiet, kill, write_rig

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run whose recorder is killed, and the part that goes on."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "session.yaml").write_text("subject: m42\n")
    run = load_run(write_rig(folder), None, folder / "session.yaml")
    first = run_rig(run, Quiet(kill("recorder", 5)), None, folder / "out", None)
    assert first.outcome.reason == "failed" and first.recording is not None
    assert first.verified is not None and not first.verified.ok
    plan = plan_resume(first.recording)
    assert plan.repaired
    second = resume(first.recording, plan, Quiet(), 1.0, None)
    assert second.outcome.failures == [] and second.recording is not None
    return first.recording, second.recording


def test_the_parts_name_each_other_and_the_gap(parts: tuple[Path, Path]) -> None:
    old, new = (read_info(path) for path in parts)
    assert new.name == f"{old.name}.part2" == old.continued_by
    assert (old.part, new.part, old.session) == (1, 2, new.session)
    assert new.continues is not None and new.continues.name == old.name
    assert old.repaired is not None
    assert new.continues.t_last_ns == old.t_stop_ns == old.repaired.t_last_ns
    assert new.continues.gap_s == round((new.t_start_ns - old.t_stop_ns) / 1e9, 3) > 0
    assert new.config == old.config and new.config["session"]["subject"] == "m42"
    # Each part has its own tie to UTC, and both are kept.
    assert 0 < old.anchor_utc_ns < new.anchor_utc_ns


def test_each_part_verifies_and_says_of_the_other(parts: tuple[Path, Path]) -> None:
    first, second = (verify(path, decode=True) for path in parts)
    assert first.ok and second.ok, first.errors + second.errors
    assert any(f"goes on in {parts[1].name}" in line for line in first.warnings)
    assert any(f"goes on from {parts[0].name}" in line and "nothing is recorded" in line for line in second.warnings)
    assert json.loads((parts[1] / "report.json").read_text())["recording"]["verified"] is True


def test_a_repaired_part_replays(parts: tuple[Path, Path]) -> None:
    result = run_replay(parts[0], Quiet(), None, None, None, False, None)
    assert result.outcome.failures == []
    assert sum(one["captured"] for one in result.report["cameras"].values()) > 0
    n = sum(1 for name in ("cam0", "cam1") for _ in Recording.open(parts[0]).frames(name))
    assert result.report["nodes"]["replay"]["counters"]["frames"] == n


def test_a_part_is_resumed_once(parts: tuple[Path, Path]) -> None:
    with pytest.raises(RecordingError, match=f"goes on in {parts[1].name} already; resume that one"):
        plan_resume(parts[0])
    third = plan_resume(parts[1])
    assert third.part.folder.name == f"{parts[0].name}.part3" and not third.repaired


def test_the_space_of_a_session_is_the_one_it_began_with(tmp_path: Path) -> None:
    """The calibration that the recording keeps counts, not what lies at the old path since."""
    folder = tmp_path / "tracked"
    elsewhere = tmp_path / "cage.toml"
    write_calibration(elsewhere, [simulated_view_model("cage", name, 160, 120) for name in view_names("cage")[:2]], {})
    (tmp_path / "rig.yaml").write_text("name: r\ncameras: {a: {kind: simulated, view: 0}}\n")
    tracking = {"calibration": str(elsewhere), "cage_x_mm": [0, 420], "cage_y_mm": [0, 320]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"tracking": tracking}))
    run = load_run(tmp_path / "rig.yaml", tmp_path / "task.yaml")
    form = RecordedFormat(width=160, height=120, pixel_format="mono8", rate_hz=30)
    writer = RecordingWriter(
        folder, "s", {"a": form}, RecordingConfig(video=False), 10**18, run.model_dump(mode="json")
    )
    keep_calibrations(run.task, folder)
    writer.close(10**18, {}, {})
    elsewhere.write_text("changed since")
    tracking_now = plan_resume(folder).run.task.tracking
    assert tracking_now is not None
    assert read_calibration(tracking_now.calibration).names == view_names("cage")[:2]
