"""What the threads that write a recording suffer from its disk, in the words of an alarm."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from ..sync.clock import NS_PER_S
from .durable import BusyTimer, FileSync, StallWatch


class DiskTrouble(NamedTuple):
    """Something to alarm about; ``once`` names it where it is to be told only once, else it is ""."""

    severity: Literal["warning", "error"]
    text: str
    once: str = ""


class DiskWatch:
    """Looks at the threads that write to one folder. One thread.

    Args:
        folder: of the recording.
        writing: the writes of the event log.
    """

    def __init__(self, folder: Path, writing: BusyTimer) -> None:
        self._folder = folder
        self._writing = writing
        self._stall = StallWatch()

    def look(self, syncs: Iterable[FileSync]) -> list[DiskTrouble]:
        """What is to be told now; ``syncs`` force the files onto the disk."""
        found = [
            DiskTrouble(
                "error",
                f"{one.path}: the disk reports a failed write ({one.error}); what it lost cannot be known before "
                "`ethostream verify --decode`: replace the disk",
                f"sync {one.path}",
            )
            for one in syncs
            if one.error
        ]
        stall = self._stall.look(max([self._writing.busy_ns, *(one.timer.busy_ns for one in syncs)]))
        if stall is not None:
            begins, ns = stall
            text = f"{self._folder}: the disk has taken nothing for {ns / NS_PER_S:.1f} s"
            goes_on = "; messages wait in memory, and frames that find their queue full are declared as lost"
            found.append(
                DiskTrouble("error", text + goes_on) if begins else DiskTrouble("warning", text + " and goes on now")
            )
        return found
