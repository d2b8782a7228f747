"""SimBA's ``targets_inserted`` CSV: pose, features, then one column of 0 and 1 per classifier; one row per frame.

Nothing in the file says where features end and targets begin. The names stand in ``project_config.ini`` of the project
(``target_name_1`` …), two folders up from the CSV; or the caller gives them; or, failing both, the columns at the end
that hold nothing but 0 and 1 are taken, and the file's notes say which.
"""

from collections.abc import Iterable
from configparser import ConfigParser
from configparser import Error as ConfigFileError
from pathlib import Path

from ...sync.errors import DataError
from .binary_columns import VALUES, bouts_of_columns, check_index, read_columns
from .delimited_text import Row, Table, open_table
from .file_head import FileHead
from .label_file import LabelFile, ReadOptions

_EXPECTED = "columns NAME_x,NAME_y,NAME_p of body parts, features, targets"
_PROJECT_FILE = "project_config.ini"
_SECTION = "SML settings"
_INDEX = ("", "unnamed: 0", "frame", "frames")


def matches(head: FileHead) -> bool:
    """Whether the first line names body parts as SimBA does, and columns after them."""
    return any(_is_header(rows[0]) for rows in head.tables() if rows)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read the targets of a ``targets_inserted`` CSV.

    Raises:
        DataError: no column is a target, one that should be is missing, or a cell is neither 0 nor 1.
    """
    whole, rows = open_table(path, _is_header, _EXPECTED)
    if not _is_header([name.lower() for name in whole.header]):
        raise DataError(f"{path}: line {whole.line}: is not the header of SimBA targets; expected {_EXPECTED}")
    names, note = _targets(whole, rows, options.behaviors)
    indexed = whole.header[0].lower() in _INDEX
    # Of hundreds of columns a handful is kept.
    places = [*([0] if indexed else []), *(whole.place(name) for name in names)]
    _, rows = open_table(path, _is_header, _EXPECTED)
    kept = [Row(row.line, [row.cells[place] for place in places]) for row in rows]
    table = Table(path, [whole.header[place] for place in places], whole.line, kept, [])
    if indexed:
        check_index(table, 0)
    present = read_columns(table, range(indexed, len(places)), VALUES) > 0
    return LabelFile(
        path,
        "simba",
        {"": bouts_of_columns(table, names, present)},
        names,
        n_frames=len(table.rows),
        notes=[note] if note else [],
    )


def _is_header(cells: list[str]) -> bool:
    """Body parts in threes; the last column is no coordinate."""
    parts = {cell[:-2] for cell in cells if cell.endswith("_x")}
    known = {part for part in parts if {f"{part}_y", f"{part}_p"} <= set(cells)}
    return bool(known) and not (cells[-1][-2:] in ("_x", "_y", "_p") and cells[-1][:-2] in known)


def _targets(table: Table, rows: Iterable[Row], given: tuple[str, ...] | None) -> tuple[list[str], str]:
    """The columns that are targets, and, where they were found by what they hold, a note of it."""
    if given is not None:
        return list(given), ""
    project = table.path.absolute().parent.parent.parent / _PROJECT_FILE
    if project.is_file():
        return _project_targets(table, project), ""
    first, n_rows = 1, 0  # the columns from the first one on hold nothing but 0 and 1, as far as was looked
    for row in rows:
        n_rows += 1
        for place in range(len(row.cells) - 1, first - 1, -1):
            if row.cells[place].strip() not in VALUES:
                first = place + 1
                break
    names = table.header[first:] if n_rows else []
    if not names:
        raise DataError(
            f"{table.path}: line {table.line}: no column at the end holds 0 and 1 alone, so there are no targets; is "
            "it from the folder targets_inserted?"
        )
    return names, (
        f"there is no {_PROJECT_FILE} two folders up; columns {', '.join(names)} were taken for behaviours, being the "
        "last ones and holding 0 and 1 alone"
    )


def _project_targets(table: Table, project: Path) -> list[str]:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(project.read_text(encoding="utf-8-sig"))
        section = dict(parser[_SECTION])
    except (OSError, UnicodeDecodeError, ConfigFileError, KeyError) as error:
        raise DataError(
            f"{project}: its section [{_SECTION}] cannot be read ({error}); it names the targets"
        ) from error
    names = [name.strip() for key, name in section.items() if key.startswith("target_name_") and name.strip()]
    if not names:
        raise DataError(f"{project}: [{_SECTION}] names no target; expected target_name_1 and so on")
    if missing := [name for name in names if name.lower() not in [column.lower() for column in table.header]]:
        raise DataError(
            f"{table.path}: line {table.line}: column {missing[0]} is missing, a target of {project.name}; annotate "
            "it, or take it out of the project"
        )
    return names
