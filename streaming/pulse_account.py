"""Do trigger pulses and frames go together one to one? Read from a recording, after the fact.

The board counts its pulses, a camera the pulses that it saw since it was armed (``trigger_id``). The two counts differ
by a constant per start of the camera, which times tell: a frame is exposed at its pulse, and stamped with an error of
less than three quarters of a period. From there on only numbers count. A camera that has no such counter is compared by
time alone, and what that finds is a warning.

A camera is expected at every pulse from the first one on, until it is told to stop. While it was away between two of
its starts, or since it was lost or killed, nothing is: that stands in the account of its frames.
"""

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .header_filter import HeaderFilter
from .messages import CameraStatus, FrameHeader, Gap, SyncPulse
from .recording_reader import Recording
from .seq_set import SeqSet
from .topics import CAMERA_STATUS, FRAME, GAP, SYNC_PULSE

TRIGGER_LINE = "trigger"
"""``SyncPulse.line`` of the pulses that expose the cameras."""
_MIN_PULSES = 2
_EARLY = -0.25
"""Of a period: a frame may be stamped this much before its pulse, by the errors of both clocks."""

_END_SEQ = 2**62
"""After every frame number."""

Ints = NDArray[np.int64]


class _Epoch:
    """Frames of one start of a camera, compactly, and what was declared of it."""

    def __init__(self) -> None:
        self.seqs = array("q")
        self.times = array("q")
        self.received = array("q")
        self.ids = array("q")
        self.declared = SeqSet()
        self.status: CameraStatus | None = None

    def add(self, header: FrameHeader) -> None:
        self.seqs.append(header.seq)
        self.times.append(header.t_exposure_ns)
        self.received.append(header.t_received_ns)
        self.ids.append(header.trigger_id)


@dataclass(slots=True)
class PulseMatch:
    """One camera, one epoch against the pulses.

    Attributes:
        by: ``number`` (``trigger_id``) or ``time``.
        n_frames: frames that were looked at.
        n_paired: frames with their pulse.
        frames_without_pulse: their numbers (``seq``).
        pulses_without_frame: not among the declared drops; from the first pulse on where this is the camera's first
            start, else from its first frame; up to where it was told to stop where this is its last start, else up to
            its last frame.
        pulses_dropped: pulses whose frame is a declared drop.
    """

    by: str
    n_frames: int = 0
    n_paired: int = 0
    frames_without_pulse: list[int] = field(default_factory=list[int])
    pulses_without_frame: list[int] = field(default_factory=list[int])
    pulses_dropped: int = 0


@dataclass(slots=True)
class PulseAccount:
    """What `account_pulses` found.

    Attributes:
        source: the board.
        n_made: pulses, from the last number that was reported.
        unrecorded: numbers of pulses that were made and are not in the recording.
        cameras: by "camera/epoch".
        errors: what is wrong, each with what to do about it.
        warnings: what a person should know.
    """

    source: str = ""
    n_made: int = 0
    unrecorded: list[int] = field(default_factory=list[int])
    cameras: dict[str, PulseMatch] = field(default_factory=dict[str, PulseMatch])
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


def account_pulses(recording: Recording) -> PulseAccount | None:
    """Reconcile pulses and frames; None where the recording holds no trigger pulses.

    Raises:
        WireError: a message does not validate.
    """
    account = PulseAccount()
    pulse_numbers, pulse_times = array("q"), array("q")
    for logged in recording.messages([SYNC_PULSE]):
        pulse = logged.message
        if isinstance(pulse, SyncPulse) and pulse.line == TRIGGER_LINE and pulse.rising:
            account.source = account.source or pulse.source
            pulse_numbers.append(pulse.pulse)
            pulse_times.append(pulse.t_ns)
    if not pulse_numbers:
        return None
    numbers, times = np.array(pulse_numbers, np.int64), np.array(pulse_times, np.int64)
    if np.any(np.diff(numbers) <= 0):
        repeated = [number for number, n in Counter(pulse_numbers).items() if n > 1]
        account.errors.append(
            f"trigger {account.source}: pulse numbers repeat or go back ({named(repeated or numbers.tolist())}); the "
            "board restarted or its firmware is broken: frames cannot be told by their pulses"
        )
        return account
    account.n_made = int(numbers[-1]) + 1
    account.unrecorded = np.setdiff1d(np.arange(account.n_made), numbers).tolist()
    if account.unrecorded:
        account.warnings.append(
            f"trigger {account.source}: {len(account.unrecorded)} pulse(s) were made and are not recorded "
            f"({named(account.unrecorded)}); they have numbers and no times: check the serial line"
        )
    for camera, epochs in _epochs(recording).items():
        for epoch, one in sorted(epochs.items()):
            match = _match(one, numbers, times, first=epoch == min(epochs), last=epoch == max(epochs))
            if match is not None:
                account.cameras[f"{camera}/{epoch}"] = match
                _judge(camera, epoch, match, account)
    return account


