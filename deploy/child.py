"""One supervised process over all its starts: spec, log, ring, what is wrong with it, when it is started again.

A child depends on its supervisor for nothing but its life: its output goes to a file, its heartbeats to a socket that
drops what nobody takes. A supervisor that is held up holds up no camera and no recorder.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from ..streaming.messages import CameraStatus, Heartbeat
from ..streaming.node import NodeSpec
from ..streaming.publisher import HIGH_WATER
from ..streaming.ring import SHM, ring_prefix
from ..sync.clock import NS_PER_S, RigClock
from .process_table import ProcessRow, pose_node

READY_TIMEOUT_S = 120.0
"""Bring-up of the slowest node: loading and proving a large model."""
WATCHDOG_S = 10.0
"""A node without a heartbeat for this long hangs."""
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WELL_S = 60.0
"""A node that ran for this long has recovered: its next failure is a new one."""
_TAIL_BYTES = 64 * 1024
"""Last words are looked for in so much of the log's end."""

log = logging.getLogger(__name__)


class Step(NamedTuple):
    """What follows a failure: the wait before the next start, and whether a person should hear of it."""

    wait_s: float
    tell: bool


class Backoff:
    """Waits longer after each failure, without end. The same words are told once per step, not at every try."""

    def __init__(self) -> None:
        self._n_failed = 0
        self._told: tuple[str, float] | None = None

    def after_failure(self, words: str, ran_s: float) -> Step:
        """``words``: what went wrong; ``ran_s``: how long the process had run well before, seconds."""
        if ran_s >= WELL_S:
            self._n_failed = 0
            self._told = None
        wait_s = BACKOFF_S[min(self._n_failed, len(BACKOFF_S) - 1)]
        self._n_failed += 1
        tell = self._told != (words, wait_s)
        self._told = words, wait_s
        return Step(wait_s, tell)


@dataclass(frozen=True, slots=True)
class Session:
    """What all processes of one run share.

    Attributes:
        name: short id, part of ring names.
        clock: its anchor is given to every process.
        endpoints: address of every publisher, by node.
        folder: spec files.
        logs: output of each process.
        high_water: messages held per slow reader.
        keys: folder of CURVE keys, None without.
    """

    name: str
    clock: RigClock
    endpoints: Mapping[str, str]
    folder: Path
    logs: Path
    high_water: int = HIGH_WATER
    keys: Path | None = None


