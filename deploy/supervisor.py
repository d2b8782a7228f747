"""Starts the processes of a table, watches them, starts failed ones again, and stops them all: one way to quit.

Processes are spawned (never forked) from a spec file each, in sessions of their own, so that Ctrl-C reaches the
supervisor alone. Sources stop first, then inference, then the recorder, which drains what is on its way, then the
monitor. After `Supervisor.run` no process, socket or shared-memory segment of the session is left.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol

from ..streaming.context import open_context
from ..streaming.keys import Gatekeeper, load_keys
from ..streaming.messages import Alarm, Arming, CameraStatus, Control, Gap, Heartbeat
from ..streaming.node import SUPERVISOR
from ..streaming.publisher import Publisher, high_water_for
from ..streaming.ring import unlink_session_rings
from ..streaming.subscriber import EverySubscriber
from ..streaming.topics import ALARM, CONTROL, FRAME, GAP, PIPELINE_STATE, TOPICS
from ..streaming.wire import Received
from ..sync.clock import NS_PER_MS, NS_PER_S, RigClock
from .arming_socket import ANSWER_S, ArmingSocket, Asked
from .attach import remove_dead_sessions, write_card
from .child import READY_TIMEOUT_S, Child, Session
from .process_table import ProcessRow

STOP_TIMEOUT_S = (10.0, 15.0, 60.0, 5.0)
"""Per stop order from 0 on; a cropper waits 12 s until the model on another host has closed its actuators, and the
recorder has to drain and close its files."""
TRIGGER_STOP_TIMEOUT_S = 10.0
"""Of the trigger, which stops before all others, so that the frames of its last pulses still arrive."""
_START_LEAD_NS = 500 * NS_PER_MS
_START_AGAIN_NS = 50 * NS_PER_MS
_HELD_UP_NS = NS_PER_S
"""A turn of the loop takes 50 ms; one that took this long was held up by a terminal that blocks, or by Ctrl-Z."""
_WORDS_CHARACTERS = 300
_WORDS_BYTES = 600
"""Of a failure's words, so many travel on the bus (a gap is bounded to 1 KiB); the log holds all."""

_WORDS = {True: "armed", False: "disarmed"}

Reason = Literal["done", "sources ended", "interrupted", "failed"]


class Watcher(Protocol):
    """What follows a run: report, terminal table, stop condition."""

    def on_message(self, received: Received) -> None:
        """Called with every message of the rig."""
        ...

    def on_tick(self, phase: str) -> bool:
        """Called at least ten times a second; True ends the run."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: why.
        failures: what went wrong, in words.
        restarts: how often a node was started again, by node.
        messages_lost: messages that the supervisor itself missed, so that its watcher did not see them; the recorder
            has its own subscription.
    """

    reason: Reason
    failures: list[str]
    restarts: dict[str, int] = field(default_factory=dict[str, int])
    messages_lost: int = 0


