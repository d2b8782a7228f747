"""Another clock's offset and drift from four-timestamp exchanges with it. Pure: no sockets, no clock.

Each exchange is NTP's (RFC 5905): sent (local), received and answered (rig), received (local). A message cannot arrive
before it was sent, so each gives two hard bounds, which is Cristian's argument (Distributed Computing 3, 1989): rig
time less local time is at most ``t2 - t1`` and at least ``t3 - t4``. `HostClockFit` holds the bounds of the last two
minutes and lays the widest strip of straight lines between them (convex hulls, as Zhang, Liu and Xia, INFOCOM 2002);
its middle is the offset, its slope the drift. The exchanges that touch the strip are those of least delay, each way,
so this is the minimum-delay filter with the drift taken out.

What no exchange of this kind can see is a delay that is always longer one way than the other: the error is then half
the difference, and never more than half the least round trip.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ClockError

WINDOW_NS = 120_000_000_000
"""Clocks wander by a part in a million in minutes; within two minutes a straight line is off by a few microseconds."""
MAX_EXCHANGES = 600
"""In the window: four per second for two minutes, and the burst."""
MAX_DRIFT = 500e-6
"""No working oscillator is worse; kernels refuse to steer further."""
DRIFT_SPAN_NS = 4_000_000_000
"""Below this span a slope would be made of noise: drift counts as none."""
LOCKED_SPAN_NS = 10_000_000_000
N_SETTLED = 8
N_STEP = 5
"""So many exchanges in a row that contradict the fit, and agree among themselves, are a step."""
TOLERANCE_NS = 50_000
"""An exchange contradicts the fit when its bounds miss it by more than this."""
WANDER = 10e-6
"""And by this much of the time since the last good exchange: what a drift may change in a silence."""
RECENT_NS = 10_000_000_000
_NS_PER_US = 1e3
_SECTIONS = 36
"""Of the slope's search: down to 3e-5 ppm."""
_NEXT_SHARE = 16
_NEXT_WEIGHT = 0.1
_GOLDEN = 0.6180339887498949


class Exchange(NamedTuple):
    """One question and its answer, int64 nanoseconds.

    Attributes:
        t_sent_ns: local clock, just before the question was sent.
        t_server_received_ns: rig time, when the server took it.
        t_server_sent_ns: rig time, just before the server answered.
        t_received_ns: local clock, when the answer was taken.
    """

    t_sent_ns: int
    t_server_received_ns: int
    t_server_sent_ns: int
    t_received_ns: int

    @property
    def delay_ns(self) -> int:
        """Round trip less what the server took."""
        return (self.t_received_ns - self.t_sent_ns) - (self.t_server_sent_ns - self.t_server_received_ns)

    @property
    def offset_ns(self) -> int:
        """Rig time less local time, were both ways equally long."""
        return (self.t_server_received_ns - self.t_sent_ns + self.t_server_sent_ns - self.t_received_ns) // 2

    @property
    def t_mid_ns(self) -> int:
        """Local clock, middle of the exchange."""
        return (self.t_sent_ns + self.t_received_ns) // 2

    def is_possible(self) -> bool:
        """Time went forward on both clocks, and the answer did not come before it was sent."""
        forward = self.t_received_ns >= self.t_sent_ns and self.t_server_sent_ns >= self.t_server_received_ns
        return forward and self.delay_ns >= 0


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """A local clock in terms of rig time.

    Attributes:
        local_ns: the instant that the estimate is anchored at, local clock.
        offset_ns: rig time less local time there.
        rate: change of the offset per local nanosecond.
        delay_ns: least round trip in the window; the offset is off by half of it at most, while the drift is steady.
        residual_us: p50, p99 and maximum over the last ten seconds of how far single exchanges lie from the line.
        n_used: exchanges in the window.
        span_ns: time that they cover.
    """

    local_ns: int
    offset_ns: int
    rate: float
    delay_ns: int
    residual_us: tuple[float, float, float]
    n_used: int
    span_ns: int

    @property
    def drift_ppm(self) -> float:
        """How much faster than rig time the local clock runs."""
        return -1e6 * self.rate / (1.0 + self.rate)

    @property
    def error_bound_ns(self) -> int:
        """Half the least round trip: as far as a constant asymmetry can mislead."""
        return (self.delay_ns + 1) // 2

    def offset_at(self, local_ns: int) -> int:
        """Rig time less local time at an instant of the local clock."""
        return self.offset_ns + round(self.rate * (local_ns - self.local_ns))

    def to_rig_ns(self, local_ns: int) -> int:
        """Rig time of an instant of the local clock."""
        return local_ns + self.offset_at(local_ns)


