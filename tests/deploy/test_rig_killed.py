"""A node of the rig is killed in the middle of a run: what comes back, what is declared, and what is said."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ethostream.deploy.replay_run import run_replay
from ethostream.streaming.messages import Behavior, Decision, FrameHeader, Gap, Heartbeat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import BEHAVIOR, FRAME, GAP
from ethostream.streaming.verify import verify
from ethostream.streaming.wire import Received
from live_rig import TASK, live
from small_rig import Quiet, kill

pytestmark = pytest.mark.timeout(300)


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
