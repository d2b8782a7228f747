"""Poses as they come from their source: every one is stepped on, in order, and what never came is told to the model."""

import logging
from collections.abc import Iterable
from typing import Final

from ..streaming.messages import CameraStatus, Control, Gap, Pose, RecordingStatus, SyncPulse
from ..streaming.node import SUPERVISOR, NodeContext
from ..streaming.pose_format import set_id_of
from ..streaming.subscriber import EverySubscriber
from ..streaming.topics import CAMERA_STATUS, CONTROL, GAP, POSE, RECORDING, SYNC_PULSE
from ..streaming.wire import Received
from ..sync.clock import NS_PER_MS, NS_PER_S
from .arm_command import may_obey
from .lost_edges import with_losses
from .node_config import InferenceNodeConfig, PoseTaken
from .running_pose_model import RunningPoseModel
from .set_taker import STATE_PERIOD_NS

_POLL_MS: Final = 20
_MOST_AT_ONCE: Final = 16
"""Messages taken before commands are looked at again, so that a model that is behind can be disarmed."""
_LAST_WORDS_MS: Final = 1000
"""A source that was killed says no last word: nothing more is awaited of it after this silence."""
_LATE_NS: Final = NS_PER_S
"""A pose that waited longer than this for the model is counted, and the first one told."""

log = logging.getLogger(__name__)


class LivePoses:
    """Steps on every pose of one source.

    Args:
        context: of the node.
        config: of the process.
        pose: the source.
        model: what steps.
    """

    def __init__(
        self, context: NodeContext, config: InferenceNodeConfig, pose: PoseTaken, model: RunningPoseModel
    ) -> None:
        self._context = context
        self._source = pose.source
        self._format = pose.format
        self._model = model
        lines = [SYNC_PULSE] if config.task.arming.line is not None else []
        self._topics = [POSE, CAMERA_STATUS, RECORDING, GAP, *lines]
        self._recording = ""
        self._recorded_from: dict[str, int] = {}
        # A process that was started again does not know what was recorded: its state is saved from its first pose on.
        self._state_due = context.spec.epoch > 0
        self._saved_ns = 0
        self._hole_end: tuple[int, int] | None = None
        """Epoch and number of the pose after those that the recorder lacks: from there a replay can go on."""
        self._epoch: int | None = None
        self._speaking = True
        self._n_skipped = 0
        self._alarmed: set[str] = set()
        context.counters.update(steps=0, skipped=0, refused=0, lost=0, age_ms=0, late=0)

    def run(self) -> None:
        """Until the node is asked to stop; then until the source has said its last word."""
        context = self._context
        with (
            context.subscribe(self._topics, cameras=[self._source]) as bus,
            context.subscribe([CONTROL], [SUPERVISOR]) as commands,
        ):
            while not context.should_stop:
                self._turn(bus, self._timeout_ms(), commands)
                context.ready_when_heard(bus.heard)
                context.beat()
            # The source has stopped by now: what it sent last is on its way, and its status comes after it.
            heard_ns = context.clock.now_ns()
            while self._speaking and context.clock.now_ns() - heard_ns < _LAST_WORDS_MS * NS_PER_MS:
                if self._turn(bus, _POLL_MS, commands):
                    heard_ns = context.clock.now_ns()
                context.beat()
            context.counters["skipped"] += self._n_skipped
            self._model.rest("the run ends")
            context.set_state("stopping")

    def _turn(self, bus: EverySubscriber, timeout_ms: int, commands: EverySubscriber) -> int:
        """Take some of what is there; returns how many poses came. ``commands`` hears the supervisor alone."""
        batch = bus.receive(timeout_ms, _MOST_AT_ONCE)
        self._obey(one.message for one in commands.receive(0))
        for received in batch:
            self._accept(received)
        self._model.tick()
        self._context.counters["refused"] = bus.n_refused
        return sum(received.topic is POSE for received in batch)

    def _timeout_ms(self) -> int:
        due = self._model.next_due_ns()
        if due is None:
            return _POLL_MS
        # A firing is awaited to the end: rounded down, so that the last part of a millisecond is not slept away.
        return min(_POLL_MS, max(0, (due - self._context.clock.now_ns()) // NS_PER_MS))

    def _obey(self, commands: Iterable[object]) -> None:
        for message in commands:
            if isinstance(message, Control) and may_obey(message, self._context):
                self._model.control(message)

    def _accept(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Pose):
            self._step(message, received.n_lost)
        elif isinstance(message, SyncPulse):
            self._model.pulse(with_losses(message, received, self._alarm_once))
        elif isinstance(message, CameraStatus):
            self._speaking = message.state == "running"
        elif isinstance(message, RecordingStatus) and message.recording != self._recording:
            self._recording = message.recording
            self._recorded_from = message.first_seq
            self._state_due = True
        elif isinstance(message, Gap) and message.source in ("bus", "recorder") and self._recording:
            end = (message.epoch, message.first_seq + message.n)
            self._hole_end = end if self._hole_end is None else max(end, self._hole_end)

    def _step(self, pose: Pose, n_lost: int) -> None:
        counters = self._context.counters
        if n_lost:
            counters["lost"] += n_lost
            self._n_skipped += n_lost
            self._alarm_once(f"poses of {self._source} were lost on the way to the model; the machine is too busy")
        if not self._format.suits(pose):
            # A source that was started again may read another file by then: no model could read that.
            self._n_skipped += 1
            self._alarm_once(
                f"pose source {self._source} delivers other animals or keypoints than the rig began with, which are "
                "left out; set its file back, or start the rig again"
            )
            return
        self._watch_age(pose)
        self._save_state_where_due(pose)
        if self._model.step(pose, self._n_skipped):
            counters["steps"] += 1
            counters["skipped"] += self._n_skipped
            self._n_skipped = 0

    def _watch_age(self, pose: Pose) -> None:
        age_ns = max(0, self._context.clock.now_ns() - pose.t_received_ns)
        self._context.counters["age_ms"] = age_ns // NS_PER_MS
        if age_ns > _LATE_NS:
            self._context.counters["late"] += 1
            self._alarm_once(
                f"the model is {age_ns / NS_PER_S:.1f} s behind pose source {self._source}: it steps on every pose all "
                "the same, and labels come late. Use a bundle with fewer features or a source of a lower rate, or give "
                "its process a core of its own (process.cores)",
                about="late",
            )

    def _save_state_where_due(self, pose: Pose) -> None:
        """Where the recording begins, where the source began anew, and after what the recorder lacks."""
        # The last pose of a process that was killed may have come here alone, and nobody could declare that.
        self._state_due |= bool(self._recording) and self._epoch is not None and pose.epoch != self._epoch
        self._epoch = pose.epoch
        passed = self._hole_end is not None and (pose.epoch, pose.seq) >= self._hole_end
        due = self._state_due or (passed and pose.t_received_ns >= self._saved_ns + STATE_PERIOD_NS)
        if due and pose.seq >= self._recorded_from.get(f"{pose.source}/{pose.epoch}", 0):
            self._state_due = False
            self._hole_end = None if passed else self._hole_end
            self._saved_ns = pose.t_received_ns
            self._model.save_state(set_id_of(pose))

    def _alarm_once(self, text: str, about: str = "") -> None:
        if (about or text) not in self._alarmed:
            self._alarmed.add(about or text)
            self._context.alarm("warning", text)
