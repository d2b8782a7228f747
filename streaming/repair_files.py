"""The files of a torn recording, read up to the tear and written whole; what the crash took is declared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mcap.writer import MCAP0_MAGIC

from .container_end import is_whole
from .durable import sync_file
from .event_log import EventLog, EventLogWriter
from .frame_evidence import REPAIR, CameraEvidence
from .frame_index import pair_frames
from .messages import Alarm, Gap, Heartbeat, RecordingStatus
from .recording_info import EVENTS_FILE, FrameRun, RecordingInfo
from .repair_video import remux, scan_video
from .seq_set import SeqSet
from .topics import ALARM, GAP, MIB
from .video_tail import tail_path
from .wire import encode

LOST_IN_VIDEO = "received, and not in the video when its recorder was killed"
NEVER_CAME = "missing when the recorder was killed, and nothing said why"
_RECORDER = "recorder"

OnProgress = Callable[[str, float], None]
"""Told what is being done and how much of it is done, 0 to 1."""


@dataclass(slots=True)
class TornRecording:
    """What is known of a torn recording, and what its repair will say of it."""

    folder: Path
    info: RecordingInfo
    evidence: dict[str, CameraEvidence]
    t_last_ns: int
    n_refused: int = 0
    video_stopped: str = ""
    cut_bytes: dict[str, int] = field(default_factory=dict[str, int])
    cut_frames: dict[str, int] = field(default_factory=dict[str, int])
    missing: dict[str, list[FrameRun]] = field(default_factory=dict[str, list[FrameRun]])
    written: dict[str, int] = field(default_factory=dict[str, int])
    declared: dict[str, int] = field(default_factory=dict[str, int])


def read_torn(folder: Path, info: RecordingInfo, tell: OnProgress) -> TornRecording:
    evidence = {name: CameraEvidence() for name in (*info.cameras, *info.poses)}
    torn = TornRecording(folder, info, evidence, info.t_start_ns)
    path = folder / EVENTS_FILE
    log, size = _log(path), path.stat().st_size if path.exists() else 0
    if log is None:
        torn.cut_bytes.update({EVENTS_FILE: size} if size else {})
        return torn
    for n, logged in enumerate(log.messages(skip_bad=True)):
        if n % 1024 == 0:
            tell("reading events.mcap", logged.place / size)
        torn.t_last_ns = max(torn.t_last_ns, logged.log_time_ns)
        if logged.camera in torn.evidence:
            torn.evidence[logged.camera].add(logged)
        elif isinstance(logged.message, Heartbeat) and logged.message.node == _RECORDER:
            torn.n_refused = max(torn.n_refused, logged.message.counters.get("unlogged", 0))
        elif isinstance(logged.message, RecordingStatus) and logged.message.state == "video_stopped":
            torn.video_stopped = "the disk was full; the alarms say when"
    cut = size - log.whole_bytes()
    if cut > 0:
        torn.cut_bytes[EVENTS_FILE] = cut
    return torn


def _log(path: Path) -> EventLog | None:
    """The event log; None where a power cut has left not even its first bytes."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        begun = file.read(len(MCAP0_MAGIC)) == MCAP0_MAGIC
    return EventLog(path) if begun else None


