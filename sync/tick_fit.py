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

**Corrections** are slewed (`tick_slew`): a new line is approached over some seconds, at 500 ppm at most, so that the
output rises with the ticks and never jumps while ``locked``. A correction that could not be one (the line would have to
drop by more than the least step, so a frame would have come before it was taken, see `tick_gate`) is a step, and
declared.

**Steps.** Frame numbers say where the next stamp ought to lie. Where it does not, up to eight frames are put aside
(`tick_jump`): a stamp that was wrong alone is an outlier; a pause of the trigger is one that the arrivals show as well;
all else is a step of the clock or a reset. A host that stalls and delivers a burst late changes arrivals and no stamp,
and is not taken for a step.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .clock import NS_PER_S, NS_PER_US
from .errors import ClockError
from .tick_envelope import Envelope, fit_envelope
from .tick_gate import ArrivalGate
from .tick_jump import MIN_STEP_NS, Aside, TickStamp, is_pause
from .tick_slew import Slew
from .tick_unwrap import FULL_BITS, TickUnwrap
from .tick_window import WINDOW_FRAMES, TickWindow

FitState = Literal["settling", "locked", "stepped"]

MIN_LOCK_FRAMES, MIN_LOCK_NS = 128, 3.0 * NS_PER_S
"""No fit locks on less: a drift read from less is no use over a stall."""
PROMISED_NS = 100.0 * NS_PER_US
"""Estimated error below which a fit is locked."""
_STEP_JITTERS = 10.0
"""A jump must also exceed this many standard deviations of the stamps."""
_MAX_DRIFT = 500e-6
"""A device clock further off its nominal rate than this is none."""
_KEPT_DRIFT = 20e-6
"""After a step the drift is looked for this near to the one before."""
_REFIT_EARLY, _EARLY_FRAMES = 16, 256
_REFIT_LATE = 128
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
        self._window = TickWindow(window_frames)
        self._aside = Aside(self._ns_per_tick, self._unwrap)
        self.state: FitState = "settling"
        self.n_outliers = 0
        self.n_steps = 0
        self.n_frames_to_lock = 0
        """Frames that the present fit used until it locked; 0 while it has not."""
        self.ns_to_lock = 0.0
        """Device time that it took."""
        self._slope_low, self._slope_high = -_MAX_DRIFT, _MAX_DRIFT
        self._known_period = 0.0
        self._gate = ArrivalGate()
        self._begin(0.0)

    def _begin(self, slope: float) -> None:
        self._window.clear()
        self._due = 4
        self._tick0 = self._t0 = self._seq0 = 0
        self._last_seq = self._last_ticks = 0
        self._last_x = self._phase_x = 0.0
        self._period = 0.0
        self._limit_ns = 0.0
        self._gate.reset()
        self._doubt = _PERIOD_DOUBT
        self._line = Envelope(0.0, slope, 0.0, 0.0, False, 0.0)
        self._slew = Slew()

    @property
    def suspicious(self) -> bool:
        """A jump is being judged: what `at` says of the newest frames may be wrong."""
        return bool(self._aside.stamps)

    @property
    def drift_ppm(self) -> float:
        """How much faster than rig time the device's clock runs; 0 until it is known."""
        return (1.0 / (1.0 + self._line.slope) - 1.0) * 1e6

    @property
    def n_used(self) -> int:
        """Frames in the window."""
        return len(self._window)

    def _x_of(self, ticks: int) -> float:
        """Device time since the fit began, nominal nanoseconds."""
        return (ticks - self._tick0) * self._ns_per_tick

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
        if not self._window.n_total:
            self._first(TickStamp(seq, ticks, t_ns))
            return False
        expected_ns = (seq - self._last_seq) * self._period
        if self._unwrap.bits < FULL_BITS:
            ticks = self._unwrap.nearest(ticks, self._last_ticks + round(expected_ns / self._ns_per_tick))
        x = self._x_of(ticks)
        jump = x - self._phase_x - expected_ns
        if (
            self._aside.stamps
            or x <= self._last_x
            or (self._limit_ns and abs(jump) > self._limit_ns + self._doubt * expected_ns)
        ):
            return self._suspect(TickStamp(seq, ticks, t_ns), jump)
        return self._take(seq, ticks, x, t_ns)

    def _first(self, one: TickStamp) -> None:
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
        verdict = self._gate.judge(above)
        if verdict == "late":
            self.n_outliers += 1
            return False
        if verdict == "too early":
            self._step([TickStamp(seq, ticks, t_ns)])
            return True
        self._window.add(seq - self._seq0, x, z)
        self._due -= 1
        if self._due <= 0:
            self._refit()
        return False

    def _refit(self) -> None:
        window, before = self._window, self._line
        n = len(window)
        self._due = _REFIT_EARLY if n < _EARLY_FRAMES else min(n // 4, _REFIT_LATE)
        line = fit_envelope(
            window.seq, window.x_ns, window.z_ns, window.breaks(), before.slope, self._slope_low, self._slope_high
        )
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
        floor = -self._limit_ns if self.state == "locked" else None
        self._gate.refitted(line, learnt=n >= _LEARN_FRAMES, floor_ns=floor)
        now = self._last_x
        if self.state == "locked":
            behind = line.at(now) - (before.at(now) - self._slew.left_ns(now))
            self._slew.begin(behind, now, 2.0 * _REFIT_LATE * self._period)
        elif self._may_lock(n, float(now - window.x_ns[0])):
            self.state = "locked"
            self.n_frames_to_lock = window.n_total
            self.ns_to_lock = now

    def _may_lock(self, n: int, span_ns: float) -> bool:
        full = n == self._window.n_frames
        if not full and (n < MIN_LOCK_FRAMES or span_ns < MIN_LOCK_NS):
            return False
        if not self._slope_low < self._line.slope < self._slope_high:
            # At its bound it is no result: a stall is in the window, or the drift is not what it was.
            self._slope_low, self._slope_high = -_MAX_DRIFT, _MAX_DRIFT
            return False
        return self.error_ns < PROMISED_NS or full

    @property
    def error_ns(self) -> float:
        """Estimated error of the line now, 99th percentile, nanoseconds; without what is unknown of the transport."""
        line = self._line
        jitter = line.jitter_ns if line.smoothed else 0.0
        return _SPACINGS * line.spacing_ns + _JITTERS * jitter / max(self.n_used, 1) ** 0.5

    def at(self, ticks: int) -> int:
        """Rig time of a tick value near the newest ones. While the state is not ``locked``: without a promise."""
        ticks = self._unwrap.nearest(ticks, self._last_ticks) if self._unwrap.bits < FULL_BITS else ticks
        x = self._x_of(ticks)
        line = self._line
        return self._t0 + round(x + line.offset_ns + line.slope * x - self._slew.left_ns(x))

    def _suspect(self, one: TickStamp, jump: float) -> bool:
        """A stamp is not where its number says; judge once enough is known. True: it was a step."""
        if abs(jump) <= self._limit_ns and self._x_of(one.ticks) > self._last_x:
            # Back where it ought to be: what was put aside was wrong alone.
            self.n_outliers += len(self._aside.taken())
            return self._take(one.seq, one.ticks, self._x_of(one.ticks), one.t_ns)
        self.n_outliers += self._aside.put(one, self._period, self._limit_ns)
        if not self._aside.full:
            return False
        held = self._aside.taken()
        if not self._paused(held):
            self._step(held)
            return True
        self._window.break_here()
        self._phase_x = self._x_of(held[0].ticks)
        self._last_seq = held[0].seq
        self._take_all(held)
        return False

    def _take_all(self, stamps: list[TickStamp]) -> None:
        for one in stamps:
            self._take(one.seq, one.ticks, self._x_of(one.ticks), one.t_ns)

    def _paused(self, held: list[TickStamp]) -> bool:
        x = self._x_of(held[0].ticks)
        if x <= self._last_x or self._window.n_total < _LEARN_FRAMES:
            return False
        jump = abs(x - self._phase_x - (held[0].seq - self._last_seq) * self._period)
        return is_pause(jump, [one.t_ns - self.at(one.ticks) for one in held], self._line, self._limit_ns)

    def _step(self, held: list[TickStamp]) -> None:
        self.n_steps += 1
        known = self.state == "locked"
        slope = self._line.slope if known else 0.0
        if self._window.n_total >= _LEARN_FRAMES:
            self._known_period = self._period
        if known:
            self._slope_low = max(slope - _KEPT_DRIFT, -_MAX_DRIFT)
            self._slope_high = min(slope + _KEPT_DRIFT, _MAX_DRIFT)
        self.state = "stepped"
        self.n_frames_to_lock = 0
        self._begin(slope)
        self._period = self._known_period
        self._first(held[0])
        self._take_all(held[1:])

    def status(self) -> FitStatus:
        """How the fit stands; costs some hundred microseconds, so ask once a second."""
        p50 = p99 = worst = 0.0
        if len(self._window):
            recent = slice(int(np.searchsorted(self._window.x_ns, self._last_x - _RESIDUAL_NS)), None)
            x, z = self._window.x_ns[recent], self._window.z_ns[recent]
            residual = np.abs(z - self._line.slope * x - self._line.offset_ns)
            p50, p99 = (float(one) for one in np.percentile(residual, (50, 99)))
            worst = max(float(residual.max()), self._gate.worst_late_ns)
        self._gate.worst_late_ns = 0.0
        last = self._last_ticks
        offset_ns = self.at(last) - round(last * self._ns_per_tick) if self._window.n_total else 0
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
