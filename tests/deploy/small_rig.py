"""Runs of a small simulated rig: its file, a display that shows nothing, and nodes whose processes are struck."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml
from ethostream.deploy.report import RunReport
from ethostream.streaming.messages import Heartbeat, Message
from ethostream.streaming.wire import Received


def write_rig(folder: Path, n_views: int = 2, camera: dict[str, Any] | None = None, **parts: Any) -> Path:
    """A rig file; ``camera`` are options of every camera, ``parts`` replace whole parts of the file."""
    options = {"kind": "simulated", "width": 160, "height": 120, "rate_hz": 30, **(camera or {})}
    rig = {
        "name": "small",
        "cameras": {f"cam{view}": {**options, "view": view} for view in range(n_views)},
        "recording": {"codec": "ffv1", "reserve_mb": 10},
        "monitor": {"enabled": False},
        **parts,
    }
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    return folder / "rig.yaml"


class Quiet(AbstractContextManager["Quiet"]):
    """A display that shows nothing and may act on what it sees."""

    def __init__(self, act: Callable[[Received], None] | None = None) -> None:
        self._act = act

    def __exit__(self, *_: object) -> None:
        return None

    def on_message(self, received: Received) -> None:
        if self._act:
            self._act(received)

    def on_tick(self, phase: str, report: RunReport) -> None:
        pass


def at_work(node: str, n_beats: int) -> Callable[[Received], int]:
    """The node's process id at its heartbeat of this number while it works, 0 at every other message."""
    n = 0

    def pid(received: Received) -> int:
        nonlocal n
        beat = received.message
        if not isinstance(beat, Heartbeat) or beat.node != node:
            return 0
        if beat.state != "running" and beat.counters.get("steps", 0) == 0:
            return 0
        n += 1
        return beat.pid if n == n_beats else 0

    return pid


def kill(node: str, n_beats: int = 6) -> Callable[[Received], None]:
    """Kill a node's process once; after a second of work where nothing else is said."""
    pid_at_work = at_work(node, n_beats)

    def act(received: Received) -> None:
        if pid := pid_at_work(received):
            os.kill(pid, signal.SIGKILL)

    return act


class HoldUp:
    """Stops a node's process once, and lets it go on after ``n_messages`` of a kind.

    Attributes:
        n: how many of them came since it was stopped.
    """

    def __init__(self, node: str, n_beats: int, kind: type[Message], n_messages: int) -> None:
        self._pid_at_work = at_work(node, n_beats)
        self._kind = kind
        self._n_messages = n_messages
        self._pid = 0
        self.n = 0

    def __call__(self, received: Received) -> None:
        if pid := self._pid_at_work(received):
            self._pid = pid
            os.kill(pid, signal.SIGSTOP)
        elif self._pid and isinstance(received.message, self._kind):
            self.n += 1
            if self.n == self._n_messages:
                os.kill(self._pid, signal.SIGCONT)
