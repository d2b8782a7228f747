"""Starts the processes of a table, watches them, starts failed ones again, and stops them all: one way to quit.

Processes are spawned (never forked) from a spec file each, in sessions of their own, so that Ctrl-C reaches the
supervisor alone. Sources stop first, then inference, then the recorder, which drains what is on its way, then the
monitor. After `Supervisor.run` no process, socket or shared-memory segment of the session is left.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Literal, Protocol

from ..streaming.context import open_context
from ..streaming.messages import Alarm, CameraStatus, Control, Gap, Heartbeat
from ..streaming.node import SUPERVISOR, NodeSpec
from ..streaming.publisher import Publisher
from ..streaming.ring import unlink_session_rings
from ..streaming.subscriber import EverySubscriber
from ..streaming.topics import ALARM, CONTROL, GAP, PIPELINE_STATE, TOPICS
from ..streaming.wire import Received
from ..sync.clock import NS_PER_MS, NS_PER_S, RigClock
from ..sync.errors import NodeError
from .attach import remove_dead_sessions, write_card
from .process_table import ProcessRow

READY_TIMEOUT_S = 120.0
"""Bring-up of the slowest node: loading and proving a large model."""
WATCHDOG_S = 10.0
"""A node without a heartbeat for this long hangs."""
STOP_TIMEOUT_S = (10.0, 10.0, 60.0, 5.0)
"""Per stop order; the recorder has to drain and close its files."""
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_START_LEAD_NS = 500 * NS_PER_MS
_START_AGAIN_NS = 50 * NS_PER_MS

Reason = Literal["done", "sources ended", "interrupted", "failed"]

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """What follows a run: report, terminal table, stop condition."""

    def on_message(self, received: Received) -> None:
        """Called with every message of the rig."""
        ...

    def on_tick(self, phase: str) -> bool:
        """Called at least ten times a second; True ends the run."""
        ...


@dataclass(slots=True)
class _Child:
    row: ProcessRow
    process: "subprocess.Popen[bytes]"
    epoch: int = 0
    state: str = "starting"
    was_ready: bool = False
    heard_ns: int = 0
    last_seq: int = -1
    again_at_ns: int | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; ``failures`` say it in words."""

    reason: Reason
    failures: list[str]
    restarts: dict[str, int] = field(default_factory=dict[str, int])


