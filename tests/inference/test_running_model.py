"""What drives a real line live touches nothing in replay."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.inference.actuators.null_actuator import NullActuator
from ethostream.inference.node_config import InferenceNodeConfig
from ethostream.inference.running_model import RunningModel
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.sync.clock import ClockAnchor


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


@pytest.mark.parametrize(("replay", "kind"), [(True, NullActuator), (False, LimitedActuator)])
def test_replay_opens_no_actuator(
    context: NodeContext, write_tiny_bundle: Callable[..., Path], replay: bool, kind: type
) -> None:
    task = {
        "bundle": str(write_tiny_bundle()),
        "rules": [{"name": "r", "on_enter": "move", "actuator": "line"}],
        "actuators": {"line": {"kind": "log"}},
    }
    config = InferenceNodeConfig.model_validate(
        {"task": task, "views": {"cam0": [48, 64]}, "rate_hz": 30.0, "replay": replay}
    )
    model = RunningModel(context, config)
    try:
        assert [type(actuator) for actuator in model.actuators.values()] == [kind]
    finally:
        model.close()
