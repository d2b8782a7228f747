"""The account of one camera or pose source: what came, what was declared, and what must still be declared. Pure.

Headers, gaps and statuses of one camera travel through one socket in order. When a status comes, every frame that it
counts as captured has come, or never will: the difference was lost on the bus.
"""

from dataclasses import dataclass, field
from typing import Literal

from ..sync.clock import NS_PER_S
from .header_filter import REORDER_WINDOW, HeaderFilter
from .messages import CameraStatus, FrameHeader, Gap, Pose
from .seq_set import SeqSet

SETTLE_FRAMES = 2 * REORDER_WINDOW
"""Frames this far behind the newest are final: twice the window within which a camera waits for a late frame."""
AWAY = "estimated: "
"""The reason of a gap begins so where its number of frames comes from the time that a camera was away."""
NEVER_DECLARED = "missing, and the {what} process ended before it could say whether the device dropped it"


def is_estimate(gap: Gap) -> bool:
    """No device has counted the frames of this gap: how many there were comes from the time without any."""
    return gap.reason.startswith(AWAY)


@dataclass(slots=True)
class EpochAccount:
    """One epoch of one camera."""

    device: SeqSet = field(default_factory=SeqSet)
    bus: SeqSet = field(default_factory=SeqSet)
    n_received: int = 0
    n_device: int = 0
    """Declared by the device and not come after all."""
    n_bus: int = 0
    n_lost: int = 0
    n_written: int = 0
    final: bool = False
    lost: bool = False
    last_seq: int = -1
    """The newest frame of the device, from its headers and its status."""
    last_header: tuple[int, int] = (-1, 0)
    """Number and exposure time of the newest header."""


@dataclass(slots=True)
class _LostRun:
    """Frames in a row that were not written, not declared yet."""

    epoch: int
    first_seq: int
    n: int
    reason: str