def _epochs(recording: Recording) -> dict[str, defaultdict[int, _Epoch]]:
    """What the triggered cameras delivered, declared and said last, by camera and epoch; one pass over the log."""
    found = {camera: defaultdict[int, _Epoch](_Epoch) for camera in _triggered(recording)}
    filters = {camera: HeaderFilter() for camera in found}
    for logged in recording.messages([FRAME, GAP, CAMERA_STATUS]):
        message = logged.message
        if logged.camera not in found or not isinstance(message, FrameHeader | Gap | CameraStatus):
            continue
        one = found[logged.camera][message.epoch]
        if isinstance(message, CameraStatus):
            one.status = message
        elif isinstance(message, Gap):
            if message.source in ("device", "bus"):
                one.declared.add_run(message.first_seq, message.first_seq + message.n)
        elif filters[logged.camera].is_new(message.epoch, message.seq):
            one.add(message)
    return found


def _triggered(recording: Recording) -> list[str]:
    """The cameras that the rig file names, in a recording without one those that count their triggers."""
    trigger = recording.info.config.get("rig", {}).get("trigger")
    named_cameras = trigger.get("cameras") if isinstance(trigger, dict) else None
    return [name for name in recording.info.cameras if named_cameras is None or name in named_cameras]


def _match(one: _Epoch, numbers: Ints, times: Ints, *, first: bool, last: bool) -> PulseMatch | None:
    if not one.seqs or len(numbers) < _MIN_PULSES:
        return None
    order = np.argsort(np.array(one.seqs, np.int64), kind="stable")
    seqs, frame_times, received, ids = (
        np.array(column, np.int64)[order] for column in (one.seqs, one.times, one.received, one.ids)
    )
    period_ns = float(np.median(np.diff(times) / np.diff(numbers)))
    if np.all(ids >= 0):
        pulse_of = ids - _count_offset(ids, frame_times, numbers, times, period_ns)
        match = PulseMatch("number", len(seqs))
        good = (pulse_of >= 0) & (pulse_of <= numbers[-1]) & np.concatenate([[True], np.diff(pulse_of) > 0])
    else:
        # As above, a frame comes at its pulse or up to three quarters of a period later.
        before = np.searchsorted(times, frame_times - round(_EARLY * period_ns), side="right") - 1
        delay = float(np.median(frame_times - times[np.clip(before, 0, len(times) - 1)]))
        shifted = frame_times - round(delay)
        nearest = np.clip(np.searchsorted(times, shifted), 1, len(times) - 1)
        nearest -= shifted - times[nearest - 1] < times[nearest] - shifted
        pulse_of = numbers[nearest]
        match = PulseMatch("time", len(seqs))
        good = (np.abs(shifted - times[nearest]) < period_ns / 2) & np.concatenate([[True], np.diff(pulse_of) > 0])
    match.n_paired = int(good.sum())
    match.frames_without_pulse = seqs[~good].tolist()
    paired, paired_seqs = pulse_of[good], seqs[good]
    if not len(paired):
        return match
    # Up to, and not including: a first start owes a frame from pulse 0 on, a last one until it was told to stop.
    start = -1 if first else int(paired[0]) - 1
    stop = int(paired[-1]) + 1
    if last and one.status is not None and one.status.state == "stopped":
        come_ns = float(np.median(received[good] - np.interp(paired, numbers, times))) + period_ns
        due = numbers[times + come_ns <= one.status.t_ns]
        stop = max(stop, int(due[-1]) + 1 if len(due) else 0)
    bounds = np.concatenate([[start], paired, [stop]])
    bound_seqs = np.concatenate([[-1], paired_seqs, [_END_SEQ]])
    for place in np.flatnonzero(np.diff(bounds) > 1):
        skipped = list(range(int(bounds[place]) + 1, int(bounds[place + 1])))
        between = SeqSet([(int(bound_seqs[place]) + 1, int(bound_seqs[place + 1]))])
        n_declared = len(between) - len(between.minus(one.declared))
        match.pulses_dropped += min(n_declared, len(skipped))
        match.pulses_without_frame += skipped[n_declared:]
    return match


def _count_offset(ids: Ints, frame_times: Ints, numbers: Ints, times: Ints, period_ns: float) -> int:
    """``trigger_id`` of the frame of pulse 0: the one for which frames come at their pulses, or a little later."""
    # The pulses' times as a function of their number, so that unrecorded ones do not matter.
    late = frame_times - np.interp(ids, numbers, times)
    inside = (ids >= numbers[0]) & (ids <= numbers[-1])
    typical = float(np.median(late[inside] if inside.any() else frame_times - (times[0] + ids * period_ns)))
    # Frame k comes `late` after pulse k: were it the frame of pulse k - c, it would come c periods later than that.
    return -int(np.floor(typical / period_ns - _EARLY))


def _judge(camera: str, epoch: int, match: PulseMatch, account: PulseAccount) -> None:
    where = f"camera {camera}, epoch {epoch}"
    found = account.errors if match.by == "number" else account.warnings
    how = "" if match.by == "number" else " (by time: the camera does not count its triggers)"
    if match.frames_without_pulse:
        found.append(
            f"{where}: {len(match.frames_without_pulse)} frame(s) belong to no trigger pulse{how}: numbers "
            f"{named(match.frames_without_pulse)}; does the camera run freely, or take up noise on its trigger line?"
        )
    if match.pulses_without_frame:
        found.append(
            f"{where}: {len(match.pulses_without_frame)} trigger pulse(s) have no frame and no declared drop{how}: "
            f"pulses {named(match.pulses_without_frame)}; was the exposure or readout too long for the rate, the "
            "pulse too short, or the camera not armed in time?"
        )


def named(numbers: list[int]) -> str:
    """The first few, as words."""
    return SeqSet((number, number + 1) for number in numbers).named()
