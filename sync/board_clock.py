"""A board's microsecond clock in terms of rig time, from pings. Pure.

Each ping says: when the board's clock showed ``board_us``, rig time was between ``t_sent_ns`` and ``t_received_ns``.
The shortest round trips say it best (Cristian, Distributed Computing 3, 1989): the window is cut into stretches, the
shortest of each is kept, and a line is laid through their middles, each weighted by how short it was. Boards with a
ceramic resonator in place of a crystal are off by up to 0.5 %, and wander: drift is fitted as soon as there is a second
of pings, and no bound below 1 % is put on it.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from .clock import NS_PER_MS, NS_PER_S, NS_PER_US
from .errors import TriggerError

WINDOW_NS = 60 * NS_PER_S
_STRETCHES = 24
_DRIFT_SPAN_NS = NS_PER_S
"""Below this span a slope would be made of noise."""
MAX_DRIFT = 0.01
_SLACK_NS = NS_PER_MS
"""A ping that misses the last one by more than the trips of both, 1 % of the time between them and this, is a step:
the board's clock has jumped or begun anew."""
_LEAST_TRIP_NS = 20 * NS_PER_US


@dataclass(frozen=True, slots=True)
class _Ping:
    board_us: int
    t_mid_ns: int
    trip_ns: int


class BoardClock:
    """Follows one board's clock. One thread; ``board_us`` is unwrapped.

    Attributes:
        n_used: pings in the window.
        drift_ppm: how much faster than rig time the board's clock runs.
        delay_ns: least round trip in the window, -1 before the first ping.
        residual_us: p50, p99, maximum over the stretches of how far their best ping lies from the line.
    """

    def __init__(self) -> None:
        self._pings: deque[_Ping] = deque(maxlen=4096)
        self._board0_us = self._t0_ns = 0
        self._ns_per_us = float(NS_PER_US)
        self.drift_ppm = 0.0
        self.delay_ns = -1
        self.residual_us = (0.0, 0.0, 0.0)

    @property
    def n_used(self) -> int:
        return len(self._pings)

    @property
    def locked(self) -> bool:
        """The drift is known and not assumed."""
        return len(self._pings) > 1 and self._pings[-1].t_mid_ns - self._pings[0].t_mid_ns >= _DRIFT_SPAN_NS

    def add(self, t_sent_ns: int, board_us: int, t_received_ns: int) -> None:
        """Take one ping and its answer.

        Raises:
            TriggerError: the answer contradicts those before it: the board's clock jumped, or it says what is not so.
        """
        ping = _Ping(board_us, (t_sent_ns + t_received_ns) // 2, t_received_ns - t_sent_ns)
        if self._pings:
            last = self._pings[-1]
            # Each says no more than that it lies within its own trip: one that was read late contradicts nothing.
            passed_ns = ping.t_mid_ns - last.t_mid_ns
            off_ns = abs((board_us - last.board_us) * NS_PER_US - passed_ns)
            allowed_ns = (ping.trip_ns + last.trip_ns) // 2 + MAX_DRIFT * passed_ns + _SLACK_NS
            if ping.trip_ns < 0 or board_us < last.board_us or off_ns > allowed_ns:
                raise TriggerError(
                    f"the board's clock reads {board_us} µs where {last.board_us} µs and "
                    f"{passed_ns / NS_PER_MS:.1f} ms were before it (off by "
                    f"{off_ns / NS_PER_MS:.1f} ms); did it restart? check its power and its cable, then start anew"
                )
        self._pings.append(ping)
        while ping.t_mid_ns - self._pings[0].t_mid_ns > WINDOW_NS:
            self._pings.popleft()
        self._fit()

    def to_rig_ns(self, board_us: int) -> int:
        """Rig time of an instant of the board's clock; before the first ping there is none.

        Raises:
            TriggerError: nothing is known yet.
        """
        self._check_read()
        return self._t0_ns + round((board_us - self._board0_us) * self._ns_per_us)

    def to_board_us(self, t_ns: int) -> int:
        """The board's clock at an instant of rig time.

        Raises:
            TriggerError: nothing is known yet.
        """
        self._check_read()
        return self._board0_us + round((t_ns - self._t0_ns) / self._ns_per_us)

    def _check_read(self) -> None:
        if not self._pings:
            raise TriggerError("the board's clock was never read; ping it first")

    def _fit(self) -> None:
        pings = self._pings
        first, last = pings[0], pings[-1]
        self._board0_us, base_ns = last.board_us, last.t_mid_ns
        self.delay_ns = min(one.trip_ns for one in pings)
        span_us = max(1, last.board_us - first.board_us)
        best: dict[int, _Ping] = {}
        for one in pings:
            stretch = (one.board_us - first.board_us) * _STRETCHES // (span_us + 1)
            if stretch not in best or one.trip_ns <= best[stretch].trip_ns:
                best[stretch] = one
        chosen = list(best.values())
        x = np.array([one.board_us - last.board_us for one in chosen], np.float64)
        y = np.array([one.t_mid_ns - base_ns for one in chosen], np.float64) - x * NS_PER_US
        weight = 1.0 / np.array([max(one.trip_ns, _LEAST_TRIP_NS) for one in chosen], np.float64) ** 2
        slope = 0.0
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        if self.locked:
            spread = np.sum(weight * (x - mean_x) ** 2)
            slope = float(np.sum(weight * (x - mean_x) * (y - mean_y)) / spread) if spread > 0 else 0.0
        level = float(mean_y - slope * mean_x)
        self._t0_ns = base_ns + round(level)
        self._ns_per_us = NS_PER_US + slope
        self.drift_ppm = -1e6 * slope / self._ns_per_us
        off = np.abs(y - level - slope * x) / NS_PER_US
        self.residual_us = (float(np.median(off)), float(np.quantile(off, 0.99)), float(off.max()))
