"""Device ticks → rig time, online: a line under the delays, slewed, with steps found and declared. Pure.

What comes in, frame by frame, is (frame number, ticks, arrival on the host). Arrival = start of exposure + exposure +
transport, and transport is a hard minimum (``transport_ns``, subtracted as far as it is known) plus what queues add,
which is never negative. `tick_envelope` lays a line under these; see there for what is done about stamps that jitter.

**What the error of the fit is.** The line maps a tick value to rig time. Its error is that of the line: the fitted line
at the tick value that the device's clock truly had at the start of exposure, against the true rig time of that start,
the known minimal transport delay left out. A stamp that jitters adds its own jitter to its own frame (the stamp is
what the device says, and it is not smoothed away in the header); that is the per-frame error.

**States.** ``settling``: too few frames to promise anything. ``locked``: the estimated error of the line is below
100 µs, or the window is full. ``stepped``: the device's clock jumped or began anew, the fit has begun again and has not
locked since.

**Corrections** are slewed: a new line is approached over some seconds, at 500 ppm at most, so that the output rises
with the ticks and never jumps while ``locked``. A correction that could not be one (the line would have to drop by more
than the least step, so a frame would have come before it was taken) is a step, and declared.

**Steps.** Frame numbers say where the next stamp ought to lie. Where it does not, up to eight frames are put aside: a
stamp that was wrong alone is an outlier; a pause of the trigger is one that the arrivals show as well; all else is a
step of the clock or a reset. A host that stalls and delivers a burst late changes arrivals and no stamp, and is not
taken for a step.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .clock import NS_PER_MS, NS_PER_S, NS_PER_US
from .errors import ClockError
from .tick_envelope import Envelope, fit_envelope
from .tick_unwrap import FULL_BITS, TickUnwrap

FitState = Literal["settling", "locked", "stepped"]

WINDOW_FRAMES = 2048
"""Frames that a line is laid under: 34 s at 60 Hz; the drift of a crystal is constant over that."""
WINDOW_S = 5.0
"""And no less than this, for fast cameras."""
SLOW_HZ, SLOW_WINDOW_FRAMES = 50.0, 4096
"""Below this rate frames may queue for so long that twice the number is needed."""
MIN_LOCK_FRAMES, MIN_LOCK_NS = 128, 3.0 * NS_PER_S
"""No fit locks on less: a drift read from less is no use over a stall."""
PROMISED_NS = 100.0 * NS_PER_US
"""Estimated error below which a fit is locked."""
HELD_FRAMES = 8
"""Frames put aside at most before a jump is judged."""
MIN_STEP_NS = 2.0 * NS_PER_MS
"""A jump of the stamps below this is followed as a correction."""
_STEP_JITTERS = 10.0
"""A jump must also exceed this many standard deviations of the stamps."""
_MAX_DRIFT = 500e-6
"""A device clock further off its nominal rate than this is none."""
_KEPT_DRIFT = 20e-6
"""After a step the drift is looked for this near to the one before."""
_SLEW_RATE = 500e-6
_SLEW_NS = 2.0 * NS_PER_S
_REFIT_EARLY, _EARLY_FRAMES = 16, 256
_REFIT_LATE = 128
_N_BELOW = 4
"""Frames since the last fit that came before they can have been taken: the clock has stepped unseen."""
_LATE_SPREADS, _LATE_NS = 6.0, 1.0 * NS_PER_MS
"""A frame that is later than a quarter of the others by so many spreads and this was held up: it says nothing."""
_MAX_LATE = 1024
"""After so many in a row the way itself has become longer, and they are used."""
_LEARN_FRAMES = 32
"""Until so many frames are there, only a jump of a whole period is one."""
_PHASE_GAIN = 0.125
"""Where the next stamp is expected follows the last ones by this much: one that is wrong hardly moves it."""
_PERIOD_DOUBT = 0.05
"""By how much a period that was seen a few times only may be wrong."""
_RESIDUAL_NS = 10.0 * NS_PER_S
_SPACINGS, _JITTERS = 16.0, 7.0
"""Estimated error of the line (its 99th percentile): so many spacings, so many jitters over sqrt(n). Calibrated on the
generated worlds of the tests."""


def window_frames(rate_hz: float) -> int:
    """Frames that a line is laid under, for a camera of this rate."""
    return max(WINDOW_FRAMES, round(rate_hz * WINDOW_S)) if rate_hz >= SLOW_HZ else SLOW_WINDOW_FRAMES


@dataclass(frozen=True, slots=True)
class FitStatus:
    """A fit at one instant; see `ClockStatus` for the meaning. Residuals are what queues added, of the last 10 s."""

    state: FitState
    offset_ns: int
    drift_ppm: float
    residual_p50_us: float
    residual_p99_us: float
    residual_max_us: float
    n_used: int
    n_outliers: int
    n_steps: int


@dataclass(frozen=True, slots=True)
class _Held:
    seq: int
    ticks: int
    t_ns: int


class TickFit:
    """One device clock. One thread; about 2 µs a frame, amortised.

    Args:
        tick_hz: nominal rate of the device's clock.
        transport_ns: least time from the end of exposure to the arrival, as far as it is known.
        tick_bits: width of the device's counter.
        window_frames: frames that a line is laid under.

    Raises:
        ClockError: a rate that no clock has.
    """

    def __init__(
        self, tick_hz: float, transport_ns: int = 0, tick_bits: int = FULL_BITS, window_frames: int = WINDOW_FRAMES
    ) -> None:
        if not tick_hz > 0.0:
            raise ClockError(f"device clock of {tick_hz:g} ticks a second: the camera must tell its rate, above 0")
        self._ns_per_tick = NS_PER_S / tick_hz
        self._transport_ns = transport_ns
        self._unwrap = TickUnwrap(tick_bits)
        self._window = window_frames
        self._seq = np.empty(2 * window_frames)
        self._x = np.empty(2 * window_frames)
        self._z = np.empty(2 * window_frames)
        self.state: FitState = "settling"
        self.n_outliers = 0
        self.n_steps = 0
        self.n_frames_to_lock = 0
        """Frames that the present fit used until it locked; 0 while it has not."""
        self.ns_to_lock = 0.0
        """Device time that it took."""
        self._slope_low, self._slope_high = -_MAX_DRIFT, _MAX_DRIFT
        self._held: list[_Held] = []
        self._n_suspects = 0
        self._known_period = 0.0
        self._worst_late_ns = 0.0
        self._begin(0.0)

    def _begin(self, slope: float) -> None:
        self._start = self._stop = 0
        self._n_total = 0
        self._breaks: list[int] = []
        self._due = 4
        self._tick0 = self._t0 = self._seq0 = 0
        self._last_seq = self._last_ticks = 0
        self._last_x = self._phase_x = 0.0
        self._period = 0.0
        self._limit_ns = 0.0
        self._floor_ns = -float("inf")
        self._n_below = 0
        self._late_ns = float("inf")
        self._n_late = 0
        self._doubt = _PERIOD_DOUBT
        self._line = Envelope(0.0, slope, 0.0, 0.0, False, 0.0)
        self._behind_ns = 0.0
        self._slewed_from = 0.0
        self._slew_ns = _SLEW_NS

    @property
    def suspicious(self) -> bool:
        """A jump is being judged: what `at` says of the newest frames may be wrong."""
        return bool(self._held)

    @property
    def drift_ppm(self) -> float:
        """How much faster than rig time the device's clock runs; 0 until it is known."""
        return (1.0 / (1.0 + self._line.slope) - 1.0) * 1e6

    @property
    def n_used(self) -> int:
        """Frames in the window."""
        return self._stop - self._start

    def add(self, seq: int, ticks: int, exposure_ns: int, t_arrival_ns: int) -> bool:
        """Give one frame; frames in the order of their numbers, each once.

        Args:
            seq: the device's frame counter, above that of the frame before.
            ticks: start of exposure, as the device stamped it.
            exposure_ns: length of the exposure.
            t_arrival_ns: arrival on the host, rig time.

        Returns:
            Whether this frame proved a step: the fit has begun again.
        """
        t_ns = t_arrival_ns - exposure_ns - self._transport_ns
        if not self._n_total:
            self._first(_Held(seq, ticks, t_ns))
            return False
        expected_ns = (seq - self._last_seq) * self._period
        if self._unwrap.bits < FULL_BITS:
            ticks = self._unwrap.nearest(ticks, self._last_ticks + round(expected_ns / self._ns_per_tick))
        x = (ticks - self._tick0) * self._ns_per_tick
        jump = x - self._phase_x - expected_ns
        if (
            self._held
            or x <= self._last_x
            or (self._limit_ns and abs(jump) > self._limit_ns + self._doubt * expected_ns)
        ):
            return self._suspect(_Held(seq, ticks, t_ns), jump)
        return self._take(seq, ticks, x, t_ns)

    def _first(self, one: _Held) -> None:
        self._tick0, self._t0, self._seq0 = one.ticks, one.t_ns, one.seq
        self._last_seq = one.seq
        self._take(one.seq, one.ticks, 0.0, one.t_ns)

    def _take(self, seq: int, ticks: int, x: float, t_ns: int) -> bool:
        z = t_ns - self._t0 - x
        line = self._line
        above = z - line.offset_ns - line.slope * x
        phase = self._phase_x + (seq - self._last_seq) * self._period
        self._phase_x = x if self._doubt else phase + (x - phase) * _PHASE_GAIN
        self._last_seq, self._last_ticks, self._last_x = seq, ticks, x
        if above > self._late_ns:
            self._n_late += 1
            self._worst_late_ns = max(self._worst_late_ns, above)
            if self._n_late < _MAX_LATE:
                self.n_outliers += 1
                return False
        else:
            self._n_late = 0
        if above < self._floor_ns:
            self._n_below += 1
            if self._n_below >= _N_BELOW:
                self._step([_Held(seq, ticks, t_ns)])
                return True
        stop = self._stop
        if stop == len(self._x):
            keep = self._window - 1
            for one in (self._seq, self._x, self._z):
                one[:keep] = one[-keep:]
            self._start, stop = 0, keep
        elif stop - self._start == self._window:
            self._start += 1
        self._seq[stop] = seq - self._seq0
        self._x[stop] = x
        self._z[stop] = z
        self._stop = stop + 1
        self._n_total += 1
        self._due -= 1
        if self._due <= 0:
            self._refit()
        return False

    def _refit(self) -> None:
        start, stop, n = self._start, self._stop, self._stop - self._start
        self._due = _REFIT_EARLY if n < _EARLY_FRAMES else min(n // 4, _REFIT_LATE)
        x, z = self._x[start:stop], self._z[start:stop]
        first = self._n_total - n
        self._breaks = [at for at in self._breaks if at > first]
        breaks = [at - first for at in self._breaks]
        before = self._line
        line = fit_envelope(self._seq[start:stop], x, z, breaks, before.slope, self._slope_low, self._slope_high)
        if self.state == "locked" and not self._slope_low < line.slope < self._slope_high:
            return  # half the window is one stall: the line before is the better one
        self._line = line
        self._period = line.period_ns
        self._limit_ns = max(MIN_STEP_NS, _STEP_JITTERS * line.jitter_ns)
        if n < _LEARN_FRAMES:
            self._period = self._known_period or line.period_ns
            self._limit_ns = max(self._limit_ns, line.period_ns)
        else:
            self._doubt = 0.0
            self._late_ns = line.quarter_ns + _LATE_SPREADS * line.spread_ns + _LATE_NS
        if self.state == "locked":
            self._floor_ns = -self._limit_ns
        self._n_below = 0
        now = self._last_x
        if self.state == "locked":
            behind = line.at(now) - (before.at(now) - self._left_ns(now))
            self._behind_ns = behind
            self._slewed_from = now
            self._slew_ns = max(_SLEW_NS, 2.0 * _REFIT_LATE * self._period, abs(behind) / _SLEW_RATE)
        elif self._may_lock(n, float(now - x[0])):
            self.state = "locked"
            self.n_frames_to_lock = self._n_total
            self.ns_to_lock = now

    def _may_lock(self, n: int, span_ns: float) -> bool:
        if n < self._window and (n < MIN_LOCK_FRAMES or span_ns < MIN_LOCK_NS):
            return False
        if not self._slope_low < self._line.slope < self._slope_high:
            # At its bound it is no result: a stall is in the window, or the drift is not what it was.
            self._slope_low, self._slope_high = -_MAX_DRIFT, _MAX_DRIFT
            return False
        return self.error_ns < PROMISED_NS or n == self._window

    @property
    def error_ns(self) -> float:
        """Estimated error of the line now, 99th percentile, nanoseconds; without what is unknown of the transport."""
        line = self._line
        jitter = line.jitter_ns if line.smoothed else 0.0
        return _SPACINGS * line.spacing_ns + _JITTERS * jitter / max(self.n_used, 1) ** 0.5

    def _left_ns(self, x: float) -> float:
        """What is still to be slewed at ``x``."""
        if not self._behind_ns:
            return 0.0
        share = 1.0 - (x - self._slewed_from) / self._slew_ns
        return self._behind_ns * share if share > 0.0 else 0.0

    def at(self, ticks: int) -> int:
        """Rig time of a tick value near the newest ones. While the state is not ``locked``: without a promise."""
        ticks = self._unwrap.nearest(ticks, self._last_ticks) if self._unwrap.bits < FULL_BITS else ticks
        x = (ticks - self._tick0) * self._ns_per_tick
        line = self._line
        return self._t0 + round(x + line.offset_ns + line.slope * x - self._left_ns(x))

    def _suspect(self, one: _Held, jump: float) -> bool:
        """A stamp is not where its number says; judge once enough is known. True: it was a step."""
        if abs(jump) <= self._limit_ns and (one.ticks - self._tick0) * self._ns_per_tick > self._last_x:
            # Back where it ought to be: what was put aside was wrong alone.
            self.n_outliers += len(self._held)
            self._held.clear()
            self._n_suspects = 0
            return self._take(one.seq, one.ticks, (one.ticks - self._tick0) * self._ns_per_tick, one.t_ns)
        self._n_suspects += 1
        if self._held:
            before = self._held[-1]
            expected = (one.seq - before.seq) * self._period
            one = _Held(
                one.seq, self._unwrap.nearest(one.ticks, before.ticks + round(expected / self._ns_per_tick)), one.t_ns
            )
            apart = (one.ticks - before.ticks) * self._ns_per_tick
            if apart <= 0.0 or (self._limit_ns and abs(apart - expected) > self._limit_ns):
                self.n_outliers += len(self._held)
                self._held.clear()
        self._held.append(one)
        if len(self._held) < HELD_FRAMES and self._n_suspects < HELD_FRAMES + 1:
            return False
        held, self._held = self._held, []
        self._n_suspects = 0
        if self._paused(held):
            self._breaks.append(self._n_total)
            self._phase_x = (held[0].ticks - self._tick0) * self._ns_per_tick
            self._last_seq = held[0].seq
            for each in held:
                self._take(each.seq, each.ticks, (each.ticks - self._tick0) * self._ns_per_tick, each.t_ns)
            return False
        self._step(held)
        return True

    def _paused(self, held: list[_Held]) -> bool:
        """Whether the arrivals confirm what the stamps say: the trigger was late, and the clock is right."""
        first = held[0]
        x = (first.ticks - self._tick0) * self._ns_per_tick
        if x <= self._last_x or self._n_total < _LEARN_FRAMES:
            return False
        line = self._line
        jump = abs(x - self._phase_x - (first.seq - self._last_seq) * self._period)
        if jump < 2.0 * line.spread_ns:
            return False  # the arrivals of a few frames cannot tell
        delays = sorted(each.t_ns - self.at(each.ticks) for each in held)
        # Held up as well, or not at all: what is not plainly a pause is declared as a step.
        apart = abs(delays[len(delays) // 4] - line.quarter_ns)
        return delays[0] > -self._limit_ns and apart < min(jump / 2.0, 2.0 * line.spread_ns + MIN_STEP_NS)

    def _step(self, held: list[_Held]) -> None:
        self.n_steps += 1
        known = self.state == "locked"
        slope = self._line.slope if known else 0.0
        self._known_period = self._period if self._n_total >= _LEARN_FRAMES else self._known_period
        if known:
            self._slope_low = max(slope - _KEPT_DRIFT, -_MAX_DRIFT)
            self._slope_high = min(slope + _KEPT_DRIFT, _MAX_DRIFT)
        self.state = "stepped"
        self.n_frames_to_lock = 0
        self._begin(slope)
        self._period = self._known_period
        self._first(held[0])
        for each in held[1:]:
            self._take(each.seq, each.ticks, (each.ticks - self._tick0) * self._ns_per_tick, each.t_ns)

    def status(self) -> FitStatus:
        """How the fit stands; costs some hundred microseconds, so ask once a second."""
        start, stop = self._start, self._stop
        p50 = p99 = worst = 0.0
        if stop > start:
            start = max(start, start + int(np.searchsorted(self._x[start:stop], self._last_x - _RESIDUAL_NS)))
            x, z = self._x[start:stop], self._z[start:stop]
            residual = np.abs(z - self._line.slope * x - self._line.offset_ns)
            p50, p99 = (float(one) for one in np.percentile(residual, (50, 99)))
            worst = max(float(residual.max()), self._worst_late_ns)
        self._worst_late_ns = 0.0
        last = self._last_ticks
        offset_ns = self.at(last) - round(last * self._ns_per_tick) if self._n_total else 0
        return FitStatus(
            self.state,
            offset_ns,
            round(self.drift_ppm, 4),
            round(p50 / NS_PER_US, 3),
            round(p99 / NS_PER_US, 3),
            round(worst / NS_PER_US, 3),
            self.n_used,
            self.n_outliers,
            self.n_steps,
        )