class HostClockFit:
    """Follows one clock by exchanges. One thread; memory and time per exchange are bounded.

    Attributes:
        n_outliers: exchanges that were left out: impossible, or in contradiction to the others.
        n_steps: times that the fit began anew because one of the clocks jumped.
        stepped: it did so, and has not settled since.
    """

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        if window_ns < LOCKED_SPAN_NS:
            raise ClockError(f"a window of {window_ns} ns is too short to lock in; give {LOCKED_SPAN_NS} ns at least")
        self._window_ns = window_ns
        self._kept: deque[Exchange] = deque(maxlen=MAX_EXCHANGES)
        self._contradicting: list[Exchange] = []
        self._estimate: ClockEstimate | None = None
        self.n_outliers = 0
        self.n_steps = 0
        self.stepped = False

    @property
    def estimate(self) -> ClockEstimate | None:
        """What is known; None before the first eight exchanges. It may be carried on while nothing is heard."""
        return self._estimate

    @property
    def locked(self) -> bool:
        """The window is long enough for a drift to be told from noise."""
        return self._estimate is not None and self._estimate.span_ns >= LOCKED_SPAN_NS

    def add(self, exchange: Exchange) -> bool:
        """Take one exchange; False where it was left out."""
        if not exchange.is_possible() or (self._kept and exchange.t_received_ns <= self._kept[-1].t_received_ns):
            self.n_outliers += 1
            return False
        if self._estimate is not None and self._contradicts(exchange, self._estimate):
            self.n_outliers += 1
            self._contradicting.append(exchange)
            if len(self._contradicting) < N_STEP:
                return False
            agreeing = _largest_agreement(self._contradicting)
            self._contradicting = self._contradicting[-(N_STEP - 1) :]
            if len(agreeing) < N_STEP:
                return False
            self._begin_anew(agreeing)
            return True
        self._contradicting.clear()
        self._kept.append(exchange)
        while exchange.t_received_ns - self._kept[0].t_sent_ns > self._window_ns:
            self._kept.popleft()
        if self._estimate is None:
            self._settle()
        else:
            self._fit()
        return True

    def _contradicts(self, exchange: Exchange, estimate: ClockEstimate) -> bool:
        silent_ns = exchange.t_received_ns - self._kept[-1].t_received_ns
        # Until the window is long enough for a slope, the clock may drift by all that a clock can.
        rate = WANDER if estimate.span_ns >= LOCKED_SPAN_NS else MAX_DRIFT
        reach = silent_ns if estimate.span_ns >= LOCKED_SPAN_NS else silent_ns + estimate.span_ns
        slack = TOLERANCE_NS + rate * reach
        highest = exchange.t_server_received_ns - exchange.t_sent_ns
        lowest = exchange.t_server_sent_ns - exchange.t_received_ns
        low_miss = lowest - estimate.offset_at(exchange.t_received_ns)
        high_miss = estimate.offset_at(exchange.t_sent_ns) - highest
        return max(low_miss, high_miss) > slack

    def _begin_anew(self, exchanges: list[Exchange]) -> None:
        self.n_steps += 1
        self.stepped = True
        self._contradicting.clear()
        self._kept.clear()
        self._kept.extend(exchanges)
        self._estimate = None
        self._fit()

    def _settle(self) -> None:
        """The first fit rests on the largest number of exchanges that agree; a majority, of eight at least."""
        agreeing = _largest_agreement(list(self._kept))
        if len(agreeing) < N_SETTLED or 2 * len(agreeing) <= len(self._kept):
            return
        self.n_outliers += len(self._kept) - len(agreeing)
        self._kept.clear()
        self._kept.extend(agreeing)
        self._fit()

    def _fit(self) -> None:
        kept = self._kept
        origin, base = kept[-1].t_received_ns, kept[-1].offset_ns
        times = np.array([(one.t_sent_ns - origin, one.t_received_ns - origin) for one in kept], np.float64)
        bounds = np.array(
            [
                (one.t_server_received_ns - one.t_sent_ns - base, one.t_server_sent_ns - one.t_received_ns - base)
                for one in kept
            ],
            np.float64,
        )
        span_ns = int(times[-1, 1] - times[0, 0])
        n_dropped = 0
        rate = _widest(times, bounds) if span_ns >= DRIFT_SPAN_NS else 0.0
        while _width(rate, times[n_dropped:], bounds[n_dropped:]) < 0 and len(times) - n_dropped > 2 * N_SETTLED:
            # No line fits between all bounds: the drift has changed. What is oldest says least about now.
            n_dropped += (len(times) - n_dropped) // 4
            rate = _widest(times[n_dropped:], bounds[n_dropped:])
        for _ in range(n_dropped):
            kept.popleft()
        times, bounds = times[n_dropped:], bounds[n_dropped:]
        span_ns = int(times[-1, 1] - times[0, 0])
        high = float(np.min(bounds[:, 0] - rate * times[:, 0]))
        low = float(np.max(bounds[:, 1] - rate * times[:, 1]))
        middle = (high + low) / 2
        recent = times[:, 1] >= -RECENT_NS
        off = np.abs(bounds[recent].mean(axis=1) - rate * times[recent].mean(axis=1) - middle) / _NS_PER_US
        p50, p99, most = (float(one) for one in np.quantile(off, (0.5, 0.99, 1.0)))
        self._estimate = ClockEstimate(
            origin, base + round(middle), rate, min(one.delay_ns for one in kept), (p50, p99, most), len(kept), span_ns
        )
        if span_ns >= LOCKED_SPAN_NS:
            self.stepped = False


