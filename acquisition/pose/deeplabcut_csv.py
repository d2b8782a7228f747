"""DeepLabCut's CSV, of one animal or of several."""

import csv
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from .deeplabcut_columns import COORDS, MULTI_LEVELS, SCORER, SINGLE_LEVELS, sort_columns
from .pose_table import PoseTable, make_pose_table

_MAX_HEAD: Final = 4
_CURE: Final = "export the CSV again from DeepLabCut, and do not edit it in a spreadsheet"


def read_deeplabcut_csv(path: Path) -> PoseTable:
    """Read a CSV that DeepLabCut wrote; every row below the head is one frame, an empty one too.

    Raises:
        DataError: not readable, or not such a file; the message names line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DataError(f"{path}: cannot be read ({why}); give a CSV that DeepLabCut wrote") from error
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    head = list(takewhile(lambda row: row[:1] and row[0] in MULTI_LEVELS, csv.reader(lines[:_MAX_HEAD])))
    levels = tuple(row[0] for row in head)
    if levels not in (SINGLE_LEVELS, MULTI_LEVELS):
        found = repr(lines[0][:40])
        raise DataError(
            f"{path}: line 1 begins {found}, and the head of a DeepLabCut file is {SCORER} ... {COORDS} in three or "
            f"four lines; {_CURE}"
        )
    n_columns = len(head[-1])
    for number, row in enumerate(head, start=1):
        if len(row) != n_columns:
            raise DataError(f"{path}: line {number} has {len(row)} columns, line {len(head)} has {n_columns}; {_CURE}")
    columns = sort_columns([row[1:] for row in head], levels, str(path))
    values = _numbers(path, lines[len(head) :], len(head) + 1, n_columns)
    return make_pose_table(path, columns.animals, columns.keypoints, columns.points(values[:, 1:]))


def _numbers(path: Path, rows: Sequence[str], first_line: int, n_columns: int) -> NDArray[np.float64]:
    """The rows as [t, columns]; empty cells are NaN."""
    if not rows:
        raise DataError(f"{path}: holds no frame below its head; {_CURE}")
    try:
        values = np.loadtxt(map(_filled, rows), np.float64, delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: {_fault(rows, first_line, n_columns) or error}; {_CURE}") from error
    if values.shape != (len(rows), n_columns):  # empty lines are passed over, and every row may be too short
        raise DataError(f"{path}: {_fault(rows, first_line, n_columns)}; {_CURE}")
    unbounded = np.argwhere(np.isinf(values))
    if len(unbounded):
        row, column = unbounded[0]
        raise DataError(f"{path}: line {first_line + row}, column {column + 1}: is infinite; {_CURE}")
    out_of_turn = np.flatnonzero(values[:, 0] != np.arange(len(rows)))
    if len(out_of_turn):
        row = int(out_of_turn[0])
        raise DataError(
            f"{path}: line {first_line + row}, column 1: frame number {values[row, 0]:g}, and {row} comes here; rows "
            "count the frames of the video from 0, so that labels fit them: number them so, with an empty row where a "
            "frame has no points"
        )
    return values


def _filled(row: str) -> str:
    """A row with nan in its empty cells."""
    if ",," in row:  # of two that stand together the second is only seen in the second pass
        row = row.replace(",,", ",nan,").replace(",,", ",nan,")
    if row.startswith(","):
        row = "nan" + row
    return row + "nan" if row.endswith(",") else row


def _fault(rows: Sequence[str], first_line: int, n_columns: int) -> str:
    """What is wrong first, by line and column; "" where nothing is."""
    for number, row in enumerate(rows, start=first_line):
        cells = row.split(",")
        if not row:
            return f"line {number} is empty"
        if len(cells) != n_columns:
            return f"line {number} has {len(cells)} columns, the head has {n_columns}"
        for column, cell in enumerate(cells, start=1):
            if not _is_number(cell):
                return f"line {number}, column {column}: {cell[:40]!r} is no number"
    return ""


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return "_" not in cell  # Python reads 1_000, files do not mean it
