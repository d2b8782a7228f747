"""The folder of a cache on disk: what processes that share it do to entries, so that none meets another's half.

An entry is built aside, forced onto the disk and moved to its place when it is whole, so that what a kill left half is
never taken and two processes that build the same do not meet.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, get_args

from ...streaming.durable import sync_folder
from ...sync.errors import ConfigError
from .entry import unwritable
from .key import DIGITS, CacheKey, Kind

_BUILDING: Final = ".feature-building-"
_REMOVING: Final = ".feature-removing-"
_LOCK: Final = ".builder"
_ENTRY: Final = re.compile(rf"(?:{'|'.join(get_args(Kind))})-[0-9a-f]{{{DIGITS}}}")


class CacheFolder:
    """Entries by place, one folder each.

    Args:
        path: made by `make`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, key: CacheKey) -> Path:
        """Where the entry of a key lies, or would."""
        return self.path / f"{key.kind}-{key.digest}"

    def places(self) -> list[Path]:
        """Of every entry, in order."""
        return sorted(one for one in self.path.glob("*") if _ENTRY.fullmatch(one.name) and one.is_dir())

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            DiskFullError, ConfigError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error

    @contextmanager
    def aside(self) -> Generator[Path]:
        """A folder to build in. It is locked as long as its process lives, so that others know whether it does.

        Raises:
            DiskFullError, ConfigError: it cannot be made.
        """
        try:
            with self.alone():
                aside = self.path / f"{_BUILDING}{secrets.token_hex(8)}"
                aside.mkdir()  # with the rights that the user gives to new folders: a group may share a cache
                lock = os.open(aside / _LOCK, os.O_RDWR | os.O_CREAT)
                with suppress(OSError):  # a disk without locks
                    fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise unwritable(self.path, error) from error
        try:
            yield aside
        finally:
            os.close(lock)
            shutil.rmtree(aside, ignore_errors=True)

    def move(self, aside: Path, place: Path) -> bool:
        """Make what was built an entry; False: one is there that is not ours to remove.

        Raises:
            DiskFullError, ConfigError: it cannot be moved there.
        """
        try:
            sync_folder(aside)
            with self.alone():
                if place.exists():  # another process was faster, or it is damaged: ours is whole either way
                    if not is_ours(place):
                        return False
                    self.remove(place)
                aside.rename(place)
                (place / _LOCK).unlink()
            sync_folder(self.path)
        except OSError as error:
            raise unwritable(place, error) from error
        return True

    def remove(self, place: Path) -> None:
        """Remove an entry; it is none from the first moment on.

        Raises:
            ConfigError: it cannot be removed.
        """
        gone = place.with_name(f"{_REMOVING}{place.name}.{os.getpid()}")
        try:
            place.rename(gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(
                f"feature cache: {place} cannot be removed ({error.strerror}); remove it yourself, or give another "
                "folder with --cache DIR"
            ) from error
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a kill has left: what was being removed, and what nobody builds any more. Call it `alone`."""
        for prefix in (_BUILDING, _REMOVING):
            for place in self.path.glob(f"{prefix}*"):
                if is_ours(place) and (prefix == _REMOVING or _is_dead(place)):
                    shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def alone(self) -> Generator[None]:
        """One process at a time, where the disk has locks."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def is_ours(place: Path) -> bool:
    """Whether the files of a folder may be removed; of another user's they would stay, and the folder with them."""
    try:
        owner, above = place.stat().st_uid, place.parent.stat()
    except OSError:
        return False
    if above.st_mode & stat.S_ISVTX and os.geteuid() not in (0, owner, above.st_uid):
        return False
    return os.access(place, os.R_OK | os.W_OK | os.X_OK)


def _is_dead(place: Path) -> bool:
    """Whether the process that built there has ended; where the disk has no locks nobody can say."""
    try:
        lock = os.open(place / _LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return True  # killed before it had one: folders are made and locked alone
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
