"""Frame sets in, behaviour and action out: the process that runs the pure step of `pipeline.py`.

It assembles the sets (one authority for the whole rig), publishes every one of them, takes the newest and says how many
it skipped. Without a bundle it assembles only. In replay it assembles nothing: the replay node hands it the sets that
the live node took, and it answers each with its own `FrameSet` so that replay can wait for it.
"""

import logging
from collections import deque
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..streaming.frames import FrameReceiver
from ..streaming.messages import (
    CameraStatus,
    Decision,
    FrameHeader,
    FrameSet,
    Gap,
    PipelineState,
    RecordingStatus,
    ReplaySet,
    SourceFrame,
)
from ..streaming.node import NodeContext
from ..streaming.topics import (
    BEHAVIOR,
    CAMERA_STATUS,
    DECISION,
    FRAME,
    FRAME_SET,
    GAP,
    PIPELINE_STATE,
    RECORDING,
    REPLAY_SET,
)
from ..streaming.wire import Received
from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from ..sync.errors import BusError, ConfigError
from ..sync.frameset import ClosedSet, FrameSetAssembler
from ..sync.strict import StrictModel, validate
from .actuators import Actuator, NullActuator, make_actuator
from .bundle import Bundle
from .bundled import resolve_bundle
from .config import TaskConfig
from .pipeline import BehaviorPipeline

_POLL_MS = 20
_REPLAY_HEADERS = 4096
"""Headers kept in replay until their set comes; far more than the ring holds."""

log = logging.getLogger(__name__)


class InferenceNodeConfig(StrictModel):
    """Options of the inference process.

    Attributes:
        task: model, rules, actuators.
        views: camera → frame shape (height, width[, 3]), in the rig's order.
        rate_hz: of the rig's frame sets.
        tolerance_ms, deadline_ms: of the assembler; None: a quarter of the period, one period.
        replay: sets come from the replay node and no actuator is opened.
    """

    task: TaskConfig
    views: dict[str, list[int]]
    rate_hz: float = Field(gt=0)
    tolerance_ms: float | None = None
    deadline_ms: float | None = None
    replay: bool = False


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(InferenceNodeConfig, context.spec.config, context.spec.node)
    model = _Model(context, config) if config.task.bundle is not None else None
    try:
        (_ReplayedSets(context, config, model) if config.replay else _LiveSets(context, config, model)).run()
    finally:
        if model is not None:
            model.close()


class _Model:
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
        self._actuators: dict[str, Actuator] = {
            name: NullActuator() if config.replay else make_actuator(name, kind, context.clock)
            for name, kind in task.actuators.items()
        }
        if context.spec.armed:
            for actuator in self._actuators.values():
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
        if not self._actuators[decision.actuator].fire(decision):
            return msgspec.structs.replace(decision, action="withheld", reason="actuator disarmed")
        return msgspec.structs.replace(decision, t_fired_ns=self._context.clock.now_ns())

    def close(self) -> None:
        """Release every actuator, whatever happened."""
        for actuator in self._actuators.values():
            actuator.release()
            actuator.close()


