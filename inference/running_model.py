"""The pipeline in its process: with its actuators, and with what it publishes."""

import logging
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..streaming.frames import FrameReceiver
from ..streaming.messages import (
    Decision,
    FrameHeader,
    FrameSet,
)
from ..streaming.node import NodeContext
from ..streaming.topics import (
    BEHAVIOR,
    DECISION,
)
from ..sync.errors import ConfigError
from .actuators import Actuator, NullActuator, make_actuator
from .bundle import Bundle
from .bundled import resolve_bundle
from .node_config import InferenceNodeConfig
from .pipeline import BehaviorPipeline

log = logging.getLogger(__name__)


class RunningModel:
    """The pipeline with its actuators and what it publishes."""

    def __init__(self, context: NodeContext, config: InferenceNodeConfig) -> None:
        task = config.task
        assert task.bundle is not None
        self._context = context
        bundle = Bundle.load(
            resolve_bundle(task.bundle),
            provider=task.provider,
            threads=task.threads,
            max_look_ahead_frames=task.max_look_ahead_frames,
        )
        chosen = list(config.views) if task.views is None else task.views
        if unknown := sorted(set(chosen) - set(config.views)):
            raise ConfigError(f"task.views: {', '.join(unknown)}: not a camera of this rig ({', '.join(config.views)})")
        self.views = {name: tuple(config.views[name]) for name in chosen}
        self.identity = bundle.identity
        self.pipeline = BehaviorPipeline(
            bundle, task, self.views, context.clock, set_rate_hz=config.rate_hz, armed=context.spec.armed
        )
        self.actuators: dict[str, Actuator] = {
            name: NullActuator() if config.replay else make_actuator(name, kind, context.clock)
            for name, kind in task.actuators.items()
        }
        if context.spec.armed:
            for actuator in self.actuators.values():
                actuator.arm()
        log.info("bundle %s on %s, %d views", self.identity, bundle.provider, len(self.views))

    def step(
        self,
        frame_set: FrameSet,
        headers: Mapping[str, FrameHeader],
        images: Mapping[str, NDArray[np.uint8]],
        receiver: FrameReceiver,
        n_skipped: int,
        t_decided_ns: int | None = None,
    ) -> bool:
        """One step on one set: publish the behaviour, act on the decisions. False: the rate rule left the set out."""

        def check() -> None:
            for header in headers.values():
                receiver.check(header)

        result = self.pipeline.step(frame_set, images, n_skipped, t_decided_ns, check)
        if result is None:
            return False
        behavior, decisions = result
        # Act first: what is published may take its time.
        decided = [self._act(decision) for decision in decisions]
        self._context.publish(BEHAVIOR, behavior)
        for decision in decided:
            self._context.publish(DECISION, decision)
        return True

    def _act(self, decision: Decision) -> Decision:
        if decision.action != "fired":
            return decision
        if not self.actuators[decision.actuator].fire(decision):
            return msgspec.structs.replace(decision, action="withheld", reason="actuator disarmed")
        return msgspec.structs.replace(decision, t_fired_ns=self._context.clock.now_ns())

    def close(self) -> None:
        """Release every actuator, whatever happened."""
        for actuator in self.actuators.values():
            actuator.release()
            actuator.close()
