"""The newest frame of a video whose camera has paused, beside the video.

FFmpeg's Matroska writer gives a frame to the file when the next one comes. A camera that pauses, or has gone, would
leave its last frame in the memory of the recorder for as long; this keeps it where a crash does not reach it.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".tail"
_HEAD = struct.Struct("<8sqBI")
_MAGIC = b"ETHOTAIL"


class VideoTail(NamedTuple):
    """One coded frame, as its encoder gave it."""

    pts_ms: int
    is_key: bool
    data: bytes


def tail_path(video: Path) -> Path:
    """Where the tail of a video is."""
    return video.with_name(video.name + SUFFIX)


def write_tail(video: Path, tail: VideoTail) -> None:
    """Write it, onto the disk.

    Raises:
        OSError: no room or no right; the video itself is untouched.
    """
    fd = os.open(tail_path(video), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.writev(fd, [_HEAD.pack(_MAGIC, tail.pts_ms, tail.is_key, zlib.crc32(tail.data)), tail.data])
        os.fdatasync(fd)
    finally:
        os.close(fd)


def read_tail(video: Path) -> VideoTail | None:
    """The tail of a video; None where there is none, or it was cut while it was written."""
    try:
        raw = tail_path(video).read_bytes()
    except OSError:
        return None
    if len(raw) <= _HEAD.size:
        return None
    magic, pts_ms, is_key, crc = _HEAD.unpack_from(raw)
    data = raw[_HEAD.size :]
    return VideoTail(pts_ms, bool(is_key), data) if magic == _MAGIC and zlib.crc32(data) == crc else None


def length_prefixed(annex_b: bytes) -> bytes:
    """H.264 as Matroska holds it: a length before each unit instead of a start code (ISO/IEC 14496-10 Annex B)."""
    units = [unit.rstrip(b"\0") for unit in annex_b.split(b"\0\0\1")[1:]]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
