"""The rig on the Lab Streaming Layer: behaviour, decisions and frame times, for other programs of the lab.

Streams are named ``RIG.label`` (text, when it changes), ``RIG.probabilities``, ``RIG.decisions`` (text, one JSON object
per decision) and ``RIG.frames`` (frame set and, per camera, the device's frame number, -1 where the view is missing).
Time stamps are LSL's, of the instant that each is about: exposure for the first two, firing (else the decision) for
decisions, mid-exposure for frames.
"""

from typing import Any

import msgspec

from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.strict import StrictModel, validate
from .lsl_clock import load_pylsl, measure_relation
from .messages import Behavior, Decision, FrameSet
from .node import NodeContext
from .topics import BEHAVIOR, DECISION, FRAME_SET

_POLL_MS = 20
_RELATION_PERIOD_NS = 10 * NS_PER_S
_BUFFER_S = 60
_MAX_UNCERTAINTY_NS = 1 * NS_PER_MS


class LslOutletNodeConfig(StrictModel):
    """Options.

    Attributes:
        rig: first part of the streams' names.
        cameras: channels of the frames stream.
    """

    rig: str
    cameras: list[str]


def main(context: NodeContext) -> None:
    """Entry point."""
    config = validate(LslOutletNodeConfig, context.spec.config, context.spec.node)
    outlets = _Outlets(context, config)
    with context.subscribe([BEHAVIOR, DECISION, FRAME_SET]) as bus:
        while not context.should_stop:
            for received in bus.receive(_POLL_MS):
                outlets.send(received.message)
            context.ready_when_heard(bus.heard)
            context.counters.update(samples=outlets.n_sent, lost=bus.n_lost, refused=bus.n_refused)
            context.beat()
    context.set_state("stopping")


class _Outlets:
    def __init__(self, context: NodeContext, config: LslOutletNodeConfig) -> None:
        self._context = context
        self._config = config
        self._lsl = load_pylsl()
        self._relation = measure_relation(context.clock, self._lsl.local_clock)
        self._relation_ns = context.clock.now_ns()
        self._label = self._open("label", "Markers", ("label",), self._lsl.cf_string)
        self._decisions = self._open("decisions", "Markers", ("decision",), self._lsl.cf_string)
        self._frames = self._open("frames", "Frames", ("set_id", *config.cameras), self._lsl.cf_double64)
        self._probabilities: Any = None
        self._last_label: dict[int, str] = {}
        self.n_sent = 0

    def _open(self, stream: str, kind: str, channels: tuple[str, ...], form: int) -> Any:
        rig = self._config.rig
        # The same source id at the next start, so that receivers recognise the stream.
        info = self._lsl.StreamInfo(f"{rig}.{stream}", kind, len(channels), 0.0, form, f"ethostream.{rig}.{stream}")
        labels = info.desc().append_child("channels")
        for name in channels:
            labels.append_child("channel").append_child_value("label", name)
        info.desc().append_child_value("session", self._context.spec.session)
        return self._lsl.StreamOutlet(info, 0, _BUFFER_S)

    def send(self, message: msgspec.Struct) -> None:
        """Push what one message says."""
        if isinstance(message, Behavior):
            self._behavior(message)
        elif isinstance(message, Decision):
            body = {
                "rule": message.rule, "action": message.action, "reason": message.reason, "behavior": message.behavior,
                "p": round(message.p, 6), "set_id": message.set_id, "animal": message.animal,
                "actuator": message.actuator, "t_exposure_ns": message.t_exposure_ns,
            }  # fmt: skip
            self._push(
                self._decisions, [msgspec.json.encode(body).decode()], message.t_fired_ns or message.t_decided_ns
            )
        elif isinstance(message, FrameSet):
            seqs = {one.camera: one.seq for one in message.sources}
            row = [float(message.set_id), *(float(seqs.get(camera, -1)) for camera in self._config.cameras)]
            self._push(self._frames, row, message.t_mid_ns)

    def _behavior(self, message: Behavior) -> None:
        if message.label != self._last_label.get(message.animal, ""):
            self._last_label[message.animal] = message.label
            self._push(self._label, [message.label], message.t_spoken_of_ns)
        if self._probabilities is None and message.p:
            # How many channels it has is known from the first answer of the model.
            classes = message.classes or tuple(f"p{place}" for place in range(len(message.p)))
            self._probabilities = self._open("probabilities", "Behavior", classes, self._lsl.cf_float32)
        if message.p and message.animal == 0:
            self._push(self._probabilities, list(message.p), message.t_spoken_of_ns)

    def _push(self, outlet: Any, row: list[Any], t_ns: int) -> None:
        now = self._context.clock.now_ns()
        if now - self._relation_ns > _RELATION_PERIOD_NS:
            self._relation_ns = now
            relation = measure_relation(self._context.clock, self._lsl.local_clock)
            # Both run on this host's monotonic clock; a wide bracket (held up between readings) teaches nothing.
            if relation.uncertainty_ns < _MAX_UNCERTAINTY_NS:
                self._relation = relation
        outlet.push_sample(row, (t_ns - self._relation.offset_ns) / NS_PER_S)
        self.n_sent += 1
