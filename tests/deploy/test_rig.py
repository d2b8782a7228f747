"""The whole rig in real processes: acquired, classified, recorded, verified, and replayed to the same result."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ethostream.deploy import cli
from ethostream.deploy.config import load_run
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.supervised_run import RunResult
from ethostream.inference.config import TaskConfig
from ethostream.inference.rules.chance import Chance
from ethostream.inference.rules.config import RuleConfig
from ethostream.streaming.event_log import EventLog, EventLogWriter, LoggedMessage
from ethostream.streaming.messages import (
    Actuation,
    Arming,
    Behavior,
    Decision,
    FrameHeader,
    FrameSet,
    FrameTruth,
    Heartbeat,
)
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import ACTUATION, ARMING, BEHAVIOR, DECISION, FRAME, TRUTH
from ethostream.streaming.verify import verify
from ethostream.streaming.wire import Received
from small_rig import HoldUp, Quiet, kill, write_rig
from typer.testing import CliRunner

pytestmark = pytest.mark.timeout(300)

TASK = {
    "bundle": "demo",
    "rules": [
        *(
            {"name": f"on_{behavior}", "on_enter": behavior, "refractory_ms": 700, "actuator": "log"}
            for behavior in ("rear", "locomote", "groom", "still")
        ),
        *(
            {
                "name": f"while_{behavior}",
                "on_while": {"behavior": behavior, "every_ms": 150},
                "actuator": "log",
                "jitter_ms": 40,
                "sham": {"fraction": 0.3},
            }
            for behavior in ("rear", "locomote", "groom", "still")
        ),
    ],
    "arming": {"windows": [{"from_s": 0, "to_s": 3}, {"from_s": 3.5}]},
    "actuators": {"log": {"kind": "log"}},
}


def write_files(folder: Path, n_views: int = 2, task: dict[str, Any] | None = None, **parts: Any) -> tuple[Path, Path]:
    """A small simulated rig and its task."""
    camera = {"width": 320, "height": 240, "seed": 7, **parts.pop("camera", {})}
    parts = {"recording": {"codec": "h264_lossless", "reserve_mb": 10}, **parts}
    (folder / "task.yaml").write_text(yaml.safe_dump(TASK if task is None else task))
    return write_rig(folder, n_views, camera, **parts), folder / "task.yaml"


def live(folder: Path, seconds: float, display: Quiet | None = None, **options: Any) -> RunResult:
    rig, task = write_files(folder, **options)
    return run_rig(load_run(rig, task), display or Quiet(), seconds, folder / "out", folder / "report.json")


FAULTS = {"drop_p": 0.02, "duplicate_p": 0.01, "reorder_p": 0.01}


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One live run with injected faults and a model that falls behind, recorded without loss."""
    # Inference stands still for ten frames in the middle of the run: sets pile up, and it has to skip.
    hold_up = HoldUp("inference", 15, FrameTruth, 20)
    return live(tmp_path_factory.mktemp("rig"), 8.0, Quiet(hold_up), camera={"faults": FAULTS})


def test_the_live_run_is_whole(lossless: RunResult) -> None:
    report = lossless.report
    assert lossless.outcome.failures == []
    assert lossless.verified is not None and lossless.verified.ok, lossless.verified and lossless.verified.errors
    assert report["recording"]["verified"] is True
    assert report["sets"]["complete"] > 100
    assert report["sets"]["mispaired"] == 0
    assert report["inference"]["steps"] > 100
    assert report["inference"]["skipped"] > 3, "the model was never late: replay of skips would prove nothing"
    assert report["behavior"]["accuracy"] is not None
    assert report["latency_ms"]["exposure_to_behavior"]["n"] == report["inference"]["steps"]
    assert set(report["cameras"]) == {"cam0", "cam1"}


