"""What makes a file outlast a power cut: folders, small files swapped whole, and large ones forced out while they grow.

The order on disk is documented in docs/recording.md.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from ..sync.clock import NS_PER_S, ClockAnchor, RigClock

SYNC_PERIOD_S = 0.5
"""Between two forcings. With the quarter second for which a cluster waits it keeps what is lost under a second."""
_STOPWATCH = RigClock(ClockAnchor(0, 0))
"""Durations only: whatever clock the rig runs on, a disk is slow in real seconds."""


def stopwatch_ns() -> int:
    """Monotonic time of this machine, nanoseconds; for durations."""
    return _STOPWATCH.now_ns()


def sync_folder(folder: Path) -> None:
    """Force the names in ``folder`` onto the disk.

    Raises:
        OSError: it cannot be opened or the disk refuses.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Force the content of ``path`` onto the disk.

    Raises:
        OSError: it is not there, or the disk refuses.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, text: str) -> None:
    """Write ``path`` so that the old or the new content is there at any instant, after a power cut too.

    Raises:
        OSError: no room or no right; the old content is then still there.
    """
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


class BusyTimer:
    """How long something that may block has been at it. One thread begins and ends, any thread asks."""

    def __init__(self) -> None:
        self._since_ns = 0
        self.n = 0
        self.max_ns = 0

    def __enter__(self) -> None:
        self._since_ns = stopwatch_ns()

    def __exit__(self, *_: object) -> None:
        took = stopwatch_ns() - self._since_ns
        self._since_ns = 0
        self.n += 1
        self.max_ns = max(self.max_ns, took)

    @property
    def busy_ns(self) -> int:
        """Since when, as a duration; 0 while it is idle."""
        since = self._since_ns
        return stopwatch_ns() - since if since else 0


class FileSync:
    """A thread that forces one growing file onto the disk, so that a slow disk holds up nobody else.

    Attributes:
        path: the file; it must exist.
        timer: what it has cost so far.
        error: why the last forcing failed, "" where it did not. Linux reports a failed write once, so it stays.

    Args:
        path: the file.
        period_s: between two forcings; None: only when `kick` asks for it.
        after: called after each forcing, in the thread.
    """

    def __init__(
        self, path: Path, period_s: float | None = SYNC_PERIOD_S, after: Callable[[], None] | None = None
    ) -> None:
        self.path = path
        self.timer = BusyTimer()
        self.error = ""
        self._period_s = period_s
        self._after = after
        self._fd = os.open(path, os.O_RDONLY)
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=f"sync-{path.name}", daemon=True)
        self._thread.start()

    def kick(self) -> None:
        """Force it soon; several wishes while one is carried out are one."""
        self._wake.set()

    def end(self) -> None:
        """Force it a last time and wait for the thread; may be called twice."""
        self._ending = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            ending = False
            while not ending:
                self._wake.wait(self._period_s)
                self._wake.clear()
                ending = self._ending
                try:
                    with self.timer:
                        os.fdatasync(self._fd)
                except OSError as error:
                    self.error = error.strerror or str(error)
                if self._after is not None:
                    self._after()
        finally:
            os.close(self._fd)


class StallWatch:
    """Tells once when something has been blocked for too long, and once when it goes on. One thread.

    Args:
        limit_ns: longer than this is a stall.
    """

    def __init__(self, limit_ns: int = 2 * NS_PER_S) -> None:
        self._limit_ns = limit_ns
        self._worst_ns = 0

    def look(self, busy_ns: int) -> tuple[bool, int] | None:
        """``busy_ns``: how long it is blocked now. (True, ns so far) as a stall begins, (False, ns) at its end."""
        if busy_ns > self._limit_ns:
            begins = not self._worst_ns
            self._worst_ns = max(self._worst_ns, busy_ns)
            return (True, busy_ns) if begins else None
        if self._worst_ns:
            worst, self._worst_ns = self._worst_ns, 0
            return False, worst
        return None
