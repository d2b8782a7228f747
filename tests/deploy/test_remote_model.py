"""A rig whose model is on another host: real processes, CURVE keys, and a link that is cut."""

import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from ethostream.deploy.config import load_run
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.rig_run import run_rig
from ethostream.deploy.supervised_run import RunResult
from ethostream.streaming.keys import allow_key, load_keys, make_keys
from ethostream.streaming.messages import Alarm, Arming, Behavior, Crops, Decision, FrameSet, Heartbeat, Message
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import ALARM, ARMING, BEHAVIOR, CROPS, DECISION, FRAME_SET, PIPELINE_STATE
from ethostream.streaming.wire import Received
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import ConfigError
from free_ports import free_ports
from live_rig import write_files
from run_end import LIMIT_S, RING_SLOTS, RunEnd
from small_rig import Quiet

pytestmark = pytest.mark.timeout(300)

FORWARD = Path(__file__).parent / "nodes" / "tcp_forward.py"
ENDS = ("crops", "time", "model")
SECOND_CROPPER = 1_000_000_000
"""Sets of a cropper that was started again are numbered from here."""


N_BEFORE = 40
"""Behaviours before anything is done to a link or a process."""


class TwoHosts:
    """Keys of a rig's and of a model's host, the cable between them, and the model's process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for me in ("rig", "gpu"):
            make_keys(folder / me, me)
        allow_key(folder / "rig", folder / "gpu" / "gpu.key")
        allow_key(folder / "gpu", folder / "rig" / "rig.key")
        ports = free_ports(2 * len(ENDS))
        self.near = dict(zip(ENDS, ports[: len(ENDS)], strict=True))
        self.far = dict(zip(ENDS, ports[len(ENDS) :], strict=True))
        """The same three through the cable."""
        self.clock = RigClock(ClockAnchor.take())
        """Near rig time: both go on from the same clocks."""
        self.cable: subprocess.Popen[str] | None = None
        self.plug_in()
        self.model = self._start_model()

    def plug_in(self) -> None:
        pairs = [f"{self.far[end]}:{self.near[end]}" for end in ENDS]
        self.cable = subprocess.Popen([sys.executable, str(FORWARD), *pairs], stdout=subprocess.PIPE, text=True)
        assert self.cable.stdout is not None
        assert self.cable.stdout.readline() == "ready\n"

    def cut(self) -> None:
        assert self.cable is not None and self.cable.stdout is not None
        self.cable.kill()
        self.cable.wait()
        self.cable.stdout.close()
        self.cable = None

    def _start_model(self) -> "subprocess.Popen[bytes]":
        addresses = [
            *("--crops", f"tcp://127.0.0.1:{self.far['crops']}", "--time", f"tcp://127.0.0.1:{self.far['time']}"),
            *("--publish", f"tcp://127.0.0.1:{self.near['model']}"),
        ]
        command = [sys.executable, "-c", "from ethostream.deploy.entry import main; main()", "infer", *addresses]
        with (self.folder / "model.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--keys", str(self.folder / "gpu"), "--once"], stdout=log, stderr=subprocess.STDOUT
            )

    def rig(self, **parts: Any) -> tuple[Path, Path]:
        remote = {
            "crops": f"tcp://127.0.0.1:{self.near['crops']}",
            "model": f"tcp://127.0.0.1:{self.far['model']}",
        }
        time = {"serve": f"tcp://127.0.0.1:{self.near['time']}"}
        bus = {"keys": str(self.folder / "rig"), "ring_slots": RING_SLOTS}
        return write_files(self.folder, remote_model=remote, time=time, bus=bus, **parts)

    def run(self, act: Callable[[Received], None]) -> RunResult:
        """Until ``act`` ends it."""
        rig, task = self.rig()
        result = run_rig(load_run(rig, task), Quiet(act), LIMIT_S, self.folder / "out", None)
        assert result.outcome.reason == "interrupted", f"{result.outcome}\n{self.said()}"
        return result

    def said(self) -> str:
        """The model's log."""
        return (self.folder / "model.log").read_text()

    def change_model(self) -> None:
        """Another process takes over from the one that has gone."""
        self.model.wait(30)
        self.model = self._start_model()

    def close(self) -> None:
        if self.cable is not None:
            self.cut()
        if self.model.poll() is None:
            self.model.send_signal(signal.SIGCONT)  # one that stands still does not hear that it shall end
            self.model.terminate()
        try:
            self.model.wait(30)
        except subprocess.TimeoutExpired:
            self.model.kill()
            self.model.wait()


