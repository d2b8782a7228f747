"""Columns of 0 and 1, one per behaviour and one row per frame, as bouts."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from ..stretches import runs_of
from .delimited_text import Table
from .frame_labels import Bout

VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
"""How programs write absent and present."""


def read_columns(table: Table, places: Sequence[int], values: Mapping[str, int]) -> NDArray[np.int8]:
    """The cells of some columns, int8 [rows, columns].

    Raises:
        DataError: a cell holds something else than ``values``.
    """
    read = np.empty((len(table.rows), len(places)), np.int8)
    for number, row in enumerate(table.rows):
        for column, place in enumerate(places):
            value = values.get(row.cells[place].strip())
            if value is None:
                allowed = ", ".join(sorted({str(value) for value in values.values()}))
                raise DataError(
                    f"{table.where(row)}: column {table.header[place]}: {row.cells[place]!r} is none of {allowed}; "
                    "each behaviour is there in a frame or is not"
                )
            read[number, column] = value
    return read


def check_index(table: Table, place: int) -> None:
    """Refuse a table whose row numbers do not run 0, 1, 2 …: a row is lost, or stands twice.

    Raises:
        DataError: naming the first row that is off.
    """
    name = table.header[place] or "1 (the row number)"
    for number, row in enumerate(table.rows):
        if row.cells[place].strip() not in (str(number), f"{number}.0"):
            raise DataError(
                f"{table.where(row)}: column {name}: {row.cells[place]!r} where row {number} should stand; rows are "
                "frames from 0, each once"
            )


def bouts_of_columns(table: Table, names: Sequence[str], present: NDArray[np.bool_]) -> list[Bout]:
    """Bouts of all behaviours in order of time; those of different behaviours may overlap."""
    bouts = [
        Bout(start, stop, name, None, table.rows[start].line)
        for column, name in enumerate(names)
        for start, stop in runs_of(present[:, column])
    ]
    return sorted(bouts, key=lambda bout: (bout.start_frame, bout.stop_frame))
