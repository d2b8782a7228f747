"""Free space under a folder, against a reserve."""

import os
from pathlib import Path
from typing import Literal

from .topics import MIB


class DiskSpace:
    """Free space of the disk that holds ``folder``.

    Attributes:
        bytes_free: as measured last.

    Args:
        folder: must exist.
        reserve_mb: below it the disk counts as full, below twice as much as low.
    """

    def __init__(self, folder: Path, reserve_mb: int) -> None:
        self._folder = folder
        self._reserve = reserve_mb * MIB
        self.bytes_free = 0
        self.level()

    def level(self) -> Literal["good", "low", "full"]:
        """Measure."""
        stat = os.statvfs(self._folder)
        self.bytes_free = stat.f_bavail * stat.f_frsize
        if self.bytes_free < self._reserve:
            return "full"
        return "low" if self.bytes_free < 2 * self._reserve else "good"

    def describe(self) -> str:
        """The measurement in words."""
        return (
            f"{self._folder}: {self.bytes_free / MIB:.0f} MiB free on this disk, the reserve "
            f"(recording.reserve_mb) is {self._reserve / MIB:.0f} MiB"
        )
