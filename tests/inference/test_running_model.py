"""What drives a real line live touches nothing in replay."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from board_processes import BoardProcess
from ethostream.inference.node_config import InferenceNodeConfig
from ethostream.inference.running_model import RunningModel
from ethostream.streaming.messages import Actuation, Control, Decision, Message, SyncPulse
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.streaming.wire import decode
from ethostream.sync.clock import ClockAnchor
from ethostream.sync.errors import ActuatorError


@pytest.fixture
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeContext]:
    anchor = ClockAnchor.take()
    one = NodeContext(
        NodeSpec(
            node="inference",
            entry="none:none",
            session="test",
            anchor_utc_ns=anchor.utc_ns,
            anchor_monotonic_ns=anchor.monotonic_ns,
            endpoints={"inference": f"ipc://{tmp_path_factory.mktemp('c')}/0"},
            parent_pid=os.getppid(),
            armed=True,
        )
    )
    yield one
    one.close()


def make(
    context: NodeContext, bundle: Path, replay: bool = False, arming: dict[str, Any] | None = None, **actuator: Any
) -> RunningModel:
    task = {
        "bundle": str(bundle),
        "arming": arming or {},
        "rules": [{"name": "r", "on_enter": "move", "actuator": "line"}],
        "actuators": {"line": {"kind": "log"} | actuator},
    }
    config = InferenceNodeConfig.model_validate(
        {"task": task, "views": {"cam0": [48, 64]}, "rate_hz": 30.0, "replay": replay}
    )
    return RunningModel(context, config)


def listen(context: NodeContext) -> list[Message]:
    """What is published from here on."""
    said: list[Message] = []
    context.on_publish = lambda topic, camera, body: said.append(decode(topic.key(camera), body).message)
    return said


def fired(context: NodeContext, set_id: int, after_ms: int = 0) -> Decision:
    now = context.clock.now_ns()
    return Decision(
        "r", set_id, "fired", "onset", "move", 0.9, "line", (), now, now, now, 0, trial=set_id,
        t_due_ns=now + after_ms * 1_000_000,
    )  # fmt: skip


def test_replay_opens_no_actuator(context: NodeContext, write_tiny_bundle: Callable[..., Path]) -> None:
    """One that is not there is an error live, and nothing in replay."""
    bundle = write_tiny_bundle()
    with pytest.raises(ActuatorError, match="takes no connection"):
        make(context, bundle, kind="tcp", port=9)
    model = make(context, bundle, replay=True, kind="tcp", port=9)
    said = listen(context)
    context.state = "running"
    model.tick()
    decision = fired(context, 1)
    assert model._act(decision) is decision and model.next_due_ns() is None
    model.close()
    assert not any(isinstance(one, Actuation) for one in said)


def test_actuators_are_armed_when_the_node_runs_and_rest_at_its_end(
    context: NodeContext, write_tiny_bundle: Callable[..., Path]
) -> None:
    model = make(context, write_tiny_bundle())
    assert model.schedule is not None
    said = listen(context)
    model.tick()
    assert not model.schedule.armed  # nobody would keep its watchdog quiet yet
    context.state = "running"
    model.tick()
    assert model.schedule.armed
    acted = model._act(fired(context, 1))
    assert acted.action == "fired" and acted.t_fired_ns >= acted.t_decided_ns
    late = fired(context, 2, after_ms=30)
    assert model._act(late).t_fired_ns == 0 and model.next_due_ns() == late.t_due_ns
    while model.next_due_ns() is not None:
        model.tick()
    model._act(fired(context, 3, after_ms=3_600_000))
    model.rest("the run ends")
    assert not model.schedule.armed
    refused = model._act(fired(context, 4))
    assert refused.action == "fired" and refused.t_fired_ns == 0  # what the rule decided is not the actuator's
    model.close()
    found = [(one.set_id, one.state, one.reason) for one in said if isinstance(one, Actuation)]
    assert found == [
        (1, "sent", ""),
        (2, "sent", ""),
        (3, "cancelled", "the run ends"),
        (-1, "released", "the run ends"),
        (4, "refused", "actuator closed"),
    ]
    sent = {one.set_id: one for one in said if isinstance(one, Actuation) and one.state == "sent"}
    assert sent[1].t_sent_ns == acted.t_fired_ns
    assert sent[2].t_sent_ns >= sent[2].t_due_ns == late.t_due_ns
    assert context.counters["act_sent"] == 2


def test_a_person_disarms_and_arms(context: NodeContext, write_tiny_bundle: Callable[..., Path]) -> None:
    model = make(context, write_tiny_bundle())
    assert model.schedule is not None
    said = listen(context)
    context.state = "running"
    model.tick()
    model._act(fired(context, 1, after_ms=3_600_000))
    model.control(Control("disarm"))
    assert not model.schedule.armed and model.next_due_ns() is None
    model.control(Control("arm"))
    assert model.schedule.armed
    model.tick()
    model.close()
    states = [(one.state, one.reason) for one in said if isinstance(one, Actuation)]
    assert states[:2] == [("cancelled", "disarmed by person"), ("released", "disarmed by person")]


@pytest.mark.parametrize("when", ["line high", "line low"])
def test_only_a_person_arms_an_actuator_that_failed(
    context: NodeContext, write_tiny_bundle: Callable[..., Path], when: str
) -> None:
    """The line goes on arming and disarming; the person's word holds also where the line has to follow."""
    line: dict[str, Any] = {"kind": "level", "line": "in0", "silent_after_s": 60.0}
    model = make(context, write_tiny_bundle(), arming={"line": line})
    assert model.schedule is not None
    actuator: Any = model.schedule._actuators["line"]
    said = listen(context)
    context.state = "running"

    def pulses(*levels: bool) -> bool:
        for level in levels:
            model.pulse(SyncPulse("board", 0, "in0", 0, 0, context.clock.now_ns(), level))
            model.tick()
        return actuator.armed

    assert pulses(True) and not pulses(False) and pulses(True)
    actuator.inner._fail(None, ActuatorError("its watchdog dropped the line"))
    model.tick()
    assert not pulses(False, True, False, True)
    if when == "line low":
        assert not pulses(False)
    model.control(Control("arm"))
    assert actuator.armed == (when == "line high")
    assert pulses(True)
    model.close()
    failed = [one.reason for one in said if isinstance(one, Actuation) and one.state == "failed"]
    assert failed == ["its watchdog dropped the line"]


