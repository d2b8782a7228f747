"""When a simulated camera delivers: faults on request, and a device's small buffer.

Pure: no clock, no pixels. Everything follows from the seed, the camera's name and the number of the instant.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from heapq import heappop, heappush
from math import log1p

from ..sync.clock import NS_PER_MS, NS_PER_US
from .simulated_clock import InstantClock, SimulatedDeviceClock
from .simulated_faults import SimulatedFaults
from .simulated_schedule import FaultSchedule

__all__ = ["Delivery", "FaultDraws", "InstantClock", "SimulatedDevice", "SimulatedFaults"]

_JITTER_MOST = 8.0  # the tail of a transfer's delay is cut at so many means


@dataclass(frozen=True, slots=True, order=True)
class Delivery:
    """One frame as it leaves the camera: when, which instant, and whether it has left it before."""

    t_ns: int
    instant: int
    repeat: bool = False


class FaultDraws:
    """The faults of one camera: the same for the same seed, name and instant, in whatever order they are asked.

    Args:
        faults: what goes wrong.
        seed: of the draws.
        camera: its name.
        schedule: of the same faults; None where there is none.
    """

    def __init__(self, faults: SimulatedFaults, seed: int, camera: str, schedule: FaultSchedule | None = None) -> None:
        self._faults = faults
        self._schedule = schedule or FaultSchedule(faults, 1.0)
        self._dropped = frozenset(faults.drop_instants)
        self._key = f"{seed}/{camera}/".encode()

    def _uniform(self, instant: int, what: int) -> float:
        """In [0, 1); ``what`` 0 to 6 are independent."""
        if what > 4:
            digest = blake2b(b"%s%d" % (self._key, instant), digest_size=16, person=b"more").digest()
            what -= 5
        else:
            digest = blake2b(b"%s%d" % (self._key, instant), digest_size=40).digest()
        return int.from_bytes(digest[8 * what : 8 * what + 8], "little") / 2**64

    def _hit(self, p: float, instant: int, what: int) -> bool:
        return p > 0.0 and self._uniform(instant, what) < p

    def dropped(self, instant: int) -> bool:
        if instant in self._dropped or self._schedule.dropped(instant) or self._hit(self._faults.drop_p, instant, 0):
            return True
        f = self._faults
        first = max(instant - f.burst_n + 1, 0)
        return f.burst_p > 0.0 and any(self._hit(f.burst_p, k, 5) for k in range(first, instant + 1))

    def duplicated(self, instant: int) -> bool:
        return self._schedule.duplicated(instant) or self._hit(self._faults.duplicate_p, instant, 1)

    def reordered(self, instant: int) -> bool:
        return self._schedule.reordered(instant) or self._hit(self._faults.reorder_p, instant, 2)

    def late_ns(self, instant: int) -> int:
        late = self._hit(self._faults.late_p, instant, 3)
        return self._schedule.late_ns(instant) + (round(self._faults.late_ms * NS_PER_MS) if late else 0)

    def held_until_ns(self, instant: int) -> int:
        """Not delivered before this time after the start; 0: not held."""
        return self._schedule.held_until_ns(instant)

    def transfer_delay_ns(self, instant: int, mean_us: float) -> int:
        """What the transfer of this frame takes beyond its least: exponential, cut at eight means."""
        if mean_us <= 0.0:
            return 0
        return round(min(-log1p(-self._uniform(instant, 6)), _JITTER_MOST) * mean_us * NS_PER_US)

    def stamped_ns(self, t_true_ns: int, t_start_ns: int, instant: int) -> int:
        """What the device's clock says at true time ``t_true_ns``."""
        f = self._faults
        error_us = f.offset_us + (t_true_ns - t_start_ns) * f.drift_ppm * 1e-9
        if f.jitter_us > 0.0:
            error_us += f.jitter_us * (2.0 * self._uniform(instant, 4) - 1.0)
        return t_true_ns + round(error_us * NS_PER_US) + self._schedule.stamp_error_ns(instant)

    def ticks(self, clock: SimulatedDeviceClock, elapsed_ns: int, instant: int) -> int:
        """What the device's own counter says ``elapsed_ns`` after the start; it began anew where the device did."""
        error_us = self._schedule.stamp_error_ns(instant) / NS_PER_US
        if clock.jitter_us > 0.0:
            error_us += clock.jitter_us * (2.0 * self._uniform(instant, 4) - 1.0)
        began_ns = self._schedule.clock_began_ns(instant)
        if began_ns is None:
            return clock.ticks(elapsed_ns, clock.offset_ticks, error_us)
        return clock.ticks(elapsed_ns - began_ns, 0, error_us)