def test_every_frame_is_written_or_declared(lossless: RunResult) -> None:
    """Injected drops: device frames = written + declared, and what the simulator delivered is in the recording."""
    assert lossless.recording is not None
    recording = Recording.open(lossless.recording)
    truth = {
        (one.message.camera, one.message.seq)
        for one in recording.messages([TRUTH])
        if isinstance(one.message, FrameTruth)
    }
    seen = {
        (one.message.camera, one.message.seq)
        for one in recording.messages([FRAME])
        if isinstance(one.message, FrameHeader)
    }
    assert truth == seen
    n_dropped = 0
    assert lossless.verified is not None
    for name, camera in lossless.report["cameras"].items():
        seqs = sorted(seq for camera_name, seq in seen if camera_name == name)
        account = lossless.verified.cameras[name]
        assert camera["captured"] == len(seqs)
        assert account.n_device == seqs[-1] - seqs[0] + 1 == camera["captured"] + camera["dropped_device"]
        assert account.n_device == account.written + sum(account.declared.values())
        assert account.undeclared == 0
        assert len(list(recording.frames(name))) == account.written
        n_dropped += camera["dropped_device"]
    assert n_dropped > 0, "the faults were not injected"


def test_each_trial_is_rebuilt_from_the_recording(lossless: RunResult) -> None:
    """A session with shams: which trials there were, which acted, and when, from the recorded files alone."""
    assert lossless.recording is not None
    recording = Recording.open(lossless.recording)
    rules = {one["name"]: RuleConfig.model_validate(one) for one in recording.info.config["task"]["rules"]}
    seeds = [rule.seed for rule in rules.values() if rule.draws]
    assert None not in seeds and len(set(seeds)) == len(seeds), "a run draws each seed, and keeps it"
    decisions = [one.message for one in recording.messages([DECISION]) if isinstance(one.message, Decision)]
    taken = {
        one.message.set_id: one.message for one in recording.messages([BEHAVIOR]) if isinstance(one.message, Behavior)
    }
    counts: Counter[str] = Counter()
    for name, rule in rules.items():
        trials = [one for one in decisions if one.rule == name and one.action != "withheld"]
        assert [one.trial for one in trials] == list(range(len(trials)))
        chance = Chance(rule, 0)
        for one in trials:
            jitter_ns = round(chance.jitter_ms(one.trial) * 1e6)
            assert (one.action == "sham") == chance.is_sham(one.trial)
            assert one.t_due_ns == one.t_decided_ns + jitter_ns
            assert one.sources == taken[one.set_id].sources and one.sources
            counts[one.action] += 1
    assert counts["fired"] > 5 and counts["sham"] > 1
    report = lossless.report["triggers"]
    assert (report["fired"], report["sham"]) == (counts["fired"], counts["sham"])
    assert sum(one["withheld"] for one in report["by_rule"].values()) == len(decisions) - counts.total()
    acts = [one.message for one in recording.messages([ACTUATION]) if isinstance(one.message, Actuation)]
    sent = {(one.rule, one.trial): one for one in acts if one.state == "sent"}
    fired = {(one.rule, one.trial): one for one in decisions if one.action == "fired"}
    cancelled = {(one.rule, one.trial) for one in acts if one.state == "cancelled"}
    assert set(sent) | cancelled == set(fired) and not set(sent) & cancelled
    assert all(one.t_sent_ns >= one.t_due_ns == fired[key].t_due_ns for key, one in sent.items())
    arming = [one.message for one in recording.messages([ARMING]) if isinstance(one.message, Arming)]
    said = [(True, "start"), (False, "schedule"), (True, "schedule"), (False, "stop")]
    assert [(one.armed, one.by) for one in arming] == said
    # How soon after its time a change is noticed depends on the machine; that nothing acts in between does not.
    shut_ns, opened_ns = (one.t_ns for one in arming[1:3])
    assert shut_ns - arming[0].t_ns >= 2.9e9 and opened_ns - arming[0].t_ns >= 3.4e9
    assert not [one for one in decisions if one.action != "withheld" and shut_ns < one.t_decided_ns < opened_ns]


