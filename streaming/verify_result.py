"""What `verify` answers."""

from dataclasses import asdict, dataclass, field
from typing import Any

from .pulse_account import PulseAccount
from .recording_info import PartLink, RepairNote

VERIFY_SCHEMA = 1


@dataclass(slots=True)
class EpochResult:
    """One epoch of one camera.

    Attributes:
        first_seq, last_seq: of the device, from its status and its headers; -1 where it delivered nothing.
        n_device: frames of the device, ``last_seq - first_seq + 1``.
        captured: as the camera counted; -1 without a status.
        received: headers in the recording, each frame once.
        written: frames in the video; of an events-only recording, frames whose header is kept.
        declared: frames not in the video, by who declared them: ``device``, ``bus``, ``recorder``, and ``torn`` for
            those that `repair` found missing.
        undeclared: frames not in the video that nobody declared.
        final: the camera sent its last status.
        away: frames that the camera is estimated to have missed between this epoch and the next one, or the end.
    """

    first_seq: int = -1
    last_seq: int = -1
    n_device: int = 0
    captured: int = -1
    received: int = 0
    written: int = 0
    declared: dict[str, int] = field(default_factory=dict[str, int])
    undeclared: int = 0
    final: bool = False
    away: int = 0


@dataclass(slots=True)
class CameraResult:
    """One camera over all its epochs.

    Attributes:
        epochs: by number.
        n_device, written, undeclared: sums over the epochs.
        declared: sums by source.
        duplicates: headers of frames that were there already; they are not written.
        video_frames: frames in the video, counted without decoding.
        decoded_frames: frames that decode, None where that was not asked for.
        extra_frames: video frames that belong to no header.
        away: frames that it is estimated to have missed while it was away.
    """

    epochs: dict[int, EpochResult] = field(default_factory=dict[int, EpochResult])
    n_device: int = 0
    written: int = 0
    declared: dict[str, int] = field(default_factory=dict[str, int])
    undeclared: int = 0
    duplicates: int = 0
    video_frames: int = 0
    decoded_frames: int | None = None
    extra_frames: int = 0
    away: int = 0


@dataclass(slots=True)
class PoseResult:
    """One pose source over all its epochs. Its frames are messages: written are those in the event log.

    Attributes:
        epochs: by number.
        n_frames, written, undeclared: sums over the epochs; ``n_frames`` is what the source counts.
        declared: sums by source.
        duplicates: messages of frames that were there already.
        away: frames that it is estimated to have missed while its process was away.
    """

    epochs: dict[int, EpochResult] = field(default_factory=dict[int, EpochResult])
    n_frames: int = 0
    written: int = 0
    declared: dict[str, int] = field(default_factory=dict[str, int])
    undeclared: int = 0
    duplicates: int = 0
    away: int = 0


@dataclass(slots=True)
class VerifyResult:
    """What `verify` found.

    Attributes:
        path: the recording.
        closed: it was closed in order.
        repaired: what `repair` has done to it.
        part, continues, continued_by: its place among the parts of a resumed session.
        video: False: events only, so ``written`` counts headers and no video is asked for.
        cameras: by name.
        errors: what is wrong, each with what to do about it.
        warnings: what a person should know and nothing is lost by.
        pulses: trigger pulses against frames, where there were any.
        poses: pose sources, by name.
    """

    path: str
    closed: bool = False
    cameras: dict[str, CameraResult] = field(default_factory=dict[str, CameraResult])
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    video: bool = True
    repaired: RepairNote | None = None
    part: int = 1
    continues: PartLink | None = None
    continued_by: str = ""
    pulses: PulseAccount | None = None
    poses: dict[str, PoseResult] = field(default_factory=dict[str, PoseResult])

    @property
    def ok(self) -> bool:
        """Every frame is accounted for and nothing is damaged."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        own = {
            "repaired": self.repaired and self.repaired.model_dump(mode="json"),
            "continues": self.continues and self.continues.model_dump(mode="json"),
        }
        return {"schema": VERIFY_SCHEMA, "ok": self.ok, **asdict(self), **own}