class SimulatedDevice:
    """The camera's side of the cable: exposes on its own, delivers into a small buffer, overwrites what is not fetched.

    Args:
        instants: exposure times.
        draws: faults.
        transfer_ns: from the start of exposure to delivery, at least.
        n_buffer: deliveries that wait for the host; a further one overwrites the oldest.
        first_instant: the first one that this device exposes.
        jitter_us: mean of what a transfer takes beyond ``transfer_ns``.
    """

    def __init__(
        self,
        instants: InstantClock,
        draws: FaultDraws,
        transfer_ns: int | Callable[[int], int],
        n_buffer: int,
        first_instant: int,
        jitter_us: float = 0.0,
    ) -> None:
        self._instants = instants
        self._draws = draws
        self._transfer_ns = transfer_ns if callable(transfer_ns) else lambda _instant: transfer_ns
        self._jitter_us = jitter_us
        self._buffer: deque[Delivery] = deque(maxlen=n_buffer)
        self._n_buffer = n_buffer
        self._coming: list[Delivery] = []
        self._next_instant = first_instant

    def next_delivery(self, now_ns: int) -> Delivery:
        """The oldest delivery that waits, else the next one to come (its ``t_ns`` is then after ``now_ns``).

        It stays until `take`; but ask again after a sleep, since it may be overwritten by then.
        """
        self._fill(now_ns)
        if self._buffer:
            return self._buffer[0]
        # No later instant can overtake once its plain delivery lies behind the first in the heap.
        while not self._coming or self._plain_ns(self._next_instant) <= self._coming[0].t_ns:
            self._expose()
        return self._coming[0]

    def take(self) -> None:
        """Remove what `next_delivery` gave."""
        if self._buffer:
            self._buffer.popleft()
        else:
            heappop(self._coming)

    def _fill(self, now_ns: int) -> None:
        # After a long sleep only the newest frames can still be in the buffer: what lies before is not even drawn.
        newest = self._instants.first_instant_at(now_ns - self._transfer_ns(self._next_instant))
        reach = 4 * self._n_buffer + 64
        self._next_instant = max(self._next_instant, newest - reach)
        while self._plain_ns(self._next_instant) <= now_ns:
            self._expose()
        while self._coming and self._coming[0].t_ns <= now_ns:
            self._buffer.append(heappop(self._coming))

    def _plain_ns(self, instant: int) -> int:
        return self._instants.exposure_ns(instant) + self._transfer_ns(instant)

    def _expose(self) -> None:
        k = self._next_instant
        self._next_instant += 1
        if self._draws.dropped(k):
            return
        t_ns = self._plain_ns(k + 1) + NS_PER_US if self._draws.reordered(k) else self._plain_ns(k)
        t_ns += self._draws.late_ns(k) + self._draws.transfer_delay_ns(k, self._jitter_us)
        held_ns = self._draws.held_until_ns(k)
        if held_ns:
            t_ns = max(t_ns, self._instants.t_start_ns + held_ns)
        heappush(self._coming, Delivery(t_ns, k))
        if self._draws.duplicated(k):
            quarter_ns = (self._plain_ns(k + 1) - self._plain_ns(k)) // 4
            heappush(self._coming, Delivery(t_ns + quarter_ns, k, True))
