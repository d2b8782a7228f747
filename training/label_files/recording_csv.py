"""Recording CSV: one row per recording with the behaviour that it shows as a whole; nothing is said of its frames.

Such labels are weak: somewhere in the recording, or all through it, the behaviour is there. `fit.supervision` by
sequence learns from them. Each recording is a stream of its own.
"""

from pathlib import Path

from ...sync.errors import DataError
from .delimited_text import read_table
from .file_head import FileHead
from .label_file import LabelFile, ReadOptions, StreamSource

RECORDING = ("recording", "session", "video", "id", "trial", "clip")
LABEL = ("behaviour", "behavior", "label", "class")
_EXPECTED = "recording,behaviour"


def is_header(cells: list[str]) -> bool:
    """Whether there are two columns, one that names recordings and one that says what they show."""
    return len(cells) == 2 and any(cells[place] in RECORDING and cells[1 - place] in LABEL for place in (0, 1))


def matches(head: FileHead) -> bool:
    """Whether the first line is the header of such a file."""
    return any(is_header(rows[0]) for rows in head.tables() if rows)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read a recording CSV.

    Raises:
        DataError: a name is missing, or a recording stands twice; the message names file, line and column.
    """
    table = read_table(path, is_header, _EXPECTED)
    if not is_header([name.lower() for name in table.header]):
        raise DataError(f"{path}: line {table.line}: is not the header of a recording CSV; expected {_EXPECTED}")
    recording, behavior = table.place(*RECORDING), table.place(*LABEL)
    whole: dict[str, str] = {}
    for row in table.rows:
        name, label = row.cells[recording].strip(), row.cells[behavior].strip()
        for column, cell in ((recording, name), (behavior, label)):
            if not cell:
                raise DataError(f"{table.where(row)}: column {table.header[column]}: is empty; name it")
        if name in whole:
            raise DataError(
                f"{table.where(row)}: column {table.header[recording]}: {name} stands twice, and a recording has one "
                "label as a whole; where rows are frames, give label_kind: frames"
            )
        whole[name] = label
    return LabelFile(
        path,
        "recordings",
        {name: [] for name in whole} or {"": []},
        list(dict.fromkeys(whole.values())),
        sources={name: StreamSource(recording=name) for name in whole},
        whole=whole,
    )