def mend_video(torn: TornRecording, camera: str, work: Path, tell: OnProgress) -> list[str]:
    """Write the video of one camera anew where it is torn, and declare what is not in it; names of files to swap."""
    file = torn.info.cameras[camera].file
    source, evidence = torn.folder / file, torn.evidence[camera]
    names: list[str] = []
    kept: dict[int, SeqSet] = {}
    if not torn.info.video:
        kept = evidence.index.filter.received
        torn.written[camera] = sum(len(one) for one in kept.values())
    elif source.exists():
        size = max(1, source.stat().st_size)
        scanned = scan_video(source, lambda at: tell(f"reading {file}", at / size))
        pairing = pair_frames(evidence.index, scanned.pts_ms, torn.info.t_start_ns)
        n_keep = len(scanned.pts_ms)
        while n_keep and pairing.header_of[n_keep - 1] < 0:
            n_keep -= 1
        if not (is_whole(source) and n_keep == len(scanned.pts_ms)):
            names += [file, *([tail_path(source).name] if tail_path(source).exists() else [])]
            if n_keep:
                n_keep = remux(source, work / file, scanned, n_keep, lambda at: tell(f"writing {file}", at / size))
            left = size - ((work / file).stat().st_size if n_keep else 0)
            torn.cut_bytes.update({file: left} if left > 0 else {})
        if n_keep < len(scanned.pts_ms):
            torn.cut_frames[camera] = len(scanned.pts_ms) - n_keep
        torn.written[camera] = n_keep
        kept = evidence.named_by(pairing.header_of[:n_keep])
    _declare(torn, camera, kept)
    return names


def account_poses(torn: TornRecording, source: str) -> None:
    """Count the frames of one pose source that are in the event log, and declare those that are not."""
    kept = torn.evidence[source].index.filter.received
    torn.written[source] = sum(len(one) for one in kept.values())
    _declare(torn, source, kept)


def _declare(torn: TornRecording, camera: str, kept: dict[int, SeqSet]) -> None:
    """Declare every frame that is neither kept nor declared."""
    evidence = torn.evidence[camera]
    for epoch in evidence.epochs:
        left, declared = evidence.account(epoch, kept.get(epoch, SeqSet()))
        runs = [FrameRun(epoch=epoch, first_seq=start, n=stop - start) for start, stop in left.runs()]
        if runs:
            torn.missing.setdefault(camera, []).extend(runs)
        torn.declared[camera] = torn.declared.get(camera, 0) + sum(declared.values()) + len(left)


def mend_events(torn: TornRecording, work: Path, tell: OnProgress) -> str:
    """Copy every whole message, add the declarations, close the log."""
    source = torn.folder / EVENTS_FILE
    writer = EventLogWriter(work / EVENTS_FILE)
    log = _log(source)
    size = source.stat().st_size if source.exists() else 0
    for n, one in enumerate(() if log is None else log.messages(skip_bad=True)):
        writer.append(one.topic, one.camera, one.seq, one.body, one.log_time_ns)
        if writer.n_pending > MIB:
            writer.flush()  # what has to wait for too long would be refused
        if n % 1024 == 0:
            tell("writing events.mcap", one.place / size)
    for seq, gap in enumerate(_gaps(torn)):
        writer.append(GAP, gap.camera, seq, encode(GAP, REPAIR, seq, gap), torn.t_last_ns)
    n_missing = sum(run.n for runs in torn.missing.values() for run in runs)
    text = f"the recording was torn after this and has been repaired; {n_missing} frame(s) are declared as lost by it"
    alarm = Alarm(REPAIR, "warning", text, torn.t_last_ns)
    writer.append(ALARM, "", 0, encode(ALARM, REPAIR, 0, alarm), torn.t_last_ns)
    writer.close()
    sync_file(work / EVENTS_FILE)
    return EVENTS_FILE


def _gaps(torn: TornRecording) -> list[Gap]:
    gaps: list[Gap] = []
    for camera, runs in torn.missing.items():
        for run in runs:
            whole = SeqSet([(run.first_seq, run.first_seq + run.n)])
            never = whole.minus(torn.evidence[camera].received(run.epoch))
            came = whole.minus(never)
            gaps += [
                Gap("recorder", camera, run.epoch, start, stop - start, LOST_IN_VIDEO, torn.t_last_ns)
                for start, stop in came.runs()
            ]
            gaps += [
                Gap("bus", camera, run.epoch, start, stop - start, NEVER_CAME, torn.t_last_ns)
                for start, stop in never.runs()
            ]
    return gaps