class FrameAccount:
    """Account of one camera, or pose source, over all its epochs. One thread.

    Args:
        camera: its name.
        rate_hz: its nominal rate, from which is estimated what it missed while it was away; 0: no estimate.
        what: it is, in words.
    """

    def __init__(self, camera: str, rate_hz: float = 0.0, what: Literal["camera", "pose source"] = "camera") -> None:
        self.camera = camera
        self.what = what
        self._rate_hz = rate_hz
        self._away: list[tuple[int, int, int, str]] = []
        self.headers = HeaderFilter()
        self.epochs: dict[int, EpochAccount] = {}
        self.first_written: dict[int, int] = {}
        self._run: _LostRun | None = None
        self._closed_runs: list[_LostRun] = []
        self._orphans: list[tuple[int, int, int]] = []

    @property
    def heard(self) -> bool:
        """Anything has come from this camera."""
        return bool(self.epochs)

    @property
    def final(self) -> bool:
        """The newest epoch has sent its last status."""
        return not self.epochs or self.epochs[max(self.epochs)].final

    @property
    def n_written(self) -> int:
        return sum(one.n_written for one in self.epochs.values())

    @property
    def n_declared(self) -> int:
        """Frames declared as not in the video, by whomever; frames that wait for `take_gaps` are not yet in it."""
        return sum(one.n_device + one.n_bus + one.n_lost for one in self.epochs.values())

    def add_header(self, header: FrameHeader | Pose) -> bool:
        """Account a received header; False for a duplicate, which is not written."""
        epoch = self._epoch(header.epoch)
        if not self.headers.is_new(header.epoch, header.seq):
            return False
        if epoch.last_header[0] < 0:
            self._estimate_away(header.epoch, header.t_exposure_ns, "and came back", inclusive=False)
        if header.t_exposure_ns > epoch.last_header[1]:
            epoch.last_header = (header.seq, header.t_exposure_ns)
        epoch.last_seq = max(epoch.last_seq, header.seq)
        if header.seq in epoch.device:
            # It came after it had been given up: the camera counts it as a duplicate, here it is a frame.
            epoch.n_device -= 1
        else:
            epoch.n_received += 1
        return True

    def add_gap(self, gap: Gap) -> None:
        """Account a gap that the camera declared."""
        if gap.source == "device":
            epoch = self._epoch(gap.epoch)
            run = SeqSet([(gap.first_seq, gap.first_seq + gap.n)])
            received = self.headers.received.get(gap.epoch, SeqSet())
            epoch.n_device += len(run.minus(epoch.device).minus(received))
            epoch.device.add_run(gap.first_seq, gap.first_seq + gap.n)

    def add_status(self, status: CameraStatus, t_ns: int) -> list[Gap]:
        """Account a status; returns the frames that it shows to have been lost on the way."""
        epoch = self._epoch(status.epoch)
        epoch.final = epoch.final or status.state != "running"
        epoch.lost = epoch.lost or status.state == "lost"
        epoch.last_seq = max(epoch.last_seq, status.last_seq)
        if status.first_seq < 0:
            return []
        n_captured_lost = status.captured - epoch.n_received - epoch.n_bus
        n_untold = max(0, status.dropped_device - epoch.n_device)
        budget = max(0, n_captured_lost) + n_untold
        if not budget:
            return []
        stop = status.last_seq + 1 if epoch.final else status.last_seq + 1 - SETTLE_FRAMES
        received = self.headers.received.get(status.epoch, SeqSet())
        missing = SeqSet([(status.first_seq, stop)]).minus(received.union(epoch.device, epoch.bus)).smallest(budget)
        if n_captured_lost > 0:
            reason = f"lost between {self.what} and recorder" + (", or by the device" if n_untold else "")
        else:
            reason = f"counted by the device, its own declaration was lost between {self.what} and recorder"
        gaps: list[Gap] = []
        for start, end in missing.runs():
            epoch.bus.add_run(start, end)
            epoch.n_bus += end - start
            gaps.append(Gap("bus", self.camera, status.epoch, start, end - start, reason, t_ns))
        return gaps

    def add_written(self, epoch: int, seq: int) -> None:
        """A frame is in the video."""
        self._end_run()
        self.first_written.setdefault(epoch, seq)
        self._epoch(epoch).n_written += 1

    def add_lost(self, epoch: int, seq: int, reason: str, *, was_written: bool = False) -> None:
        """A received frame is not in the video; ``was_written``: it had been counted as written."""
        self._epoch(epoch).n_written -= was_written
        run = self._run
        if run is not None and (run.epoch, run.first_seq + run.n, run.reason) == (epoch, seq, reason):
            run.n += 1
            return
        self._end_run()
        self._run = _LostRun(epoch, seq, 1, reason)

    def take_gaps(self, t_ns: int) -> list[Gap]:
        """Declarations that are due: all frames lost since the last call."""
        self._end_run()
        runs, self._closed_runs = self._closed_runs, []
        gaps: list[Gap] = []
        for run in runs:
            self._epoch(run.epoch).n_lost += run.n
            gaps.append(Gap("recorder", self.camera, run.epoch, run.first_seq, run.n, run.reason, t_ns))
        orphans, self._orphans = self._orphans, []
        never = NEVER_DECLARED.format(what=self.what)
        gaps += [Gap("bus", self.camera, epoch, first, n, never, t_ns) for epoch, first, n in orphans]
        away, self._away = self._away, []
        gaps += [Gap("device", self.camera, epoch, first, n, AWAY + words, t_ns) for epoch, first, n, words in away]
        return gaps

    @property
    def last_exposure_ns(self) -> int:
        """Of the newest frame of all; 0 where none came."""
        return max((one.last_header[1] for one in self.epochs.values()), default=0)

    def close_away(self, t_end_ns: int) -> None:
        """The recording ends, the other cameras delivered until ``t_end_ns``: was this one still away?"""
        newest = self.epochs.get(max(self.epochs, default=-1))
        if newest is not None and (newest.lost or not newest.final):
            self._estimate_away(max(self.epochs) + 1, t_end_ns, "until the recording ended", inclusive=True)

    def _estimate_away(self, epoch: int, t_ns: int, words: str, *, inclusive: bool) -> None:
        """``epoch`` begins at ``t_ns``: what would the camera have delivered since its last frame?"""
        before = [number for number, one in self.epochs.items() if number < epoch and one.last_header[0] >= 0]
        if not before or self._rate_hz <= 0:
            return
        old = self.epochs[max(before)]
        seq, t_last_ns = old.last_header
        away_s = (t_ns - t_last_ns) / NS_PER_S
        # Frames that the device counted after its last header are accounted for by number.
        n = round(away_s * self._rate_hz) - (0 if inclusive else 1) - (old.last_seq - seq)
        if n > 0:
            told = f"the {self.what} was away for {away_s:.3f} s {words}; {n} frames at {self._rate_hz:g} Hz"
            self._away.append((max(before), old.last_seq + 1, n, told))

    def close_epochs(self) -> None:
        """No status will come any more: where the last one is lacking, declare what is missing between frames."""
        for epoch in self.epochs:
            self._close_epoch(epoch)

    def _close_epoch(self, epoch: int) -> None:
        one = self.epochs[epoch]
        received = self.headers.received.get(epoch)
        if one.final or not received:
            return
        between = SeqSet([(received.first, received.last + 1)])
        for start, stop in between.minus(received.union(one.device, one.bus)).runs():
            one.bus.add_run(start, stop)
            one.n_bus += stop - start
            self._orphans.append((epoch, start, stop - start))

    def _end_run(self) -> None:
        if self._run is not None:
            self._closed_runs.append(self._run)
            self._run = None

    def _epoch(self, epoch: int) -> EpochAccount:
        one = self.epochs.get(epoch)
        if one is None:
            one = self.epochs[epoch] = EpochAccount()
            for older in self.epochs:
                if older < epoch:
                    self._close_epoch(older)
        return one
