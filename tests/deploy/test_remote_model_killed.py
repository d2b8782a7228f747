"""The model on another host dies, and so does the cropper on the rig: what takes over is disarmed and goes on."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.supervised_run import RunResult
from ethostream.streaming.messages import Behavior, Decision, Heartbeat
from ethostream.streaming.topics import BEHAVIOR, DECISION, PIPELINE_STATE
from ethostream.streaming.wire import Received
from run_end import RunEnd
from small_rig import Quiet
from two_hosts import Begun, TwoHosts, link_lost, recorded

pytestmark = pytest.mark.timeout(300)
SECOND_CROPPER = 1_000_000_000
"""Sets of a cropper that was started again are numbered from here."""


class Killer:
    """Ends the model's process, later the cropper's; another model takes over, and each goes on for a while."""

    def __init__(self, hosts: TwoHosts, n_each: int) -> None:
        self._hosts = hosts
        self._n_each = n_each
        self._begun = Begun()
        self._end = RunEnd()
        self._cropper = 0
        self._model_killed = self._disarmed = False
        self._n_second_model = self._n_second_cropper = 0

    def __call__(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Heartbeat) and message.node == "cropper" and message.epoch == 0:
            self._cropper = message.pid
        if not self._model_killed:
            if self._begun(message):
                self._model_killed = True
                self._hosts.model.kill()
                self._hosts.change_model()
        elif isinstance(message, Decision):
            self._disarmed |= self._n_second_model > 0 and message.reason == "disarmed"
        elif isinstance(message, Behavior):
            if message.set_id >= SECOND_CROPPER:
                self._n_second_cropper += 1
            elif self._n_second_model or message.previous_set_id < 0:
                self._n_second_model += 1
        if self._n_second_model >= self._n_each and self._disarmed and self._cropper > 0:
            os.kill(self._cropper, signal.SIGKILL)
            self._cropper = -1
        self._end.when(self._n_second_cropper >= self._n_each)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunResult]:
    with closing(TwoHosts(tmp_path_factory.mktemp("hosts"))) as two:
        yield two.run(Killer(two, n_each=20))


def test_either_process_may_die(killed: RunResult) -> None:
    assert killed.outcome.failures == [] and killed.outcome.restarts == {"cropper": 1}
    assert killed.verified is not None and killed.verified.ok
    behaviors: list[Behavior] = recorded(killed, BEHAVIOR)
    first_of = [
        0,
        next(n for n, one in enumerate(behaviors) if n and one.previous_set_id < 0),
        next(n for n, one in enumerate(behaviors) if one.set_id >= SECOND_CROPPER),
    ]
    assert first_of == sorted(set(first_of)) and all(behaviors[n].reset for n in first_of), first_of
    # What crops for a model may begin anew, and the model goes on with the trials that it counts.
    assert [behaviors[n].epoch for n in first_of] == [0, 1, 1]
    assert len(behaviors) - first_of[-1] >= 20
    states = recorded(killed, PIPELINE_STATE)
    assert len(states) >= 3


def test_what_took_over_is_disarmed_and_counts_its_own_trials(killed: RunResult) -> None:
    decisions: list[Decision] = recorded(killed, DECISION)
    behaviors: list[Behavior] = recorded(killed, BEHAVIOR)
    first_of_second = next(one for one in behaviors[1:] if one.previous_set_id < 0)
    before = [one for one in decisions if one.set_id < first_of_second.set_id]
    after = [one for one in decisions if one.set_id >= first_of_second.set_id]
    assert any(one.action == "fired" for one in before) or link_lost(killed, first_of_second.t_decided_ns)
    assert after and {one.reason for one in after} == {"disarmed"}


def test_what_the_recording_holds_of_them_replays(killed: RunResult) -> None:
    assert killed.recording is not None
    again = run_replay(killed.recording, Quiet(), None, None, None, monitor=False, report_path=None)
    found = again.report["replay"]
    assert found["exact"] is not False and found["different"] == 0, found
