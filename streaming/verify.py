"""Does a recording account for every frame? Device frames = written + declared, per camera and epoch."""

from collections.abc import Sequence
from pathlib import Path

from ..sync.clock import NS_PER_S
from ..sync.errors import EthostreamError, VideoError
from .clock_account import ClockAccounts
from .folder_lock import living_holder
from .frame_evidence import CameraEvidence
from .frame_index import pair_frames, read_pts_ms
from .messages import ClockStatus, Pose
from .pulse_account import account_pulses
from .recording_reader import Recording
from .seq_set import SeqSet
from .topics import CAMERA_STATUS, CLOCK, FRAME, GAP, POSE
from .verify_result import CameraResult, EpochResult, PoseResult, VerifyResult
from .video import VideoReader

__all__ = ["VerifyResult", "verify"]

_MAX_NAMED = 8


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
    _tell_history(recording, result)
    if not recording.closed:
        writer = living_holder(recording.path)
        cure = f"it is being written by {writer}" if writer else f"close it with: ethostream repair {path}"
        result.errors.append(
            f"{path}: torn, it was not closed; all before the tear can be read and replayed, frames at its very end "
            f"may be unaccounted for; {cure}"
        )
    evidence = {name: CameraEvidence() for name in recording.info.cameras}
    poses = {name: CameraEvidence() for name in recording.info.poses}
    n_odd = dict.fromkeys(poses, 0)
    clocks = ClockAccounts()
    try:
        for logged in recording.messages([FRAME, GAP, CAMERA_STATUS, CLOCK, POSE]):
            if isinstance(logged.message, ClockStatus):
                clocks.add(logged.message)
            elif logged.camera in evidence:
                evidence[logged.camera].add(logged)
            elif logged.camera in poses:
                poses[logged.camera].add(logged)
                if isinstance(logged.message, Pose):
                    n_odd[logged.camera] += not recording.info.poses[logged.camera].suits(logged.message)
        _check_events(recording, result)
    except EthostreamError as error:
        result.errors.append(f"{path}/events.mcap: {error}; restore it from a copy")
    for name, one in evidence.items():
        result.cameras[name] = _check_camera(recording, name, one, result, decode)
    for name, one in poses.items():
        result.poses[name] = _check_poses(recording, name, one, n_odd[name], result)
    for name, clock in clocks:
        if clock.n_steps:
            result.warnings.append(
                f"clock {name}: stepped or began anew {clock.n_steps} time(s); times are less sure from a step until "
                "its clock messages in events.mcap say locked again"
            )
    try:
        result.pulses = account_pulses(recording)
    except EthostreamError:
        return result  # the event log is damaged, and that is an error of its own
    if result.pulses is not None:
        result.errors += result.pulses.errors
        result.warnings += result.pulses.warnings
    return result


def _tell_history(recording: Recording, result: VerifyResult) -> None:
    """What a person should know of how this recording came about."""
    info = recording.info
    result.video, result.repaired = info.video, info.repaired
    result.part, result.continues, result.continued_by = info.part, info.continues, info.continued_by
    if not info.video and info.cameras:
        result.warnings.append(
            "events only: recorded without video; a frame counts as written where its header is in the event log"
        )
    if info.continues is not None:
        gap = info.continues
        odd = " (negative: the computer's UTC went back in between)" if gap.gap_s < 0 else ""
        result.warnings.append(
            f"part {info.part} of a session: goes on from {gap.name}, {gap.gap_s:.1f} s after its last message{odd}; "
            "nothing is recorded in between"
        )
    if info.continued_by:
        result.warnings.append(f"part {info.part} of a session: goes on in {info.continued_by}")
    note = info.repaired
    if note is None:
        return
    seconds = (note.t_last_ns - info.t_start_ns) / NS_PER_S
    cut = ", ".join(f"{n:,} bytes of {file}" for file, n in note.cut_bytes.items()) or "nothing"
    result.warnings.append(
        f"repaired {note.utc}: the recording was torn {seconds:.3f} s after its start, and holds nothing from later; "
        f"cut off at the tear: {cut}" + (f"; the torn files are kept in {note.kept}/" if note.kept else "")
    )
    for camera, n in note.cut_frames.items():
        result.warnings.append(
            f"camera {camera}: {n} video frame(s) at the tear had no header or were damaged; left out"
        )
    for camera, runs in note.missing.items():
        what, where = ("pose source", "event log") if camera in info.poses else ("camera", "video")
        for run in runs[:_MAX_NAMED]:
            result.warnings.append(
                f"{what} {camera}, epoch {run.epoch}: frames {run.first_seq} to {run.first_seq + run.n - 1} ({run.n}) "
                f"were taken and are not in the {where}: lost in the crash"
            )
        if len(runs) > _MAX_NAMED:
            rest = runs[_MAX_NAMED:]
            result.warnings.append(
                f"{what} {camera}: {sum(run.n for run in rest)} more frame(s) in {len(rest)} run(s) were lost in the "
                "crash; recording.json names them all (repaired.missing)"
            )


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
    for name, why in recording.info.not_forced.items():
        result.errors.append(
            f"{recording.path}/{name}: could not be forced onto the disk while it was written ({why}), so parts of it "
            "may be lost without looking so; check the disk, and decode it with verify --decode"
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
    recording: Recording, name: str, evidence: CameraEvidence, result: VerifyResult, decode: bool
) -> CameraResult:
    camera = CameraResult(duplicates=sum(evidence.index.filter.n_duplicates.values()))
    if recording.info.video:
        kept = _check_video(recording, name, evidence, camera, result, decode)
    else:
        kept = _check_headers(recording, name, evidence, result)
    for epoch in evidence.epochs:
        one = _check_epoch(recording, name, epoch, evidence, kept.get(epoch, SeqSet()), result)
        camera.epochs[epoch] = one
        camera.n_device += one.n_device
        camera.written += one.written
        camera.undeclared += one.undeclared
        camera.away += one.away
        for source, n in one.declared.items():
            camera.declared[source] = camera.declared.get(source, 0) + n
    if not evidence.epochs:
        result.warnings.append(f"camera {name}: delivered no frame")
    return camera


