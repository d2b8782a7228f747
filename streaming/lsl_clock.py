"""LSL's clock in terms of rig time: this host's by bracketed reading, a stream's through LSL's own correction."""

from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..sync.clock import NS_PER_S, Clock
from ..sync.errors import ConfigError
from .messages import ClockStatus

N_TRIES = 16
MAX_READINGS = 64
DRIFT_SPAN_S = 30.0
"""LSL renews its correction every few seconds; below this span a slope would be made of noise."""
_US_PER_S = 1e6


def load_pylsl() -> ModuleType:
    """The library, or what to install.

    Raises:
        ConfigError: it is not there.
    """
    try:
        import pylsl
    except (ImportError, RuntimeError) as error:  # RuntimeError: the Python part is there, liblsl is not
        raise ConfigError(f"pylsl cannot be used ({error}); pip install 'ethostream[lsl]' brings it") from error
    return pylsl


class Relation(NamedTuple):
    """Rig time less LSL time on this host, and how far off it may be, ns."""

    offset_ns: int
    uncertainty_ns: int


def measure_relation(clock: Clock, local_clock: Callable[[], float], n_tries: int = N_TRIES) -> Relation:
    """Read LSL's clock between two readings of rig time; of several tries the narrowest bracket counts."""
    best: Relation | None = None
    for _ in range(n_tries):
        before = clock.now_ns()
        lsl_s = local_clock()
        after = clock.now_ns()
        half = (after - before + 1) // 2
        if best is None or half < best.uncertainty_ns:
            best = Relation(before + half - round(lsl_s * NS_PER_S), half)
    assert best is not None
    return best


class StreamClock:
    """One sender's clock in terms of rig time. Pure; one thread."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, float]] = deque(maxlen=MAX_READINGS)
        self.offset_ns: int | None = None
        self.n_steps = 0

    def restart(self) -> None:
        """The stream was lost; its sender may be another machine now."""
        self._readings.clear()
        self.offset_ns = None
        self.n_steps += 1

    def add(self, correction_s: float, relation: Relation, t_ns: int) -> None:
        """Take one reading of LSL's correction: what is added to a sender's time stamp to get this host's LSL time."""
        self.offset_ns = round(correction_s * NS_PER_S) + relation.offset_ns
        self._readings.append((t_ns / NS_PER_S, correction_s))

    def to_rig_ns(self, lsl_s: float) -> int:
        """Rig time of a sender's time stamp, by the newest reading."""
        assert self.offset_ns is not None
        return round(lsl_s * NS_PER_S) + self.offset_ns

    def status(self, stream: str, epoch: int, t_ns: int, *, lost: bool = False) -> ClockStatus:
        """For the bus. Residuals are those of LSL's corrections about a line through the last 64."""
        drift_ppm, off_us = 0.0, np.zeros(1)
        if self._readings:
            times, corrections = np.array(self._readings, np.float64).T
            times = times - times[-1]
            slope = 0.0
            if -times[0] >= DRIFT_SPAN_S:
                centred = times - times.mean()
                slope = float(centred @ corrections / (centred @ centred))
            drift_ppm = -slope * 1e6
            off = corrections - slope * times
            off_us = np.abs(off - np.median(off)) * _US_PER_S
        p50, p99, most = (round(float(one), 3) for one in np.quantile(off_us, (0.5, 0.99, 1.0)))
        state = "lost" if lost else "locked" if self.offset_ns is not None else "settling"
        return ClockStatus(
            f"lsl.{stream}", epoch, state, self.offset_ns or 0, round(drift_ppm, 4), p50, p99, most,
            len(self._readings), 0, self.n_steps, t_ns,
        )  # fmt: skip
