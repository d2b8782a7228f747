"""One thing that the doctor looked at."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, how bad it is, and how to mend it.

    Attributes:
        topic: short name of what was looked at.
        level: ``ok``, ``warning`` (it may hurt), ``error`` (it will).
        text: what was found, with its value.
        cure: what to do; empty where all is well.
        refuses: the rig cannot run here as its file stands.
    """

    topic: str
    level: Level
    text: str
    cure: str = ""
    refuses: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_line(path: Path) -> str | None:
    """First line of a file of /proc or /sys; None where it is not there or cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return lines[0].strip() if lines else ""


def read_number(path: Path) -> int | None:
    """The number that a file holds; None where there is none."""
    line = read_line(path)
    return int(line) if line is not None and line.lstrip("-").isdigit() else None