def _width(rate: float, times: NDArray[np.float64], bounds: NDArray[np.float64]) -> float:
    """Height of the strip of lines of one slope that keep all bounds, ns; below 0: there is none."""
    return float(np.min(bounds[:, 0] - rate * times[:, 0]) - np.max(bounds[:, 1] - rate * times[:, 1]))


def _breadth(rate: float, times: NDArray[np.float64], bounds: NDArray[np.float64]) -> float:
    """The width, and with a small weight that of the next narrowest: where one exchange alone sets it, they decide."""
    over = bounds[:, 0] - rate * times[:, 0]
    under = rate * times[:, 1] - bounds[:, 1]
    n_next = max(2, len(times) // _NEXT_SHARE)
    next_over = np.partition(over, n_next - 1)[:n_next]
    next_under = np.partition(under, n_next - 1)[:n_next]
    return float(next_over.min() + next_under.min() + _NEXT_WEIGHT * (next_over.mean() + next_under.mean()))


def _widest(times: NDArray[np.float64], bounds: NDArray[np.float64]) -> float:
    """The slope of the broadest strip; the breadth is concave in the slope, so a golden section finds it."""
    left, right = -MAX_DRIFT, MAX_DRIFT
    a, b = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_a, at_b = _breadth(a, times, bounds), _breadth(b, times, bounds)
    for _ in range(_SECTIONS):
        if at_a < at_b:
            left, a, at_a = a, b, at_b
            b = left + _GOLDEN * (right - left)
            at_b = _breadth(b, times, bounds)
        else:
            right, b, at_b = b, a, at_a
            a = right - _GOLDEN * (right - left)
            at_a = _breadth(a, times, bounds)
    return (left + right) / 2


def _largest_agreement(exchanges: list[Exchange]) -> list[Exchange]:
    """The most exchanges whose bounds share an offset (Marzullo), each allowed all the drift that it could have."""
    last_ns = exchanges[-1].t_received_ns
    edges: list[tuple[int, int]] = []
    spans: list[tuple[int, int]] = []
    for one in exchanges:
        slack = round(MAX_DRIFT * (last_ns - one.t_sent_ns))
        span = (
            one.t_server_sent_ns - one.t_received_ns - slack,
            one.t_server_received_ns - one.t_sent_ns + slack,
        )
        spans.append(span)
        edges += [(span[0], 0), (span[1], 1)]
    best, depth, place = 0, 0, 0
    for offset, closes in sorted(edges):
        depth += -1 if closes else 1
        if depth > best:
            best, place = depth, offset
    return [one for one, (low, high) in zip(exchanges, spans, strict=True) if low <= place <= high]
