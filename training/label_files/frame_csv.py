"""Per-frame CSV: one row per frame, the behaviour as a word; ``frame,behaviour``, or one column per stream.

A column called ``behaviour`` (or ``label``, ``class``) is the only stream, whatever else stands beside it; without one,
every column after ``frame`` is a stream of that name. An empty cell is a frame that nobody has labelled.
"""

from itertools import pairwise
from pathlib import Path

from ...sync.errors import DataError
from .delimited_text import Row, Table, read_table
from .file_head import FileHead
from .frame_labels import Bout
from .frame_numbers import first_frame, frame_number
from .label_file import FrameConvention, LabelFile, ReadOptions, Span
from .recording_csv import is_header

FRAME = ("frame", "frame_number", "frame_index")
LABEL = ("behaviour", "behavior", "label", "class")
_TIMES = {"start_frame", "stop_frame", "from", "to", "start", "stop", "start_s", "stop_s", "time", "start (s)"}
_EXPECTED = "frame,behaviour"


def matches(head: FileHead) -> bool:
    """Whether the first lines are of a per-frame CSV of words."""
    for rows in head.tables():
        header = rows[0] if rows else []
        if _TIMES & set(header) or is_header(header):
            continue
        if sum(name in LABEL for name in header) == 1:
            return True
        if header[:1] and header[0] in FRAME and len(header) > 1 and len(rows) > 1:
            return not any(_is_number(cell) for cell in rows[1][1:])
    return False


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read a per-frame CSV.

    Raises:
        DataError: rows are not in order of frames, it is not declared from which number they count, or a column holds
            numbers; the message names file, line and column.
    """
    table = read_table(path, lambda cells: any(cell in (*FRAME, *LABEL) for cell in cells), _EXPECTED, keep_empty=True)
    if times := [name for name in table.header if name.lower() in _TIMES]:
        raise DataError(f"{path}: line {table.line}: column {times[0]}: its rows are no frames; expected {_EXPECTED}")
    frames = _frames(table, options.frames)
    streams: dict[str, list[Bout]] = {}
    unlabelled: dict[str, list[Span]] = {}
    for stream, place in _columns(table).items():
        streams[stream], unlabelled[stream] = _bouts(table, place, frames)
    in_order = sorted((bout.line, bout.behavior) for bouts in streams.values() for bout in bouts)
    without_row = _gaps(frames)
    for spans in unlabelled.values():
        spans[:] = sorted([*spans, *without_row])
    missing = sum(stop - start for start, stop in without_row)
    return LabelFile(
        path,
        "frames",
        streams,
        list(dict.fromkeys(name for _, name in in_order)),
        n_frames=frames[-1] + 1 if frames else 0,
        unlabelled=unlabelled,
        notes=[f"{missing} of {frames[-1] + 1} frames have no row: nobody has labelled them"] if missing else [],
    )


def _columns(table: Table) -> dict[str, int]:
    """Stream → column."""
    label = table.find(*LABEL)
    if label is not None:
        return {"": label}
    frame = table.place(*FRAME)
    columns = {name: place for place, name in enumerate(table.header) if place != frame}
    if not columns:
        raise DataError(f"{table.path}: line {table.line}: holds frame numbers only; expected {_EXPECTED}")
    if len(columns) < len(table.header) - 1 or "" in columns:
        raise DataError(f"{table.path}: line {table.line}: a column has no name, or two have one; each is a stream")
    for row in table.rows:
        for name, place in columns.items():
            if _is_number(row.cells[place]):
                raise DataError(
                    f"{table.where(row)}: column {name}: {row.cells[place]!r} is a number; call the column that holds "
                    "the labels 'behaviour', or give label_kind deepethogram where 0 and 1 say what is there"
                )
    return columns


def _frames(table: Table, declared: FrameConvention | None) -> list[int]:
    """The frame of every row, from 0."""
    column = table.find(*FRAME)
    if column is None:
        _check_no_line_is_blank(table)
        return list(range(len(table.rows)))
    numbers: list[int] = []
    for row in table.rows:
        number = frame_number(table.where(row), table.header[column], row.cells[column])
        if numbers and number <= numbers[-1]:
            raise DataError(
                f"{table.where(row)}: column {table.header[column]}: {number} comes after {numbers[-1]}; put the rows "
                "in order, one per frame"
            )
        numbers.append(number)
    first = first_frame(declared or "zero_based_exclusive")
    if numbers and numbers[0] < first:
        raise DataError(
            f"{table.where(table.rows[0])}: column {table.header[column]}: there is no frame 0 where frames count from "
            f"1 ({declared})"
        )
    if declared is None and numbers and numbers[0] == 1:
        raise DataError(
            f"{table.where(table.rows[0])}: column {table.header[column]}: begins with 1, and nothing says whether "
            "that is the first frame or the second; declare 'frames' as one_based_inclusive or zero_based_exclusive"
        )
    return [number - first for number in numbers]


def _gaps(frames: list[int]) -> list[Span]:
    """Stretches of frames that no row is about."""
    return [(before + 1, after) for before, after in pairwise([-1, *frames]) if after > before + 1]


def _check_no_line_is_blank(table: Table) -> None:
    """A blank line may be a frame without a label, or nothing: every label behind it would be off by one."""
    for place, row in enumerate(table.rows):
        if row.line != table.line + 1 + place:
            raise DataError(
                f"{table.path}: line {row.line - 1}: is blank, and nothing says whether it is a frame; add a column "
                "'frame' with the number of each row"
            )


def _bouts(table: Table, place: int, frames: list[int]) -> tuple[list[Bout], list[Span]]:
    bouts: list[Bout] = []
    unlabelled: list[Span] = []
    start, name, line, next_frame = 0, None, 0, -1
    rows: list[Row | None] = [*table.rows, None]
    for row, frame in zip(rows, [*frames, -1], strict=True):
        cell = None if row is None else row.cells[place].strip()
        if cell == name and frame == next_frame:
            next_frame += 1
            continue
        if name is not None:
            if name:
                bouts.append(Bout(start, next_frame, name, None, line))
            else:
                unlabelled.append((start, next_frame))
        start, name, line, next_frame = frame, cell, 0 if row is None else row.line, frame + 1
    return bouts, unlabelled


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
