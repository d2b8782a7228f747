"""Publishes what chrony or PTP says of this host's clock, because the rig file says to believe it."""

import subprocess
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from pydantic import Field

from ..sync.clock import NS_PER_MS, NS_PER_S
from ..sync.errors import ClockError
from ..sync.strict import StrictModel, validate
from ..sync.trusted_time import CHRONYC, PMC, TrustedTime, read_chrony, read_ptp
from .messages import ClockStatus
from .node import NodeContext
from .time_client import this_host
from .topics import CLOCK

_TIMEOUT_S = 3.0
_POLL_NS = 50 * NS_PER_MS
_NS_PER_US = 1e3

TOOLS: dict[str, tuple[tuple[str, ...], Callable[[str], TrustedTime]]] = {
    "chrony": (CHRONYC, read_chrony),
    "ptp": (PMC, read_ptp),
}


class TrustedTimeConfig(StrictModel):
    """Options.

    Attributes:
        source: whom to believe.
        period_s: how often to ask.
        max_offset_us: further off than this is an alarm.
    """

    source: Literal["chrony", "ptp"]
    period_s: float = Field(default=5.0, ge=1.0)
    max_offset_us: float = Field(default=1000.0, gt=0)


def ask(command: Sequence[str], read: Callable[[str], TrustedTime]) -> TrustedTime:
    """Run the daemon's tool and read its answer.

    Raises:
        ClockError: it is not installed, does not answer, or the clock is not synchronised; says how to mend it.
    """
    tool = command[0]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        package = "chrony" if tool == "chronyc" else "linuxptp"
        raise ClockError(
            f"{tool} is not installed on this host; install {package}, or set time.source: exchange in the rig file"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClockError(f"{tool} does not answer ({error}); is its daemon running?") from error
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines()
        raise ClockError(f"{tool} failed: {words[-1] if words else done.returncode}; is its daemon running?")
    return read(done.stdout)


def to_status(trusted: TrustedTime, clock: str, epoch: int, t_ns: int) -> ClockStatus:
    """As a message: state ``trusted``, and no exchange counted, since nothing was measured."""
    jitter_us = max(0, trusted.jitter_ns) / _NS_PER_US
    bound_us = max(0, trusted.error_bound_ns) / _NS_PER_US
    return ClockStatus(
        clock, epoch, "trusted", trusted.offset_ns, 0.0, jitter_us, jitter_us, max(jitter_us, bound_us), 0, 0, 0, t_ns
    )


def main(context: NodeContext) -> None:
    """Entry point. The first answer has to be good, or the rig does not start; later faults are alarms."""
    config = validate(TrustedTimeConfig, context.spec.config, context.spec.node)
    command, read = TOOLS[config.source]
    clock = f"host.{context.keys.name if context.keys is not None else this_host()}"
    status = to_status(ask(command, read), clock, context.spec.epoch, context.clock.now_ns())
    context.set_state("ready")
    said, next_ns = "", 0
    while not context.should_stop:
        now = context.clock.now_ns()
        if now >= next_ns:
            next_ns = now + round(config.period_s * NS_PER_S)
            try:
                trusted = ask(command, read)
                status = to_status(trusted, clock, context.spec.epoch, now)
                far = abs(trusted.offset_ns) > config.max_offset_us * _NS_PER_US
                words = f"{trusted.reference}: this host's clock is {trusted.offset_ns / _NS_PER_US:.0f} us off"
                fault = words if far else ""
            except ClockError as error:
                status, fault = msgspec.structs.replace(status, state="lost", t_ns=now), str(error)
            context.publish(CLOCK, status)
            if bool(fault) != bool(said):
                context.alarm("error" if fault else "warning", fault or f"{config.source} is well again")
            said = fault
        context.beat()
        context.clock.sleep_until_ns(context.clock.now_ns() + _POLL_NS)
    context.set_state("stopping")
