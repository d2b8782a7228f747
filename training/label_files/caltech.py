"""Caltech Behavior Annotator text: the names with their keys, then one table per stream.

Frames count from 1 and the last one is named, as Piotr Dollar's ``behaviorData`` writes them; its streams cover every
frame of the video. Files that went through an editor have tabs for spaces, lines that hold nothing but spaces, and the
line ends of Windows.
"""

import re
from pathlib import Path

from ...sync.errors import DataError
from .delimited_text import read_text
from .file_head import FileHead
from .frame_labels import Bout
from .frame_numbers import frame_number, half_open
from .label_file import FrameConvention, LabelFile, ReadOptions

_FIRST_LINE = "Caltech Behavior Annotator"
_DEFAULT: FrameConvention = "one_based_inclusive"
_STREAM = re.compile(r"(S\d+):\s*start\s+end\s+type", re.IGNORECASE)


def matches(head: FileHead) -> bool:
    """Whether the first line is that of the annotator."""
    return head.text.lstrip().startswith(_FIRST_LINE)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read every stream of an annotation file.

    Raises:
        DataError: the file does not begin as it should, has no stream, or a line is wrong.
    """
    lines = read_text(path).split("\n")
    if not lines[0].strip().startswith(_FIRST_LINE):
        raise DataError(f"{path}: line 1: does not begin with {_FIRST_LINE!r}; is it an annotation file?")
    names: list[str] = []
    streams: dict[str, list[Bout]] = {}
    stream: list[Bout] | None = None
    for line, text in enumerate(lines[1:], start=2):
        words = text.split()
        header = _STREAM.fullmatch(text.strip())
        if header is not None:
            if header[1].upper() in streams:
                raise DataError(f"{path}: line {line}: stream {header[1]} begins a second time; keep one of them")
            stream = streams.setdefault(header[1].upper(), [])
        elif not words or set(text.strip()) == {"-"} or text.strip() == "Configuration file:":
            continue
        elif stream is not None:
            stream.append(_bout(f"{path}: line {line}", line, words, options.frames or _DEFAULT))
        elif len(words) == 2:
            names.append(words[0])
        else:
            raise DataError(f"{path}: line {line}: {text.strip()!r} is not a behaviour and its key; expected 'name k'")
    if not streams:
        raise DataError(f"{path}: has no stream; expected a line 'S1: start end type'. Is the file whole?")
    for bouts in streams.values():
        bouts.sort(key=lambda bout: (bout.start_frame, bout.stop_frame))
    ends = {name: max(bout.stop_frame for bout in bouts) for name, bouts in streams.items() if bouts}
    agree = len(set(ends.values())) == 1
    said = ", ".join(f"{name} at frame {end}" for name, end in ends.items())
    return LabelFile(
        path,
        "caltech",
        streams,
        names,
        n_frames=next(iter(ends.values())) if agree else None,
        notes=[] if agree or not ends else [f"its streams end apart ({said}), and so do not say how long the video is"],
    )


def _bout(where: str, line: int, words: list[str], convention: FrameConvention) -> Bout:
    if len(words) != 3:
        raise DataError(f"{where}: {' '.join(words)!r} has {len(words)} values; expected start, end and type")
    first, last = frame_number(where, "start", words[0]), frame_number(where, "end", words[1])
    start, stop = half_open(where, first, last, convention, ("start", "end"))
    return Bout(start, stop, words[2], None, line)