class Supervisor:
    """One run of one process table.

    Args:
        rows: the processes.
        clock: rig time; its anchor is given to every node.
        session: short id, part of shared-memory names.
        log_folder: where each node's output goes; None: a temporary folder.
        watcher: follows the run.
        first_port: tcp loopback ports from here on; None: ipc.
        about: what a monitor that joins later should know of the rig.
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
    ) -> None:
        self._rows = list(rows)
        self._clock = clock
        self._session = session
        self._watcher = watcher
        remove_dead_sessions()
        self._folder = Path(tempfile.mkdtemp(prefix="ethostream-"))
        self._logs = log_folder or self._folder
        self._logs.mkdir(parents=True, exist_ok=True)
        names = [SUPERVISOR, *(row.node for row in self._rows)]
        self._endpoints = {
            name: f"ipc://{self._folder}/{place}" if first_port is None else f"tcp://127.0.0.1:{first_port + place}"
            for place, name in enumerate(names)
        }
        card = {
            **(about or {}),
            "session": session,
            "pid": os.getpid(),
            "endpoints": self._endpoints,
            "anchor_utc_ns": clock.anchor.utc_ns,
            "anchor_monotonic_ns": clock.anchor.monotonic_ns,
        }
        write_card(self._folder, card)
        self._children: dict[str, _Child] = {}
        self._failures: list[str] = []
        self._restarts: dict[str, int] = {}
        self._interrupts = 0
        self._t_start_ns = 0
        self._next_start_ns = 0

    def run(self) -> Outcome:
        """Bring up, run, stop. Returns when every process has gone.

        Raises:
            AddressError: the supervisor's own address is taken.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        context = open_context()
        reason: Reason = "failed"
        try:
            with Publisher(context, SUPERVISOR, self._endpoints[SUPERVISOR]) as publisher:
                everything = [topic for topic in TOPICS.values() if topic is not PIPELINE_STATE]
                nodes = [endpoint for name, endpoint in self._endpoints.items() if name != SUPERVISOR]
                with EverySubscriber(context, nodes, everything) as bus:
                    try:
                        for row in self._rows:
                            self._spawn(row, epoch=0)
                        reason = self._supervise(publisher, bus)
                    finally:
                        self._quit(bus)
        finally:
            context.term()
            unlink_session_rings(self._session)
            shutil.rmtree(self._folder, ignore_errors=True)
            for number, handler in before.items():
                signal.signal(number, handler)
        return Outcome("failed" if self._failures else reason, self._failures, self._restarts)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._interrupts += 1

    def _spawn(self, row: ProcessRow, epoch: int) -> None:
        spec = NodeSpec(
            node=row.node,
            entry=row.entry,
            epoch=epoch,
            session=self._session,
            anchor_utc_ns=self._clock.anchor.utc_ns,
            anchor_monotonic_ns=self._clock.anchor.monotonic_ns,
            endpoints=self._endpoints,
            upstream=list(row.upstream),
            parent_pid=os.getpid(),
            armed=epoch == 0,
            config=row.config,
        )
        path = self._folder / f"{row.node}.json"
        path.write_text(spec.model_dump_json(), encoding="utf-8")
        # A node has one busy thread by design: pools of linear algebra libraries would only fight over the cores.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self._log_path(row.node).open("ab") as output:
            process = self._popen(path, output, environment)
        self._children[row.node] = _Child(row, process, epoch, heard_ns=self._clock.now_ns())

    @staticmethod
    def _popen(path: Path, output: IO[bytes], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "ethostream.streaming.node", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )

    def _log_path(self, node: str) -> Path:
        return self._logs / f"{node}.log"

    def _supervise(self, publisher: Publisher, bus: EverySubscriber) -> Reason:
        deadline_ns = self._clock.now_ns() + round(READY_TIMEOUT_S * NS_PER_S)
        while True:
            self._pump(bus, 50)
            started = self._t_start_ns > 0
            if self._watcher.on_tick("running" if started else "starting"):
                return "done"
            if self._interrupts:
                return "interrupted"
            self._watch(publisher)
            if self._failures:
                return "failed"
            now = self._clock.now_ns()
            if not started and all(child.state != "starting" for child in self._children.values()):
                self._t_start_ns = now + _START_LEAD_NS
            elif not started and now > deadline_ns:
                slow = [name for name, child in self._children.items() if child.state == "starting"]
                self._failures.append(f"not ready after {READY_TIMEOUT_S:g} s: {', '.join(slow)}; see {self._logs}")
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

    def _pump(self, bus: EverySubscriber, timeout_ms: int) -> bool:
        batch = bus.receive(timeout_ms)
        for received in batch:
            message = received.message
            if isinstance(message, Heartbeat):
                child = self._children.get(message.node)
                if child is not None and child.epoch == message.epoch:
                    child.heard_ns = self._clock.now_ns()
                    child.state = message.state
                    child.was_ready = child.was_ready or message.state in ("ready", "running")
            elif isinstance(message, CameraStatus):
                child = self._children.get(received.source)
                if child is not None:
                    child.last_seq = message.last_seq
            self._watcher.on_message(received)
        return bool(batch)

    def _watch(self, publisher: Publisher) -> None:
        now = self._clock.now_ns()
        for name, child in list(self._children.items()):
            if child.ended:
                continue
            if child.again_at_ns is not None:
                if now >= child.again_at_ns:
                    self._spawn(child.row, child.epoch + 1)
                continue
            status = child.process.poll()
            if status is None:
                if child.was_ready and now - child.heard_ns > WATCHDOG_S * NS_PER_S:
                    log.warning("%s: no heartbeat for %g s, killed", name, WATCHDOG_S)
                    child.process.kill()
                    child.process.wait()
                    self._failed(publisher, child, f"{name}: no heartbeat for {WATCHDOG_S:g} s")
            elif status == 0 and child.row.source:
                child.ended = True
            else:
                self._failed(publisher, child, f"{name}: {self._last_words(name, status)}")

    def _failed(self, publisher: Publisher, child: _Child, words: str) -> None:
        if child.row.restart == "never" or not child.was_ready:
            self._failures.append(words)
            return
        n = self._restarts.get(child.row.node, 0)
        wait_s = _BACKOFF_S[min(n, len(_BACKOFF_S) - 1)]
        self._restarts[child.row.node] = n + 1
        child.again_at_ns = self._clock.now_ns() + round(wait_s * NS_PER_S)
        self._say(publisher, f"{words}; started again in {wait_s:g} s")
        camera = child.row.config.get("name")
        if child.row.source and isinstance(camera, str):
            # What it had grabbed and not published died with it: how many is not known, that it happened is declared.
            why = f"camera process failed: {words}"
            gap = Gap("device", camera, child.epoch, child.last_seq + 1, 0, why, self._clock.now_ns())
            publisher.publish(GAP, gap, camera)

    def _say(self, publisher: Publisher, text: str) -> None:
        alarm = Alarm(SUPERVISOR, "error", text, self._clock.now_ns())
        body = publisher.publish(ALARM, alarm)
        self._watcher.on_message(Received(ALARM, "", SUPERVISOR, 0, alarm, body))

    def _last_words(self, node: str, status: int) -> str:
        text = self._log_path(node).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        for place in range(len(text) - 1, -1, -1):
            if text[place].startswith("ERROR "):
                return "\n".join([text[place].removeprefix("ERROR "), *text[place + 1 :]])
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return f"{how}; last line: {text[-1] if text else '(nothing said)'}"

    def _quit(self, bus: EverySubscriber) -> None:
        """The one way to quit, whatever happened before."""
        for order, timeout_s in enumerate(STOP_TIMEOUT_S):
            mine = [child for child in self._children.values() if child.row.stop_order == order]
            for child in mine:
                if child.process.poll() is None:
                    child.process.terminate()
            deadline = self._clock.now_ns() + round(timeout_s * NS_PER_S)
            while any(child.process.poll() is None for child in mine):
                self._pump(bus, 20)
                self._watcher.on_tick("stopping")
                if self._clock.now_ns() > deadline or self._interrupts > 1:
                    for child in mine:
                        if child.process.poll() is None:
                            self._failures.append(
                                f"{child.row.node}: did not stop within {timeout_s:g} s and was killed"
                            )
                            child.process.kill()
                    break
            for child in mine:
                status = child.process.wait()
                if (
                    status not in (0, -signal.SIGTERM, -signal.SIGKILL)
                    and not child.ended
                    and child.again_at_ns is None
                ):
                    words = f"{child.row.node}: {self._last_words(child.row.node, status)}"
                    if words not in self._failures:
                        self._failures.append(words)
        while self._pump(bus, 50):
            pass

    def _kill(self, children: Sequence[_Child], timeout_s: float) -> None:
        for child in children:
            if child.process.poll() is None:
                self._failures.append(f"{child.row.node}: did not stop within {timeout_s:g} s and was killed")
                child.process.kill()
                child.process.wait()


def new_session_id() -> str:
    """Eight random hexadecimal digits."""
    return os.urandom(4).hex()


def raise_failures(outcome: Outcome) -> None:
    """Raise NodeError with what went wrong, where anything did."""
    if outcome.failures:
        raise NodeError("\n".join(outcome.failures))
