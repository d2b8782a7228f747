"""The process that holds one GPIO line: it makes the pulses, and drops the line when its host falls silent or dies.

A line that a killed process had raised would stay up for ever. So the line belongs to this small process, which hears
its host through a pipe: one byte per command, and the end of the pipe is the end of the host. Started by
`gpio_actuator.py` as ``python -m ethostream.inference.actuators.gpio_guard OPTIONS``.

Answers are lines of text: ``open``, then what the system refused where it did, ``up NS``, ``down NS`` (first rise
and end of a train, CLOCK_MONOTONIC), ``no WHY`` (refused), ``silent`` (the watchdog dropped the line), ``error TEXT``.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock, MonotonicClock

ARM: Final = b"A"
ALIVE: Final = b"K"
FIRE: Final = b"F"
RELEASE: Final = b"R"
_IDLE_S = 0.5


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What the process is told when it starts, as JSON."""

    chip: str
    line: int
    active_low: bool
    pulse_us: int
    period_us: int
    n_pulses: int
    watchdog_ms: int
    max_on_us: int


class LineGuard:
    """The life of the line. Pure but for ``set_line`` and ``say``.

    Args:
        options: of the train and the watchdog.
        set_line: raises or drops it.
        say: sends an answer.
        clock: CLOCK_MONOTONIC.
    """

    def __init__(
        self, options: GuardOptions, set_line: Callable[[bool], None], say: Callable[[str], None], clock: Clock
    ) -> None:
        self._options = options
        self._set = set_line
        self._say = say
        self._clock = clock
        self._pulse_us = min(options.pulse_us, options.max_on_us)  # by itself, whatever it was told to make
        self._armed = False
        self._left = 0
        self._high = False
        self._rose_ns = self._heard_ns = 0

    def hear(self, commands: bytes) -> None:
        """Obey, byte by byte."""
        now = self._clock.now_ns()
        # What waited here for longer than the watchdog allows was meant for a line that has been dropped since.
        self.turn(now)
        self._heard_ns = now
        for place in range(len(commands)):
            command = commands[place : place + 1]
            if command == ARM:
                self._armed = True
            elif command == RELEASE:
                self._armed = False
                self.drop()
            elif command == FIRE:
                self._fire(now)

    def _fire(self, now: int) -> None:
        if not self._armed:
            self._say("no not armed")
        elif self._left:
            self._say("no the pulses before have not ended")
        else:
            self._left = self._options.n_pulses
            self._rise(now)
            self._say(f"up {now}")

    def turn(self, now: int) -> None:
        """Do what is due."""
        options = self._options
        if self._armed and now - self._heard_ns > options.watchdog_ms * NS_PER_MS:
            self._armed = False
            self.drop()
            self._say("silent")
        if self._high and now - self._rose_ns >= self._pulse_us * NS_PER_US:
            self._high = False
            self._set(False)
            self._left -= 1
            if not self._left:
                self._say(f"down {now}")
        if self._left and not self._high and now - self._rose_ns >= options.period_us * NS_PER_US:
            self._rise(now)

    def wait_s(self) -> float:
        """How long nothing is due."""
        now, options = self._clock.now_ns(), self._options
        wait_ns = round(_IDLE_S * NS_PER_S)
        if self._armed:
            wait_ns = min(wait_ns, self._heard_ns + options.watchdog_ms * NS_PER_MS - now)
        if self._left:
            lasts_us = self._pulse_us if self._high else options.period_us
            wait_ns = min(wait_ns, self._rose_ns + lasts_us * NS_PER_US - now)
        return max(0, wait_ns) / NS_PER_S

    def drop(self) -> None:
        """The line is low, whatever was to come."""
        self._set(False)
        self._high = False
        if self._left:
            self._left = 0
            self._say(f"down {self._clock.now_ns()}")

    def _rise(self, now: int) -> None:
        self._set(True)
        self._high = True
        self._rose_ns = now


def say(text: str) -> None:
    """One answer to the host; a host that is gone is no reason to leave the line up."""
    try:
        os.write(sys.stdout.fileno(), f"{text}\n".encode())
    except BrokenPipeError:
        return


def rise_above_host() -> list[str]:
    """Any core may run this process, and before its host: one that computes without end must not keep the line up.

    Cores and priority were the host's, which hands them to what it starts. Returns what was refused, in words.
    """
    refused: list[str] = []
    try:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    except OSError as error:
        refused.append(f"it stays on the cores of its host ({error.strerror})")
    policy = os.sched_getscheduler(0)
    if policy == os.SCHED_FIFO:
        above = min(os.sched_getparam(0).sched_priority + 1, os.sched_get_priority_max(policy))
        try:
            os.sched_setscheduler(0, policy, os.sched_param(above))
        except OSError as error:
            refused.append(
                f"it does not have real-time priority {above} ({error.strerror}); allow more than the model's"
            )
    return refused


def main() -> int:
    """Hold the line until the host ends."""
    options = GuardOptions(**json.loads(sys.argv[1]))
    try:
        import gpiod
        from gpiod.line import Direction, Value
    except ModuleNotFoundError:
        say("error gpiod is not installed; pip install 'ethostream[gpio]' brings it")
        return 1
    settings = gpiod.LineSettings(
        direction=Direction.OUTPUT, output_value=Value.INACTIVE, active_low=options.active_low
    )
    try:
        request = gpiod.request_lines(options.chip, consumer="ethostream", config={options.line: settings})
    except (OSError, ValueError) as error:
        say(f"error line {options.line} of {options.chip} cannot be had ({error}); is it free, and may this user?")
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor; the pipe says when this ends

    def stop(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    clock = MonotonicClock()
    guard = LineGuard(
        options, lambda high: request.set_value(options.line, Value.ACTIVE if high else Value.INACTIVE), say, clock
    )
    refused = "; ".join(rise_above_host())
    try:
        say(f"open {refused}".rstrip())
        while True:
            ready, _, _ = select.select([0], [], [], guard.wait_s())
            if ready:
                commands = os.read(0, 4096)
                if not commands:
                    return 0
                guard.hear(commands)
            guard.turn(clock.now_ns())
    finally:
        guard.drop()
        request.release()


if __name__ == "__main__":
    sys.exit(main())
