"""A rig whose model is on another host: real processes, CURVE keys, and a link that is cut."""

import os
import signal
import socket
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
from ethostream.streaming.messages import Arming, Behavior, Crops, Decision, FrameSet, Heartbeat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import ALARM, ARMING, BEHAVIOR, CROPS, DECISION, FRAME_SET, PIPELINE_STATE
from ethostream.streaming.wire import Received
from ethostream.sync.errors import ConfigError
from live_rig import write_files
from small_rig import Quiet

pytestmark = pytest.mark.timeout(300)

FORWARD = Path(__file__).parent / "nodes" / "tcp_forward.py"
ENDS = ("crops", "time", "model")


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


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
        bus = {"keys": str(self.folder / "rig")}
        return write_files(self.folder, remote_model=remote, time=time, bus=bus, **parts)

    def run(self, seconds: float, act: Callable[[Received], None]) -> RunResult:
        rig, task = self.rig()
        return run_rig(load_run(rig, task), Quiet(act), seconds, self.folder / "out", None)

    def change_model(self) -> None:
        """Another process takes over from the one that has gone."""
        self.model.wait(30)
        self.model = self._start_model()

    def close(self) -> None:
        if self.cable is not None:
            self.cut()
        if self.model.poll() is None:
            self.model.terminate()
        self.model.wait(30)


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
    made: list[TwoHosts] = []

    def make() -> TwoHosts:
        made.append(TwoHosts(tmp_path_factory.mktemp("hosts")))
        return made[-1]

    yield make
    for one in made:
        one.close()


Whole = tuple[TwoHosts, RunResult, list[Received]]


class Stall:
    """The model's process stands still for so many frame sets: crops wait for it, and it has to pass over some."""

    def __init__(self, hosts: TwoHosts, n_behaviors: int, n_sets: int) -> None:
        self._hosts = hosts
        self._n_behaviors = n_behaviors
        self._n_sets = n_sets

    def __call__(self, received: Received) -> None:
        if isinstance(received.message, Behavior):
            self._n_behaviors -= 1
            if self._n_behaviors == 0:
                self._hosts.model.send_signal(signal.SIGSTOP)
        elif isinstance(received.message, FrameSet) and self._n_behaviors <= 0:
            self._n_sets -= 1
            if self._n_sets == 0:
                self._hosts.model.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def whole(hosts: Callable[[], TwoHosts]) -> Whole:
    two = hosts()
    reader, stall = CropReader(two), Stall(two, n_behaviors=40, n_sets=12)

    def act(received: Received) -> None:
        reader.read(received)
        stall(received)

    try:
        result = two.run(5.0, act)
    finally:
        reader.close()
    return two, result, reader.got


def recorded(result: RunResult, *topics: Any) -> list[Any]:
    assert result.recording is not None
    return [one.message for one in Recording.open(result.recording).messages(topics)]


def test_the_model_answers_from_the_other_host(whole: Whole) -> None:
    two, result, _ = whole
    assert result.outcome.failures == [] and result.outcome.restarts == {}
    assert result.verified is not None and result.verified.ok, result.verified and result.verified.errors
    behaviors = recorded(result, BEHAVIOR)
    assert len(behaviors) > 60, (two.folder / "model.log").read_text()
    for one in behaviors:
        assert one.t_received_ns <= one.t_taken_ns <= one.t_cropped_ns
        # The model's clock is another one: it may be off by its bound, which on one machine is some 100 us.
        assert one.t_cropped_ns <= one.t_arrived_ns + 20_000_000
        assert one.t_arrived_ns <= one.t_embedded_ns <= one.t_head_ns <= one.t_decided_ns
    assert any(one.action == "fired" for one in recorded(result, DECISION))
    assert [one.by for one in recorded(result, ARMING)][:1] == ["start"]
    assert two.model.wait(30) == 0


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
    assert n > 100
    # The same headers are recorded, without pixels and without the state.
    logged = {one.frame_set.set_id: one for one in recorded(result, CROPS)}
    assert all(logged[one.message.frame_set.set_id].views == one.message.views for one in got)  # type: ignore[attr-defined]
    assert not any(one.state for one in logged.values())


def test_a_replay_with_the_model_here_says_the_same(whole: Whole) -> None:
    _, result, _ = whole
    assert result.recording is not None
    again = run_replay(result.recording, Quiet(), None, None, None, monitor=False, report_path=None)
    found = again.report["replay"]
    assert found["exact"] is True, found
    assert found["behaviors"] == len(recorded(result, BEHAVIOR)) and found["decisions"] > 0


