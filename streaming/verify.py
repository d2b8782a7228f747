"""Does a recording account for every frame? Device frames = written + declared, per camera and epoch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..sync.errors import EthostreamError, VideoError, WireError
from .frame_index import CameraIndex, Pairing, pair_frames, read_pts_ms
from .messages import CameraStatus, FrameHeader, Gap
from .recording_reader import Recording
from .seq_set import SeqSet
from .topics import CAMERA_STATUS, FRAME, GAP
from .video import VideoReader

VERIFY_SCHEMA = 1
_MAX_NAMED = 8


@dataclass(slots=True)
class EpochResult:
    """One epoch of one camera.

    Attributes:
        first_seq, last_seq: of the device, from its status and its headers; -1 where it delivered nothing.
        n_device: frames of the device, ``last_seq - first_seq + 1``.
        captured: as the camera counted; -1 without a status.
        received: headers in the recording, each frame once.
        written: frames in the video; of an events-only recording, frames whose header is kept.
        declared: frames not in the video, by who declared them.
        undeclared: frames not in the video that nobody declared.
        final: the camera sent its last status.
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


@dataclass(slots=True)
class VerifyResult:
    """What `verify` found.

    Attributes:
        path: the recording.
        closed: it was closed in order.
        video: False: events only, so ``written`` counts headers and no video is asked for.
        cameras: by name.
        errors: what is wrong, each with what to do about it.
        warnings: what a person should know and nothing is lost by.
    """

    path: str
    closed: bool = False
    cameras: dict[str, CameraResult] = field(default_factory=dict[str, CameraResult])
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    video: bool = True

    @property
    def ok(self) -> bool:
        """Every frame is accounted for and nothing is damaged."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {"schema": VERIFY_SCHEMA, "ok": self.ok, **asdict(self)}


class _CameraEvidence:
    """What the event log says of one camera."""

    def __init__(self) -> None:
        self.index = CameraIndex()
        self.status: dict[int, CameraStatus] = {}
        self.gaps: dict[str, dict[int, SeqSet]] = {"device": {}, "bus": {}}

    def add(self, message: object) -> None:
        if isinstance(message, FrameHeader):
            self.index.add_header(message)
        elif isinstance(message, CameraStatus):
            self.status[message.epoch] = message
        elif isinstance(message, Gap):
            self.index.add_gap(message)
            if message.source in self.gaps:
                runs = self.gaps[message.source].setdefault(message.epoch, SeqSet())
                runs.add_run(message.first_seq, message.first_seq + message.n)

    @property
    def epochs(self) -> list[int]:
        return sorted({*self.status, *self.index.filter.received, *self.gaps["device"], *self.gaps["bus"]})


def verify(path: Path | str, *, decode: bool = False) -> VerifyResult:
    """Check one recording; reads the event log and the packets of the videos, and decodes only with ``decode``.

    A torn recording is checked as far as it goes. Never raises for what is wrong with a recording: that is an error in
    the result.
    """
    result = VerifyResult(str(path))
    try:
        recording = Recording.open(path)
    except EthostreamError as error:
        result.errors.append(str(error))
        return result
    result.closed = recording.closed
    result.video = recording.info.video
    if not result.video:
        result.warnings.append(
            "events only: recorded without video; a frame counts as written where its header is in the event log"
        )
    if not recording.closed:
        result.errors.append(
            f"{path}: torn, it was not closed (a crash, or it is still being written); all before the tear can be read "
            "and replayed, frames at its very end may be unaccounted for"
        )
    evidence = {name: _CameraEvidence() for name in recording.info.cameras}
    try:
        for logged in recording.messages([FRAME, GAP, CAMERA_STATUS]):
            if logged.camera in evidence:
                evidence[logged.camera].add(logged.message)
        _check_events(recording, result)
    except (WireError, EthostreamError) as error:
        result.errors.append(f"{path}/events.mcap: {error}; restore it from a copy")
    for name, one in evidence.items():
        result.cameras[name] = _check_camera(recording, name, one, result, decode)
    return result


def _check_events(recording: Recording, result: VerifyResult) -> None:
    if not recording.info.closed:
        return
    if not recording.events.closed:
        result.errors.append(
            f"{recording.path}/events.mcap: cut short, though the recording was closed; restore it from a copy"
        )
    n = recording.events.count()
    if n != recording.info.n_messages:
        result.errors.append(
            f"{recording.path}/events.mcap: holds {n} messages, {recording.info.n_messages} were written; restore it "
            "from a copy"
        )
    if recording.info.n_refused:
        result.errors.append(
            f"{recording.path}/events.mcap: {recording.info.n_refused} message(s) are not in it, since the disk took "
            "nothing for too long; the recording lacks them for good: read its alarms for when, and free more space "
            "before the next one"
        )
    if recording.info.video_stopped:
        result.warnings.append(f"video stopped before the recording did: {recording.info.video_stopped}")


def _check_camera(
    recording: Recording, name: str, evidence: _CameraEvidence, result: VerifyResult, decode: bool
) -> CameraResult:
    camera = CameraResult(duplicates=sum(evidence.index.filter.n_duplicates.values()))
    if recording.info.video:
        kept = _check_video(recording, name, evidence, camera, result, decode)
    else:
        kept = _check_headers(recording, name, evidence, result)
    for epoch in evidence.epochs:
        one = _check_epoch(name, epoch, evidence, kept.get(epoch, SeqSet()), result)
        camera.epochs[epoch] = one
        camera.n_device += one.n_device
        camera.written += one.written
        camera.undeclared += one.undeclared
        for source, n in one.declared.items():
            camera.declared[source] = camera.declared.get(source, 0) + n
    if not evidence.epochs:
        result.warnings.append(f"camera {name}: delivered no frame")
    return camera


def _check_headers(
    recording: Recording, name: str, evidence: _CameraEvidence, result: VerifyResult
) -> dict[int, SeqSet]:
    """Frames of an events-only recording, by epoch: those whose header is there."""
    kept = evidence.index.filter.received
    n, written = sum(len(one) for one in kept.values()), recording.info.written.get(name, 0)
    if recording.closed and written != n:
        result.errors.append(
            f"camera {name}: events.mcap holds the headers of {n} frames, {written} were written; it was changed after "
            "the recording: restore it from a copy"
        )
    return kept


def _check_video(
    recording: Recording,
    name: str,
    evidence: _CameraEvidence,
    camera: CameraResult,
    result: VerifyResult,
    decode: bool,
) -> dict[int, SeqSet]:
    """Frames in the video that have their header, by epoch."""
    path = recording.video_path(name)
    pts: Sequence[int] = ()
    if path.exists():
        try:
            pts = read_pts_ms(path)
        except VideoError as error:
            result.errors.append(f"camera {name}: {error}; restore the file from a copy")
    elif recording.info.written.get(name):
        result.errors.append(f"camera {name}: {path} is missing; restore the file from a copy")
    camera.video_frames = len(pts)
    pairing = pair_frames(evidence.index, pts, recording.info.t_start_ns)
    camera.extra_frames = len(pairing.extra)
    if pairing.extra:
        result.errors.append(
            f"camera {name}: {len(pairing.extra)} video frame(s) belong to no header, the first is frame "
            f"{pairing.extra[0]} at {pts[pairing.extra[0]]} ms; {path.name} or events.mcap was changed after the "
            "recording: restore both from a copy"
        )
    written = recording.info.written.get(name, 0)
    if recording.closed and written != len(pts):
        result.errors.append(
            f"camera {name}: {path.name} holds {len(pts)} frames, {written} were written; it was cut or changed: "
            "restore it from a copy"
        )
    if decode and pts:
        _decode(recording, name, camera, result)
    return _in_video(evidence.index, pairing)


def _in_video(index: CameraIndex, pairing: Pairing) -> dict[int, SeqSet]:
    found: dict[int, SeqSet] = {}
    for position in pairing.header_of:
        if position >= 0:
            found.setdefault(index.epochs[position], SeqSet()).add(index.seqs[position])
    return found


def _check_epoch(
    name: str, epoch: int, evidence: _CameraEvidence, in_video: SeqSet, result: VerifyResult
) -> EpochResult:
    received = evidence.index.filter.received.get(epoch, SeqSet())
    status = evidence.status.get(epoch)
    one = EpochResult(received=len(received), written=len(in_video))
    ends = [(received.first, received.last)] if len(received) else []
    if status is not None:
        one.captured = status.captured
        one.final = status.state != "running"
        if status.first_seq >= 0:
            ends.append((status.first_seq, status.last_seq))
    if not one.final:
        last = f"frames after number {received.last}" if len(received) else "frames that it took"
        text = (
            f"camera {name}, epoch {epoch}: ended without a last status, so {last} cannot be accounted for; did the "
            "camera process crash?"
        )
        # A camera that was started again is known to have crashed, and its next epoch is accounted for by itself.
        restarted = epoch != evidence.epochs[-1]
        (result.warnings if restarted else result.errors).append(text)
    if not ends:
        return one
    one.first_seq, one.last_seq = min(first for first, _ in ends), max(last for _, last in ends)
    one.n_device = one.last_seq - one.first_seq + 1
    left = SeqSet([(one.first_seq, one.last_seq + 1)]).minus(in_video)
    for source, gaps in (
        ("recorder", evidence.index.lost),
        ("device", evidence.gaps["device"]),
        ("bus", evidence.gaps["bus"]),
    ):
        rest = left.minus(gaps.get(epoch, SeqSet()))
        if len(rest) != len(left):
            one.declared[source] = len(left) - len(rest)
        left = rest
    one.undeclared = len(left)
    if left:
        not_in_video = left.minus(left.minus(received))
        where = (
            f"{len(not_in_video)} were received and are missing in the video"
            if not_in_video
            else "they never reached the recorder"
        )
        result.errors.append(
            f"camera {name}, epoch {epoch}: {len(left)} frame(s) are missing and nothing says why ({where}): numbers "
            f"{_named(left)}; leave them out of any analysis that counts frames, and look for a crash in the log"
        )
    return one


def _named(seqs: SeqSet) -> str:
    runs = list(seqs.runs())
    words = [str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in runs[:_MAX_NAMED]]
    return ", ".join(words) + (f" and {len(runs) - _MAX_NAMED} more run(s)" if len(runs) > _MAX_NAMED else "")


def _decode(recording: Recording, name: str, camera: CameraResult, result: VerifyResult) -> None:
    n = 0
    try:
        with VideoReader(
            recording.video_path(name), recording.camera(name).pixel_format, allow_torn=not recording.closed
        ) as video:
            for _ in video:
                n += 1
    except VideoError as error:
        result.errors.append(f"camera {name}: {error}")
    camera.decoded_frames = n
    if n != camera.video_frames:
        result.errors.append(
            f"camera {name}: {n} of {camera.video_frames} frames decode; the video is damaged: restore it from a copy"
        )