class Supervisor:
    """One run of one process table.

    Args:
        rows: the processes.
        clock: rig time; its anchor is given to every node.
        session: short id, part of shared-memory names.
        log_folder: where each node's output goes; None: a temporary folder.
        watcher: follows the run.
        first_port: tcp ports from here on; None: ipc.
        about: what a monitor that joins later should know of the rig.
        bind: address of these ports, other than loopback only with keys.
        keys: folder of this host's CURVE keys; None: the bus has none.
        pixels_in_messages: bytes of a frame where pixels travel inside its message, 0 where they go through memory.
            The supervisor then leaves frames alone, and fewer messages are held for a slow reader.
    """

    def __init__(
        self,
        rows: Sequence[ProcessRow],
        clock: RigClock,
        session: str,
        watcher: Watcher,
        log_folder: Path | None = None,
        first_port: int | None = None,
        about: Mapping[str, Any] | None = None,
        pixels_in_messages: int = 0,
        bind: str = "127.0.0.1",
        keys: Path | None = None,
    ) -> None:
        self._keys = None if keys is None else load_keys(keys)
        self._rows = list(rows)
        self._clock = clock
        self._watcher = watcher
        remove_dead_sessions()
        self._folder = Path(tempfile.mkdtemp(prefix="ethostream-"))
        logs = log_folder or self._folder
        logs.mkdir(parents=True, exist_ok=True)
        names = [SUPERVISOR, *(row.node for row in self._rows)]
        endpoints = {
            name: f"ipc://{self._folder}/{place}" if first_port is None else f"tcp://{bind}:{first_port + place}"
            for place, name in enumerate(names)
        }
        card = {
            **(about or {}),
            "session": session,
            "endpoints": endpoints,
            "anchor_utc_ns": clock.anchor.utc_ns,
            "anchor_monotonic_ns": clock.anchor.monotonic_ns,
            "keys": None if keys is None else str(keys),
        }
        write_card(self._folder, card)
        self._session = Session(session, clock, endpoints, self._folder, logs, high_water_for(pixels_in_messages), keys)
        self._unread = {PIPELINE_STATE, FRAME} if pixels_in_messages else {PIPELINE_STATE}
        self._children: dict[str, Child] = {}
        self._failures: list[str] = []
        self._restarts: dict[str, int] = {}
        self._interrupts = 0
        self._t_start_ns = 0
        self._next_start_ns = 0
        self._asked: list[Asked] = []
        self._stopping = False

    def run(self) -> Outcome:
        """Bring up, run, stop. Returns when every process has gone.

        Raises:
            AddressError: the supervisor's own address is taken.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        context = open_context()
        endpoints = self._session.endpoints
        gatekeeper = None if self._keys is None else Gatekeeper(context, self._keys)
        try:
            with (
                Publisher(context, SUPERVISOR, endpoints[SUPERVISOR], keys=self._keys) as publisher,
                ArmingSocket(self._folder) as arming,
            ):
                everything = [topic for topic in TOPICS.values() if topic not in self._unread]
                nodes = [endpoint for name, endpoint in endpoints.items() if name != SUPERVISOR]
                with EverySubscriber(context, nodes, everything, keys=self._keys) as bus:
                    watcher: Watcher | None = None
                    try:
                        for row in self._rows:
                            self._children[row.node] = Child(row, self._session)
                        reason = self._supervise(publisher, bus, arming)
                        watcher = self._watcher
                    finally:
                        # A watcher that raised (its terminal has gone) is not asked again on the way out.
                        self._stopping = True
                        if self._deciding() is not None:
                            publisher.publish(CONTROL, Control("stop"))
                        self._quit(bus, watcher, partial(self._serve, publisher, arming))
                        self._hang_up()
                    messages_lost = bus.n_lost
        finally:
            if gatekeeper is not None:
                gatekeeper.close()
            context.term()
            unlink_session_rings(self._session.name)
            shutil.rmtree(self._folder, ignore_errors=True)
            for number, handler in before.items():
                signal.signal(number, handler)
        return Outcome("failed" if self._failures else reason, self._failures, self._restarts, messages_lost)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._interrupts += 1

    def _supervise(self, publisher: Publisher, bus: EverySubscriber, arming: ArmingSocket) -> Reason:
        turned_ns = self._clock.now_ns()
        deadline_ns = turned_ns + round(READY_TIMEOUT_S * NS_PER_S)
        while True:
            self._pump(bus, 50, self._watcher)
            self._serve(publisher, arming)
            started = self._t_start_ns > 0
            if self._watcher.on_tick("running" if started else "starting"):
                return "done"
            if self._interrupts:
                return "interrupted"
            now = self._clock.now_ns()
            if now - turned_ns > _HELD_UP_NS:
                for child in self._children.values():
                    child.excuse(now - turned_ns)
            turned_ns = now
            self._watch(publisher)
            if self._failures:
                return "failed"
            if not started and all(child.state != "starting" for child in self._children.values()):
                self._t_start_ns = now + _START_LEAD_NS
            elif not started and now > deadline_ns:
                slow = [name for name, child in self._children.items() if child.state == "starting"]
                self._failures.append(
                    f"not ready after {READY_TIMEOUT_S:g} s: {', '.join(slow)}; see {self._session.logs}"
                )
            if self._t_start_ns:
                self._send_start(publisher, now)
            if all(child.ended for child in self._children.values() if child.row.source):
                return "sources ended"

    def _send_start(self, publisher: Publisher, now: int) -> None:
        # A subscription may still be on its way when the first start is sent, so it is said until each source runs.
        waiting = any(child.row.source and child.state == "ready" for child in self._children.values())
        if waiting and now >= self._next_start_ns:
            publisher.publish(CONTROL, Control("start", self._t_start_ns))
            self._next_start_ns = now + _START_AGAIN_NS

    def _pump(self, bus: EverySubscriber, timeout_ms: int, watcher: Watcher | None) -> bool:
        batch = bus.receive(timeout_ms)
        for received in batch:
            if isinstance(received.message, Heartbeat | CameraStatus) and received.source in self._children:
                self._children[received.source].hear(received.message)
            elif isinstance(received.message, Arming):
                self._answer(received.message)
            if watcher is not None:
                watcher.on_message(received)
        return bool(batch)

    def _serve(self, publisher: Publisher, arming: ArmingSocket) -> None:
        """Pass on what a person asked, and see to it that it is answered."""
        now = self._clock.now_ns()
        deciding = self._deciding()
        for asked in arming.take():
            if deciding is None:
                asked.answer(armed=None, words="this run has no rules that could fire", ok=asked.command == "disarm")
                continue
            if self._stopping and asked.command == "arm":
                asked.answer(armed=None, words="the run is stopping", ok=False)
                continue
            wait_ns = round(ANSWER_S * NS_PER_S)
            asked.deadline_ns = now + wait_ns
            # Obeyed in the first half of the wait alone: the answer has the other half to come back in.
            publisher.publish(CONTROL, Control(asked.command, until_ns=now + wait_ns // 2))
            self._asked.append(asked)
        late = [asked for asked in self._asked if now > asked.deadline_ns]
        self._asked = [asked for asked in self._asked if now <= asked.deadline_ns]
        for asked in late:
            if asked.command == "arm" or deciding is None:
                words = "the model's process did not answer; it may be starting. Look at its log, and ask again"
                asked.answer(armed=None, words=words, ok=False)
                continue
            # Better no model for a few seconds than one that may fire although it was told not to.
            deciding.kill()
            then = "the run is stopping" if self._stopping else "it comes back disarmed"
            asked.answer(armed=False, words=f"{deciding.row.node} did not answer and was ended; {then}")

    def _deciding(self) -> Child | None:
        """The process whose rules may fire."""
        live = [one for one in self._children.values() if not one.row.config.get("replay")]
        return next((one for one in live if one.has_rules), None)

    def _answer(self, message: Arming) -> None:
        """What the running model says of its arming answers those who have asked.

        A wish that came true is answered ``by`` person; an arm that schedule or line hold back is answered by these.
        So nothing but a person's disarm shows that the model has heard of one, and a disarm does not answer an arm.
        """
        if message.by == "start":
            return
        waiting, self._asked = self._asked, []
        for asked in waiting:
            wished = message.armed == (asked.command == "arm")
            held_back = asked.command == "arm" and not message.armed
            if not (wished if message.by == "person" else held_back):
                self._asked.append(asked)
                continue
            held = "" if wished else f", but for now the rules stay {_WORDS[message.armed]}: by {message.by}"
            asked.answer(armed=message.armed, words=f"{asked.command}ed{held}")

    def _hang_up(self) -> None:
        """The run is over: nobody is left who could fire."""
        for asked in self._asked:
            asked.answer(armed=False, words="the run has ended", ok=asked.command == "disarm")
        self._asked = []

    def _watch(self, publisher: Publisher) -> None:
        for child in self._children.values():
            if child.ended:
                continue
            if child.again_at_ns is not None:
                if self._clock.now_ns() >= child.again_at_ns:
                    child.start(self._t_start_ns)
                continue
            fault = child.fault()
            if fault is not None:
                self._failed(publisher, child, f"{child.row.node}: {fault}")

    def _failed(self, publisher: Publisher, child: Child, words: str) -> None:
        # One that was never ready would not be the next time either: its configuration is wrong, and a person waits.
        if child.row.restart == "never" or not child.ever_ready:
            self._failures.append(words)
            return
        step = child.plan_restart(words)
        self._restarts[child.row.node] = self._restarts.get(child.row.node, 0) + 1
        words = _cut(words)
        if step.tell:
            disarmed = ", disarmed: its rules will not fire until `ethostream arm --yes`" if child.has_rules else ""
            self._say(publisher, f"{words}; started again in {step.wait_s:g} s{disarmed}")
        if child.source_name is not None and child.was_ready:
            # What it had grabbed and not published died with it: how many is not known, that it happened is declared.
            why = f"{child.brings} process failed: {words}"
            gap = Gap("device", child.source_name, child.epoch, child.last_seq + 1, 0, why, self._clock.now_ns())
            publisher.publish(GAP, gap, child.source_name)

    def _say(self, publisher: Publisher, text: str) -> None:
        alarm = Alarm(SUPERVISOR, "error", text, self._clock.now_ns())
        body = publisher.publish(ALARM, alarm)
        self._watcher.on_message(Received(ALARM, "", SUPERVISOR, 0, alarm, body))

    def _quit(self, bus: EverySubscriber, watcher: Watcher | None, serve: Callable[[], None]) -> None:
        """The one way to quit, whatever happened before. A stop may take its time: people are heard all the while."""
        try:
            for order, timeout_s in enumerate((TRIGGER_STOP_TIMEOUT_S, *STOP_TIMEOUT_S), start=-1):
                mine = [child for child in self._children.values() if child.row.stop_order == order]
                self._stop(mine, timeout_s, bus, watcher, serve)
            while self._pump(bus, 50, watcher):
                pass
        finally:
            for child in self._children.values():
                child.kill()

    def _stop(
        self,
        children: Sequence[Child],
        timeout_s: float,
        bus: EverySubscriber,
        watcher: Watcher | None,
        serve: Callable[[], None],
    ) -> None:
        for child in children:
            child.terminate()
        deadline = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        why = ""
        while not why and any(child.alive for child in children):
            self._pump(bus, 20, watcher)
            serve()
            if watcher is not None:
                watcher.on_tick("stopping")
            if self._interrupts > 1:
                why = "was killed by the second Ctrl-C before it had stopped"
            elif self._clock.now_ns() > deadline:
                why = f"did not stop within {timeout_s:g} s and was killed"
        for child in children:
            if child.alive:
                self._failures.append(f"{child.row.node}: {why}")
                child.kill()
            bad_end = child.bad_end()
            words = f"{child.row.node}: {bad_end}"
            if bad_end is not None and words not in self._failures:
                self._failures.append(words)


def _cut(words: str) -> str:
    if len(words) <= _WORDS_CHARACTERS and len(words.encode()) <= _WORDS_BYTES:
        return words
    return words[:_WORDS_CHARACTERS].encode()[:_WORDS_BYTES].decode(errors="ignore") + "..."


def new_session_id() -> str:
    """Eight random hexadecimal digits."""
    return os.urandom(4).hex()