def _check_poses(
    recording: Recording, name: str, evidence: CameraEvidence, n_odd: int, result: VerifyResult
) -> PoseResult:
    """Frames of a pose source: those whose message is there, and those that were declared."""
    pose = PoseResult(duplicates=sum(evidence.index.filter.n_duplicates.values()))
    kept = _check_headers(recording, name, evidence, result, "pose source")
    for epoch in evidence.epochs:
        one = _check_epoch(recording, name, epoch, evidence, kept.get(epoch, SeqSet()), result, "pose source")
        pose.epochs[epoch] = one
        pose.n_frames += one.n_device
        pose.written += one.written
        pose.undeclared += one.undeclared
        pose.away += one.away
        for source, n in one.declared.items():
            pose.declared[source] = pose.declared.get(source, 0) + n
    if not evidence.epochs:
        result.warnings.append(f"pose source {name}: delivered no frame")
    if n_odd:
        result.errors.append(
            f"pose source {name}: {n_odd} message(s) have other animals or keypoints than recording.json says, or "
            "other points than they name; leave them out: the file was exchanged while it was played"
        )
    return pose


def _check_headers(
    recording: Recording, name: str, evidence: CameraEvidence, result: VerifyResult, what: str = "camera"
) -> dict[int, SeqSet]:
    """Frames that are nothing but messages, by epoch: those whose message is there."""
    kept = evidence.index.filter.received
    n, written = sum(len(one) for one in kept.values()), recording.info.written.get(name, 0)
    if recording.closed and written != n:
        result.errors.append(
            f"{what} {name}: events.mcap holds the headers of {n} frames, {written} were written; it was changed after "
            "the recording: restore it from a copy"
        )
    return kept


def _check_video(
    recording: Recording,
    name: str,
    evidence: CameraEvidence,
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
    return evidence.named_by(pairing.header_of)


def _check_epoch(
    recording: Recording,
    name: str,
    epoch: int,
    evidence: CameraEvidence,
    kept: SeqSet,
    result: VerifyResult,
    what: str = "camera",
) -> EpochResult:
    received = evidence.received(epoch)
    status = evidence.status.get(epoch)
    one = EpochResult(received=len(received), written=len(kept), away=evidence.away.get(epoch, 0))
    if status is not None:
        one.captured = status.captured
        one.final = status.state != "running"
    if one.away:
        result.warnings.append(
            f"{what} {name}, epoch {epoch}: was away after its last frame and missed about {one.away} frame(s), "
            "estimated from the time and its rate; they have no numbers and are not part of the sums"
        )
    span = evidence.span(epoch)
    if not one.final:
        last = f"frames after number {received.last}" if len(received) else "frames that it took"
        if recording.info.repaired is not None and epoch == evidence.epochs[-1]:
            result.warnings.append(
                f"{what} {name}, epoch {epoch}: {last} are not in this recording, which a crash ended; how many it "
                "took until then, nobody could say any more"
            )
        else:
            text = (
                f"{what} {name}, epoch {epoch}: ended without a last status, so {last} cannot be accounted for; did "
                f"the {what}'s process crash?"
            )
            # A crash that the supervisor has declared, or after which the camera came back, is known.
            restarted = epoch != evidence.epochs[-1] or epoch in evidence.crashed
            (result.warnings if restarted else result.errors).append(text)
    if span is None:
        return one
    one.first_seq, one.last_seq = span
    one.n_device = one.last_seq - one.first_seq + 1
    left, one.declared = evidence.account(epoch, kept)
    one.undeclared = len(left)
    if left:
        not_in_video = left.minus(left.minus(received))
        where = (
            f"{len(not_in_video)} were received and are missing in the video"
            if not_in_video
            else "they never reached the recorder"
        )
        result.errors.append(
            f"{what} {name}, epoch {epoch}: {len(left)} frame(s) are missing and nothing says why ({where}): numbers "
            f"{left.named()}; leave them out of any analysis that counts frames, and look for a crash in the log"
        )
    return one


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