def test_a_board_answers_through_the_node(
    context: NodeContext, write_tiny_bundle: Callable[..., Path], firmware: Path
) -> None:
    """The whole way: the node's loop keeps the board armed, and its rise is told in rig time."""
    with BoardProcess.firmware(firmware) as board:
        model = make(context, write_tiny_bundle(), kind="serial", port=board.port, pulse_ms=1.0, watchdog_ms=5000)
        said = listen(context)
        context.state = "running"
        model.tick()
        before_ns = context.clock.now_ns()
        model._act(fired(context, 7))
        acts: list[Actuation] = []
        while not any(one.state == "acknowledged" for one in acts):
            context.clock.sleep_until_ns(context.clock.now_ns() + 1_000_000)
            model.tick()
            acts = [one for one in said if isinstance(one, Actuation)]
            assert not any(one.state in ("failed", "refused") for one in acts), acts
        model.close()
        (told,) = [one for one in acts if one.state == "acknowledged"]
        assert (told.set_id, told.trial, told.rule) == (7, 7, "r") and told.board_us > 0
        # As far as the board's clock is known after a handshake, on whatever machine this is.
        assert before_ns - 50_000_000 < told.t_on_ns < context.clock.now_ns() + 50_000_000
        assert context.counters["act_acknowledged"] == 1
