"""A node of the rig is killed in the middle of a run: what comes back, what is declared, and what is said."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ethostream.deploy.replay_run import run_replay
from ethostream.streaming.messages import Behavior, Decision, FrameHeader, FrameSet, Gap, Heartbeat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import BEHAVIOR, FRAME, GAP
from ethostream.streaming.verify import verify
from ethostream.streaming.wire import Received
from live_rig import TASK, live
from run_end import LIMIT_S, RING_SLOTS, RunEnd
from small_rig import Quiet, kill

pytestmark = pytest.mark.timeout(300)
SECOND_PROCESS = 1_000_000
"""Trials of a process that was started again are numbered from here."""


def test_a_camera_that_is_killed_comes_back_and_the_loss_is_declared(tmp_path: Path) -> None:
    killer, end = kill("camera.cam1"), RunEnd()
    n_after = 0

    def act(received: Received) -> None:
        nonlocal n_after
        killer(received)
        if isinstance(received.message, FrameSet) and received.message.status == "complete":
            n_after += any(one.camera == "cam1" and one.epoch == 1 for one in received.message.sources)
            end.when(n_after >= 10)

    result = live(tmp_path, LIMIT_S, Quiet(act))
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
    end = RunEnd()

    def act(received: Received) -> None:
        killer(received)
        if isinstance(received.message, Decision):
            decisions.append((received.message.t_decided_ns, received.message))
            if killed and not asked_ns and received.message.set_id >= 1_000_000_000:
                n_after.append(1)
                if len(n_after) == 5:
                    asked_ns.append(received.message.t_decided_ns + 1)
                    arming.start()
        end.when(bool(told) and not in_vain() and any(one.trial >= SECOND_PROCESS for _, one in decisions))
        beat = received.message
        if isinstance(beat, Heartbeat) and beat.node == "inference" and beat.epoch == 1 and not killed:
            killed.append(beat.t_ns)

    def in_vain() -> bool:
        """A model that is too busy to answer in time stays disarmed, and the person tries again."""
        return "did not answer" in told[-1]

    def person() -> None:
        command = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()", "arm", "--yes"]
        while not told or in_vain():
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            told.append(done.stdout + done.stderr)

    killer = kill("inference")
    # Of a thread of its own: the supervisor, which answers, is in this one.
    arming = threading.Thread(target=person)
    result = live(tmp_path, LIMIT_S, Quiet(act), task={**TASK, "arming": {}}, bus={"ring_slots": RING_SLOTS})
    if arming.ident is not None:
        arming.join()
    assert result.outcome.reason == "interrupted", (result.outcome, told, len(decisions))
    assert result.outcome.failures == []
    assert result.outcome.restarts == {"inference": 1}
    after = [decision for t_ns, decision in decisions if killed and t_ns > killed[0]]
    answer = told[-1]
    before_person = [one for one in after if one.t_decided_ns < asked_ns[0]]
    assert before_person and all((one.action, one.reason) == ("withheld", "disarmed") for one in before_person)
    # A person armed it again, and its trials have numbers that none had before.
    assert "armed" in answer and "disarmed" not in answer, told
    trials = [one.trial for one in after if one.action != "withheld"]
    assert trials and min(trials) == SECOND_PROCESS
    # The new process begins from a state of its own, and replay follows it.
    assert result.recording is not None and result.verified is not None and result.verified.ok
    replay = run_replay(result.recording, Quiet(), None, None, None, False, None).report["replay"]
    # What the recorder had not taken yet died with the process that was killed; all else is equal.
    assert replay["exact"] is True or 0 < replay["missing"] <= replay["unreplayable"], replay
    assert replay["different"] == 0 and replay["behaviors"] > replay["not_compared"], replay
    set_ids = [
        one.message.set_id
        for one in Recording.open(result.recording).messages([BEHAVIOR])
        if isinstance(one.message, Behavior)
    ]
    assert len(set(set_ids)) == len(set_ids) and max(set_ids) >= 1_000_000_000


def test_a_recorder_that_is_killed_ends_the_run_and_says_so(tmp_path: Path) -> None:
    result = live(tmp_path, LIMIT_S, Quiet(kill("recorder")))
    assert result.outcome.reason == "failed"
    assert any("recorder" in words and "SIGKILL" in words for words in result.outcome.failures)
    assert result.recording is not None
    torn = verify(result.recording)
    assert not torn.ok
    assert list(Recording.open(result.recording).messages([FRAME])), "what was written before opens"
