"""A whole rig with a camera that is unplugged and comes back, and one that knows only its own clock."""

from typing import Any

import pytest
import yaml
from ethostream.deploy.config import load_run
from ethostream.deploy.rig_run import RunResult, run_rig
from ethostream.streaming.messages import FrameHeader, FrameTruth, Gap
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import FRAME, GAP, TRUTH
from small_rig import Quiet

pytestmark = pytest.mark.timeout(120)

UNPLUG = {"at_s": 1.0, "fault": "unplug", "away_s": 1.5}
RIG = {
    "name": "faulty",
    "cameras": {
        "plain": {"kind": "simulated", "view": 0, "triggered": True},
        "unplugged": {"kind": "simulated", "view": 1, "triggered": True, "faults": {"schedule": [UNPLUG]}},
        "ticking": {
            "kind": "simulated", "view": 2, "triggered": True, "scene": "wall_cage", "animals": 2,
            "behaviors": "extended",
            "device_clock": {"tick_hz": 1e6, "offset_ticks": 123456, "drift_ppm": 60, "jitter_us": 20},
            "transfer_jitter_us": 100,
        },
    },
    "sets": {"deadline_ms": 100},
    "recording": {"codec": "h264_lossless", "reserve_mb": 10},
    "monitor": {"enabled": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("faulty")
    small = {"width": 160, "height": 120, "rate_hz": 30}
    rig: dict[str, Any] = {**RIG, "cameras": {name: {**one, **small} for name, one in RIG["cameras"].items()}}
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    return run_rig(load_run(folder / "rig.yaml"), Quiet(), 8.0, folder / "out", folder / "report.json")


@pytest.fixture(scope="module")
def recorded(run: RunResult) -> dict[str, list[Any]]:
    """Messages by topic."""
    assert run.recording is not None
    recording = Recording.open(run.recording)
    topics = {"frames": FRAME, "truth": TRUTH, "gaps": GAP}
    return {name: [one.message for one in recording.messages([topic])] for name, topic in topics.items()}


def test_the_recording_is_whole_and_no_set_mixes_instants(run: RunResult) -> None:
    assert run.verified is not None
    assert run.verified.ok, run.verified.errors
    assert run.report["sets"]["mispaired"] == 0
    assert run.report["sets"]["complete"] > 20


def test_the_report_tells_how_the_clock_was_followed(run: RunResult) -> None:
    assert set(run.report["clocks"]) == {"camera.ticking"}, "the others have no clock of their own"
    clock = run.report["clocks"]["camera.ticking"]
    assert clock["state"] in ("settling", "locked")
    assert clock["n_steps"] == 0
    assert clock["drift_ppm"] is None or clock["drift_ppm"] == pytest.approx(60, abs=50)


def test_the_unplugged_camera_goes_on_in_the_same_recording_and_its_gap_is_declared(
    recorded: dict[str, list[Any]],
) -> None:
    frames = [one for one in recorded["frames"] if isinstance(one, FrameHeader) and one.camera == "unplugged"]
    truth = {
        (one.epoch, one.seq): one
        for one in recorded["truth"]
        if isinstance(one, FrameTruth) and one.camera == "unplugged"
    }
    instants = [truth[one.epoch, one.seq].instant for one in frames]
    assert all(one.t_exposure_ns == truth[one.epoch, one.seq].t_true_ns for one in frames)
    assert all(one.trigger_id == truth[one.epoch, one.seq].instant for one in frames)
    assert not {k for k in instants if 30 <= k < 75}, "nothing is seen while it is away"
    last = max(one.epoch for one in frames)
    assert last >= 1
    back = [one for one in frames if one.epoch == last]
    assert back[0].seq == truth[last, back[0].seq].instant - 75, "its counter has begun anew"
    assert len(back) > 20
    gaps = [one for one in recorded["gaps"] if isinstance(one, Gap) and one.camera == "unplugged"]
    assert any("unplugged" in one.reason for one in gaps)


def test_a_camera_with_its_own_clock_is_recorded_with_its_ticks(recorded: dict[str, list[Any]]) -> None:
    truth = {one.seq: one for one in recorded["truth"] if one.camera == "ticking"}
    frames = [one for one in recorded["frames"] if one.camera == "ticking"]
    assert len(frames) > 100
    for one in frames:
        assert one.time_source in ("host", "device")
        elapsed_us = truth[one.seq].instant / 30 * 1e6
        assert abs(one.ticks - 123_456 - elapsed_us * 1.00006) < 25
        assert one.t_received_ns > truth[one.seq].t_true_ns
