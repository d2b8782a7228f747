"""When a simulated camera exposes and delivers: the instants of a rig, faults on request, and a device's small buffer.

Pure: no clock, no pixels. Everything follows from the seed, the camera's name and the number of the instant.
"""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Annotated

from pydantic import Field

from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from ..sync.strict import StrictModel

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class SimulatedFaults(StrictModel):
    """What goes wrong, drawn anew for every frame.

    Attributes:
        drop_p: the frame is never delivered: a jump in ``seq``.
        drop_instants: these frames are never delivered.
        duplicate_p: the frame is delivered a second time, a quarter of a period later.
        reorder_p: the frame is delivered after the one that follows it.
        late_p: the frame is delivered ``late_ms`` late; others do not wait for it.
        late_ms: how late.
        jitter_us: the stamped exposure time is off by a uniform error of at most this.
        offset_us: constant error of the stamped exposure time.
        drift_ppm: the device's clock runs fast by this, from the start on.
    """

    drop_p: Probability = 0.0
    drop_instants: tuple[Annotated[int, Field(ge=0)], ...] = ()
    duplicate_p: Probability = 0.0
    reorder_p: Probability = 0.0
    late_p: Probability = 0.0
    late_ms: float = Field(default=50.0, ge=0.0)
    jitter_us: float = Field(default=0.0, ge=0.0)
    offset_us: float = 0.0
    drift_ppm: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class Delivery:
    """One frame as it leaves the camera: when, which instant, and whether it has left it before."""

    t_ns: int
    instant: int
    repeat: bool = False


class InstantClock:
    """Exposure times of a rig: ``t_start_ns`` plus a whole number of periods, exact for ever."""

    def __init__(self, t_start_ns: int, rate_hz: float) -> None:
        rate = Fraction(str(rate_hz))
        self.t_start_ns = t_start_ns
        self._step, self._per = NS_PER_S * rate.denominator, rate.numerator

    def exposure_ns(self, instant: int) -> int:
        return self.t_start_ns + instant * self._step // self._per

    def first_instant_at(self, t_ns: int) -> int:
        """The first instant (>= 0) that is exposed at ``t_ns`` or later."""
        return max(-((self.t_start_ns - t_ns) * self._per // self._step), 0)

    def elapsed_s(self, instant: int) -> float:
        """Seconds from the start, a function of the instant alone so that all views of it see the same world."""
        return instant * self._step / (self._per * NS_PER_S)


class FaultDraws:
    """The faults of one camera: the same for the same seed, name and instant, in whatever order they are asked."""

    def __init__(self, faults: SimulatedFaults, seed: int, camera: str) -> None:
        self._faults = faults
        self._dropped = frozenset(faults.drop_instants)
        self._key = f"{seed}/{camera}/".encode()

    def _uniform(self, instant: int, what: int) -> float:
        """In [0, 1); ``what`` 0 to 4 are independent."""
        digest = blake2b(b"%s%d" % (self._key, instant), digest_size=40).digest()
        return int.from_bytes(digest[8 * what : 8 * what + 8], "little") / 2**64

    def _hit(self, p: float, instant: int, what: int) -> bool:
        return p > 0.0 and self._uniform(instant, what) < p

    def dropped(self, instant: int) -> bool:
        return instant in self._dropped or self._hit(self._faults.drop_p, instant, 0)

    def duplicated(self, instant: int) -> bool:
        return self._hit(self._faults.duplicate_p, instant, 1)

    def reordered(self, instant: int) -> bool:
        return self._hit(self._faults.reorder_p, instant, 2)

    def late_ns(self, instant: int) -> int:
        late = self._hit(self._faults.late_p, instant, 3)
        return round(self._faults.late_ms * NS_PER_MS) if late else 0

    def stamped_ns(self, t_true_ns: int, t_start_ns: int, instant: int) -> int:
        """What the device's clock says at true time ``t_true_ns``."""
        f = self._faults
        error_us = f.offset_us + (t_true_ns - t_start_ns) * f.drift_ppm * 1e-9
        if f.jitter_us > 0.0:
            error_us += f.jitter_us * (2.0 * self._uniform(instant, 4) - 1.0)
        return t_true_ns + round(error_us * NS_PER_US)


class SimulatedDevice:
    """The camera's side of the cable: exposes on its own, delivers into a small buffer, overwrites what is not fetched.

    Args:
        instants: exposure times.
        draws: faults.
        transfer_ns: from the start of exposure to delivery.
        n_buffer: deliveries that wait for the host; a further one overwrites the oldest.
        first_instant: the first one that this device exposes.
    """

    def __init__(
        self, instants: InstantClock, draws: FaultDraws, transfer_ns: int, n_buffer: int, first_instant: int
    ) -> None:
        self._instants = instants
        self._draws = draws
        self._transfer_ns = transfer_ns
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
        newest = self._instants.first_instant_at(now_ns - self._transfer_ns)
        reach = 4 * self._n_buffer + 64
        self._next_instant = max(self._next_instant, newest - reach)
        while self._plain_ns(self._next_instant) <= now_ns:
            self._expose()
        while self._coming and self._coming[0].t_ns <= now_ns:
            self._buffer.append(heappop(self._coming))

    def _plain_ns(self, instant: int) -> int:
        return self._instants.exposure_ns(instant) + self._transfer_ns

    def _expose(self) -> None:
        k = self._next_instant
        self._next_instant += 1
        if self._draws.dropped(k):
            return
        t_ns = self._plain_ns(k + 1) + NS_PER_US if self._draws.reordered(k) else self._plain_ns(k)
        t_ns += self._draws.late_ns(k)
        heappush(self._coming, Delivery(t_ns, k))
        if self._draws.duplicated(k):
            quarter_ns = (self._plain_ns(k + 1) - self._plain_ns(k)) // 4
            heappush(self._coming, Delivery(t_ns + quarter_ns, k, True))
