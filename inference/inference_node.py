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
from ..streaming.subscriber import EverySubscriber
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
from ..sync.errors import BusError, ConfigError, RecordingError
from ..sync.frameset import ClosedSet, FrameSetAssembler
from ..sync.strict import StrictModel, validate
from .actuators import Actuator, NullActuator, make_actuator
from .bundle import Bundle
from .bundled import resolve_bundle
from .config import TaskConfig
from .pipeline import BehaviorPipeline

_POLL_MS = 20
_SETS_PER_EPOCH = 1_000_000_000
"""Set ids of a process that was started again begin here, so that an id names one set for ever."""
_STATE_PERIOD_NS = 5 * NS_PER_S
"""A saved state is some megabytes: one at most in this time, however often the recorder loses frames."""
_LAST_WORDS_MS = 100
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
            first_id=context.spec.epoch * _SETS_PER_EPOCH,
        )
        self._receiver = FrameReceiver()
        self._recorded_from: dict[str, int] = {}
        self._recording = ""
        # A process that was started again does not know what was recorded: its state is saved from its first set on.
        self._state_due = context.spec.epoch > 0
        self._state_after_ns = 0
        self._last_mid_ns = 0
        self._n_skipped = 0
        self._alarmed: set[str] = set()
        self.counters = context.counters
        self.counters.update(steps=0, skipped=0, overwritten=0, refused=0, lost=0, future=0)

    def run(self) -> None:
        context = self._context
        with context.subscribe([FRAME, CAMERA_STATUS, RECORDING, GAP]) as bus:
            while not context.should_stop:
                self._turn(bus, self._timeout_ms())
                context.ready_when_heard(bus.heard)
                context.beat()
            # The cameras have stopped by now: what they sent last is on its way.
            while self._turn(bus, _LAST_WORDS_MS):
                context.beat()
            for one in self._assembler.flush():
                self._n_skipped += 1
                self._publish_set(one)
            self.counters["skipped"] += self._n_skipped
            context.set_state("stopping")

    def _turn(self, bus: EverySubscriber, timeout_ms: int) -> int:
        """Take what is there, close sets, step on the newest; returns how many frames came."""
        batch = bus.receive(timeout_ms)
        # What waited here together is judged by when it arrived, not by when it is read: else a step that took long
        # would turn frames that were in time into late ones.
        batch.sort(key=_arrival_ns)
        closed = [one for received in batch for one in self._accept(received)]
        closed += self._assembler.tick(self._context.clock.now_ns())
        if closed:
            self._handle(closed)
        self.counters["refused"] = bus.n_refused
        return sum(received.topic is FRAME for received in batch)

    def _timeout_ms(self) -> int:
        deadline = self._assembler.next_deadline_ns()
        if deadline is None:
            return _POLL_MS
        return min(_POLL_MS, max(0, -(-(deadline - self._context.clock.now_ns()) // NS_PER_MS)))

    def _accept(self, received: Received) -> list[ClosedSet[Received]]:
        message = received.message
        if isinstance(message, FrameHeader):
            return self._add(received, message)
        if isinstance(message, Gap) and message.source == "recorder":
            # From here on replay lacks pixels: a state after the gap is where it can go on.
            self._state_due = self._state_due or bool(self._recording)
        if isinstance(message, CameraStatus):
            return self._assembler.set_lost(message.camera, message.state != "running")
        if isinstance(message, RecordingStatus) and message.recording != self._recording:
            self._recording = message.recording
            self._recorded_from = message.first_seq
            self._state_due = True
        return []

    def _add(self, received: Received, header: FrameHeader) -> list[ClosedSet[Received]]:
        if received.n_lost:
            self.counters["lost"] += received.n_lost
            self._alarm_once(f"frames of camera {header.camera} were lost on the way to the model")
        t_mid_ns = header.t_exposure_ns + header.exposure_us * NS_PER_US // 2
        if t_mid_ns > header.t_received_ns + self._assembler.tolerance_ns:
            # One such stamp, taken for true, would make every later frame too late.
            self.counters["future"] += 1
            self._not_in_a_set(header, "its exposure time lies after its arrival")
            self._alarm_once(f"camera {header.camera} stamps frames with a time to come; check its clock")
            return []
        late_before = self._assembler.counts.frames_late
        key = (header.epoch, header.seq, header.t_exposure_ns)
        closed = self._assembler.add(header.camera, key, t_mid_ns, header.t_received_ns, received)
        if self._assembler.counts.frames_late > late_before:
            self._not_in_a_set(header, "came after its set had closed")
        return closed

    def _not_in_a_set(self, header: FrameHeader, why: str) -> None:
        gap = Gap("sets", header.camera, header.epoch, header.seq, 1, why, header.t_received_ns)
        self._context.publish(GAP, gap, header.camera)

    def _alarm_once(self, text: str) -> None:
        if text not in self._alarmed:
            self._alarmed.add(text)
            self._context.alarm("warning", text)

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
        if self._state_due and frame_set.t_closed_ns >= self._state_after_ns and self._is_recorded(frame_set):
            self._state_due = False
            self._state_after_ns = frame_set.t_closed_ns + _STATE_PERIOD_NS
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
            self._state_due, self._state_after_ns = bool(self._recording), 0
            self._context.alarm("warning", f"set {frame_set.set_id} left out and the model reset: {error}")

    def _publish_state(self, model: _Model, frame_set: FrameSet) -> None:
        state = PipelineState(frame_set.set_id, model.identity, model.pipeline.snapshot())
        self._context.publish(PIPELINE_STATE, state)

    def _is_recorded(self, frame_set: FrameSet) -> bool:
        first = self._recorded_from
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
            try:
                self._step_model(self._model, frame_set, replayed)
            except (BusError, KeyError) as error:
                raise RecordingError(
                    f"replay: set {replayed.set_id} cannot be read any more ({error}); raise bus.ring_slots"
                ) from error
        self._context.publish(FRAME_SET, frame_set)

    def _step_model(self, model: _Model, frame_set: FrameSet, replayed: ReplaySet) -> None:
        frames: dict[str, FrameHeader] = {}
        images: dict[str, NDArray[np.uint8]] = {}
        for source in replayed.sources:
            if source.camera in model.views:
                received = self._headers[source.camera, source.epoch, source.seq]
                assert isinstance(received.message, FrameHeader)
                frames[source.camera] = received.message
                images[source.camera] = self._receiver.view(received.message, received.pixels)
        if model.step(frame_set, frames, images, self._receiver, replayed.n_skipped, replayed.t_decided_ns):
            self._context.counters["steps"] += 1
            self._context.counters["skipped"] += replayed.n_skipped


def _arrival_ns(received: Received) -> int:
    message = received.message
    return message.t_received_ns if isinstance(message, FrameHeader) else getattr(message, "t_ns", 0)


def source_of(header: FrameHeader) -> SourceFrame:
    """A frame as a link of the chain."""
    return SourceFrame(
        header.camera, header.epoch, header.seq, header.t_exposure_ns, header.exposure_us, header.t_received_ns
    )
