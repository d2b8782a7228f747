"""The first bytes of a file, by which its format is recognised."""

from dataclasses import dataclass
from pathlib import Path

from ...sync.errors import DataError
from .delimited_text import DELIMITERS, lower, split_line

_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a recogniser looks at.

    Attributes:
        path: of the file.
        data: its first bytes.
        text: the whole lines among them; "" where they are not text in UTF-8.
    """

    path: Path
    data: bytes
    text: str

    def rows(self, delimiter: str, n: int = 2) -> list[list[str]]:
        """The first ``n`` lines that are not blank, cut into stripped, lower-case cells."""
        lines = [line for line in self.text.split("\n") if line.strip()][:n]
        return [lower(split_line(line, delimiter)) for line in lines]

    def tables(self) -> list[list[list[str]]]:
        """Those rows for each delimiter that cuts the first line into several cells, or else uncut."""
        cut = [rows for delimiter in DELIMITERS if (rows := self.rows(delimiter)) and len(rows[0]) > 1]
        return cut or [self.rows(DELIMITERS[0])]


def read_head(path: Path) -> FileHead:
    """Read the first bytes of a label file.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES)
    except OSError as error:
        raise DataError(f"{path}: labels cannot be read ({error.strerror}); check the path") from error
    if not data.strip():
        raise DataError(f"{path}: is empty; give the file that holds the labels")
    whole = data if len(data) < _BYTES else data[: data.rfind(b"\n") + 1]
    try:
        text = whole.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    return FileHead(path, data, text)
