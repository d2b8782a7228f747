"""Small files written in one step."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write ``path``, UTF-8; whoever reads it sees the old file or the new, never a part, a crash in between included.

    Raises:
        OSError: no such folder, no right, no room, or ``path`` is a folder; the old file is then still there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