@pytest.mark.parametrize("lost", [0, 1], ids=["late", "one header is lost"])
def test_a_set_that_was_logged_before_its_frames_is_counted_once(
    lossless: RunResult, tmp_path: Path, lost: int
) -> None:
    """The log merges what several processes sent, and a busy one comes late. Any model: every set is taken."""
    assert lossless.recording is not None
    folder = tmp_path / "shuffled"
    shutil.copytree(lossless.recording, folder)
    n_lost = 0
    waiting: deque[LoggedMessage] = deque()
    with closing(EventLogWriter(folder / "new.mcap")) as log:

        def write(one: LoggedMessage) -> None:
            log.append(one.topic, one.camera, one.seq, one.body, one.log_time_ns)

        for one in EventLog(lossless.recording / "events.mcap").messages():
            if one.topic is FRAME and n_lost < lost and isinstance(one.message, FrameHeader) and one.message.seq == 60:
                n_lost += 1
            elif one.topic is FRAME:
                waiting.append(one)  # frames come up to six frames late
                if len(waiting) > 6:
                    write(waiting.popleft())
            else:
                write(one)
        for one in waiting:
            write(one)
    (folder / "new.mcap").replace(folder / "events.mcap")
    assert n_lost == lost
    result = run_replay(folder, Quiet(), None, "demo", None, False, None)
    assert result.outcome.failures == []
    assert {key: result.report["sets"][key] for key in ("complete", "partial")} == {
        key: lossless.report["sets"][key] for key in ("complete", "partial")
    }


def test_a_dry_run_decides_as_the_live_run_did(lossless: RunResult, tmp_path: Path) -> None:
    assert lossless.recording is not None
    task = lossless.recording.parents[1] / "task.yaml"
    words = ["rules", "test", str(task), str(lossless.recording), "--compare", "--json", str(tmp_path / "test.json")]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "test.json").read_text())
    assert found["compared"]["differences"] == []
    assert found["compared"]["equal"] == len(found["decisions"]) > 20
    by_rule = lossless.report["triggers"]["by_rule"]
    assert {name: one for name, one in found["totals"].items() if name in by_rule} == by_rule
    assert "decisions as recorded, 0 different" in done.output


@pytest.mark.parametrize("speed", [None, 1.0], ids=["max", "1"])
def test_replay_equals_live(lossless: RunResult, speed: float | None, tmp_path: Path) -> None:
    """Every probability, label, rule decision and trigger, bit for bit."""
    assert lossless.recording is not None
    result = run_replay(lossless.recording, Quiet(), speed, None, None, False, tmp_path / "replay.json")
    replay = json.loads((tmp_path / "replay.json").read_text())["replay"]
    assert result.outcome.failures == []
    assert replay["exact"] is True, replay
    assert replay["behaviors"] > 100
    assert replay["decisions"] > 0
    assert result.report["behavior"]["bouts"] == lossless.report["behavior"]["bouts"]
    # What was decided and armed comes again; what actuators did does not, since none is opened.
    assert lossless.report["triggers"]["actuations"]["sent"] > 5
    assert result.report["triggers"] == lossless.report["triggers"] | {"actuations": {}}


