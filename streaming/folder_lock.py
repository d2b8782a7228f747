"""Who writes a recording's folder: one process at a time, and a dead one holds nothing."""

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any

import psutil

from ..sync.closing import Closing
from ..sync.errors import RecordingError
from .process_identity import process_started

LOCK_FILE = ".writer.json"


class FolderLock(Closing):
    """Held by whoever writes a recording: the recorder while it records, a repair while it repairs.

    The file names the process by its number and start time, so that another process with the same number is not taken
    for it; on disks that can lock files, the lock of the operating system decides, and goes with its process.

    Args:
        folder: of the recording; must exist.
        what: of this process, for the words with which others are refused.

    Raises:
        RecordingError: another process that lives holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._path = folder / LOCK_FILE
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RecordingError(f"{self._path}: cannot be written ({error.strerror}); check the folder") from error
        holder = {
            "what": what,
            "pid": os.getpid(),
            "created": process_started(os.getpid()),
            "host": socket.gethostname(),
            "inode": os.fstat(self._fd).st_ino,
        }
        try:
            self._take(folder)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(holder).encode(), 0)
        except OSError as error:
            os.close(self._fd)
            raise RecordingError(f"{self._path}: cannot be written ({error.strerror}); free some space") from error
        except RecordingError:
            os.close(self._fd)
            raise

    def _take(self, folder: Path) -> None:
        other = read_holder(folder)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordingError(_refusal(folder, other)) from error
        except OSError:
            pass  # a disk without locks: what stands in the file has to do
        # The one before may have removed the file between our opening and our locking it: that lock holds nothing.
        if not self._path.exists() or self._path.stat().st_ino != os.fstat(self._fd).st_ino:
            raise RecordingError(f"{folder}: was given back just now by {_words(other)}; try again")
        if other is not None and _lives(other):
            raise RecordingError(_refusal(folder, other))

    def close(self) -> None:
        """Give it back; may be called twice."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def read_holder(folder: Path) -> dict[str, Any] | None:
    """What the lock file says; None where there is none, it was cut, or it came along when the folder was copied."""
    path = folder / LOCK_FILE
    try:
        holder: Any = json.loads(path.read_text(encoding="utf-8"))
        inode = path.stat().st_ino
    except (OSError, ValueError):
        return None
    ours = isinstance(holder, dict) and isinstance(holder.get("pid"), int) and holder.get("inode") == inode
    return holder if ours else None


def living_holder(folder: Path) -> str:
    """The process that writes this folder now, in words; "" where none does."""
    holder = read_holder(folder)
    return _words(holder) if holder is not None and _lives(holder) else ""


def _lives(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return False  # it cannot be asked; a lock of the operating system, where there is one, has decided
    try:
        process = psutil.Process(holder["pid"])
        # One that has ended and was not yet waited for writes no more.
        return process_started(process.pid) == holder.get("created") and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _words(holder: dict[str, Any] | None) -> str:
    if holder is None:
        return "another process"
    return f"a {holder.get('what', 'process')} (process {holder['pid']} on {holder.get('host')})"


def _refusal(folder: Path, holder: dict[str, Any] | None) -> str:
    return f"{folder}: is being written by {_words(holder)}; wait until it has ended, or stop it"
