"""A node is one process of the rig: started from a spec file, alive as long as its heartbeat, quits on SIGTERM.

``python -m ethostream.streaming.node SPEC.json`` reads a `NodeSpec`, opens the node's publisher and calls its entry
point with a `NodeContext`. The supervisor writes the spec and decides on restarts; a node that fails says why on
standard error and exits non-zero.
"""

import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

import psutil
import zmq
from pydantic import Field

from ..sync.clock import NS_PER_MS, NS_PER_S, Clock, ClockAnchor, RigClock
from ..sync.errors import BusError, EthostreamError
from ..sync.strict import StrictModel, validate
from .keys import Gatekeeper, load_keys
from .messages import Alarm, Control, Heartbeat, Message
from .process_config import NodeProcess
from .process_setup import QuietCollector, set_up_process
from .publisher import HIGH_WATER, Publisher
from .subscriber import EverySubscriber, LatestSubscriber
from .topics import ALARM, CONTROL, HEARTBEAT, Topic

HEARTBEAT_PERIOD_NS = 200 * NS_PER_MS
_SAY_REFUSED_NS = NS_PER_S
"""What the system refused is said this long after a node is ready: by then the recorder hears it."""
SUPERVISOR = "supervisor"

State = Literal["starting", "ready", "running", "stopping"]

log = logging.getLogger(__name__)


class NodeSpec(StrictModel):
    """All that one process needs to know.

    Attributes:
        node: its name on the bus, unique in the rig.
        entry: ``module:function``, called with the context.
        epoch: how often it was started before in this session.
        session: short id of the session, part of ring names.
        anchor_utc_ns, anchor_monotonic_ns: the session's clock anchor.
        endpoints: address of every publisher of the rig, by node.
        upstream: publishers that must be heard before this node is ready.
        parent_pid: the supervisor; a node whose parent has gone quits.
        lives_with_pid: a further process without which this node has nothing to do.
        armed: whether rules may fire when it starts; False after a restart.
        t_start_ns: rig time of the common start, where it has been by then; else 0.
        high_water: messages held per reader while it is slow.
        keys: folder of this host's CURVE keys; None: the bus has none.
        runtime: the session's runtime folder; None: there is none to be known.
        process: cores, priority, memory and garbage collection of the process.
        config: the entry point's own options.
    """

    node: str
    entry: str
    epoch: int = 0
    session: str
    anchor_utc_ns: int
    anchor_monotonic_ns: int
    endpoints: dict[str, str]
    upstream: list[str] = Field(default_factory=list)
    parent_pid: int
    lives_with_pid: int | None = None
    armed: bool = False
    t_start_ns: int = 0
    high_water: int = Field(default=HIGH_WATER, ge=1)
    keys: Path | None = None
    runtime: Path | None = None
    process: NodeProcess = NodeProcess()
    config: dict[str, Any] = Field(default_factory=dict)


