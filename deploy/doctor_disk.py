"""Shared memory and disk: are they there, are they fast, and for how long do they last?"""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..acquisition.camera import CameraFormat
from ..streaming.recording_config import LOSSLESS_CODECS, RecordingConfig
from ..streaming.ring import ring_bytes
from ..streaming.topics import MIB
from ..sync.clock import NS_PER_S, Clock
from .doctor_finding import Finding

WRITE_BYTES = 64 * MIB
"""Long enough to pass a drive's own buffer by, short enough for a person to wait."""

_BLOCK = 4 * MIB
_GIB = 1024 * MIB
_MB = 1e6
_HOUR_S = 3600
LITTLE_SHM = 512 * MIB


class Space(NamedTuple):
    """Bytes of a file system."""

    total: int
    free: int


def space(path: Path) -> Space:
    """Of the file system that holds ``path``."""
    stat = os.statvfs(path)
    return Space(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)


def shared_memory(have: Space, formats: Mapping[str, CameraFormat], ring_slots: int) -> list[Finding]:
    """Whether the rings of a rig (none: of any) fit into shared memory."""
    text = f"{have.free / MIB:.0f} of {have.total / MIB:.0f} MiB free"
    needed = sum(ring_bytes(one.shape, ring_slots) for one in formats.values())
    cure = f"sudo mount -o remount,size={max(1, -(-2 * needed // _GIB))}G /dev/shm"
    if formats and needed > have.free:
        less = max(4, int(ring_slots * have.free / needed))
        return [
            Finding(
                "shared memory",
                "error",
                f"{text}, and the rings of this rig take {needed / MIB:.0f} MiB",
                f"{cure}, or bus.ring_slots: {less} in the rig file; in a container --shm-size",
                refuses=True,
            )
        ]
    if formats:
        return [Finding("shared memory", "ok", f"{text}; the rings of this rig take {needed / MIB:.0f} MiB")]
    if have.free < LITTLE_SHM:
        text += ": too little for a rig of several cameras"
        return [Finding("shared memory", "warning", text, "sudo mount -o remount,size=4G /dev/shm")]
    return [Finding("shared memory", "ok", text)]


def existing_parent(folder: Path) -> Path:
    """``folder``, or the first folder above it that is there."""
    resolved = folder.resolve()
    return next(path for path in (resolved, *resolved.parents) if path.is_dir())


def write_speed(folder: Path, clock: Clock, on_block: Callable[[int], None] = lambda _: None) -> float:
    """MB/s with which the disk of ``folder`` takes `WRITE_BYTES`, down to the medium. The file is removed.

    Args:
        folder: is there.
        clock: measures.
        on_block: told the bytes that were written.

    Raises:
        OSError: it cannot be written.
    """
    block = os.urandom(_BLOCK)  # zeros would be compressed away by some file systems
    with tempfile.TemporaryFile(dir=folder, prefix=".ethostream-doctor-") as file:
        begun_ns = clock.now_ns()
        for _ in range(WRITE_BYTES // _BLOCK):
            file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
            on_block(_BLOCK)
        took_ns = max(1, clock.now_ns() - begun_ns)
    return WRITE_BYTES / _MB * NS_PER_S / took_ns


def raw_mb_s(formats: Mapping[str, CameraFormat]) -> float:
    """What all cameras capture, before any codec, MB/s."""
    return sum(_frame_bytes(one) * one.rate_hz for one in formats.values()) / _MB


def _frame_bytes(one: CameraFormat) -> int:
    n_bytes = 1
    for length in one.shape:
        n_bytes *= length
    return n_bytes


def disk(
    folder: Path,
    have: Space,
    speed_mb_s: float | None,
    formats: Mapping[str, CameraFormat],
    recording: RecordingConfig | None,
) -> list[Finding]:
    """Whether the disk is fast and large enough. Of lossy codecs nothing is promised: their size is that of the scene.

    Args:
        folder: of the recordings.
        have: of its disk.
        speed_mb_s: measured; None: it cannot be written.
        formats: of the rig's cameras, as far as they are known.
        recording: of the rig.
    """
    if speed_mb_s is None:
        cure = "choose another folder with --out, or mend its rights"
        return [Finding("disk", "error", f"{folder}: cannot be written", cure, refuses=recording is not None)]
    text = f"{folder}: {speed_mb_s:.0f} MB/s to the medium, {have.free / _GIB:.0f} GiB free"
    if recording is None or not formats or not (recording.enabled and recording.video):
        return [Finding("disk", "ok", text)]
    raw = raw_mb_s(formats)
    findings = [_fast_enough(text, speed_mb_s, raw, recording)]
    findings.append(_lasts(have.free - recording.reserve_mb * MIB, raw, recording))
    return findings


def _fast_enough(text: str, speed: float, raw: float, recording: RecordingConfig) -> Finding:
    text += f"; the cameras capture {raw:.0f} MB/s"
    if recording.codec == "raw":
        if raw > speed:
            cure = "recording.codec: h264 or ffv1, fewer or smaller cameras, or a faster disk (NVMe)"
            return Finding("disk", "error", f"{text}, and all of it is written", cure, refuses=True)
        return Finding("disk", "ok", text)
    if recording.codec in LOSSLESS_CODECS and raw > speed:
        return Finding(
            "disk",
            "warning",
            f"{text}; {recording.codec} writes less, how much less depends on noise and scene",
            "record ten seconds (`ethostream run RIG.yaml --seconds 10`) and see whether frames are declared as lost",
        )
    return Finding("disk", "ok", text)


def _lasts(free: float, raw: float, recording: RecordingConfig) -> Finding:
    if free <= 0:
        cure = "make room, or lower recording.reserve_mb; video would stop at once"
        return Finding("disk space", "error", "less is free than recording.reserve_mb", cure, refuses=True)
    hours = free / _MB / raw / _HOUR_S
    lasts = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
    if recording.codec == "raw":
        if hours >= 1:
            return Finding("disk space", "ok", f"{lasts} of raw video fit")
        return Finding("disk space", "warning", f"{lasts} of raw video fit", "make room, or record with a codec")
    text = (
        f"at least {lasts} of video fit, were nothing compressed; how much longer {recording.codec} lasts "
        "depends on the scene: record a minute and look at its size"
    )
    return Finding("disk space", "ok", text)
