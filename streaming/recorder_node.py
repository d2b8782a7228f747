"""The recorder as a process: every logged message of every node, and the pixels of every frame, into one folder."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.strict import StrictModel, validate
from .messages import Message
from .node import NodeContext
from .pose_format import PoseFormat
from .recorder import Recorder
from .recording_config import RecordingConfig
from .recording_info import PartLink, RecordedFormat
from .recording_writer import RecordingWriter
from .subscriber import EverySubscriber
from .topics import HEARTBEAT, TOPICS, Topic

_POLL_MS = 20
_LAST_WORDS_NS = 200 * NS_PER_MS


class RecorderNodeConfig(StrictModel):
    """Options of the recorder process.

    Attributes:
        folder: of the new recording.
        cameras: what each delivers.
        poses: what each pose source delivers.
        recording: codec, queue and reserve.
        run: the resolved configuration of the run, kept in ``recording.json``.
        continues: the part of the session before this one, where there is one.
        part: number of this part.
    """

    folder: str
    cameras: dict[str, RecordedFormat] = Field(default_factory=dict)
    poses: dict[str, PoseFormat] = Field(default_factory=dict)
    recording: RecordingConfig = RecordingConfig()
    run: dict[str, Any] = Field(default_factory=dict)
    continues: PartLink | None = None
    part: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _has_sources(self) -> "RecorderNodeConfig":
        if not self.cameras and not self.poses:
            raise ValueError("cameras: there is none, and no pose source either; a recording needs one at least")
        return self


def main(context: NodeContext) -> None:
    """Entry point: record until told to stop and every source has said its last word."""
    config = validate(RecorderNodeConfig, context.spec.config, context.spec.node)
    writer = RecordingWriter(
        Path(config.folder),
        context.spec.session,
        config.cameras,
        config.recording,
        context.clock.now_ns(),
        config.run,
        context.anchor,
        None if config.continues is None else (config.continues, config.part),
        config.poses,
    )

    def publish(topic: Topic, message: Message, camera: str) -> bytes:
        return context.publish(topic, message, camera)

    recorder = Recorder(context.spec.node, writer, config.recording, context.clock, publish)
    context.on_publish = recorder.log_own
    topics = [topic for topic in TOPICS.values() if topic.logged]
    with context.subscribe(topics) as bus:
        _record(context, recorder, bus)
        _drain(context, recorder, bus, config.recording.drain_s)
    recorder.close()
    context.on_publish = None


def _record(context: NodeContext, recorder: Recorder, bus: EverySubscriber) -> None:
    while not context.should_stop:
        _turn(context, recorder, bus, _POLL_MS)
        if context.ready_when_heard(bus.heard) and context.state == "ready" and any(recorder.written.values()):
            context.set_state("running")


def _drain(context: NodeContext, recorder: Recorder, bus: EverySubscriber, drain_s: float) -> None:
    """Take what is still on its way: until every source has sent its last status, then until nothing comes."""
    context.set_state("stopping")
    now = heard_ns = context.clock.now_ns()
    deadline = now + round(drain_s * NS_PER_S)
    while now < deadline and not (recorder.quiet and now - heard_ns >= _LAST_WORDS_NS):
        n = _turn(context, recorder, bus, _POLL_MS)
        now = context.clock.now_ns()
        if n:
            heard_ns = now
    recorder.end_encoders()
    while not recorder.ended:
        _turn(context, recorder, bus, _POLL_MS)


def _turn(context: NodeContext, recorder: Recorder, bus: EverySubscriber, timeout_ms: int) -> int:
    """Take what has come; returns how many messages said more than that their node is alive."""
    received = bus.receive(timeout_ms)
    for one in received:
        recorder.accept(one)
    recorder.poll()
    context.counters.update(
        written=sum(recorder.written.values()),
        declared=sum(recorder.declared.values()),
        waiting=recorder.n_waiting,
        lost=bus.n_lost,
        refused=bus.n_refused,
        unlogged=recorder.n_unlogged,
        **recorder.disk_ms,
    )
    context.beat()
    return sum(one.topic is not HEARTBEAT for one in received)