class CropReader:
    """A ZeroMQ program of the model's host that reads the crops as well."""

    def __init__(self, hosts: TwoHosts) -> None:
        self.got: list[Received] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        keys = load_keys(hosts.folder / "gpu")
        address = f"tcp://127.0.0.1:{hosts.far['crops']}"
        self._bus = EverySubscriber(self._context, [address], [CROPS], keys=keys, server="rig")

    def read(self, _received: Received) -> None:
        self.got += self._bus.receive(0)

    def close(self) -> None:
        self._bus.close()
        self._context.term()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], TwoHosts]]:
    with ExitStack() as stack:

        def make() -> TwoHosts:
            two = TwoHosts(tmp_path_factory.mktemp("hosts"))
            stack.callback(two.close)
            return two

        yield make


class Begun:
    """Whether there are enough behaviours, and a rule has fired; none does any more where the link was lost already."""

    def __init__(self) -> None:
        self._n_behaviors = 0
        self._fired = False

    def __call__(self, message: Message) -> bool:
        self._n_behaviors += isinstance(message, Behavior)
        self._fired |= isinstance(message, Decision) and message.action == "fired"
        self._fired |= isinstance(message, Arming) and message.by == "link"
        return self._fired and self._n_behaviors >= N_BEFORE


Whole = tuple[TwoHosts, RunResult, list[Received]]


class Stall:
    """The model's process stands still for so many cropped sets: they wait for it, and it has to pass over some.

    Ends the run when it has gone on for so many behaviours, and crops have come here as well.
    """

    def __init__(self, hosts: TwoHosts, reader: CropReader, n_crops: int, n_after: int) -> None:
        self._hosts = hosts
        self._reader = reader
        self._n_crops = n_crops
        self._n_after = n_after
        self._begun = Begun()
        self._end = RunEnd()
        self._stopped_ns = 0
        self._last_set = -1

    def __call__(self, received: Received) -> None:
        message = received.message
        self._reader.read(received)
        if not self._stopped_ns:
            if self._begun(message):
                self._hosts.model.send_signal(signal.SIGSTOP)
                self._stopped_ns = self._hosts.clock.now_ns()
        elif self._last_set < 0:
            self._n_crops -= isinstance(message, Crops) and message.t_cropped_ns > self._stopped_ns
            if self._n_crops == 0 and isinstance(message, Crops):
                self._hosts.model.send_signal(signal.SIGCONT)
                self._last_set = message.frame_set.set_id
        else:
            self._n_after -= isinstance(message, Behavior) and message.set_id > self._last_set
            self._end.when(self._n_after <= 0 and len(self._reader.got) >= N_BEFORE)


@pytest.fixture(scope="module")
def whole(hosts: Callable[[], TwoHosts]) -> Whole:
    two = hosts()
    reader = CropReader(two)
    try:
        result = two.run(Stall(two, reader, n_crops=15, n_after=20))
    finally:
        reader.close()
    return two, result, reader.got


def recorded(result: RunResult, *topics: Any) -> list[Any]:
    assert result.recording is not None
    return [one.message for one in Recording.open(result.recording).messages(topics)]


def link_lost(result: RunResult, before_ns: float = math.inf) -> bool:
    """Whether the link was silent for two seconds: where nobody cut it, a process was held up for so long."""
    return any(one.by == "link" and one.t_ns < before_ns for one in recorded(result, ARMING))


