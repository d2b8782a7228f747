"""The trigger in a rig: arm, start, check the first set, stop first; and the account of pulses and frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from board_processes import BoardProcess
from ethostream.deploy.config import load_run
from ethostream.deploy.process_table import ProcessRow, live_table
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.run_checks import probe_formats
from ethostream.deploy.supervisor import Outcome, Supervisor, new_session_id
from ethostream.streaming.messages import Alarm, ClockStatus, FrameHeader, Heartbeat, SyncPulse
from ethostream.streaming.pulse_account import account_pulses
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import ALARM, CLOCK, SYNC_PULSE
from ethostream.streaming.verify import verify
from ethostream.streaming.wire import Received
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.errors import ConfigError
from small_rig import Quiet, write_rig

pytestmark = pytest.mark.timeout(120)
NODES = Path(__file__).parent / "nodes"


class Watcher:
    """Ends the run after so many pulses."""

    def __init__(self, n_pulses: int) -> None:
        self.n_pulses = n_pulses
        self.seen: list[tuple[str, str, int]] = []
        self.alarms: list[str] = []
        self._pulses = 0

    def on_message(self, received: Received) -> None:
        message = received.message
        if isinstance(message, SyncPulse):
            self._pulses += 1
            self.seen.append(("pulse", message.line, message.pulse))
        elif isinstance(message, FrameHeader):
            self.seen.append(("frame", message.camera, message.seq))
        elif isinstance(message, Alarm):
            self.alarms.append(message.text)
        elif isinstance(message, Heartbeat):
            self.seen.append((message.state, message.node, 0))

    def on_tick(self, phase: str) -> bool:
        return self._pulses >= self.n_pulses


Run = Callable[..., tuple[Outcome, Watcher, Path]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("PYTHONPATH", str(NODES))

    def start(port: str, cameras: dict[str, dict[str, Any]], n_pulses: int = 60, **trigger: Any) -> Any:
        form = {"width": 8, "height": 4, "pixel_format": "mono8", "rate_hz": 50.0}
        nodes = tuple(f"camera.{name}" for name in cameras)
        board = {"kind": "serial", "port": port, "rate_hz": 50.0, "first_frame_timeout_s": 1.5, **trigger}
        config = {"trigger": board, "rate_hz": 50.0, "cameras": list(cameras), "triggered": list(cameras)}
        rig = {"rig": {"trigger": {**board, "cameras": list(cameras)}}}
        recorder = {
            "folder": str(tmp_path / "recording"), "cameras": dict.fromkeys(cameras, form),
            "recording": {"video": False, "reserve_mb": 10}, "run": rig,
        }  # fmt: skip
        rows = [
            *(
                ProcessRow(f"camera.{name}", "trigger_nodes:follower", 0, "never", source=True, config=options)
                for name, options in cameras.items()
            ),
            ProcessRow(
                "trigger", "ethostream.acquisition.trigger_node:main", -1, "never", upstream=nodes, config=config
            ),
            ProcessRow(
                "recorder", "ethostream.streaming.recorder_node:main", 2, "never", upstream=(*nodes, "trigger"),
                config=recorder,
            ),
        ]  # fmt: skip
        watcher = Watcher(n_pulses)
        clock = RigClock(ClockAnchor.take())
        outcome = Supervisor(rows, clock, new_session_id(), watcher, log_folder=tmp_path / "logs").run()
        return outcome, watcher, tmp_path / "recording"

    return start


def test_a_triggered_group_comes_up_in_order_and_is_accounted_for(run: Run, firmware: Path) -> None:
    with BoardProcess.firmware(firmware, 80.0) as board:
        outcome, watcher, folder = run(board.port, {"a": {}, "b": {"base": 1, "drops": [9, 10, 30]}})
    assert outcome.failures == [] and watcher.alarms == []
    seen = watcher.seen
    first_pulse = next(place for place, one in enumerate(seen) if one[0] == "pulse")
    for camera in ("camera.a", "camera.b"):
        assert seen.index(("running", camera, 0)) < first_pulse, "a camera was not armed when the trigger began"
    # The trigger stops first: when it says so, no camera has been told to.
    stopping = seen.index(("stopping", "trigger", 0))
    assert all(seen.index(("stopping", camera, 0)) > stopping for camera in ("camera.a", "camera.b"))
    result = verify(folder)
    assert result.ok, result.errors
    account = account_pulses(Recording.open(folder))
    assert account is not None and account.errors == [] and account.warnings == []
    assert account.n_made >= 60 and account.unrecorded == []
    a, b = account.cameras["a/0"], account.cameras["b/0"]
    assert (a.by, a.n_frames, a.n_paired) == ("number", account.n_made, account.n_made)
    assert (b.n_paired, b.pulses_dropped, b.pulses_without_frame) == (account.n_made - 3, 3, [])


def test_pulses_have_times_and_the_boards_clock_is_published(run: Run, firmware: Path) -> None:
    with BoardProcess.firmware(firmware, 300.0) as board:
        _, _, folder = run(board.port, {"a": {}}, n_pulses=100, inputs=[0])
    recording = Recording.open(folder)
    pulses = [one.message for one in recording.messages([SYNC_PULSE]) if isinstance(one.message, SyncPulse)]
    made = [one for one in pulses if one.line == "trigger"]
    assert [one.pulse for one in made] == list(range(len(made)))
    # Each pulse of output 0 comes back on input 0, up and down.
    looped = [one for one in pulses if one.line == "in0" and one.rising]
    assert [one.board_us // 1000 for one in looped] == pytest.approx([one.board_us // 1000 for one in made], abs=1)
    # The board's clock runs 300 ppm fast, so its 50 Hz is 300 ppm too quick in rig time, to what 2 s can tell.
    span_ns = made[-1].t_ns - made[0].t_ns
    assert span_ns / (len(made) - 1) == pytest.approx(20e6, rel=0.01)
    status = [one.message for one in recording.messages([CLOCK]) if isinstance(one.message, ClockStatus)]
    assert {one.clock for one in status} == {"board.board"} and status[-1].state == "locked"
    assert status[-1].delay_ns > 0 and abs(status[-1].t_ns - status[-1].offset_ns) < 600 * NS_PER_S


def test_a_camera_that_misses_triggers_does_not_verify(run: Run, firmware: Path) -> None:
    with BoardProcess.firmware(firmware) as board:
        outcome, _, folder = run(board.port, {"a": {"misses": [20, 21, 40], "drops": [25]}, "b": {}})
    assert outcome.failures == []
    result = verify(folder)
    assert not result.ok
    assert any(
        "camera a, epoch 0: 3 trigger pulse(s) have no frame" in one and "20-21, 40" in one for one in result.errors
    )
    assert not any("camera b" in one for one in result.errors)


def test_a_camera_that_does_not_follow_is_named_with_the_cure(run: Run, firmware: Path) -> None:
    with BoardProcess.firmware(firmware) as board:
        outcome, _, _ = run(board.port, {"a": {}, "b": {"deaf": True}}, n_pulses=10_000)
    assert outcome.reason == "failed" and outcome.restarts == {}
    (words,) = outcome.failures
    assert "camera b: no frame after" in words and "check the wire from output 0" in words


def test_a_camera_that_runs_freely_is_refused(run: Run, firmware: Path) -> None:
    with BoardProcess.firmware(firmware) as board:
        outcome, watcher, _ = run(board.port, {"a": {}, "b": {"free": True}}, n_pulses=10_000)
    assert outcome.reason == "failed"
    assert any("camera b: gives frames before the trigger was started" in one for one in outcome.failures)
    assert not any(one[0] == "pulse" for one in watcher.seen), "the trigger was started all the same"


@pytest.mark.parametrize(
    ("fault", "number", "words"),
    [
        ("stall", 30, "did not answer"),
        ("freeze", 30, "reports no pulse"),
        ("vanish", 30, "is gone"),
        ("repeat_edge", 30, "after pulse 29"),
        ("undercount", 30, "says that it made"),
    ],
)
def test_a_board_that_fails_ends_the_run_and_is_not_started_again(
    run: Run, fault: str, number: int, words: str
) -> None:
    with BoardProcess.faulty(fault, number) as board:
        n = 60 if fault == "undercount" else 10_000
        outcome, _, _ = run(board.port, {"a": {}}, n_pulses=n, open_timeout_s=1.0)
    assert outcome.reason == "failed" and outcome.restarts == {}
    assert any(words in one for one in outcome.failures), outcome.failures


@pytest.mark.parametrize(("fault", "number", "lost"), [("lose_edge", 30, "30"), ("overcount", 2, None)])
def test_pulses_that_were_not_reported_are_declared(run: Run, fault: str, number: int, lost: str | None) -> None:
    with BoardProcess.faulty(fault, number) as board:
        outcome, watcher, folder = run(board.port, {"a": {}}, inputs=[0])
    assert outcome.failures == []
    n = 1 if fault == "lose_edge" else number
    (alarm,) = [one for one in watcher.alarms if "did not report" in one]
    assert f"made {n} pulse(s)" in alarm
    logged = [one.message for one in Recording.open(folder).messages([ALARM]) if isinstance(one.message, Alarm)]
    assert alarm in [one.text for one in logged]
    account = account_pulses(Recording.open(folder))
    assert account is not None and account.unrecorded == ([] if lost is None else [int(lost)])
    # It may have been an edge of an input line just as well: the edge that follows says so.
    pulses = [one.message for one in Recording.open(folder).messages([SYNC_PULSE])]
    told = {one.pulse: one.n_lost for one in pulses if isinstance(one, SyncPulse) and one.n_lost}
    assert told == ({} if lost is None else {int(lost) + 1: 1})
    assert any("may be among them" in one for one in watcher.alarms) == bool(told)


def test_a_rig_file_with_a_trigger_runs_and_records_its_pulses(tmp_path: Path, firmware: Path) -> None:
    """The whole rig from its file: cameras that run by themselves beside a board whose pulses are recorded."""
    with BoardProcess.firmware(firmware) as board:
        trigger = {"kind": "serial", "port": board.port, "cameras": []}
        rig = write_rig(tmp_path, 1, recording={"video": False, "reserve_mb": 10}, trigger=trigger)
        config = load_run(rig)
        rows = {row.node: row for row in live_table(config, *probe_formats(config), str(tmp_path))}
        assert (rows["trigger"].stop_order, rows["trigger"].restart) == (-1, "never")
        assert "trigger" in rows["recorder"].upstream
        result = run_rig(config, Quiet(), 1.5, tmp_path / "out", None)
    assert result.outcome.failures == [] and result.verified is not None and result.verified.ok, result.verified
    assert result.recording is not None
    account = account_pulses(Recording.open(result.recording))
    assert account is not None and account.n_made > 30 and account.unrecorded == [] and account.cameras == {}


def test_a_trigger_for_a_camera_that_is_not_there_is_refused(tmp_path: Path) -> None:
    rig = {
        "name": "x",
        "cameras": {"cam0": {"kind": "simulated", "view": 0}},
        "trigger": {"kind": "serial", "port": "/dev/ttyACM0", "cameras": ["cam1"]},
    }
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(rig))
    with pytest.raises(ConfigError, match="the rig has no camera cam1"):
        load_run(tmp_path / "rig.yaml")
