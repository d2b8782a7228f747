"""Frames that are overwritten after the set was decided and before the tracker has read them."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.simulated_cage import CAGE_MM, CAGE_VIEWS, draw_cage
from ethostream.acquisition.simulated_lens import simulated_view_model, view_names
from ethostream.inference.node_config import InferenceNodeConfig
from ethostream.inference.running_model import RunningModel
from ethostream.streaming.frames import FrameReceiver
from ethostream.streaming.messages import Alarm, Behavior, FrameHeader, FrameSet, PipelineState, SourceFrame, Tracks
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.streaming.ring import RingWriter
from ethostream.streaming.wire import decode
from ethostream.sync.calibration_file import write_calibration
from ethostream.sync.clock import ClockAnchor
from ethostream.sync.errors import FrameOverwrittenError

WIDTH, HEIGHT, RATE_HZ = 160, 120, 30
CAMERAS = list(view_names("cage"))[:2]
PERIOD_NS = 33_333_333


class Rings:
    """The cameras' rings of two slots; what is written later overwrites what is read."""

    def __init__(self, stack: ExitStack) -> None:
        session = uuid.uuid4().hex[:8]
        self.writers = {name: RingWriter(f"ethostream-{session}-{name}", (HEIGHT, WIDTH), 2) for name in CAMERAS}
        for one in self.writers.values():
            stack.callback(one.close)
        self.cage = {view.name: draw_cage(view, WIDTH, HEIGHT, 3) for view in CAGE_VIEWS}

    def write(self, name: str, seq: int) -> FrameHeader:
        writer = self.writers[name]
        np.copyto(writer.acquire(), self.cage[name])
        slot, generation = writer.commit()
        t_ns = seq * PERIOD_NS
        return FrameHeader(
            name, 0, seq, t_ns, 1000, t_ns, "simulated", WIDTH, HEIGHT, "mono8", writer.name, slot, generation
        )


class OvertakenReceiver(FrameReceiver):
    """Reads real rings; the cameras go on between the model's check of the pixels and the tracker's."""

    def __init__(self, rings: Rings) -> None:
        super().__init__()
        self.rings = rings
        self.overtake = False
        self.n_checks = 0

    def check(self, header: FrameHeader) -> None:
        self.n_checks += 1
        if self.overtake and self.n_checks > len(CAMERAS):
            for name in CAMERAS:
                self.rings.write(name, 1000)
                self.rings.write(name, 1001)
        super().check(header)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.mark.parametrize("replay", [False, True])
def test_what_was_decided_stands_and_the_loss_is_named(
    stack: ExitStack, tmp_path: Path, write_tiny_bundle: Callable[..., Path], replay: bool
) -> None:
    write_calibration(
        tmp_path / "cage.toml", [simulated_view_model("cage", name, WIDTH, HEIGHT) for name in CAMERAS], {}
    )
    anchor = ClockAnchor.take()
    spec = NodeSpec(
        node="inference", entry="none:none", session="test", anchor_utc_ns=anchor.utc_ns,
        anchor_monotonic_ns=anchor.monotonic_ns, endpoints={"inference": f"ipc://{tmp_path}/0"},
        parent_pid=os.getppid(), armed=True,
    )  # fmt: skip
    context = NodeContext(spec)
    stack.callback(context.close)
    cage = {f"cage_{axis}_mm": (0, size) for axis, size in zip("xy", CAGE_MM, strict=False)}
    tracking = {"calibration": str(tmp_path / "cage.toml"), **cage}
    task = {"bundle": str(write_tiny_bundle()), "views": CAMERAS[:1], "tracking": tracking}
    views = {name: [HEIGHT, WIDTH] for name in CAMERAS}
    model = RunningModel(
        context,
        InferenceNodeConfig.model_validate({"task": task, "views": views, "rate_hz": RATE_HZ, "replay": replay}),
    )
    stack.callback(model.close)
    said: list[object] = []
    context.on_publish = lambda topic, camera, body: said.append(decode(topic.key(camera), body).message)
    context.state = "running"
    rings = Rings(stack)
    receiver = OvertakenReceiver(rings)

    def step(seq: int) -> bool:
        receiver.n_checks = 0
        headers = {name: rings.write(name, seq) for name in CAMERAS}
        images = {name: receiver.view(header) for name, header in headers.items()}
        sources = tuple(SourceFrame(name, 0, seq, one.t_exposure_ns, 1000, 0) for name, one in headers.items())
        return model.step(FrameSet(seq, "complete", sources, (), 0, 0), headers, images, receiver, 0)

    assert step(1) and not model.needs_state
    assert [type(one) for one in said if not isinstance(one, Alarm)][-2:] == [Behavior, Tracks]
    said.clear()
    receiver.overtake = True
    if replay:  # there it is the replay that is wrong, and must not go on
        with pytest.raises(FrameOverwrittenError):
            step(2)
        return
    assert step(2), "it was decided: it is no set that was left out"
    (behavior,) = [one for one in said if isinstance(one, Behavior)]
    assert behavior.set_id == 2 and not any(isinstance(one, Tracks) for one in said)
    (alarm,) = [one for one in said if isinstance(one, Alarm)]
    assert "set 2 was decided and not tracked" in alarm.text and "overwritten" in alarm.text
    assert context.counters["overwritten"] == 1 and model.needs_state
    receiver.overtake = False
    model.save_state(3)
    assert any(isinstance(one, PipelineState) for one in said) and not model.needs_state
    said.clear()
    assert step(3)
    assert not next(one for one in said if isinstance(one, Behavior)).reset, "the model has lost nothing"
    assert any(isinstance(one, Tracks) for one in said)
