"""Pulses on a GPIO line of a Linux computer (gpiod v2, extra ``gpio``). Never run on a physical line.

The line is held by a process of its own (`gpio_guard.py`), which makes the pulses and drops the line when this process
falls silent or dies. Its times are those of a process among others: tens of microseconds when the machine is quiet.
"""

import json
import logging
import os
import subprocess
import sys
from collections import deque
from dataclasses import asdict
from typing import Literal

from pydantic import Field

from ...streaming.messages import Decision
from ...sync.clock import NS_PER_MS, Clock, MonotonicClock
from ...sync.errors import ActuatorError
from . import gpio_guard
from .actuator import BaseActuator
from .limits import PulseConfig

log = logging.getLogger(__name__)

_OPEN_S = 10.0
_KEEP_ALIVES = 4


class GpioActuatorConfig(PulseConfig):
    """A GPIO line.

    Attributes:
        chip: device of the GPIO chip.
        line: its offset there.
        active_low: the line is low when it acts.
        watchdog_ms: the line is dropped and disarmed when nothing was heard from this process for so long.
        ack_timeout_ms: a firing that the guard process has not answered after this time has failed.
    """

    kind: Literal["gpio"] = "gpio"
    chip: str = Field(default="/dev/gpiochip0", pattern=r"^/dev/[A-Za-z0-9_-]+$")
    line: int = Field(ge=0, le=1023)
    active_low: bool = False
    watchdog_ms: int = Field(default=1000, ge=50, le=10_000)
    ack_timeout_ms: float = Field(default=250.0, gt=0, le=5000)


class _Pending:
    """A firing that the guard has not answered yet."""

    __slots__ = ("decision", "late", "told_ns")

    def __init__(self, decision: Decision, told_ns: int) -> None:
        self.decision = decision
        self.told_ns = told_ns
        self.late = False


class GpioActuator(BaseActuator):
    """One line.

    Raises:
        ActuatorError: gpiod is not installed, or the line cannot be had.
    """

    def __init__(self, name: str, config: GpioActuatorConfig, clock: Clock) -> None:
        super().__init__(name)
        self._where = f"actuator {name}: line {config.line} of {config.chip}"
        self._clock = clock
        self._alive_ns = config.watchdog_ms * NS_PER_MS // _KEEP_ALIVES
        self._next_alive_ns = 0
        self._timeout_ns = round(config.ack_timeout_ms * NS_PER_MS)
        self._pending: deque[_Pending] = deque()
        self._text = b""
        self._dead = False
        monotonic = MonotonicClock()
        before = clock.now_ns()
        self._offset_ns = (before + clock.now_ns()) // 2 - monotonic.now_ns()
        options = gpio_guard.GuardOptions(
            config.chip, config.line, config.active_low, config.pulse_us, config.period_us, config.n_pulses,
            config.watchdog_ms, round(config.max_on_ms * 1000),
        )  # fmt: skip
        command = [sys.executable, "-m", gpio_guard.__name__, json.dumps(asdict(options))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        try:
            self._await_open()
        except ActuatorError:
            self._let_go()
            raise
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def _await_open(self) -> None:
        import select

        deadline_ns = self._clock.now_ns() + round(_OPEN_S * 1e9)
        while not self._text.endswith(b"\n"):
            left_s = (deadline_ns - self._clock.now_ns()) / 1e9
            ready, _, _ = select.select([self._out], [], [], max(0.0, left_s))
            data = os.read(self._out, 4096) if ready else b""
            if not data:
                raise ActuatorError(f"{self._where}: its guard process did not start; see the log")
            self._text += data
        said, self._text = self._text.decode().strip(), b""
        word, _, refused = said.partition(" ")
        if word != "open":
            raise ActuatorError(f"{self._where}: {said.removeprefix('error ')}")
        if refused:
            log.warning("%s: a busy model may hold up its guard process: %s", self._where, refused)

    def _ready(self) -> None:
        self._tell(gpio_guard.ARM)

    def _act(self, decision: Decision) -> bool:
        if self._pending and self._pending[0].late:
            # A guard that stands still would obey all of them at once when it goes on.
            self._say(decision, "refused", "the firing before has not been answered")
            return False
        told_ns = self._clock.now_ns()
        self._tell(gpio_guard.FIRE)
        self._pending.append(_Pending(decision, told_ns))
        return True

    def _rest(self) -> None:
        if not self._dead:
            self._tell(gpio_guard.RELEASE)

    def _look(self) -> None:
        if self._dead:
            return  # that it has ended is said already
        now = self._clock.now_ns()
        if self._armed and now >= self._next_alive_ns:
            self._next_alive_ns = now + self._alive_ns
            self._tell(gpio_guard.ALIVE)
        data = self._read()
        if data == b"":
            self._gone()
        errors = self._hear(data or b"")
        # What has been answered meanwhile is not late, however long this process was held up.
        for one in self._pending:
            if not one.late and now - one.told_ns > self._timeout_ns:
                one.late = True
                self._say(one.decision, "failed", f"not answered within {self._timeout_ns / NS_PER_MS:g} ms")
        if errors:
            raise ActuatorError(errors[0])

    def _read(self) -> bytes | None:
        """What the guard has said; empty: it has ended; None: nothing new."""
        try:
            return os.read(self._out, 4096)
        except BlockingIOError:
            return None

    def _hear(self, data: bytes) -> list[str]:
        """Returns what is wrong, if anything is."""
        *lines, self._text = (self._text + data).split(b"\n")
        # All of them, whatever one says: each firing has one answer, in their order.
        return [error for line in lines if (error := self._take(line.decode()))]

    def _take(self, line: str) -> str:
        word, _, rest = line.partition(" ")
        if word == "up" and self._pending:
            one = self._pending.popleft()
            self._say(one.decision, "acknowledged", "late" if one.late else "", int(rest) + self._offset_ns)
        elif word == "no" and self._pending:
            one = self._pending.popleft()
            if not one.late:  # else it has failed already
                self._say(one.decision, "refused", rest)
        elif word == "silent":
            return f"{self._where}: dropped, since this process was silent for longer than watchdog_ms"
        elif word != "down":
            return f"{self._where}: its guard process says {line!r}"
        return ""

    def _tell(self, command: bytes) -> None:
        if self._dead:
            self._gone()
        try:
            os.write(self._in, command)
        except OSError:
            self._gone()

    def _gone(self) -> None:
        """Raises: the guard has ended, and its line with it."""
        self._dead = True
        while data := self._read():
            self._hear(data)
        self._give_up("the guard process has ended")
        raise ActuatorError(f"{self._where}: its guard process has ended; look at the line, and start the run anew")

    def _give_up(self, reason: str) -> None:
        for one in self._pending:
            if not one.late:
                self._say(one.decision, "failed", reason)
        self._pending.clear()

    def _begin_to_end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _let_go(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # What it said last is still in the pipe.
        while data := self._read():
            for error in self._hear(data):
                self._say(None, "failed", error)
        self._give_up("the guard process ended before it had answered")
        self._process.stdout.close()
