"""The judgement of a stimulus line: was it ever high for longer than allowed, or while it was disarmed?

Every microsecond counts. Firmware and host each keep limits of their own, on the length of a pulse and on time on and
duty over any stretch of time; a limit begins anew with whoever keeps it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ethostream.inference.actuators.serial_actuator import SerialActuatorConfig
from ethostream.sync.clock import NS_PER_US

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "acquisition"))

from simulated_board import MAX_DUTY, MAX_ON_US, highs

LINE = 1
SLACK_US = 600
"""Two turns of the simulated board's loop, and the way of one frame."""
MAX_HOLD_US = 600_000
"""Bytes are held up on their way for no longer."""


@dataclass
class Allowed:
    """When the line may be high: from the first command until nothing sent by this host can act any more."""

    from_us: int
    until_us: int | None = None


@dataclass
class LineHistory:
    """What a line did over a session, and what there was to be done. All times in µs of the session.

    Attributes:
        changes: (when, line, high) of every change of any line.
        end_us: when the session ended.
        allowed: when the line could be high.
        sent_us: when commands were sent.
        n_answered_twice: decisions that were sent or cancelled more than once.
        board_restarts: when the firmware began anew, and its limits with it.
        host_starts: the same for the host.
    """

    changes: list[tuple[int, int, bool]]
    end_us: int
    allowed: list[Allowed]
    sent_us: list[int]
    n_answered_twice: int
    board_restarts: list[int]
    host_starts: list[int]


def broken_promises(config: SerialActuatorConfig, line: LineHistory) -> list[str]:
    """Each in words; empty when all held."""
    wrong: list[str] = []
    pulses = highs(line.changes, LINE, line.end_us)
    others = [change for change in line.changes if change[1] != LINE]
    if others:
        wrong.append(f"another line changed: {others[0]}")
    limit_us = min(config.pulse_us, round(1000 * config.max_on_ms)) + SLACK_US
    for rise, fall in pulses:
        if fall - rise > limit_us:
            wrong.append(f"high for {fall - rise} us at {rise}, {limit_us} are allowed")
        if not any(one.from_us <= rise and (one.until_us is None or fall <= one.until_us) for one in line.allowed):
            wrong.append(f"high from {rise} to {fall} while disarmed")
    wrong += _over_duty(pulses, line.board_restarts, MAX_ON_US, MAX_DUTY, "firmware")
    own_us = round(1000 * config.max_on_ms)
    # A command may be held up for as long as the watchdog allows, and the next one not: they then lie closer.
    own_us += round(config.max_duty * 1000 * config.watchdog_ms)
    wrong += _over_duty(pulses, line.host_starts, own_us, config.max_duty, "host")
    wrong += _without_command(config, line, pulses)
    if line.n_answered_twice:
        wrong.append("a decision was sent or cancelled twice")
    return wrong


def _over_duty(pulses: list[tuple[int, int]], resets: list[int], most_us: int, duty: float, whose: str) -> list[str]:
    """Over any time from a rise to a fall, between two resets of that limit."""
    for place, (begin, _) in enumerate(pulses):
        on_us = 0
        for n, (rise, fall) in enumerate(pulses[place:], 1):
            # What was sent before a new beginning may end after it.
            if any(begin < reset <= rise for reset in resets):
                break
            on_us += fall - rise
            if on_us > most_us + duty * (fall - begin) + n * SLACK_US:
                return [f"{whose}: high for {on_us} us of {fall - begin} us from {begin}"]
    return []


def _without_command(config: SerialActuatorConfig, line: LineHistory, pulses: list[tuple[int, int]]) -> list[str]:
    """Every pulse belongs to a command that was sent, and no command made more than its pulses."""
    lasts_us = config.lasts_ns // NS_PER_US
    late_us = MAX_HOLD_US + config.watchdog_ms * 1000 + SLACK_US
    wrong = [
        f"high at {rise}, and nothing was sent"
        for rise, _ in pulses
        if not any(sent - SLACK_US <= rise <= sent + lasts_us + late_us for sent in line.sent_us)
    ]
    if len(pulses) > len(line.sent_us) * config.n_pulses:
        wrong.append(f"{len(pulses)} pulses of {len(line.sent_us)} commands")
    return wrong
