"""Frame sets as they come from the cameras: assembled, the newest stepped on, and every one published.

This is the one authority on sets in the rig. A set that is passed over because a newer one has come is counted and told
to the model; frames that end in no set are declared.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..streaming.frames import FrameReceiver
from ..streaming.messages import (
    CameraStatus,
    Control,
    FrameHeader,
    FrameSet,
    Gap,
    RecordingStatus,
    SourceFrame,
    SyncPulse,
)
from ..streaming.node import SUPERVISOR, NodeContext
from ..streaming.pixel_format import frame_shape
from ..streaming.set_ids import SETS_PER_EPOCH
from ..streaming.subscriber import EverySubscriber
from ..streaming.topics import (
    CAMERA_STATUS,
    CONTROL,
    FRAME,
    FRAME_SET,
    GAP,
    RECORDING,
    SYNC_PULSE,
)
from ..streaming.wire import Received
from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from ..sync.errors import BusError
from ..sync.frameset import ClosedSet, FrameSetAssembler
from .arm_command import may_obey
from .lost_edges import with_losses
from .node_config import InferenceNodeConfig
from .set_taker import STATE_PERIOD_NS, SetTaker

_POLL_MS = 20
_LAST_WORDS_MS = 1000
"""A camera that was killed says no last word: nothing more is awaited of it after this silence."""
_START_DEADLINES = 2
"""So long after the first complete set, as deadlines of a set, every one before it has closed."""
_UNSETTLED_RUN = 256
"""Frames without a settled clock are declared in runs of at most this many."""


class LiveSets:
    """Assembles, publishes every set, steps on the newest."""

    def __init__(self, context: NodeContext, config: InferenceNodeConfig, model: SetTaker | None) -> None:
        self._context = context
        self._spins = context.spec.process.spin
        self._model = model
        self._assembler: FrameSetAssembler[Received] = FrameSetAssembler(
            list(config.views),
            round(NS_PER_S / config.rate_hz),
            None if config.tolerance_ms is None else round(config.tolerance_ms * NS_PER_MS),
            None if config.deadline_ms is None else round(config.deadline_ms * NS_PER_MS),
            first_id=context.spec.epoch * SETS_PER_EPOCH,
        )
        self._start_ns = _START_DEADLINES * self._assembler.deadline_ns
        self._shapes = {name: tuple(shape) for name, shape in config.views.items()}
        lines = [SYNC_PULSE] if config.task.arming.line is not None else []
        self._topics = [FRAME, CAMERA_STATUS, RECORDING, GAP, *lines]
        self._receiver = FrameReceiver()
        self._recorded_from: dict[str, int] = {}
        self._recording = ""
        # A process that was started again does not know what was recorded: its state is saved from its first set on.
        self._state_due = context.spec.epoch > 0
        self._state_after_ns = 0
        self._last_mid_ns = 0
        self._n_skipped = 0
        self._alarmed: set[str] = set()
        self._distant: set[str] = set()
        # A process that was started again sees the middle of a run: its first set says nothing of the start.
        self._start_judged = context.spec.epoch > 0
        self._first_complete_ns: int | None = None
        self._unsettled: dict[str, list[FrameHeader]] = {}
        self._speaking = set(config.views)
        self._awake_ns = context.clock.now_ns()
        self.counters = context.counters
        self.counters.update(steps=0, skipped=0, overwritten=0, refused=0, lost=0, future=0, unsettled=0)

    def run(self) -> None:
        context = self._context
        with context.subscribe(self._topics) as bus, context.subscribe([CONTROL], [SUPERVISOR]) as commands:
            while not context.should_stop:
                self._turn(bus, self._timeout_ms(), commands)
                if self._model is None or self._model.ready:
                    context.ready_when_heard(bus.heard)
                context.beat()
            # The cameras have stopped by now: what they sent last is on its way, and their status comes after it.
            heard_ns = context.clock.now_ns()
            while self._speaking and context.clock.now_ns() - heard_ns < _LAST_WORDS_MS * NS_PER_MS:
                if self._turn(bus, _POLL_MS, commands):
                    heard_ns = context.clock.now_ns()
                context.beat()
            for camera in list(self._unsettled):
                self._say_unsettled(camera)
            for one in self._assembler.flush():
                self._n_skipped += 1
                self._publish_set(one, self._frame_set_of(one))
            self.counters["skipped"] += self._n_skipped
            if self._model is not None:
                self._model.rest("the run ends")
            context.set_state("stopping")

    def _turn(self, bus: EverySubscriber, timeout_ms: int, commands: EverySubscriber) -> int:
        """Take what is there, close sets, step on the newest; returns how many frames came.

        ``commands`` hears the supervisor alone, so that no other publisher can arm. It is looked at once per turn.
        """
        batch = self._read(bus, timeout_ms)
        for received in commands.receive(0):
            if isinstance(received.message, Control):
                self._obey(received.message)
        # What waited here together is judged by when it arrived, not by when it is read: else a step that took long
        # would turn frames that were in time into late ones.
        batch.sort(key=_arrival_ns)
        closed = [one for received in batch for one in self._accept(received)]
        if self._model is not None:
            self._model.tick()
        closed += self._assembler.tick(self._context.clock.now_ns())
        if closed:
            self._handle(closed)
        self.counters["refused"] = bus.n_refused
        return sum(received.topic is FRAME for received in batch)

    def _read(self, bus: EverySubscriber, timeout_ms: int) -> list[Received]:
        """What is there; after the process stood still for longer than a deadline, all that came meanwhile.

        Its sockets stood still with it, and bring what waits one publisher after the other: judged at once, the first
        camera's frames would close sets that the others' frames, in time as well, are still on their way to.
        """
        batch = self._await(bus, timeout_ms)
        now = self._context.clock.now_ns()
        deadline_ns = self._assembler.deadline_ns
        if now - self._awake_ns > timeout_ms * NS_PER_MS + deadline_ns:
            end_ns = now + deadline_ns
            while (left_ns := end_ns - self._context.clock.now_ns()) > 0:
                batch += bus.receive(-(-left_ns // NS_PER_MS))
        self._awake_ns = self._context.clock.now_ns()
        return batch

    def _await(self, bus: EverySubscriber, timeout_ms: int) -> list[Received]:
        """What comes within this time, looked for without rest where the rig file gives this process a core to spin."""
        if not self._spins:
            return bus.receive(timeout_ms)
        end_ns = self._context.clock.now_ns() + timeout_ms * NS_PER_MS
        while not (batch := bus.receive(0)) and self._context.clock.now_ns() < end_ns:
            pass
        return batch

    def _timeout_ms(self) -> int:
        now = self._context.clock.now_ns()
        deadline = self._assembler.next_deadline_ns()
        timeout_ms = _POLL_MS if deadline is None else min(_POLL_MS, max(0, -(-(deadline - now) // NS_PER_MS)))
        due = None if self._model is None else self._model.next_due_ns()
        # A firing is awaited to the end: rounded down, so that the last part of a millisecond is not slept away.
        return timeout_ms if due is None else min(timeout_ms, max(0, (due - now) // NS_PER_MS))

    def _accept(self, received: Received) -> list[ClosedSet[Received]]:
        message = received.message
        if isinstance(message, FrameHeader):
            return self._add(received, message)
        if isinstance(message, Gap) and message.source == "recorder":
            # From here on replay lacks pixels: a state after the gap is where it can go on.
            self._state_due = self._state_due or bool(self._recording)
        if isinstance(message, SyncPulse) and self._model is not None:
            self._model.pulse(with_losses(message, received, self._alarm_once))
        if isinstance(message, CameraStatus) and message.counts == "frames":
            lost = message.state != "running"
            (self._speaking.discard if lost else self._speaking.add)(message.camera)
            return self._assembler.set_lost(message.camera, lost)
        if isinstance(message, RecordingStatus) and message.recording != self._recording:
            self._recording = message.recording
            self._recorded_from = message.first_seq
            self._state_due = True
        return []

    def _obey(self, message: Control) -> None:
        if self._model is not None and may_obey(message, self._context):
            self._model.control(message)

    def _add(self, received: Received, header: FrameHeader) -> list[ClosedSet[Received]]:
        if received.n_lost:
            self.counters["lost"] += received.n_lost
            self._alarm_once(f"frames of camera {header.camera} were lost on the way to the model")
        settled = _settled(header)
        if not settled and (header.trigger_id < 0 or not self._assembler.knows_ids(header.camera, header.epoch)):
            run = self._unsettled.get(header.camera)
            if run and (len(run) >= _UNSETTLED_RUN or run[0].epoch != header.epoch):
                self._say_unsettled(header.camera)
            self._unsettled.setdefault(header.camera, []).append(header)
            return []
        self._say_unsettled(header.camera)
        t_mid_ns = header.t_exposure_ns + header.exposure_us * NS_PER_US // 2
        if t_mid_ns > header.t_received_ns + self._assembler.tolerance_ns:
            # One such stamp, taken for true, would make every later frame too late.
            self.counters["future"] += 1
            self._not_in_a_set(header, "its exposure time lies after its arrival")
            self._alarm_once(f"camera {header.camera} stamps frames with a time to come; check its clock")
            return []
        if frame_shape(header.pixel_format, header.height, header.width) != self._shapes[header.camera]:
            # A camera that was started again may have been set otherwise meanwhile: no model could read that.
            self._not_in_a_set(header, "its size or pixel format is not the one that the rig began with")
            self._alarm_once(
                f"camera {header.camera} delivers {header.width}x{header.height} {header.pixel_format}, which is not "
                "what the rig began with: its frames are in no set; set it back, or start the rig again"
            )
            return []
        late_before = self._assembler.counts.frames_late
        key = (header.epoch, header.seq, header.t_exposure_ns)
        closed = self._assembler.add(
            header.camera, key, t_mid_ns, header.t_received_ns, received, header.trigger_id, header.epoch, settled
        )
        ids = self._assembler.ids
        if any(ids.mismatched) or any(ids.distant_ns):
            self._say_mismatches()
        if self._assembler.counts.frames_late > late_before:
            self._not_in_a_set(header, "came after its set had closed")
        return closed

    def _say_unsettled(self, camera: str) -> None:
        """Frames whose camera's clock had not settled: their times are those of their arrival, and could mis-pair."""
        headers = self._unsettled.pop(camera, None)
        if headers:
            first, last = headers[0], headers[-1]
            why = "the camera's clock had not settled"
            gap = Gap("sets", camera, first.epoch, first.seq, len(headers), why, last.t_received_ns)
            self._context.publish(GAP, gap, camera)
            self.counters["unsettled"] += len(headers)

    def _not_in_a_set(self, header: FrameHeader, why: str) -> None:
        gap = Gap("sets", header.camera, header.epoch, header.seq, 1, why, header.t_received_ns)
        self._context.publish(GAP, gap, header.camera)

    def _say_mismatches(self) -> None:
        ids = self._assembler.ids
        for camera, n, distant_ns in zip(self._assembler.cameras, ids.mismatched, ids.distant_ns, strict=True):
            if n:
                self._alarm_once(
                    f"camera {camera}: its trigger ids and its clock disagree by more than half a period; the ids are "
                    "believed. Does it miss trigger pulses without counting them, or did its clock jump?"
                )
            if distant_ns and camera not in self._distant:
                self._distant.add(camera)
                self._alarm_once(
                    f"camera {camera}: its frames lie {abs(distant_ns) / NS_PER_MS:.1f} ms "
                    f"{'after' if distant_ns > 0 else 'before'} the other cameras' frames of the same trigger id, more "
                    "than half a period; the ids are believed. Either its clock or transport is off by so much, or it "
                    "missed a first pulse and every set pairs it with a wrong instant: film one flash with all cameras"
                )

    def _alarm_once(self, text: str) -> None:
        if text not in self._alarmed:
            self._alarmed.add(text)
            self._context.alarm("warning", text)

    def _judge_start(self, closed: ClosedSet[Received]) -> None:
        """Cameras that count the pulses of one trigger: all must have given a frame of the first one that any saw."""
        if self._start_judged:
            return
        # A first set that waits for a late camera closes after a later one that is complete.
        if closed.complete and self._first_complete_ns is None:
            self._first_complete_ns = closed.t_mid_ns
        if self._first_complete_ns is not None and closed.t_mid_ns >= self._first_complete_ns:
            self._start_judged = closed.t_mid_ns > self._first_complete_ns + self._start_ns
            return
        headers = [item.message for item in closed.items if item is not None]
        if any(isinstance(one, FrameHeader) and one.trigger_id >= 0 for one in headers):
            self._start_judged = True
            self._context.alarm(
                "warning",
                f"camera {', '.join(closed.missing)}: not in the first frame set of the run, though the cameras are "
                "triggered together: armed too late, or it missed the first pulse. Its frames are matched from the "
                "first one that it gave; check its trigger line, and start the trigger after every camera is armed",
            )

    def _frame_set_of(self, closed: ClosedSet[Received]) -> FrameSet:
        return FrameSet(
            closed.set_id,
            "complete" if closed.complete else "partial",
            tuple(source_of(item.message) for item in closed.items if item and isinstance(item.message, FrameHeader)),
            closed.missing,
            closed.t_mid_ns,
            self._context.clock.now_ns(),
        )

    def _publish_set(self, closed: ClosedSet[Received], frame_set: FrameSet) -> None:
        self._judge_start(closed)
        self._context.publish(FRAME_SET, frame_set)

    def _handle(self, closed: list[ClosedSet[Received]]) -> None:
        """Step on the newest set. All are published once it has acted, and before what it says of them."""
        newest = max(closed, key=lambda one: one.t_mid_ns)
        unsaid = {one.set_id: (one, self._frame_set_of(one)) for one in closed}

        def announce() -> None:
            while unsaid:
                self._publish_set(*unsaid.pop(next(iter(unsaid))))

        stepping = self._model is not None and newest.t_mid_ns > self._last_mid_ns
        self._n_skipped += len(closed) - stepping
        try:
            if self._model is not None and stepping:
                self._last_mid_ns = newest.t_mid_ns
                self._step(self._model, unsaid[newest.set_id][1], newest, announce)
        finally:
            announce()

    def _step(
        self, model: SetTaker, frame_set: FrameSet, closed: ClosedSet[Received], announce: Callable[[], None]
    ) -> None:
        due = self._state_due and frame_set.t_closed_ns >= self._state_after_ns
        if (due or model.needs_state) and self._is_recorded(frame_set):
            self._state_due = False
            self._state_after_ns = frame_set.t_closed_ns + STATE_PERIOD_NS
            announce()
            model.save_state(frame_set.set_id)
        frames: dict[str, FrameHeader] = {}
        images: dict[str, NDArray[np.uint8]] = {}
        try:
            for item in closed.items:
                if item is not None and isinstance(item.message, FrameHeader) and item.message.camera in model.views:
                    frames[item.message.camera] = item.message
                    images[item.message.camera] = self._receiver.view(item.message, item.pixels)
            stepped = model.step(frame_set, frames, images, self._receiver, self._n_skipped, announce)
            self._awake_ns = self._context.clock.now_ns()  # a long step holds up nothing but this thread
            if stepped:
                self.counters["steps"] += 1
                self.counters["skipped"] += self._n_skipped
                self._n_skipped = 0
        except BusError as error:
            # Pixels that changed while they were read may have entered the background model: begin anew, and say so.
            self.counters["overwritten"] += 1
            self._n_skipped += 1
            model.reset()
            self._state_due, self._state_after_ns = bool(self._recording), 0
            self._context.alarm("warning", f"set {frame_set.set_id} left out and the model reset: {error}")

    def _is_recorded(self, frame_set: FrameSet) -> bool:
        first = self._recorded_from
        return all(one.seq >= first.get(f"{one.camera}/{one.epoch}", 0) for one in frame_set.sources)


def _arrival_ns(received: Received) -> int:
    message = received.message
    return message.t_received_ns if isinstance(message, FrameHeader) else getattr(message, "t_ns", 0)


def source_of(header: FrameHeader) -> SourceFrame:
    """A frame as a link of the chain."""
    return SourceFrame(
        header.camera,
        header.epoch,
        header.seq,
        header.t_exposure_ns,
        header.exposure_us,
        header.t_received_ns,
        _settled(header),
    )


def _settled(header: FrameHeader) -> bool:
    """Whether its time is to be believed: that of the arrival is not, where the camera has a clock of its own."""
    return header.ticks < 0 or header.time_source != "host"
