"""Frame numbers and times of label files as frames counted from 0, with an exclusive end."""

import math

from ...sync.errors import DataError
from .label_file import FrameConvention, Span

_RATE_TOLERANCE = 0.02
"""Rates this far apart are not the same video: 25 and 30, but not 29.97 and 30."""


def first_frame(convention: FrameConvention) -> int:
    """The number of a recording's first frame."""
    return 1 if convention.startswith("one_based") else 0


def half_open(
    where: str, start: int, stop: int, convention: FrameConvention, columns: tuple[str, str] = ("start", "stop")
) -> Span:
    """A bout as a file writes it → (start, stop), from 0 and with an exclusive stop.

    Args:
        where: file and line, for messages.
        start: as written.
        stop: as written.
        convention: what they mean.
        columns: their names in the file.

    Raises:
        DataError: a start before the first frame, or a bout that ends before it begins.
    """
    first = first_frame(convention)
    if start < first:
        raise DataError(
            f"{where}: column {columns[0]}: there is no frame {start} where frames count from {first} ({convention}); "
            "declare the convention that the file was written in with 'frames'"
        )
    if convention.endswith("inclusive"):
        if stop < start:
            raise DataError(f"{where}: column {columns[1]}: {stop} is before {columns[0]} {start}")
        return start - first, stop - first + 1
    if stop <= start:
        raise DataError(
            f"{where}: column {columns[1]}: {stop} is not after {columns[0]} {start}; {columns[1]} is exclusive"
        )
    return start - first, stop - first


def frame_number(where: str, column: str, text: str) -> int:
    """A cell as a frame number.

    Raises:
        DataError: it is not a whole number from 0.
    """
    cleaned = text.strip()
    if not (cleaned.isascii() and cleaned.isdigit()):
        raise DataError(f"{where}: column {column}: {text!r} is not a frame number; frames are whole numbers from 0")
    return int(cleaned)


def seconds(where: str, column: str, text: str) -> float:
    """A cell as a time, in seconds.

    Raises:
        DataError: it is not a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            f"{where}: column {column}: {text!r} is not a time in seconds (with a decimal point); write the time, or "
            "take the line out"
        )
    return value


def frames_of_times(start_s: float, stop_s: float, rate_hz: float) -> Span:
    """Two times → the frames between the nearest frame borders, at least one.

    Frame k begins at ``k / rate_hz``: annotation programs write that time for a key pressed on frame k.
    """
    start = _nearest(start_s, rate_hz)
    return start, max(_nearest(stop_s, rate_hz), start + 1)


def labelled_rate_hz(where: str, stated: float | None, given: float | None) -> float:
    """The rate that turns times of a file into frames: its own where it has one, else that of the caller.

    Raises:
        DataError: there is none, or the two contradict each other.
    """
    if stated is None and given is None:
        raise DataError(
            f"{where}: holds times in seconds, and nothing says how many frames a second had; give the rate of the "
            "labelled video with 'rate_hz'"
        )
    if stated is None or given is None:
        rate = given if stated is None else stated
    elif abs(stated / given - 1.0) > _RATE_TOLERANCE:
        raise DataError(
            f"{where}: was labelled on a video of {stated:g} frames/s, and rate_hz says {given:g}; give the video that "
            "was labelled, and its rate"
        )
    else:
        rate = stated
    if rate is None or not (math.isfinite(rate) and rate > 0):
        raise DataError(f"{where}: {rate!r} is no frame rate; give the rate of the labelled video with 'rate_hz'")
    return rate


def _nearest(time_s: float, rate_hz: float) -> int:
    return math.floor(time_s * rate_hz + 0.5)