class Child:
    """One row of the process table, running. The constructor starts epoch 0. One thread.

    Attributes:
        epoch: how often it was started again.
        state: of its last heartbeat; ``starting`` until it is heard.
        ever_ready: it was ready in some epoch, so that its configuration is known to work.
        ended: a source that has come to its end.
    """

    def __init__(self, row: ProcessRow, session: Session) -> None:
        self.row = row
        self.epoch = -1
        self.ever_ready = False
        self.ended = False
        self._session = session
        self._backoff = Backoff()
        self._log = session.logs / f"{row.node}.log"
        self.start()

    def start(self, t_start_ns: int = 0) -> None:
        """Start the next epoch. Rules are armed in the first only; ``t_start_ns``: when the rig began, if it has."""
        session = self._session
        self.epoch += 1
        self.state = "starting"
        self.last_seq = -1
        self.again_at_ns: int | None = None
        self._ready_ns: int | None = None
        self._killed = False
        self._started_ns = self._heard_ns = session.clock.now_ns()
        spec = NodeSpec(
            node=self.row.node,
            entry=self.row.entry,
            epoch=self.epoch,
            session=session.name,
            anchor_utc_ns=session.clock.anchor.utc_ns,
            anchor_monotonic_ns=session.clock.anchor.monotonic_ns,
            endpoints=dict(session.endpoints),
            upstream=list(self.row.upstream),
            parent_pid=os.getpid(),
            armed=self.epoch == 0,
            t_start_ns=t_start_ns,
            high_water=session.high_water,
            keys=session.keys,
            runtime=session.folder,
            process=self.row.process,
            config=self.row.config,
        )
        path = session.folder / f"{self.row.node}.json"
        path.write_text(spec.model_dump_json(), encoding="utf-8")
        # A node has one busy thread by design: pools of linear algebra libraries would only fight over the cores.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with self._log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ethostream.streaming.node", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def source_name(self) -> str | None:
        """The camera or pose source whose process it is, else None."""
        name = self.row.config.get("name")
        return name if self.row.source and isinstance(name, str) else None

    @property
    def brings(self) -> Literal["camera", "pose source"]:
        """What its source is, in words."""
        name = self.source_name
        return "pose source" if name is not None and self.row.node == pose_node(name) else "camera"

    @property
    def has_rules(self) -> bool:
        """Whether it decides on rules, and so loses its arming when it is started again."""
        task = self.row.config.get("task")
        return isinstance(task, Mapping) and bool(cast("Mapping[str, Any]", task).get("rules"))

    @property
    def was_ready(self) -> bool:
        """Ready in this epoch."""
        return self._ready_ns is not None

    def hear(self, message: Heartbeat | CameraStatus) -> None:
        """Take note of what this process said; an earlier epoch's last messages are left out."""
        if message.epoch != self.epoch:
            return
        if isinstance(message, CameraStatus):
            self.last_seq = message.last_seq
            return
        if self.again_at_ns is not None:
            return  # its process has gone; this was still on its way
        self._heard_ns = self._session.clock.now_ns()
        self.state = message.state
        if self._ready_ns is None and message.state in ("ready", "running"):
            self._ready_ns = self._heard_ns
            self.ever_ready = True

    def excuse(self, held_up_ns: int) -> None:
        """The supervisor did not listen for ``held_up_ns``: silence in that time counts for nothing."""
        now = self._session.clock.now_ns()
        self._heard_ns = min(now, self._heard_ns + held_up_ns)
        self._started_ns = min(now, self._started_ns + held_up_ns)

    def fault(self) -> str | None:
        """What is wrong with it, in words, else None. One that hangs is killed; a source that is through has ended."""
        status = self._process.poll()
        if status == 0 and self.row.source:
            self.ended = True
            return None
        if status is not None:
            return self.last_words()
        now = self._session.clock.now_ns()
        if self.was_ready and now - self._heard_ns > WATCHDOG_S * NS_PER_S:
            why = f"no heartbeat for {WATCHDOG_S:g} s"
        elif self.epoch > 0 and not self.was_ready and now - self._started_ns > READY_TIMEOUT_S * NS_PER_S:
            why = f"not ready {READY_TIMEOUT_S:g} s after it was started again"
        else:
            return None
        log.warning("%s: %s, killed", self.row.node, why)
        self.kill()
        return why

    def plan_restart(self, words: str) -> Step:
        """The process has gone: set when it is started again, and free its ring (readers keep what they mapped)."""
        ran_ns = 0 if self._ready_ns is None else self._heard_ns - self._ready_ns
        step = self._backoff.after_failure(words, ran_ns / NS_PER_S)
        self.again_at_ns = self._session.clock.now_ns() + round(step.wait_s * NS_PER_S)
        self.state = "starting"
        if self.source_name is not None:
            (SHM / f"{ring_prefix(self._session.name)}{self.source_name}-{self.epoch}").unlink(missing_ok=True)
        return step

    def last_words(self) -> str:
        """What it said last in this epoch: its error, or else how it ended and its last line."""
        status = self._process.wait()
        with self._log.open("rb") as file:
            file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace").strip().splitlines()
        for place in range(len(text) - 1, -1, -1):
            if text[place].startswith("ERROR "):
                return "\n".join([text[place].removeprefix("ERROR "), *text[place + 1 :]])
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return f"{how}; last line: {text[-1] if text else '(nothing said)'}"

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.alive:
            self._process.terminate()

    def kill(self) -> None:
        """End it where it still runs, and wait until it has gone."""
        if self.alive:
            self._killed = True
            self._process.kill()
        self._process.wait()

    def bad_end(self) -> str | None:
        """After the stop: why its end was not the one that was asked for, else None."""
        status = self._process.wait()
        expected = status in (0, -signal.SIGTERM) or self._killed or self.ended
        # One that is waiting for its next start, or was still trying, has told its failure already.
        trying = self.again_at_ns is not None or (self.epoch > 0 and not self.was_ready)
        return None if expected or trying else self.last_words()