class Cutter:
    """Cuts the cable in the middle of the run, and plugs it in again so many frame sets later."""

    def __init__(self, hosts: TwoHosts, n_behaviors: int, n_sets: int) -> None:
        self._hosts = hosts
        self._n_behaviors = n_behaviors
        self._n_sets = n_sets

    def __call__(self, received: Received) -> None:
        if isinstance(received.message, Behavior):
            self._n_behaviors -= 1
            if self._n_behaviors == 0:
                self._hosts.cut()
        elif isinstance(received.message, FrameSet) and self._n_behaviors <= 0:
            self._n_sets -= 1
            if self._n_sets == 0:
                self._hosts.plug_in()


@pytest.fixture(scope="module")
def cut(hosts: Callable[[], TwoHosts]) -> RunResult:
    two = hosts()
    return two.run(11.0, Cutter(two, n_behaviors=60, n_sets=130))


def test_a_cut_link_is_told_and_the_rig_goes_on(cut: RunResult) -> None:
    assert cut.outcome.failures == [] and cut.outcome.restarts == {}
    assert cut.verified is not None and cut.verified.ok
    texts = [one.text for one in recorded(cut, ALARM)]
    assert any("is silent: nothing is classified" in one for one in texts), texts
    assert any("is heard again" in one for one in texts), texts
    assert any("the rig is in reach again after" in one for one in texts), texts


def test_the_model_goes_on_after_the_gap(cut: RunResult) -> None:
    behaviors: list[Behavior] = recorded(cut, BEHAVIOR)
    away = [
        (one, after) for one, after in pairwise(behaviors) if after.t_exposure_ns - one.t_exposure_ns > 2_000_000_000
    ]
    assert len(away) == 1
    _, after = away[0]
    assert after.reset and after.gap_frames > 60 and after.n_skipped > 60
    assert len([one for one in behaviors if one.set_id > after.set_id]) > 30
    sets = {one.set_id for one in recorded(cut, FRAME_SET)}
    assert sets.issuperset(range(behaviors[0].set_id, behaviors[-1].set_id + 1)), "frame sets went on all the while"


def test_a_lost_link_disarms_until_a_person_arms(cut: RunResult) -> None:
    said: list[Arming] = recorded(cut, ARMING)
    by_link = [one for one in said if one.by == "link"]
    assert by_link and not any(one.armed for one in by_link)
    back_ns = by_link[-1].t_ns
    decisions: list[Decision] = recorded(cut, DECISION)
    after = [one for one in decisions if one.t_decided_ns > back_ns]
    assert after and {one.reason for one in after} == {"disarmed"}
    assert any(one.action == "fired" for one in decisions)


def test_what_the_recording_holds_of_a_cut_link_replays(cut: RunResult) -> None:
    assert cut.recording is not None
    states = recorded(cut, PIPELINE_STATE)
    assert len(states) >= 2, "the chain of what is recorded begins anew after the cut"
    again = run_replay(cut.recording, Quiet(), None, None, None, monitor=False, report_path=None)
    found = again.report["replay"]
    assert found["exact"] is not False and found["different"] == 0, found
    assert found["behaviors"] > 90


class Killer:
    """Ends the model's process, later the cropper's; another model takes over."""

    def __init__(self, hosts: TwoHosts) -> None:
        self._hosts = hosts
        self._cropper = 0
        self.n = 0

    def __call__(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Heartbeat) and message.node == "cropper":
            self._cropper = message.pid
        elif isinstance(message, Behavior):
            self.n += 1
            if self.n == 40:
                self._hosts.model.kill()
                self._hosts.change_model()
            elif self.n == 80:
                os.kill(self._cropper, signal.SIGKILL)


@pytest.fixture(scope="module")
def killed(hosts: Callable[[], TwoHosts]) -> RunResult:
    two = hosts()
    return two.run(16.0, Killer(two))


def test_either_process_may_die(killed: RunResult) -> None:
    assert killed.outcome.failures == [] and killed.outcome.restarts == {"cropper": 1}
    assert killed.verified is not None and killed.verified.ok
    behaviors: list[Behavior] = recorded(killed, BEHAVIOR)
    anew = [n for n, one in enumerate(behaviors) if one.reset and (n == 0 or one.previous_set_id < 0 or one.n_skipped)]
    assert len(anew) >= 3 and len(behaviors) - anew[-1] > 15, [(n, behaviors[n].set_id) for n in anew]
    assert behaviors[-1].set_id >= 1_000_000_000, "sets of the second cropper"
    states = recorded(killed, PIPELINE_STATE)
    assert len(states) >= 3


def test_what_took_over_is_disarmed_and_counts_its_own_trials(killed: RunResult) -> None:
    decisions: list[Decision] = recorded(killed, DECISION)
    behaviors: list[Behavior] = recorded(killed, BEHAVIOR)
    first_of_second = next(one for one in behaviors[1:] if one.previous_set_id < 0)
    before = [one for one in decisions if one.set_id < first_of_second.set_id]
    after = [one for one in decisions if one.set_id >= first_of_second.set_id]
    assert any(one.action == "fired" for one in before)
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
