"""A rig whose model is on another host says and records what one with its model does."""

import re
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from ethostream.deploy.config import load_run
from ethostream.deploy.replay_run import run_replay
from ethostream.deploy.supervised_run import RunResult
from ethostream.streaming.keys import load_keys
from ethostream.streaming.messages import Behavior, Crops
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import ARMING, BEHAVIOR, CROPS, DECISION, FRAME_SET
from ethostream.streaming.wire import Received
from ethostream.sync.errors import ConfigError
from live_rig import write_files
from run_end import RunEnd
from small_rig import Quiet
from two_hosts import N_BEFORE, Begun, TwoHosts, link_lost, recorded

pytestmark = pytest.mark.timeout(300)


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
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with closing(TwoHosts(tmp_path_factory.mktemp("hosts"))) as two:
        with closing(CropReader(two)) as reader:
            result = two.run(Stall(two, reader, n_crops=15, n_after=20))
        yield two, result, reader.got


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