def test_a_replay_that_differs_is_caught(lossless: RunResult, tmp_path: Path) -> None:
    """The comparison can fail: other pixels give other probabilities."""
    import shutil

    from ethostream.streaming.video_writer import VideoWriter

    assert lossless.recording is not None
    copy = tmp_path / "copy"
    shutil.copytree(lossless.recording, copy)
    recording = Recording.open(lossless.recording)
    info = recording.info
    video = copy / info.cameras["cam0"].file
    video.unlink()
    with VideoWriter(video, "h264_lossless", 320, 240, "mono8", 30.0, t_start_ns=info.t_start_ns) as writer:
        for number, (header, image) in enumerate(recording.frames("cam0")):
            writer.write(image if number < 60 else image // 2, header.t_exposure_ns)
    result = run_replay(copy, Quiet(), None, None, None, False, None)
    assert result.report["replay"]["exact"] is False
    assert result.report["replay"]["different"] > 0


def test_another_task_is_run_and_not_compared(lossless: RunResult) -> None:
    """New rules can be tried on an old recording: every set is run, and onsets are as fresh as they were."""
    assert lossless.recording is not None
    rules = [{**rule, "refractory_ms": 0} for rule in TASK["rules"]]
    task = TaskConfig.model_validate({**TASK, "rules": rules})
    result = run_replay(lossless.recording, Quiet(), None, None, task, False, None)
    assert result.outcome.failures == []
    assert result.report["replay"]["exact"] is None
    assert "another task" in result.report["replay"]["why"]
    assert result.report["triggers"]["fired"] > 0
    assert "stale" not in result.report["triggers"]["withheld_by_reason"]
    n_sets = lossless.report["sets"]["complete"] + lossless.report["sets"]["partial"]
    assert result.report["sets"]["complete"] + result.report["sets"]["partial"] == n_sets


def test_a_lossy_recording_is_replayed_and_not_called_different(tmp_path: Path) -> None:
    result = live(tmp_path, 2.0, recording={"codec": "h264", "reserve_mb": 10})
    assert result.recording is not None
    replay = run_replay(result.recording, Quiet(), None, None, None, False, None).report["replay"]
    assert replay["exact"] is None and "h264" in replay["why"]
    assert replay["behaviors"] > 20 and replay["unreplayable"] == 0


def test_a_replay_that_is_stopped_is_not_called_different(lossless: RunResult) -> None:
    def stop(received: Received) -> None:
        if isinstance(received.message, Behavior):
            os.kill(os.getpid(), signal.SIGINT)

    assert lossless.recording is not None
    result = run_replay(lossless.recording, Quiet(stop), 1.0, None, None, False, None)
    assert result.outcome.reason == "interrupted", result.outcome.failures
    assert result.report["replay"]["exact"] is None and "stopped" in result.report["replay"]["why"]


def test_frames_without_pixels_leave_the_rest_comparable(tmp_path: Path) -> None:
    """A recorder that stands still is lapped: that is declared, and replay is exact again from the next state on."""
    hold_up = HoldUp("recorder", 6, FrameSet, 30)
    result = live(tmp_path, 10.0, Quiet(hold_up), bus={"ring_slots": 4})
    assert hold_up.n >= 30
    assert result.recording is not None and result.verified is not None
    assert result.verified.ok, result.verified.errors
    assert sum(one["dropped_declared"] for one in result.report["cameras"].values()) > 20
    replay = run_replay(result.recording, Quiet(), None, None, None, False, None).report["replay"]
    assert replay["exact"] is None and "no pixels" in replay["why"], replay
    assert replay["different"] == 0 and replay["unreplayable"] == replay["missing"] > 10
    assert replay["behaviors"] - replay["not_compared"] > 60


@pytest.mark.parametrize("pixels", ["raw", "jpeg"])
def test_pixels_inside_the_message_over_tcp(tmp_path: Path, pixels: str, unused_tcp_ports: int) -> None:
    result = live(tmp_path, 2.0, bus={"transport": "tcp", "pixels": pixels, "first_port": unused_tcp_ports}, n_views=2)
    assert result.outcome.failures == []
    assert result.verified is not None and result.verified.ok, result.verified and result.verified.errors
    assert result.report["inference"]["steps"] > 20


@pytest.fixture
def unused_tcp_ports() -> int:
    """First of ten ports in a row that are free now."""
    import socket

    for first in range(20_000, 60_000, 97):
        try:
            for port in range(first, first + 10):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    pytest.skip("no ten free ports in a row")


def test_a_camera_that_is_killed_comes_back_and_the_loss_is_declared(tmp_path: Path) -> None:
    result = live(tmp_path, 7.0, Quiet(kill("camera.cam1")))
    assert result.outcome.failures == []
    assert result.outcome.restarts == {"camera.cam1": 1}
    assert result.report["sets"]["partial"] > 0
    assert result.report["sets"]["mispaired"] == 0
    assert result.recording is not None
    epochs = {
        one.message.epoch
        for one in Recording.open(result.recording).messages([FRAME])
        if isinstance(one.message, FrameHeader) and one.message.camera == "cam1"
    }
    assert epochs == {0, 1}
    assert any("camera process failed" in reason for reason in declared_reasons(result.recording))


def declared_reasons(recording: Path) -> list[str]:
    from ethostream.streaming.messages import Gap
    from ethostream.streaming.topics import GAP

    return [one.message.reason for one in Recording.open(recording).messages([GAP]) if isinstance(one.message, Gap)]


def test_an_inference_node_that_is_killed_comes_back_disarmed(tmp_path: Path) -> None:
    killed: list[int] = []
    n_after: list[int] = []
    asked_ns: list[int] = []
    told: list[str] = []
    decisions: list[tuple[int, Decision]] = []

    def act(received: Received) -> None:
        killer(received)
        if isinstance(received.message, Decision):
            decisions.append((received.message.t_decided_ns, received.message))
            if killed and not asked_ns and received.message.set_id >= 1_000_000_000:
                n_after.append(1)
                if len(n_after) == 5:
                    asked_ns.append(received.message.t_decided_ns + 1)
                    arming.start()
        beat = received.message
        if isinstance(beat, Heartbeat) and beat.node == "inference" and beat.epoch == 1 and not killed:
            killed.append(beat.t_ns)

    def person() -> None:
        command = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()", "arm", "--yes"]
        # A model that is too busy to answer in time stays disarmed, and the person tries again.
        while not told or "did not answer" in told[-1]:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            told.append(done.stdout + done.stderr)

    killer = kill("inference")
    # Of a thread of its own: the supervisor, which answers, is in this one.
    arming = threading.Thread(target=person)
    result = live(tmp_path, 12.0, Quiet(act), task={**TASK, "arming": {}})
    arming.join()
    assert result.outcome.failures == []
    assert result.outcome.restarts == {"inference": 1}
    after = [decision for t_ns, decision in decisions if killed and t_ns > killed[0]]
    person = told[-1]
    before_person = [one for one in after if one.t_decided_ns < asked_ns[0]]
    assert before_person and all((one.action, one.reason) == ("withheld", "disarmed") for one in before_person)
    # A person armed it again, and its trials have numbers that none had before.
    assert "armed" in person and "disarmed" not in person, told
    trials = [one.trial for one in after if one.action != "withheld"]
    assert trials and min(trials) == 1_000_000
    # The new process begins from a state of its own, and replay follows it.
    assert result.recording is not None and result.verified is not None and result.verified.ok
    replay = run_replay(result.recording, Quiet(), None, None, None, False, None).report["replay"]
    assert replay["exact"] is True, replay
    set_ids = [
        one.message.set_id
        for one in Recording.open(result.recording).messages([BEHAVIOR])
        if isinstance(one.message, Behavior)
    ]
    assert len(set(set_ids)) == len(set_ids) and max(set_ids) >= 1_000_000_000


def test_a_recorder_that_is_killed_ends_the_run_and_says_so(tmp_path: Path) -> None:
    result = live(tmp_path, 30.0, Quiet(kill("recorder")))
    assert result.outcome.reason == "failed"
    assert any("recorder" in words and "SIGKILL" in words for words in result.outcome.failures)
    assert result.recording is not None
    torn = verify(result.recording)
    assert not torn.ok
    assert list(Recording.open(result.recording).messages([FRAME])), "what was written before opens"


def test_nothing_is_left_after_a_run(lossless: RunResult) -> None:
    assert lossless.recording is not None
    session = lossless.recording.name.rsplit("_", 1)[1]
    assert not psutil.Process().children(recursive=True)
    assert not list(Path("/dev/shm").glob(f"ethostream-{session}-*"))
