"""Which commands the running model obeys: an arm that was given up must not take effect later."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ethostream.inference.live_sets import LiveSets
from ethostream.inference.node_config import InferenceNodeConfig
from ethostream.inference.running_model import RunningModel
from ethostream.streaming.messages import Control
from ethostream.streaming.node import SUPERVISOR, NodeContext, NodeSpec
from ethostream.sync.clock import NS_PER_S, ClockAnchor

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeContext]:
    folder = tmp_path_factory.mktemp("c")
    anchor = ClockAnchor.take()
    one = NodeContext(
        NodeSpec(
            node="inference",
            entry="ethostream.inference.inference_node:main",
            session="test",
            anchor_utc_ns=anchor.utc_ns,
            anchor_monotonic_ns=anchor.monotonic_ns,
            endpoints={name: f"ipc://{folder}/{name}" for name in ("inference", SUPERVISOR)},
            parent_pid=1,
        )
    )
    yield one
    one.close()


@pytest.fixture
def model(context: NodeContext, write_tiny_bundle: Callable[..., Path]) -> Iterator[RunningModel]:
    one = RunningModel(context, config_of(write_tiny_bundle()))
    yield one
    one.close()


def config_of(bundle: Path) -> InferenceNodeConfig:
    task = {
        "bundle": str(bundle),
        "rules": [{"name": "r", "on_enter": "move", "actuator": "line"}],
        "actuators": {"line": {"kind": "log"}},
    }
    return InferenceNodeConfig.model_validate({"task": task, "views": {"cam0": [48, 64]}, "rate_hz": 30})


def is_armed(model: RunningModel) -> bool:
    assert model.pipeline is not None
    return model.pipeline.rules.armed


def test_an_arm_that_was_given_up_is_left_out(
    context: NodeContext, model: RunningModel, write_tiny_bundle: Callable[..., Path]
) -> None:
    sets = LiveSets(context, config_of(write_tiny_bundle()), model)
    context.state = "running"
    now = context.clock.now_ns()
    sets._obey(Control("disarm"))
    sets._obey(Control("arm", until_ns=now))
    assert not is_armed(model)
    sets._obey(Control("arm", until_ns=now + 3600 * NS_PER_S))
    assert is_armed(model)
    # Disarming is never too late.
    sets._obey(Control("disarm", until_ns=now))
    assert not is_armed(model)


def test_a_model_that_is_starting_does_not_come_up_armed(
    context: NodeContext, model: RunningModel, write_tiny_bundle: Callable[..., Path]
) -> None:
    sets = LiveSets(context, config_of(write_tiny_bundle()), model)
    assert context.state == "starting"
    sets._obey(Control("disarm"))
    sets._obey(Control("arm", until_ns=context.clock.now_ns() + 3600 * NS_PER_S))
    assert not is_armed(model)
