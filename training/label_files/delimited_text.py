"""Tables in text: which character separates the cells, where the header stands, which line a row began on."""

import csv
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from ...sync.errors import DataError

DELIMITERS = (",", "\t", ";")
_HEAD_LINES = 100
"""A header stands within these lines: programs write what they know of the session above it."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, as written, and the line that it begins on, from 1."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a label file.

    Attributes:
        path: of the file.
        header: names of the columns, without spaces around them; empty ones at the end are left out.
        line: of the header, from 1.
        rows: all below it that hold anything, each as long as the header.
        above: all above it that hold anything.
    """

    path: Path
    header: list[str]
    line: int
    rows: list[Row]
    above: list[Row]

    def place(self, *names: str) -> int:
        """Which column has one of these names, capitals or not.

        Raises:
            DataError: none has, or several have.
        """
        place = self.find(*names)
        if place is None:
            raise DataError(
                f"{self.path}: line {self.line}: column {names[0]} is missing; the columns are {','.join(self.header)}"
            )
        return place

    def find(self, *names: str) -> int | None:
        """As `place`; None where none has.

        Raises:
            DataError: several columns have such a name.
        """
        wanted = {name.lower() for name in names}
        found = [place for place, name in enumerate(self.header) if name.lower() in wanted]
        if len(found) > 1:
            both = " and ".join(self.header[place] for place in found)
            raise DataError(f"{self.path}: line {self.line}: columns {both} mean the same; keep one of them")
        return found[0] if found else None

    def where(self, row: Row) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}: line {row.line}"


def read_text(path: Path) -> str:
    """The text of a label file, with or without a byte-order mark.

    Raises:
        DataError: it cannot be read, or is not text in UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read ({error.strerror}); check the path") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line}: is not CSV text in UTF-8 (byte {error.start}); export the labels as CSV in UTF-8"
        ) from error


def read_table(
    path: Path, is_header: Callable[[list[str]], bool], expected: str, above: bool = False, keep_empty: bool = False
) -> Table:
    """Read a whole table.

    Args:
        path: the file.
        is_header: whether stripped, lower-case cells are the header.
        expected: the header in words, for messages.
        above: lines may stand above the header; otherwise the first line that is not blank is it, whatever it holds.
        keep_empty: rows whose cells are all empty are rows too; lines without any cell never are.

    Raises:
        DataError: it cannot be read, has no header, or a row has more or fewer cells than the header.
    """
    table, rows = open_table(path, is_header, expected, above, keep_empty)
    table.rows.extend(rows)
    return table


def open_table(
    path: Path, is_header: Callable[[list[str]], bool], expected: str, above: bool = False, keep_empty: bool = False
) -> tuple[Table, Iterator[Row]]:
    """A table without its rows, and these one by one: for tables of which little is wanted; see `read_table`."""
    begin = _begin(path)
    if not begin.split("\n", 1)[0].strip() and not above:
        raise DataError(f"{path}: line 1: is empty; expected the header {expected}")
    found = find_header(begin, is_header, above)
    if found is None and above:
        raise DataError(f"{path}: has no header within {_HEAD_LINES} lines; expected {expected}")
    rows = _rows(path, _common_delimiter(begin) if found is None else found, keep_empty)
    before: list[Row] = []
    for row in rows:
        if not above or is_header(lower(row.cells)):
            header = [name.strip() for name in row.cells]
            while header and not header[-1]:
                header.pop()
            return Table(path, header, row.line, [], before), (_fitted(path, one, len(header)) for one in rows)
        before.append(row)
    raise DataError(f"{path}: its header stands inside a quoted cell; expected {expected}")


def find_header(text: str, is_header: Callable[[list[str]], bool], above: bool = False) -> str | None:
    """The delimiter with which one of the first lines reads as the header; None: none does."""
    lines = [line for line in text.split("\n", _HEAD_LINES)[:_HEAD_LINES] if line.strip()]
    for line in lines if above else lines[:1]:
        for delimiter in DELIMITERS:
            if is_header(lower(split_line(line, delimiter))):
                return delimiter
    return None


def split_line(line: str, delimiter: str) -> list[str]:
    """The cells of one line that is looked at, not yet read: faulty quotes are let pass."""
    return next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])


def lower(cells: list[str]) -> list[str]:
    """Cells as headers are compared."""
    return [cell.strip().lower() for cell in cells]


@contextmanager
def _opened(path: Path) -> Generator[TextIO]:
    """The file as text; what is wrong with it is said as `read_text` does."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        read_text(path)  # says in which line
        raise DataError(f"{path}: was changed while it was read; read it again") from error


def _begin(path: Path) -> str:
    """The first lines, in which a header may stand."""
    with _opened(path) as file:
        return "".join(islice(file, _HEAD_LINES))


def _rows(path: Path, delimiter: str, keep_empty: bool) -> Generator[Row]:
    """Rows as they stand, one by one: a table may be larger than the memory."""
    before = 0
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if (keep_empty and cells) or any(cell and not cell.isspace() for cell in cells):
                    yield Row(before + 1, cells)
                before = reader.line_num
        except csv.Error as error:
            raise DataError(
                f"{path}: line {before + 1}: is not CSV text in UTF-8 ({error}); export the labels as CSV"
            ) from error


def _common_delimiter(text: str) -> str:
    line = text.lstrip().split("\n", 1)[0]
    return max(DELIMITERS, key=line.count)


def _fitted(path: Path, row: Row, n_columns: int) -> Row:
    """A row without the empty cells that spreadsheets append."""
    if len(row.cells) == n_columns:
        return row
    if len(row.cells) > n_columns and not any(cell.strip() for cell in row.cells[n_columns:]):
        return Row(row.line, row.cells[:n_columns])
    raise DataError(f"{path}: line {row.line}: has {len(row.cells)} values, the header names {n_columns} columns")
