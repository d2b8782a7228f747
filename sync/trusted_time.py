"""What chrony and PTP say of this host's clock, read from their own tools' text. Pure: text in, numbers out.

Only believed where the rig file says so (``time.source``); nothing is measured here. The formats are those of
``chronyc -c tracking`` (chrony 4) and of ``pmc 'GET TIME_STATUS_NP' 'GET PORT_DATA_SET'`` (linuxptp 3 and 4).
"""

import math
import re
from typing import NamedTuple

from .errors import ClockError

CHRONYC = ("chronyc", "-c", "tracking")
PMC = ("pmc", "-u", "-b", "0", "GET TIME_STATUS_NP", "GET PORT_DATA_SET")
_CHRONY_FIELDS = 14
_NS_PER_S = 1e9
_PTP_FOLLOWING = {"SLAVE"}
_PTP_LEADING = {"MASTER", "GRAND_MASTER"}


class TrustedTime(NamedTuple):
    """How far a daemon believes this host's clock to be off.

    Attributes:
        reference: what it follows.
        offset_ns: true time less this host's clock.
        jitter_ns: of the daemon's own measurements (RMS), -1 where it does not say.
        error_bound_ns: how far off it may be at most, -1 where it does not say.
    """

    reference: str
    offset_ns: int
    jitter_ns: int
    error_bound_ns: int


def read_chrony(text: str) -> TrustedTime:
    """Read one line of ``chronyc -c tracking``.

    Raises:
        ClockError: it is no such line, or chrony says that the clock is not synchronised.
    """
    fields = text.strip().split(",")
    try:
        if len(fields) != _CHRONY_FIELDS:
            raise ValueError(f"{len(fields)} fields")
        # reference id, name, stratum, time, system time (positive: the clock is slow), last offset, RMS offset,
        # frequency, residual frequency, skew, root delay, root dispersion, interval, leap status
        offset_s, rms_s, delay_s, dispersion_s = (float(fields[place]) for place in (4, 6, 10, 11))
        reference = int(fields[0] or "0", 16)
        if not all(math.isfinite(one) for one in (offset_s, rms_s, delay_s, dispersion_s)):
            raise ValueError("a value that is no number")
    except ValueError as error:
        raise ClockError(
            f"chronyc -c tracking answered {text.strip()!r:.120} ({error}); is chrony 4 installed?"
        ) from error
    if fields[13] == "Not synchronised" or reference == 0:
        raise ClockError("chrony runs and is not synchronised; see `chronyc sources`, and wait for a source with a '*'")
    return TrustedTime(
        f"chrony {fields[1] or fields[0]}",
        round(offset_s * _NS_PER_S),
        round(rms_s * _NS_PER_S),
        round((abs(offset_s) + dispersion_s + delay_s / 2) * _NS_PER_S),
    )


def read_ptp(text: str) -> TrustedTime:
    """Read the answer of ``pmc`` to `PMC`.

    ptp4l speaks of the clock that it steers. With hardware time stamps that is the network card's, and phc2sys has to
    carry it to the system; whether it does, this text cannot tell.

    Raises:
        ClockError: it is no such answer, no grandmaster is there, or no port follows one.
    """
    values = dict(re.findall(r"^\s+(\w+)\s+(\S+)\s*$", text, re.MULTILINE))
    states = set(re.findall(r"^\s+portState\s+(\w+)\s*$", text, re.MULTILINE))
    if "master_offset" not in values or not states:
        raise ClockError(
            f"pmc answered {text.strip()!r:.120}; is ptp4l running, and may this user speak to it (pmc wants root or "
            "the group of /var/run/ptp4l)?"
        )
    if states & _PTP_LEADING and values.get("gmPresent") != "true":
        return TrustedTime("ptp grandmaster: this host", 0, -1, -1)
    if values.get("gmPresent") != "true" or not states & _PTP_FOLLOWING:
        raise ClockError(
            f"ptp4l runs and follows no grandmaster (gmPresent {values.get('gmPresent', '?')}, ports "
            f"{', '.join(sorted(states))}); check switch, domain and cable"
        )
    try:
        offset_ns = -round(float(values["master_offset"]))
    except (ValueError, OverflowError) as error:  # OverflowError: of an infinite one
        raise ClockError(f"pmc says that master_offset is {values['master_offset']!r}; a number is expected") from error
    return TrustedTime(f"ptp {values.get('gmIdentity', '?')}", offset_ns, -1, -1)
