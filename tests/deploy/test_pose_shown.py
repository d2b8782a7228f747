"""Pose sources in what people see: live table, status of the page, report, summary."""

from io import StringIO
from typing import Any

import msgspec
import pytest
from ethostream.deploy.live_state import LiveState
from ethostream.deploy.live_table import plain_line, table
from ethostream.deploy.report import RunReport
from ethostream.deploy.summary import findings, verdict
from ethostream.streaming.messages import CameraStatus, Gap, Message, Pose
from ethostream.streaming.topics import CAMERA_STATUS, GAP, POSE
from ethostream.sync.clock import NS_PER_S
from rich.console import Console

START_NS = 1_700_000_000 * NS_PER_S
N = 60


def pose(seq: int) -> Pose:
    return Pose("tracker", 0, seq, START_NS + seq * NS_PER_S // 30, START_NS, ("a",), ("nose",), bytes(12))


def status(state: Any, **changes: Any) -> CameraStatus:
    one = CameraStatus("tracker", 0, state, 0, N - 1, N, 0, 0, 30.0, START_NS, 0, "poses")
    return msgspec.structs.replace(one, **changes)


def shown(*messages: Message, cameras: tuple[str, ...] = ()) -> Any:
    state = LiveState("rig", cameras)
    for one in messages:
        state.add(one, START_NS + 2 * NS_PER_S)
    return state.snapshot(START_NS + 2 * NS_PER_S)


@pytest.mark.parametrize(("rate_hz", "silent_after_s"), [(30.0, 1.0), (1.0, 2.0), (0.2, 10.0)])
def test_a_slow_source_is_silent_after_two_of_its_periods(rate_hz: float, silent_after_s: float) -> None:
    state = LiveState("rig", (), poses=("tracker",))
    state.add(pose(0), START_NS)
    state.add(status("running", rate_hz=rate_hz), START_NS)

    def shown_after(seconds: float) -> Any:
        now = state.snapshot(START_NS + round(seconds * NS_PER_S))
        return now.poses[0].state, [one.who for one in now.problems]

    assert shown_after(silent_after_s * 0.99) == ("running", [])
    assert shown_after(silent_after_s * 1.01) == ("silent", ["pose source tracker"])


def test_many_sources_are_not_called_cameras() -> None:
    def who(cameras: int, poses: int) -> tuple[str, str]:
        names = tuple(f"cam{i}" for i in range(cameras)), tuple(f"pose{i}" for i in range(poses))
        state = LiveState("rig", names[0], poses=names[1])
        for name in names[0]:
            state.add(status("lost", camera=name, counts="frames"), START_NS)
        for name in names[1]:
            state.add(status("lost", camera=name), START_NS)
        (problem,) = state.snapshot(START_NS).problems
        return problem.who, problem.text

    assert who(3, 0)[0] == "3 cameras" and who(0, 3) == (
        "3 pose sources",
        "lost; look at its log (pose0, pose1, pose2)",
    )
    assert who(2, 1)[0] == "3 sources" and "(camera cam0, camera cam1, pose source pose0)" in who(2, 1)[1]


def text(snapshot: Any) -> str:
    console = Console(file=StringIO(), width=120, force_terminal=False)
    console.print(table(snapshot, "running", 120))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_source_has_a_line_of_its_own() -> None:
    now = shown(*(pose(seq) for seq in range(N)), status("running"))
    (one,) = now.poses
    assert (one.name, one.state, one.captured) == ("tracker", "running", N) and abs(one.rate_hz - 30) < 0.1
    assert now.cameras == () and now.problems == ()
    assert "pose tracker 30.0 Hz, 60 frames" in plain_line(now, "running") and "sets" not in plain_line(now, "running")
    assert "pose source" in text(now) and "tracker" in text(now)
    assert now.t_set_ms == pose(N - 1).t_exposure_ns / 1e6


def test_losses_and_a_lost_source_are_told() -> None:
    now = shown(pose(0), Gap("bus", "tracker", 0, 1, 3, "lost", START_NS), status("lost"), cameras=("cam0",))
    assert now.poses[0].declared == 3 and [one.name for one in now.cameras] == ["cam0"]
    assert now.cameras[0].declared == 0
    assert [(one.who, one.text) for one in now.problems] == [("pose source tracker", "lost; look at its log")]
    assert "sets 0 complete" in plain_line(now, "running")


def reported(*said: tuple[Any, Message], poses: tuple[str, ...] = ("tracker",)) -> RunReport:
    report = RunReport("live", (), poses)
    for topic, message in said:
        report.add(topic, message)
    return report


def test_the_report_counts_a_source_and_not_as_a_camera() -> None:
    poses = [(POSE, pose(seq)) for seq in range(N)]
    found = reported(*poses, (CAMERA_STATUS, status("stopped"))).to_dict()
    assert found["cameras"] == {} and found["seconds"] == round((N - 1) / 30, 3)
    one = found["poses"]["tracker"]
    assert (one["captured"], one["state"], one["dropped_declared"]) == (N, "stopped", 0)
    assert abs(one["rate_hz"] - 30) < 1e-3
    rows = {row.what: row for row in findings(found)}
    assert rows["pose"].level == "ok" and "60 frames of 1 pose source" in rows["pose"].found
    assert "cameras" not in rows and "frame sets" not in rows
    assert verdict([row for row in rows.values() if row.what != "recording"]) == "ok"


def test_what_is_amiss_is_said_in_the_summary() -> None:
    def level(*said: tuple[Any, Message]) -> tuple[str, str]:
        row = next(row for row in findings(reported(*said).to_dict()) if row.what == "pose")
        return row.level, row.found

    assert level() == ("wrong", "0 frames of 1 pose source; lost on the way 0; nothing from tracker")
    assert level((CAMERA_STATUS, status("lost")))[0] == "wrong"
    gap = (GAP, Gap("bus", "tracker", 0, 1, 3, "lost", START_NS))
    assert level((CAMERA_STATUS, status("stopped")), gap) == ("look", "60 frames of 1 pose source; lost on the way 3")
