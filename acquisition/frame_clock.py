"""When each frame of one camera was exposed, and which clock says so. Pure: no sockets, no clock of its own."""

from typing import Literal, NamedTuple

from ..streaming.header_filter import REORDER_WINDOW
from ..streaming.messages import ClockStatus
from ..sync.clock import NS_PER_S, NS_PER_US
from ..sync.errors import ClockError
from ..sync.tick_fit import TickFit
from ..sync.tick_window import window_frames
from .camera import CameraFormat, Grab

TimeSource = Literal["simulated", "file", "device", "host"]

_REMEMBERED = 2 * REORDER_WINDOW
_REPEAT_WINDOW = 8
"""Where a camera has no ticks, a frame number that comes again within so many frames is the frame itself again; later
it is a counter that began anew."""


class Stamp(NamedTuple):
    """The exposure time of one frame.

    Attributes:
        t_exposure_ns: rig time.
        time_source: the clock it comes from, as in `FrameHeader`.
        stepped: this frame proved that the device's clock had jumped; the fit has begun again.
    """

    t_exposure_ns: int
    time_source: TimeSource
    stepped: bool = False


class FrameClock:
    """Fills in the exposure time of each frame that a camera delivers. One thread.

    - A camera that knows rig time (simulated, file) is believed.
    - Ticks go through a `TickFit`. While that settles, or judges a jump, times come from the arrival and say ``host``.
    - Without ticks the time is arrival less exposure less the known transport, as it is: ``host``.

    Within one epoch times rise with the frame number: a frame that arrives behind its successor gets a time before it,
    and ``device`` times begin only once they lie after the last ``host`` time. A repeat has the time of its frame. A
    frame that no repeat and no late arrival can be gets the time of its arrival, so that the account of the frame
    counter sees that it began anew.

    Args:
        camera: its name.
        camera_format: as it was opened.
    """

    def __init__(self, camera: str, camera_format: CameraFormat) -> None:
        self.camera = camera
        self._format = camera_format
        self._period_ns = NS_PER_S / camera_format.rate_hz
        self._fit: TickFit | None = None
        if camera_format.time_source == "device" and camera_format.tick_hz > 0.0:
            self._fit = TickFit(
                camera_format.tick_hz,
                camera_format.transport_ns,
                camera_format.tick_bits,
                window_frames(camera_format.rate_hz),
            )
        self._recent: dict[int, tuple[int, Stamp]] = {}
        self._last_seq = -1
        self._last_ns = 0

    @property
    def drift_ppm(self) -> float | None:
        """Of the device's clock; None while it is not known."""
        fit = self._fit
        return fit.drift_ppm if fit is not None and fit.state == "locked" else None

    @property
    def n_steps(self) -> int:
        """Steps and resets of the device's clock so far."""
        return 0 if self._fit is None else self._fit.n_steps

    def stamp(self, grab: Grab, t_received_ns: int) -> Stamp:
        """The exposure time of a frame that arrived at ``t_received_ns``.

        Raises:
            ClockError: the frame has ticks, and the camera did not tell the rate of its clock.
        """
        if grab.t_exposure_ns >= 0:
            return Stamp(grab.t_exposure_ns, self._format.time_source)
        seq, ticks = grab.seq, grab.ticks
        if ticks >= 0 and self._fit is None:
            raise ClockError(
                f"camera {self.camera}: delivers ticks ({ticks}) and does not tell both the rate of their clock "
                "(tick_hz) and the time source 'device'; its kind must"
            )
        exposure_ns = grab.exposure_us * NS_PER_US
        host_ns = t_received_ns - exposure_ns - self._format.transport_ns
        if seq > self._last_seq:
            stamp = self._in_order(seq, ticks, exposure_ns, t_received_ns, host_ns)
            self._last_seq, self._last_ns = seq, stamp.t_exposure_ns
        else:
            seen = self._recent.get(seq)
            if seen is not None and seen[0] == ticks and (ticks >= 0 or self._last_seq - seq < _REPEAT_WINDOW):
                return Stamp(seen[1].t_exposure_ns, seen[1].time_source)
            stamp = self._behind(seq, ticks, host_ns, seen is None)
        self._recent[seq] = (ticks, stamp)
        if len(self._recent) > 2 * _REMEMBERED:
            oldest = self._last_seq - _REMEMBERED
            self._recent = {one: known for one, known in self._recent.items() if one > oldest}
        return stamp

    def _in_order(self, seq: int, ticks: int, exposure_ns: int, t_received_ns: int, host_ns: int) -> Stamp:
        stepped = False
        fit = self._fit
        if fit is not None and ticks >= 0:
            stepped = fit.add(seq, ticks, exposure_ns, t_received_ns)
            if fit.state == "locked" and not fit.suspicious:
                t_ns = fit.at(ticks)
                if t_ns > self._last_ns:
                    return Stamp(t_ns, "device", stepped)
        return Stamp(max(host_ns, self._last_ns + 1), "host", stepped)

    def _behind(self, seq: int, ticks: int, host_ns: int, unknown: bool) -> Stamp:
        """A frame whose number lies behind: late where it fits between its neighbours, else a counter begun anew."""
        n_back = self._last_seq - seq
        if not unknown or n_back > REORDER_WINDOW:
            return Stamp(max(host_ns, self._last_ns + 1), "host")
        fit = self._fit
        if fit is not None and ticks >= 0 and fit.state == "locked" and not fit.suspicious:
            t_ns = fit.at(ticks)
            if abs(self._last_ns - n_back * self._period_ns - t_ns) > (n_back + 1) * self._period_ns:
                return Stamp(max(host_ns, self._last_ns + 1), "host")
            source: TimeSource = "device"
        else:
            t_ns, source = host_ns, "host"
        after = min((known for known in self._recent if known > seq), default=seq)
        before = max((known for known in self._recent if known < seq), default=seq)
        if after != seq:
            t_ns = min(t_ns, self._recent[after][1].t_exposure_ns - 1)
        if before != seq:
            t_ns = max(t_ns, self._recent[before][1].t_exposure_ns + 1)
        return Stamp(t_ns, source)

    def status(self, epoch: int, t_ns: int) -> ClockStatus | None:
        """How the device's clock stands; None where there is none."""
        if self._fit is None:
            return None
        now = self._fit.status()
        return ClockStatus(
            f"camera.{self.camera}",
            epoch,
            now.state,
            now.offset_ns,
            now.drift_ppm,
            now.residual_p50_us,
            now.residual_p99_us,
            now.residual_max_us,
            now.n_used,
            now.n_outliers,
            now.n_steps,
            t_ns,
        )