class _LiveSets:
    """Assembles, publishes every set, steps on the newest."""

    def __init__(self, context: NodeContext, config: InferenceNodeConfig, model: _Model | None) -> None:
        self._context = context
        self._model = model
        self._assembler: FrameSetAssembler[Received] = FrameSetAssembler(
            list(config.views),
            round(NS_PER_S / config.rate_hz),
            None if config.tolerance_ms is None else round(config.tolerance_ms * NS_PER_MS),
            None if config.deadline_ms is None else round(config.deadline_ms * NS_PER_MS),
        )
        self._receiver = FrameReceiver()
        self._recorded_from: dict[str, int] | None = None
        self._recording = ""
        self._state_due = False
        self._last_mid_ns = 0
        self._n_skipped = 0
        self.counters = context.counters
        self.counters.update(steps=0, skipped=0, overwritten=0, refused=0)

    def run(self) -> None:
        context = self._context
        with context.subscribe([FRAME, CAMERA_STATUS, RECORDING]) as bus:
            while not context.should_stop:
                batch = bus.receive(self._timeout_ms())
                closed: list[ClosedSet[Received]] = []
                for received in batch:
                    closed += self._accept(received)
                closed += self._assembler.tick(context.clock.now_ns())
                if closed:
                    self._handle(closed)
                self.counters["refused"] = bus.n_refused
                context.ready_when_heard(bus.heard)
                context.beat()
            context.state = "stopping"
            closed = [one for received in bus.receive(0) for one in self._accept(received)] + self._assembler.flush()
            for one in closed:
                self._publish_set(one)

    def _timeout_ms(self) -> int:
        deadline = self._assembler.next_deadline_ns()
        if deadline is None:
            return _POLL_MS
        return min(_POLL_MS, max(0, -(-(deadline - self._context.clock.now_ns()) // NS_PER_MS)))

    def _accept(self, received: Received) -> list[ClosedSet[Received]]:
        message = received.message
        if isinstance(message, FrameHeader):
            return self._add(received, message)
        if isinstance(message, CameraStatus):
            return self._assembler.set_lost(message.camera, message.state != "running")
        if isinstance(message, RecordingStatus) and message.recording != self._recording:
            self._recording = message.recording
            self._recorded_from = message.first_seq
            self._state_due = True
        return []

    def _add(self, received: Received, header: FrameHeader) -> list[ClosedSet[Received]]:
        late_before = self._assembler.counts.frames_late
        closed = self._assembler.add(
            header.camera,
            (header.epoch, header.seq, header.t_exposure_ns),
            header.t_exposure_ns + header.exposure_us * NS_PER_US // 2,
            self._context.clock.now_ns(),
            received,
        )
        if self._assembler.counts.frames_late > late_before:
            gap = Gap(
                "sets",
                header.camera,
                header.epoch,
                header.seq,
                1,
                "came after its set had closed",
                header.t_received_ns,
            )
            self._context.publish(GAP, gap, header.camera)
        return closed

    def _publish_set(self, closed: ClosedSet[Received]) -> FrameSet:
        frame_set = FrameSet(
            closed.set_id,
            "complete" if closed.complete else "partial",
            tuple(source_of(item.message) for item in closed.items if item and isinstance(item.message, FrameHeader)),
            closed.missing,
            closed.t_mid_ns,
            self._context.clock.now_ns(),
        )
        self._context.publish(FRAME_SET, frame_set)
        return frame_set

    def _handle(self, closed: list[ClosedSet[Received]]) -> None:
        newest = max(closed, key=lambda one: one.t_mid_ns)
        taken: FrameSet | None = None
        for one in closed:
            frame_set = self._publish_set(one)
            if one is newest and one.t_mid_ns > self._last_mid_ns:
                taken = frame_set
        self._n_skipped += len(closed) - (taken is not None)
        if taken is None or self._model is None:
            return
        self._last_mid_ns = newest.t_mid_ns
        self._step(self._model, taken, newest)

    def _step(self, model: _Model, frame_set: FrameSet, closed: ClosedSet[Received]) -> None:
        if self._state_due and self._is_recorded(frame_set):
            self._state_due = False
            self._publish_state(model, frame_set)
        frames: dict[str, FrameHeader] = {}
        images: dict[str, NDArray[np.uint8]] = {}
        try:
            for item in closed.items:
                if item is not None and isinstance(item.message, FrameHeader) and item.message.camera in model.views:
                    frames[item.message.camera] = item.message
                    images[item.message.camera] = self._receiver.view(item.message, item.pixels)
            if model.step(frame_set, frames, images, self._receiver, self._n_skipped):
                self.counters["steps"] += 1
                self.counters["skipped"] += self._n_skipped
                self._n_skipped = 0
        except BusError as error:
            # Pixels that changed while they were read may have entered the background model: begin anew, and say so.
            self.counters["overwritten"] += 1
            self._n_skipped += 1
            model.pipeline.reset()
            self._state_due = self._recorded_from is not None
            self._context.alarm("warning", f"set {frame_set.set_id} left out and the model reset: {error}")

    def _publish_state(self, model: _Model, frame_set: FrameSet) -> None:
        state = PipelineState(frame_set.set_id, model.identity, model.pipeline.snapshot())
        self._context.publish(PIPELINE_STATE, state)

    def _is_recorded(self, frame_set: FrameSet) -> bool:
        first = self._recorded_from or {}
        return all(one.seq >= first.get(f"{one.camera}/{one.epoch}", 0) for one in frame_set.sources)


class _ReplayedSets:
    """Steps on the sets that the replay node hands over, in its order, and answers each."""

    def __init__(self, context: NodeContext, config: InferenceNodeConfig, model: _Model | None) -> None:
        self._context = context
        self._model = model
        self._receiver = FrameReceiver()
        self._headers: dict[tuple[str, int, int], Received] = {}
        self._order: deque[tuple[str, int, int]] = deque()
        context.counters.update(steps=0, skipped=0, overwritten=0, refused=0)

    def run(self) -> None:
        context = self._context
        with context.subscribe([FRAME, REPLAY_SET, PIPELINE_STATE]) as bus:
            while not context.should_stop:
                for received in bus.receive(_POLL_MS):
                    self._accept(received)
                context.counters["refused"] = bus.n_refused
                context.ready_when_heard(bus.heard)
                context.beat()
            context.state = "stopping"

    def _accept(self, received: Received) -> None:
        message = received.message
        if isinstance(message, FrameHeader):
            key = (message.camera, message.epoch, message.seq)
            if key not in self._headers:
                self._order.append(key)
            self._headers[key] = received
            if len(self._order) > _REPLAY_HEADERS:
                self._headers.pop(self._order.popleft(), None)
        elif isinstance(message, PipelineState) and self._model is not None:
            if message.bundle == self._model.identity:
                self._model.pipeline.restore(message.payload)
        elif isinstance(message, ReplaySet):
            self._step(message)

    def _step(self, replayed: ReplaySet) -> None:
        now = self._context.clock.now_ns()
        middles = [one.t_exposure_ns + one.exposure_us * NS_PER_US // 2 for one in replayed.sources]
        frame_set = FrameSet(
            replayed.set_id,
            replayed.status,
            replayed.sources,
            replayed.missing,
            (min(middles) + max(middles)) // 2,
            now,
        )
        if self._model is not None:
            frames: dict[str, FrameHeader] = {}
            images: dict[str, NDArray[np.uint8]] = {}
            for source in replayed.sources:
                if source.camera in self._model.views:
                    received = self._headers[source.camera, source.epoch, source.seq]
                    assert isinstance(received.message, FrameHeader)
                    frames[source.camera] = received.message
                    images[source.camera] = self._receiver.view(received.message, received.pixels)
            t_decided_ns = replayed.t_decided_ns or None
            if self._model.step(frame_set, frames, images, self._receiver, replayed.n_skipped, t_decided_ns):
                self._context.counters["steps"] += 1
                self._context.counters["skipped"] += replayed.n_skipped
        self._context.publish(FRAME_SET, frame_set)


def source_of(header: FrameHeader) -> SourceFrame:
    """A frame as a link of the chain."""
    return SourceFrame(
        header.camera, header.epoch, header.seq, header.t_exposure_ns, header.exposure_us, header.t_received_ns
    )