class NodeContext:
    """What a node is given: clock, publisher, subscriptions, heartbeat and the wish to stop. One thread."""

    def __init__(self, spec: NodeSpec, refused: Sequence[str] = ()) -> None:
        self.spec = spec
        self._refused = list(refused)
        self._ready_ns = 0
        self._collector = QuietCollector()
        self.anchor = ClockAnchor(spec.anchor_utc_ns, spec.anchor_monotonic_ns)
        self.clock: Clock = RigClock(self.anchor)
        self.keys = None if spec.keys is None else load_keys(spec.keys)
        self.zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gatekeeper = None if self.keys is None else Gatekeeper(self.zmq, self.keys)
        try:
            self.publisher = Publisher(self.zmq, spec.node, spec.endpoints[spec.node], spec.high_water, self.keys)
        except BusError:
            if self._gatekeeper is not None:
                self._gatekeeper.close()
            raise
        self.counters: dict[str, int] = {}
        """Published with each heartbeat; the node sets them."""
        self.on_publish: Callable[[Topic, str, bytes], None] | None = None
        """Called with topic, camera and body of all that this node publishes; the recorder logs its own so."""
        self.state: State = "starting"
        self._stop = False
        self._next_beat_ns = 0

    @property
    def should_stop(self) -> bool:
        """True once the supervisor has asked for it, or has gone."""
        return self._stop

    def request_stop(self) -> None:
        """As SIGTERM does. May be called from a signal handler."""
        self._stop = True

    def _endpoints(self, nodes: Iterable[str] | None) -> list[str]:
        chosen = self.spec.endpoints if nodes is None else {node: self.spec.endpoints[node] for node in nodes}
        return [endpoint for node, endpoint in chosen.items() if node != self.spec.node]

    def subscribe(
        self, topics: Iterable[Topic], nodes: Iterable[str] | None = None, cameras: Sequence[str] | None = None
    ) -> EverySubscriber:
        """Every message of ``topics`` from ``nodes`` (None: all others). Heartbeats always come along."""
        chosen = {HEARTBEAT, *topics}
        return EverySubscriber(self.zmq, self._endpoints(nodes), chosen, cameras, self.spec.high_water, self.keys)

    def subscribe_latest(
        self, topics: Iterable[Topic], nodes: Iterable[str] | None = None, cameras: Sequence[str] | None = None
    ) -> LatestSubscriber:
        """The newest message of ``topics`` from ``nodes`` (None: all others)."""
        return LatestSubscriber(self.zmq, self._endpoints(nodes), topics, cameras, self.spec.high_water, self.keys)

    def ready_when_heard(self, heard: set[str]) -> bool:
        """Become ``ready`` once every upstream publisher was heard, which proves that its subscription is in force."""
        if self.state == "starting" and heard.issuperset(self.spec.upstream):
            self.set_state("ready")
        return self.state != "starting"

    def set_state(self, state: State) -> None:
        """Change the state and say so at once."""
        if state in ("ready", "running") and not self._ready_ns:
            self._ready_ns = self.clock.now_ns()
            if self.spec.process.collect_between_sets:
                self._collector.begin()
        self.state = state
        self._next_beat_ns = 0
        self.beat()

    def beat(self) -> None:
        """Publish a heartbeat where one is due. Call it at least five times a second."""
        now = self.clock.now_ns()
        if now < self._next_beat_ns:
            return
        self._next_beat_ns = now + HEARTBEAT_PERIOD_NS
        companion = self.spec.lives_with_pid
        if os.getppid() != self.spec.parent_pid or (companion is not None and not psutil.pid_exists(companion)):
            self._stop = True
        spec = self.spec
        self.publish(HEARTBEAT, Heartbeat(spec.node, spec.epoch, os.getpid(), self.state, now, dict(self.counters)))
        if self._refused and self._ready_ns and now - self._ready_ns >= _SAY_REFUSED_NS:
            self._say_refused()
        self._collector.turn()

    def _say_refused(self) -> None:
        refused, self._refused = self._refused, []
        for text in refused:
            self.alarm("warning", text)

    def publish(self, topic: Topic, message: Message, camera: str = "", pixels: bytes | None = None) -> bytes:
        """Publish under this node's name."""
        body = self.publisher.publish(topic, message, camera, pixels)
        if self.on_publish is not None:
            self.on_publish(topic, camera, body)
        return body

    def alarm(self, severity: Literal["warning", "error"], text: str) -> None:
        """Tell a person, now and in the recording."""
        log.warning("%s", text)
        self.publish(ALARM, Alarm(self.spec.node, severity, text, self.clock.now_ns()))

    def wait_for_start(self, also: Callable[[], None] | None = None) -> int | None:
        """Beat as ``ready`` until the supervisor says start; returns ``t_start_ns``, or None when asked to stop."""
        with EverySubscriber(self.zmq, [self.spec.endpoints[SUPERVISOR]], [CONTROL], keys=self.keys) as control:
            self.set_state("ready")
            while not self.should_stop:
                self.beat()
                for received in control.receive(50):
                    message = received.message
                    if isinstance(message, Control) and message.command == "start":
                        return message.t_start_ns
                if also is not None:
                    also()
        return None

    def close(self) -> None:
        """Send what is queued and leave the bus."""
        self._say_refused()
        self._collector.end()
        self.publisher.close()
        if self._gatekeeper is not None:
            self._gatekeeper.close()
        self.zmq.term()


Entry = Callable[[NodeContext], None]


def load_entry(entry: str) -> Entry:
    """Import ``module:function``."""
    module, _, function = entry.partition(":")
    return cast(Entry, getattr(importlib.import_module(module), function))


def run_node(spec: NodeSpec, *, in_terminal: bool = False) -> int:
    """Run one node in this process until it ends; returns the exit status.

    ``in_terminal``: a person started it alone, and Ctrl-C stops it.
    """
    line = "%(message)s" if in_terminal else f"%(asctime)s {spec.node} %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=line)
    stopped_early = False
    context: NodeContext | None = None

    def on_terminate(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped_early
        stopped_early = True
        if context is not None:
            context.request_stop()

    signal.signal(signal.SIGTERM, on_terminate)
    # Under a supervisor Ctrl-C is for the supervisor alone; it stops the nodes in order.
    signal.signal(signal.SIGINT, on_terminate if in_terminal else signal.SIG_IGN)
    try:
        # Before anything is loaded: threads that libraries start take cores and priority from this one.
        refused = set_up_process(spec.process, spec.node)
        entry = load_entry(spec.entry)
        context = NodeContext(spec, refused)
        if stopped_early:
            context.request_stop()
        try:
            entry(context)
        finally:
            context.close()
    except EthostreamError as error:
        log.error("%s", error)
        print(f"ERROR {error}", file=sys.stderr, flush=True)  # noqa: T201 - the supervisor reads this line
        return error.exit_code
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of ``python -m ethostream.streaming.node``."""
    path = Path((arguments if arguments is not None else sys.argv[1:])[0])
    return run_node(validate(NodeSpec, json.loads(path.read_text(encoding="utf-8")), str(path)))


if __name__ == "__main__":
    # os._exit would skip the flush; a node whose threads hang is ended by the supervisor.
    sys.exit(main())
