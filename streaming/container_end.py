"""Whether a video container is shorter than it says. FFmpeg reads such a file to its end without a word."""

from pathlib import Path

MATROSKA_SEGMENT_ID = b"\x18\x53\x80\x67"


def is_cut(path: Path, format_name: str) -> bool:
    """True when the file's own structure reaches beyond its end.

    Args:
        path: the file.
        format_name: FFmpeg's name of its container. Only Matroska and MP4 state lengths that can be checked here.
    """
    if "matroska" in format_name:
        return _matroska_is_cut(path)
    if "mp4" in format_name:
        return _mp4_is_cut(path)
    return False


def is_whole(path: Path) -> bool:
    """True when a Matroska file was closed in order and ends where it says."""
    end = _matroska_end(path)
    return end is not None and end == path.stat().st_size


def _matroska_is_cut(path: Path) -> bool:
    end = _matroska_end(path)
    return end is not None and end > path.stat().st_size


def _matroska_end(path: Path) -> int | None:
    """Where the segment says that it ends; None where it says nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
    at = head.find(MATROSKA_SEGMENT_ID)
    if at < 0 or at + 12 > len(head):
        return None
    n_bytes = 9 - head[at + 4].bit_length()  # the first set bit tells the length of the size field
    if n_bytes > 8:
        return None
    n_value_bits = 7 * n_bytes
    size = int.from_bytes(head[at + 4 : at + 4 + n_bytes], "big") & ((1 << n_value_bits) - 1)
    unknown = (1 << n_value_bits) - 1  # all ones: written live and never closed, so it promises nothing
    return None if size == unknown else at + 4 + n_bytes + size


def _mp4_is_cut(path: Path) -> bool:
    n_file = path.stat().st_size
    at = 0
    with path.open("rb") as file:
        while at < n_file:
            file.seek(at)
            head = file.read(16)
            if len(head) < 8:
                return True
            size = int.from_bytes(head[:4], "big")
            if size == 0:  # the box reaches to the end of the file, wherever that is
                return False
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if size < 8:
                return False  # not a box: rubbish behind the last one does no harm
            at += size
    return at > n_file