def test_the_model_answers_from_the_other_host(whole: Whole) -> None:
    two, result, _ = whole
    assert result.outcome.failures == [] and result.outcome.restarts == {}
    assert result.verified is not None and result.verified.ok, result.verified and result.verified.errors
    behaviors = recorded(result, BEHAVIOR)
    # The model's clock is another one: it may be off by its bound, which it tells, and by what it drifts.
    known = re.search(r"rig time is known to (\d+) us", two.said())
    assert known is not None
    bound_ns = int(known[1]) * 1000 + 20_000_000
    for one in behaviors:
        assert one.t_received_ns <= one.t_taken_ns <= one.t_cropped_ns
        assert one.t_cropped_ns <= one.t_arrived_ns + bound_ns
        assert one.t_arrived_ns <= one.t_embedded_ns <= one.t_head_ns <= one.t_decided_ns
    assert any(one.action == "fired" for one in recorded(result, DECISION)) or link_lost(result)
    assert "start" in [one.by for one in recorded(result, ARMING)]
    assert two.model.wait(60) == 0


def test_no_set_is_passed_over_in_silence(whole: Whole) -> None:
    _, result, _ = whole
    behaviors = recorded(result, BEHAVIOR)
    first, last = behaviors[0].set_id, behaviors[-1].set_id
    sets = [one for one in recorded(result, FRAME_SET) if first < one.set_id <= last]
    assert len(sets) == sum(1 + one.n_skipped for one in behaviors[1:])
    assert all(after.previous_set_id == one.set_id for one, after in pairwise(behaviors))
    # While it stood still sets were cropped that it has not looked at; the croppers remember them, also in a replay.
    cropped = {one.frame_set.set_id for one in recorded(result, CROPS)}
    assert len([one for one in sets if one.set_id in cropped]) > len(behaviors)


def test_the_crops_on_the_wire_are_those_of_the_recorded_frames(whole: Whole) -> None:
    _, result, got = whole
    assert result.recording is not None
    recording = Recording.open(result.recording)
    frames = {
        (header.camera, header.epoch, header.seq): image
        for camera in recording.info.cameras
        for header, image in recording.frames(camera)
    }
    n = 0
    for received in got:
        crops = received.message
        assert isinstance(crops, Crops) and received.pixels is not None
        begin = 0
        for view in crops.views:
            source = next(one for one in crops.frame_set.sources if one.camera == view.view)
            size = view.height_px * view.width_px
            pixels = np.frombuffer(received.pixels[begin : begin + size], np.uint8)
            begin += size
            image = frames.get((source.camera, source.epoch, source.seq))
            if image is not None:
                box = image[view.y_px : view.y_px + view.height_px, view.x_px : view.x_px + view.width_px]
                assert np.array_equal(pixels.reshape(box.shape), box)
                n += 1
        assert begin == len(received.pixels)
    assert n > 0
    # The same headers are recorded, without pixels and without the state.
    logged = {one.frame_set.set_id: one for one in recorded(result, CROPS)}
    assert all(logged[one.message.frame_set.set_id].views == one.message.views for one in got)  # type: ignore[attr-defined]
    assert not any(one.state for one in logged.values())


def test_a_replay_with_the_model_here_says_the_same(whole: Whole) -> None:
    _, result, _ = whole
    assert result.recording is not None
    again = run_replay(result.recording, Quiet(), None, None, None, monitor=False, report_path=None)
    found = again.report["replay"]
    assert found["exact"] is True or (link_lost(result) and found["exact"] is None), found
    assert found["different"] == 0 and found["decisions"] > 0
    assert found["behaviors"] == len(recorded(result, BEHAVIOR)) - found["unreplayable"]


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
def cut(hosts: Callable[[], TwoHosts]) -> RunResult:
    two = hosts()
    return two.run(Cutter(two, n_sets=75, n_after=31))


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
def killed(hosts: Callable[[], TwoHosts]) -> RunResult:
    two = hosts()
    return two.run(Killer(two, n_each=20))


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


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"time": {}}, "set time.serve"),
        ({"remote_model": {"crops": "tcp://10.1.2.3:17650", "model": "tcp://127.0.0.1:2"}}, "remote_model.crops"),
        ({"remote_model": {"crops": "tcp://127.0.0.1:1", "model": "tcp://10.1.2.3:2"}}, "remote_model.model"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    remote = {"crops": "tcp://127.0.0.1:17650", "model": "tcp://127.0.0.1:17651"}
    rig, task = write_files(tmp_path, **{"remote_model": remote, "time": {"serve": "tcp://127.0.0.1:17652"}, **parts})
    with pytest.raises(ConfigError, match=words):
        load_run(rig, task)
