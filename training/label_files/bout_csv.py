"""Bout CSV, ethostream's own format: ``start_frame,stop_frame,behaviour`` and, by choice, ``confidence``, ``stream``.

Frames count from 0 and ``stop_frame`` is exclusive, unless another convention is declared.
"""

from pathlib import Path

from ...sync.errors import DataError
from .delimited_text import Row, Table, read_table
from .file_head import FileHead
from .frame_labels import Bout
from .frame_numbers import frame_number, half_open
from .label_file import FrameConvention, LabelFile, ReadOptions

COLUMNS = ("start_frame", "stop_frame", "behaviour", "confidence", "stream")
_REQUIRED = COLUMNS[:3]
_DEFAULT: FrameConvention = "zero_based_exclusive"


def matches(head: FileHead) -> bool:
    """Whether the first line is the header of a bout CSV."""
    return any({"start_frame", "stop_frame"} <= set(rows[0]) for rows in head.tables() if rows)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read a bout CSV; overlaps are kept.

    Raises:
        DataError: a value, row or column is wrong; the message names file, line and column.
    """
    streams = _streams(path, options.frames or _DEFAULT)
    in_order = sorted((bout.line, bout.behavior) for bouts in streams.values() for bout in bouts)
    return LabelFile(path, "bouts", streams, list(dict.fromkeys(name for _, name in in_order)))


def _streams(path: Path, convention: FrameConvention) -> dict[str, list[Bout]]:
    table = read_table(path, lambda cells: cells[:1] == ["start_frame"], ",".join(COLUMNS[:4]))
    header = ["behaviour" if name == "behavior" else name for name in table.header]
    _check_header(path, header)
    streams: dict[str, list[Bout]] = {}
    for row in table.rows:
        cells = dict(zip(header, row.cells, strict=True))
        streams.setdefault(cells.get("stream", "").strip(), []).append(_bout(table, row, cells, convention))
    for bouts in streams.values():
        bouts.sort(key=lambda bout: (bout.start_frame, bout.stop_frame))
    return streams or {"": []}


def _check_header(path: Path, header: list[str]) -> None:
    if unknown := [name for name in header if name not in COLUMNS]:
        raise DataError(f"{path}: line 1: column {unknown[0]!r} is not known; the columns are {','.join(COLUMNS)}")
    if len(set(header)) != len(header):
        raise DataError(f"{path}: line 1: a column stands twice in {','.join(header)}")
    for name in _REQUIRED:
        if name not in header:
            raise DataError(f"{path}: line 1: column {name} is missing; the columns are {','.join(COLUMNS)}")


def _bout(table: Table, row: Row, cells: dict[str, str], convention: FrameConvention) -> Bout:
    where = table.where(row)
    first, last = (frame_number(where, name, cells[name]) for name in COLUMNS[:2])
    start, stop = half_open(where, first, last, convention, (COLUMNS[0], COLUMNS[1]))
    behavior = cells["behaviour"].strip()
    if not behavior:
        raise DataError(f"{where}: column behaviour: is empty; name the behaviour")
    confidence = cells.get("confidence", "").strip()
    try:
        value = float(confidence) if confidence else None
    except ValueError as error:
        raise DataError(f"{where}: column confidence: {confidence!r} is not a number") from error
    return Bout(start, stop, behavior, value, row.line)
