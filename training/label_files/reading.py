"""`read_labels`: any label file, its format declared or recognised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...sync.errors import ConfigError, DataError
from . import (
    boris,
    boris_project,
    bout_csv,
    caltech,
    deepethogram,
    event_csv,
    frame_csv,
    matlab,
    recording_csv,
    simba,
    simulator_truth,
)
from .file_head import FileHead, read_head
from .frame_numbers import labelled_rate_hz
from .label_file import LABEL_KINDS, FrameConvention, LabelFile, LabelKind, ReadOptions

_PICKLE = b"\x80"
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format is told and read; ``has_frame_numbers``: a convention of frames can be declared for it."""

    matches: Callable[[FileHead], bool]
    read: Callable[[Path, ReadOptions], LabelFile]
    has_frame_numbers: bool = False


_FORMATS: dict[LabelKind, _Format] = {
    "bouts": _Format(bout_csv.matches, bout_csv.read, has_frame_numbers=True),
    "frames": _Format(frame_csv.matches, frame_csv.read, has_frame_numbers=True),
    "recordings": _Format(recording_csv.matches, recording_csv.read),
    "caltech": _Format(caltech.matches, caltech.read, has_frame_numbers=True),
    "boris": _Format(boris.matches, boris.read),
    "boris_project": _Format(boris_project.matches, boris_project.read),
    "deepethogram": _Format(deepethogram.matches, deepethogram.read),
    "simba": _Format(simba.matches, simba.read),
    "matlab": _Format(matlab.matches, matlab.read),
    "events": _Format(event_csv.matches, event_csv.read, has_frame_numbers=True),
    "simulator": _Format(simulator_truth.matches, simulator_truth.read),
}


def read_labels(
    path: Path,
    kind: LabelKind | None = None,
    *,
    rate_hz: float | None = None,
    frames: FrameConvention | None = None,
    behaviors: Sequence[str] | None = None,
) -> LabelFile:
    """Read a label file of any known format; nothing in it is mended, see `LabelFile`.

    Args:
        path: the file.
        kind: its format; None: recognised by what it holds, never by its name.
        rate_hz: frames per second of the labelled video, for formats that hold times and do not say it; where a file
            does, it may not be another.
        frames: the convention that its frame numbers follow, where it is not that of the format.
        behaviors: the columns that are behaviours, for SimBA's CSV.

    Raises:
        DataError: it cannot be read, is of no known format or of several, states another rate, or something in it is
            wrong; the message names file, line and column, and what mends it.
        ConfigError: an option that has no meaning for this format, or a library that is not installed.
    """
    kind = recognise(path) if kind is None else kind
    if kind not in _FORMATS:
        raise ConfigError(f"label_kind {kind!r} is not known; it is one of {', '.join(LABEL_KINDS)}")
    if frames is not None and not _FORMATS[kind].has_frame_numbers:
        numbered = ", ".join(name for name, one in _FORMATS.items() if one.has_frame_numbers)
        raise ConfigError(
            f"{path}: frames {frames!r}: a file of kind {kind} holds no frame numbers that could be counted otherwise; "
            f"leave 'frames' out ({numbered} take it)"
        )
    if behaviors is not None and kind != "simba":
        raise ConfigError(f"{path}: behaviors: a file of kind {kind} names its behaviours itself; leave it out")
    options = ReadOptions(rate_hz, frames, None if behaviors is None else tuple(behaviors))
    found = _FORMATS[kind].read(path, options)
    if found.rate_hz is not None and rate_hz is not None:
        labelled_rate_hz(str(path), found.rate_hz, rate_hz)
    return found


def recognise(path: Path) -> LabelKind:
    """The format of a label file, by what it holds.

    Raises:
        DataError: it cannot be read, no format fits, or several do.
    """
    head = read_head(path)
    found: list[LabelKind] = [kind for kind, one in _FORMATS.items() if one.matches(head)]
    if len(found) > 1:
        raise DataError(f"{path}: could be of kind {' or '.join(found)}; say which with 'label_kind'")
    if not found:
        raise DataError(f"{path}: {_what(head)}; the kinds of label files are {', '.join(LABEL_KINDS)}")
    return found[0]


def _what(head: FileHead) -> str:
    """An unknown file, in words."""
    if head.data.startswith(_HDF5):
        return "is HDF5 without MATLAB's header, which holds poses or features, not labels"
    if head.data.startswith(_PICKLE) or head.path.suffix in (".pkl", ".pickle"):
        return "is a Python pickle, which may run anything when it is opened, and is never read; export it as CSV"
    if not head.text:
        return "is neither text in UTF-8 nor a MATLAB file"
    line = head.text.lstrip().split("\n", 1)[0].strip()
    return f"is of no format that is known; it begins with {line[:80]!r}. Where it is one after all, say 'label_kind'"
