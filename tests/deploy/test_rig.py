"""One run of the whole rig in real processes: acquired, classified, recorded, verified, and replayed to the same."""

import json
import os
import shutil
import signal
from collections import Counter, deque
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from ethostream.deploy import cli
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.supervised_run import RunResult
from ethostream.inference.config import TaskConfig
from ethostream.inference.rules.chance import Chance
from ethostream.inference.rules.config import RuleConfig
from ethostream.streaming.event_log import EventLog, EventLogWriter, LoggedMessage
from ethostream.streaming.messages import Actuation, Arming, Behavior, Decision, FrameHeader, FrameSet, FrameTruth
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.ring import SHM
from ethostream.streaming.topics import ACTUATION, ARMING, BEHAVIOR, DECISION, FRAME, FRAME_SET, TRUTH
from ethostream.streaming.video_writer import VideoWriter
from ethostream.streaming.wire import Received
from live_rig import TASK, live
from small_rig import HoldUp, Quiet
from typer.testing import CliRunner

pytestmark = pytest.mark.timeout(300)

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


def test_a_set_is_announced_before_what_was_made_of_it(lossless: RunResult) -> None:
    """Inference acts before it publishes anything; who reads the bus hears of the set first all the same."""
    assert lossless.recording is not None
    announced: set[int] = set()
    last: dict[int, str] = {}
    for one in Recording.open(lossless.recording).messages([FRAME_SET, BEHAVIOR, DECISION]):
        message = one.message
        if isinstance(message, FrameSet):
            assert message.set_id not in announced
            announced.add(message.set_id)
        elif isinstance(message, Behavior | Decision):
            assert message.set_id in announced
            assert not (isinstance(message, Behavior) and last.get(message.set_id) == "decision")
            last[message.set_id] = "decision" if isinstance(message, Decision) else "behavior"
    assert len(last) > 100


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
    decided: list[Decision] = []

    def keep(received: Received) -> None:
        if isinstance(received.message, Decision):
            decided.append(received.message)

    result = run_replay(lossless.recording, Quiet(keep), None, None, task, False, None)
    assert result.outcome.failures == []
    assert result.report["replay"]["exact"] is None
    assert "another task" in result.report["replay"]["why"]
    assert result.report["triggers"]["fired"] > 0
    # Judged as if decided when the set closed, which was late only where the machine itself stood still.
    closed = [one.message for one in Recording.open(lossless.recording).messages([FRAME_SET])]
    max_age_ns = RuleConfig.model_fields["max_age_ms"].default * 1e6
    late = {
        one.set_id
        for one in closed
        if isinstance(one, FrameSet)
        and one.t_closed_ns - min(source.t_exposure_ns for source in one.sources) > max_age_ns
    }
    assert len(decided) > 10 and {one.set_id for one in decided if one.reason == "stale"} <= late
    n_sets = lossless.report["sets"]["complete"] + lossless.report["sets"]["partial"]
    assert result.report["sets"]["complete"] + result.report["sets"]["partial"] == n_sets


def test_a_replay_that_is_stopped_is_not_called_different(lossless: RunResult) -> None:
    def stop(received: Received) -> None:
        if isinstance(received.message, Behavior):
            os.kill(os.getpid(), signal.SIGINT)

    assert lossless.recording is not None
    result = run_replay(lossless.recording, Quiet(stop), 1.0, None, None, False, None)
    assert result.outcome.reason == "interrupted", result.outcome.failures
    assert result.report["replay"]["exact"] is None and "stopped" in result.report["replay"]["why"]


def test_nothing_is_left_after_a_run(lossless: RunResult) -> None:
    assert lossless.recording is not None
    session = lossless.recording.name.rsplit("_", 1)[1]
    assert not psutil.Process().children(recursive=True)
    assert not list(SHM.glob(f"ethostream-{session}-*"))
