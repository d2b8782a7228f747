"""Lab Streaming Layer into the rig: streams of other programs on the bus, and so in the recording."""

import logging
from collections import deque

from pydantic import Field

from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.errors import NodeError, WireError
from ..sync.strict import StrictModel, validate
from .lsl_config import LslInletConfig
from .lsl_inlet import LslInlet, Note
from .messages import ClockStatus, Control, Heartbeat, LslSamples
from .node import NodeContext
from .topics import CLOCK, CONTROL, LSL

_POLL_NS = 20 * NS_PER_MS
_CLOSE_S = 7.0
"""LSL may wait five seconds for a stream that goes away just then."""
_DROP_ALARM_NS = 10 * NS_PER_S
_MAX_NOTES = 64

log = logging.getLogger(__name__)


class LslInletNodeConfig(StrictModel):
    """Options: the streams, by the name that they get."""

    inlets: dict[str, LslInletConfig] = Field(min_length=1)


def main(context: NodeContext) -> None:
    """Entry point: look for the streams at once, publish from the start of the rig on."""
    config = validate(LslInletNodeConfig, context.spec.config, context.spec.node)
    inlets: list[LslInlet] = []
    try:
        for name, one in config.inlets.items():
            inlets.append(LslInlet(name, one, context.clock, context.spec.epoch))
        early = _wait_for_the_rig(context, inlets)
        if early is not None:
            _Publishing(context, inlets).run(early)
    finally:
        for one in inlets:
            one.begin_close()
        left_s = _CLOSE_S
        while left_s > 0 and not all([one.join(0.1) for one in inlets]):
            left_s -= 0.1 * len(inlets)
            context.beat()
        context.set_state("stopping")


def _wait_for_the_rig(context: NodeContext, inlets: list[LslInlet]) -> list[tuple[LslInlet, ClockStatus | Note]] | None:
    """Until the supervisor says start, or a node is seen running; None when asked to stop.

    Samples that come before nobody would record: they are let go. What was told of the streams is returned.
    """
    clocks: dict[str, tuple[LslInlet, ClockStatus]] = {}
    notes: deque[tuple[LslInlet, Note]] = deque(maxlen=_MAX_NOTES)
    with context.subscribe([CONTROL]) as bus:
        context.set_state("ready")
        while not context.should_stop:
            for inlet in inlets:
                for what in inlet.take():
                    if isinstance(what, ClockStatus):
                        clocks[inlet.name] = inlet, what
                    elif isinstance(what, Note):
                        notes.append((inlet, what))
            context.counters.update(samples=sum(one.n_samples for one in inlets))
            context.beat()
            for received in bus.receive(50):
                message = received.message
                if isinstance(message, Control) or (isinstance(message, Heartbeat) and message.state == "running"):
                    return [*notes, *clocks.values()]
    return None


class _Publishing:
    def __init__(self, context: NodeContext, inlets: list[LslInlet]) -> None:
        self._context = context
        self._inlets = inlets
        self._told_dropped = dict.fromkeys((one.name for one in inlets), 0)
        self._tell_ns = 0
        self._n_too_large = 0

    def run(self, early: list[tuple[LslInlet, ClockStatus | Note]]) -> None:
        context = self._context
        context.set_state("running")
        for inlet, what in early:
            self._publish(inlet, what)
        while not context.should_stop:
            for inlet in self._inlets:
                self._publish_all(inlet)
                if not inlet.alive:
                    raise NodeError(f"LSL stream {inlet.name}: its thread has ended; see this node's log")
            self._tell_drops()
            context.counters.update(
                samples=sum(one.n_samples for one in self._inlets),
                dropped=sum(one.n_dropped for one in self._inlets),
                lost=sum(one.n_lost for one in self._inlets),
                too_large=self._n_too_large,
            )
            context.beat()
            context.clock.sleep_until_ns(context.clock.now_ns() + _POLL_NS)
        for inlet in self._inlets:
            self._publish_all(inlet)

    def _publish_all(self, inlet: LslInlet) -> None:
        for what in inlet.take():
            self._publish(inlet, what)

    def _publish(self, inlet: LslInlet, what: LslSamples | ClockStatus | Note) -> None:
        if isinstance(what, Note) and what.kind == "found":
            log.info("%s", what.text)
        elif isinstance(what, Note):
            self._context.alarm("warning" if what.kind == "back" else "error", what.text)
        elif isinstance(what, ClockStatus):
            self._context.publish(CLOCK, what)
        else:
            try:
                self._context.publish(LSL, what)
            except WireError as error:
                self._n_too_large += len(what.lsl_s)
                self._context.alarm("error", f"LSL stream {inlet.name}: {error}; these samples are not recorded")

    def _tell_drops(self) -> None:
        now = self._context.clock.now_ns()
        if now < self._tell_ns:
            return
        for inlet in self._inlets:
            n_new = inlet.n_dropped - self._told_dropped[inlet.name]
            if n_new:
                self._tell_ns = now + _DROP_ALARM_NS
                self._told_dropped[inlet.name] = inlet.n_dropped
                words = f"{n_new} samples came faster than they could be published and are lost"
                self._context.alarm("error", f"LSL stream {inlet.name}: {words}")
