"""DeepEthogram's label CSV: a row number, ``background``, then a column per behaviour; 1 there, 0 not, -1 not labelled.

Several behaviours may be 1 at once. ``background`` is a behaviour like the others: where it is 1, none of them is.
"""

from pathlib import Path

import numpy as np

from ...sync.errors import DataError
from ..stretches import runs_of
from .binary_columns import VALUES, bouts_of_columns, check_index, read_columns
from .delimited_text import read_table
from .file_head import FileHead
from .label_file import LabelFile, ReadOptions

_INDEX = ("", "frame", "unnamed: 0")
_VALUES = VALUES | {"-1": -1, "-1.0": -1}
_EXPECTED = ",background,behaviour,behaviour …"


def matches(head: FileHead) -> bool:
    """Whether the first lines are a row number and nothing but 0, 1 and -1."""
    return any(
        len(rows) > 1
        and len(rows[0]) > 1
        and _is_header(rows[0])
        and ("background" in rows[0] or all(cell in _VALUES for cell in rows[1][1:]))
        for rows in head.tables()
    )


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read a label CSV of DeepEthogram.

    A frame with -1 and no 1 is unlabelled.

    Raises:
        DataError: a row is missing, or a cell is none of 0, 1, -1; the message names file, line and column.
    """
    table = read_table(path, _is_header, _EXPECTED)
    if not _is_header([name.lower() for name in table.header]) or len(table.header) < 2:
        raise DataError(f"{path}: line {table.line}: is not the header of DeepEthogram labels; expected {_EXPECTED}")
    names = table.header[1:]
    if len(set(names)) != len(names) or "" in names:
        raise DataError(f"{path}: line {table.line}: a behaviour has no name, or two have one: {','.join(names)}")
    check_index(table, 0)
    cells = read_columns(table, range(1, len(table.header)), _VALUES)
    present = cells > 0
    blank, labelled = np.any(cells < 0, axis=1), np.any(present, axis=1)
    mixed = int(np.sum(blank & labelled))
    notes = (
        [f"{mixed} frames have a behaviour and, beside it, -1: taken as labelled, the others absent"] if mixed else []
    )
    return LabelFile(
        path,
        "deepethogram",
        {"": bouts_of_columns(table, names, present)},
        names,
        n_frames=len(table.rows),
        unlabelled={"": runs_of(np.logical_and(blank, ~labelled))},
        notes=notes,
    )


def _is_header(cells: list[str]) -> bool:
    return cells[:1] != [] and cells[0] in _INDEX and not any(cell.endswith(("_x", "_y", "_p")) for cell in cells)
