"""The link between a rig and the host of its model is cut and mended: the rig goes on, disarmed."""

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.supervised_run import RunResult
from ethostream.streaming.messages import Alarm, Arming, Behavior, Decision, FrameSet
from ethostream.streaming.topics import ALARM, ARMING, BEHAVIOR, DECISION, FRAME_SET, PIPELINE_STATE
from ethostream.streaming.wire import Received
from run_end import RunEnd
from small_rig import Quiet
from two_hosts import Begun, TwoHosts, link_lost, recorded

pytestmark = pytest.mark.timeout(300)


class Cutter:
    """Cuts the cable, plugs it in again when both ends have missed the other, and ends the run well after that.

    Args:
        hosts: both.
        n_sets: so many frame sets at least come between.
        n_after: so many behaviours come after the first one of the model that begins anew.
    """

    def __init__(self, hosts: TwoHosts, n_sets: int, n_after: int) -> None:
        self._hosts = hosts
        self._n_sets = n_sets
        self._n_after = n_after
        self._begun = Begun()
        self._end = RunEnd()
        self._cut_ns = 0
        self._plugged = self._anew = self._disarmed = False
        self._alarms: list[str] = []

    def __call__(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Alarm):
            self._alarms.append(message.text)
        if not self._cut_ns:
            if self._begun(message):
                self._hosts.cut()
                self._cut_ns = self._hosts.clock.now_ns()
        elif not self._plugged:
            self._n_sets -= isinstance(message, FrameSet) and message.t_closed_ns > self._cut_ns
            if self._n_sets <= 0 and self._both_silent():
                self._hosts.plug_in()
                self._plugged = True
        elif isinstance(message, Behavior):
            self._n_after -= self._anew
            self._anew = self._anew or after_gap(message)
        elif isinstance(message, Decision):
            self._disarmed |= self._anew and message.reason == "disarmed"
            self._end.when(self._n_after <= 0 and self._disarmed and self._both_told())

    def _both_silent(self) -> bool:
        rig = [is_silent(one) for one in self._alarms if is_silent(one) or is_heard_again(one)]
        model = self._hosts.said()
        out_of_reach = model.rfind("the rig is out of reach") > model.rfind("the rig is in reach again")
        return rig[-1:] == [True] and out_of_reach

    def _both_told(self) -> bool:
        return any(map(is_heard_again, self._alarms)) and any(map(is_in_reach_again, self._alarms))


def is_silent(text: str) -> bool:
    return "is silent: nothing is classified" in text


def is_heard_again(text: str) -> bool:
    return "is heard again" in text and not is_silent(text)


def is_in_reach_again(text: str) -> bool:
    return "the rig is in reach again after" in text


def after_gap(behavior: Behavior) -> bool:
    """The first one after the cut: two seconds and more were not looked at, and the model began anew."""
    return behavior.reset and behavior.n_skipped > 60


def around_gap(behaviors: list[Behavior]) -> tuple[Behavior, Behavior]:
    return next((one, after) for one, after in pairwise(behaviors) if after_gap(after))


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunResult]:
    with closing(TwoHosts(tmp_path_factory.mktemp("hosts"))) as two:
        yield two.run(Cutter(two, n_sets=75, n_after=31))


def test_a_cut_link_is_told_and_the_rig_goes_on(cut: RunResult) -> None:
    assert cut.outcome.failures == [] and cut.outcome.restarts == {}
    assert cut.verified is not None and cut.verified.ok
    texts = [one.text for one in recorded(cut, ALARM)]
    for told in (is_silent, is_heard_again, is_in_reach_again):
        assert any(map(told, texts)), texts


def test_the_model_goes_on_after_the_gap(cut: RunResult) -> None:
    behaviors: list[Behavior] = recorded(cut, BEHAVIOR)
    before, after = around_gap(behaviors)
    assert after.t_exposure_ns - before.t_exposure_ns > 2_000_000_000
    assert after.gap_frames > 60
    assert len([one for one in behaviors if one.set_id > after.set_id]) >= 31
    sets = {one.set_id for one in recorded(cut, FRAME_SET)}
    assert sets.issuperset(range(behaviors[0].set_id, behaviors[-1].set_id + 1)), "frame sets went on all the while"


def test_a_lost_link_disarms_until_a_person_arms(cut: RunResult) -> None:
    said: list[Arming] = recorded(cut, ARMING)
    by_link = [one for one in said if one.by == "link"]
    assert by_link and not any(one.armed for one in by_link)
    decisions: list[Decision] = recorded(cut, DECISION)
    after = [one for one in decisions if one.t_decided_ns > by_link[0].t_ns]
    assert after and {one.reason for one in after} == {"disarmed"}
    last, first = around_gap(recorded(cut, BEHAVIOR))
    assert any(one.set_id > first.set_id for one in after)
    assert any(one.action == "fired" for one in decisions) or link_lost(cut, last.t_decided_ns)


def test_what_the_recording_holds_of_a_cut_link_replays(cut: RunResult) -> None:
    assert cut.recording is not None
    states = recorded(cut, PIPELINE_STATE)
    assert len(states) >= 2, "the chain of what is recorded begins anew after the cut"
    again = run_replay(cut.recording, Quiet(), None, None, None, monitor=False, report_path=None)
    found = again.report["replay"]
    assert found["exact"] is not False and found["different"] == 0, found
    assert found["behaviors"] > 31, "those after the cut, and some before it"
