"""Both ends of the link to a model on another host, in one thread: real sockets, real time exchange, a real bundle."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ethostream.inference.crop_outlet import CropOutlet, CropperNodeConfig
from ethostream.inference.remote_model_node import RemoteModelNodeConfig, _RemoteModelNode
from ethostream.inference.state_bytes import pack_state
from ethostream.streaming.frames import FrameReceiver
from ethostream.streaming.messages import (
    Actuation,
    Alarm,
    Arming,
    Behavior,
    Control,
    Crops,
    CropSession,
    FrameSet,
    Message,
    PipelineState,
    SourceFrame,
    SyncPulse,
)
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.streaming.time_server import TimeServer
from ethostream.streaming.topics import CONTROL, CROPS, SYNC_PULSE
from ethostream.streaming.wire import Received, decode
from ethostream.sync.clock import ClockAnchor

SHAPE = (60, 80)
PERIOD_NS = round(1e9 / 30.0)
PATIENCE_NS = 30_000_000_000
"""What has not come by then never will."""
LINE = {"line": {"kind": "level", "line": "in0", "silent_after_s": 60.0}}


def node_context(node: str, endpoint: str) -> NodeContext:
    anchor = ClockAnchor.take()
    return NodeContext(
        NodeSpec(
            node=node,
            entry="none:none",
            session="ab12",
            anchor_utc_ns=anchor.utc_ns,
            anchor_monotonic_ns=anchor.monotonic_ns,
            endpoints={node: endpoint},
            parent_pid=os.getppid(),
        )
    )


class Hosts:
    """A rig's cropper and a model's process, each turned by the test."""

    def __init__(self, folder: Path, bundle: Path, scene: Callable[..., Any], stack: ExitStack, **task: Any) -> None:
        self.scene = scene
        self.rig = node_context("cropper", f"ipc://{folder}/c")
        self.gpu = node_context("model", "tcp://127.0.0.1:*")
        stack.callback(self.rig.close)
        stack.callback(self.gpu.close)
        self.server = stack.enter_context(TimeServer(self.rig.zmq, "tcp://127.0.0.1:*", self.rig.clock, "s"))
        config = {
            "task": {
                "bundle": str(bundle),
                "rules": [{"name": "r", "on_enter": "move", "actuator": "line"}],
                "actuators": {"line": {"kind": "log"}},
                **task,
            },
            "views": {"cam0": list(SHAPE)},
            "rate_hz": 30.0,
            "remote": {"crops": "tcp://127.0.0.1:0", "model": self.gpu.publisher.endpoint},
        }
        self.outlet = stack.enter_context(CropOutlet(self.rig, CropperNodeConfig.model_validate(config)))
        self.publisher = self.outlet._publisher
        at = self.publisher.endpoint
        self.node = _RemoteModelNode(self.gpu, RemoteModelNodeConfig(crops=at, time=self.server.endpoint))
        stack.callback(lambda: self.node._end("the test ends"))
        self.crops, self.words = self.node._connect()
        stack.enter_context(self.crops)
        stack.enter_context(self.words)
        self.on_rig = listen(self.rig)
        self.on_gpu = listen(self.gpu)
        self.t_ns = self.rig.clock.now_ns()
        self.n = 0

    def turn(self) -> None:
        self.server.serve(0)
        self.outlet.tick()
        self.node._turn(self.crops, self.words)
        self.gpu.beat()

    def until(self, done: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> None:
        end_ns = self.rig.clock.now_ns() + PATIENCE_NS
        while self.rig.clock.now_ns() < end_ns:
            if done():
                return
            meanwhile()
            self.turn()
        raise AssertionError(f"never came; the rig heard {self.on_rig[-5:]}")

    def frame_set(self) -> FrameSet:
        self.n += 1
        self.t_ns += PERIOD_NS
        source = SourceFrame("cam0", 0, self.n, self.t_ns, 0, self.t_ns)
        return FrameSet(self.n, "complete", (source,), (), self.t_ns, self.t_ns)

    def step(self, image: Any = None) -> None:
        """A set as `live_sets.py` hands it over."""
        one = self.frame_set()
        if self.outlet.needs_state:
            self.outlet.save_state(one.set_id)
        images = {"cam0": self.scene(self.n, SHAPE) if image is None else image}
        self.outlet.step(one, {}, images, FrameReceiver(), 0, lambda: None)

    def begin(self) -> None:
        """Until the model answers, and the rig has heard that it saved its state."""
        self.until(lambda: self.outlet.ready)
        self.until(lambda: self.behaviors() and not self.outlet._link.needs_state, self.step)

    def hear_again(self) -> None:
        """Until the model has heard the rig twice more, and what it may have said of that has come."""
        model = self.node._model
        assert model is not None
        for _ in range(2):
            said_ns = model._said.t_ns
            self.until(lambda said_ns=said_ns: model._said.t_ns > said_ns)
        n = len(self.behaviors())
        self.until(lambda: len(self.behaviors()) > n, self.step)

    def of(self, kind: type[Message]) -> list[Any]:
        return [one for one in self.on_rig if isinstance(one, kind)]

    def behaviors(self) -> list[Behavior]:
        return self.of(Behavior)

    def alarms(self, words: str) -> list[Alarm]:
        return [one for one in self.of(Alarm) if words in one.text]

    @property
    def armed(self) -> tuple[bool, str]:
        said = self.of(Arming)
        return (said[-1].armed, said[-1].by) if said else (True, "")


def listen(context: NodeContext) -> list[Message]:
    said: list[Message] = []
    context.on_publish = lambda topic, camera, body: said.append(decode(topic.key(camera), body).message)
    return said


@pytest.fixture
def make(
    tmp_path_factory: pytest.TempPathFactory, write_tiny_bundle: Callable[..., Path], scene: Callable[..., Any]
) -> Iterator[Callable[..., Hosts]]:
    with ExitStack() as stack:
        yield lambda **task: Hosts(tmp_path_factory.mktemp("h"), write_tiny_bundle(n_views=1), scene, stack, **task)


def test_a_model_that_goes_in_mid_run_is_missed_at_once(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    hosts.node._end("the model's process ends")
    hosts.until(lambda: hosts.alarms("has left the run"))
    assert hosts.alarms("has left the run")[0].severity == "error" and not hosts.outlet.ready
    assert hosts.armed == (False, "link")
    released = [one.reason for one in hosts.of(Actuation) if one.state == "released"]
    assert released == ["the model's process ends"]
    # It works for the run again, disarmed and under a number of its own; when it goes again, that is told again.
    n = len(hosts.behaviors())
    hosts.until(lambda: len(hosts.behaviors()) > n, hosts.step)
    assert hosts.outlet._link.n_models == 2
    assert [hosts.behaviors()[place].epoch for place in (0, n)] == [0, 1]
    hosts.node._end("the model's process ends")
    hosts.until(lambda: len(hosts.alarms("has left the run")) == 2)


def test_a_model_that_goes_at_the_end_is_no_fault(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    hosts.step()
    hosts.outlet._link.ending = True
    hosts.outlet._say(ends=True)
    last = hosts.n
    hosts.until(lambda: hosts.node._n_ended)
    # What was sent before the end was stepped on.
    assert [one.set_id for one in hosts.on_gpu if isinstance(one, Behavior)][-1] == last
    hosts.until(lambda: hosts.outlet._link.heard == 0)
    assert not hosts.alarms("the model at")
    hosts.until(lambda: [one for one in hosts.of(Actuation) if one.reason == "the run ends"])


def test_the_end_is_said_though_no_model_is_heard(make: Callable[..., Hosts]) -> None:
    hosts = make()
    got: list[Message] = []

    def read() -> bool:
        got.extend(one.message for one in hosts.words.receive(20))
        return bool(got)

    for _ in range(200):
        hosts.outlet.tick()
        if read():
            break
    hosts.outlet.rest("the run ends")
    for _ in range(200):
        if any(isinstance(one, CropSession) and one.ends for one in got):
            return
        read()
    raise AssertionError("nobody said that the run has ended")


def test_a_lost_disarm_is_obeyed_all_the_same(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    assert hosts.armed[0]
    hosts.outlet.control(Control("disarm"))
    for _ in range(200):  # read here, it is lost to the model
        if any(isinstance(one.message, Control) for one in hosts.words.receive(20)):
            break
    hosts.until(lambda: hosts.armed == (False, "person"))
    # Once: an arm that comes after it is not undone.
    hosts.until(lambda: hosts.armed == (True, "person"), lambda: hosts.outlet.control(Control("arm")))
    hosts.hear_again()
    assert hosts.armed == (True, "person")
    # Nor is one that comes just after a disarm that was not lost.
    n = len(hosts.of(Arming))
    hosts.outlet.control(Control("disarm"))
    hosts.outlet.control(Control("arm"))
    hosts.until(lambda: len(hosts.of(Arming)) >= n + 2)
    hosts.hear_again()
    assert [one.armed for one in hosts.of(Arming)[n:]] == [False, True]


def test_a_loss_among_commands_disarms(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    hosts.outlet.control(Control("arm"))
    hosts.until(lambda: hosts.armed == (True, "person"))
    hosts.publisher._sequences[CONTROL.key()] += 1
    hosts.outlet._n_controls += 1
    hosts.outlet.control(Control("arm"))
    hosts.until(lambda: hosts.armed == (False, "link"))
    hosts.outlet.control(Control("arm"))
    hosts.until(lambda: hosts.armed == (True, "person"))


def test_who_is_heard_late_is_not_heard(make: Callable[..., Hosts]) -> None:
    """What comes over a link that holds back messages says nothing of now: it must not keep the rules armed."""
    hosts = make()
    hosts.begin()
    model = hosts.node._model
    assert model is not None and model.linked
    old = msgspec.structs.replace(model._said, t_ns=model._said.t_ns - 2_100_000_000)
    model.hear(old)
    assert not model.linked and not model.silent
    model.tick()
    hosts.until(lambda: hosts.armed == (False, "link"))


def test_the_first_set_after_a_cut_is_not_stepped_on_without_a_state(make: Callable[..., Hosts]) -> None:
    """The word that the link is back, and a set that left the rig before it knew of the cut, come in one turn."""
    hosts = make()
    hosts.begin()
    model = hosts.node._model
    assert model is not None
    said = model._said
    model.hear(msgspec.structs.replace(said, t_ns=said.t_ns - 2_100_000_000))
    model.tick()
    hosts.step()
    first, sets = hosts.n, list[Received]()
    while not sets and hosts.rig.clock.now_ns() < said.t_ns + PATIENCE_NS:
        sets += hosts.crops.receive(20)
    assert sets and not any(one.message.state for one in sets if isinstance(one.message, Crops))
    model.hear(msgspec.structs.replace(said, t_ns=hosts.rig.clock.now_ns()))
    n_steps = hosts.gpu.counters["steps"]
    model.take(sets)
    assert hosts.gpu.counters["steps"] == n_steps
    hosts.until(lambda: hosts.behaviors()[-1].set_id > first, hosts.step)
    after = next(one for one in hosts.behaviors() if one.set_id > first)
    assert after.set_id in {one.set_id for one in hosts.of(PipelineState)} and after.epoch == 0


def test_commands_do_not_wait_behind_crops(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    crops = hosts.of(Crops)[-1]
    for _ in range(400):  # more than both ends hold: nobody reads them meanwhile
        hosts.publisher.publish(CROPS, crops, pixels=bytes(60_000))
    hosts.outlet.control(Control("disarm"))
    for _ in range(500):
        if any(isinstance(one.message, Control) for one in hosts.words.receive(20)):
            return
    raise AssertionError("the command was held up by crops")


def test_edges_lost_on_the_link_disarm(make: Callable[..., Hosts]) -> None:
    hosts = make(arming=LINE)
    hosts.begin()

    def pulse(line: str) -> None:
        hosts.outlet.pulse(SyncPulse("board", 0, line, 0, 0, hosts.rig.clock.now_ns()))

    pulse("in0")
    hosts.until(lambda: hosts.armed == (True, "line in0"))
    hosts.publisher._sequences[SYNC_PULSE.key()] += 1
    pulse("trigger")
    hosts.until(lambda: hosts.armed == (False, "line in0"))
    hosts.until(lambda: hosts.alarms("edges of trigger board board were lost"))


def test_after_croppers_began_anew_the_model_waits_for_their_state(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    hosts.outlet.reset()
    assert not hosts.outlet.needs_state
    hosts.step()  # without the state, as where the message that carried it was lost
    first = hosts.n

    def since() -> list[Behavior]:
        return [one for one in hosts.behaviors() if one.set_id >= first]

    hosts.until(lambda: hosts.outlet._link.needs_state)
    hosts.until(since, hosts.step)
    saved = [one.set_id for one in hosts.of(PipelineState)]
    assert first < since()[0].set_id == saved[-1] and since()[0].reset


def test_what_cannot_be_taken_is_told_once(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    crops = hosts.of(Crops)[-1]
    wrong = pack_state({"0.background": np.zeros(3)})
    pixels = bytes(sum(view.width_px * view.height_px for view in crops.views))
    last = hosts.n

    def send() -> None:
        one = msgspec.structs.replace(crops, frame_set=hosts.frame_set(), state=wrong)
        hosts.publisher.publish(CROPS, one, pixels=pixels)
        one = msgspec.structs.replace(crops, frame_set=hosts.frame_set())
        hosts.publisher.publish(CROPS, one, pixels=pixels[1:])

    hosts.until(lambda: hosts.gpu.counters["refused"] >= 6, send)
    hosts.until(lambda: hosts.alarms("of set"))
    assert len(hosts.alarms("of set")) == 1
    assert all(one.set_id <= last for one in hosts.behaviors())


def test_a_task_that_cannot_be_read_is_told(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.until(lambda: hosts.outlet.ready)
    model = hosts.node._model
    assert model is not None
    bad = msgspec.structs.replace(model._said, session="cd34", task="{", heard=0)
    hosts.node._end("the test ends")
    for _ in range(400):
        hosts.server.serve(5)
        hosts.node._hear(bad)
        if any(isinstance(one, Alarm) and "is no JSON" in one.text for one in hosts.on_gpu):
            return
    raise AssertionError("nothing was said of it")


def test_a_model_that_fails_ends_its_session_disarmed(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    assert hosts.armed[0]
    model = hosts.node._model
    assert model is not None

    # A graph that cannot run on what it is given stands for a device that fails.
    model._pipeline.model._embedder = model._pipeline._bundle.head_step
    hosts.step()
    hosts.until(lambda: hosts.node._model is None)
    hosts.until(lambda: hosts.alarms("missing from input feed") and hosts.alarms("has left the run"))
    assert hosts.armed == (False, "link")
    assert [one.reason for one in hosts.of(Actuation) if one.state == "released"] == ["the model failed"]


def test_crops_of_a_cropper_that_is_not_heard_yet_wait(make: Callable[..., Hosts]) -> None:
    hosts = make()
    hosts.begin()
    model = hosts.node._model
    assert model is not None
    crops = hosts.of(Crops)[-1]
    of_next = msgspec.structs.replace(crops, epoch=1, state=b"any")
    assert model.linked and not model._may_step(of_next)
    model.hear(msgspec.structs.replace(model._said, epoch=1))
    assert model._may_step(of_next) and not model._may_step(crops)
    hosts.until(lambda: hosts.armed == (False, "link"))
