"""Results that took their time, on disk: one folder per entry, named by the hash of everything that it depends on.

An entry is built aside, forced onto the disk and moved to its place when it is whole, so that what a kill left half is
never taken and two processes that build the same do not meet. What is read is compared with its checksum.
"""

import fcntl
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

from numpy.typing import NDArray

from ...streaming.durable import sync_folder
from ...sync.errors import ConfigError, DataError
from ...sync.whole_file import write_whole
from .entry import RECORD, ArrayFile, Form, form_of, read_array, read_entry, read_record, unwritable, write_record
from .key import DIGITS, CacheKey, Kind

SETTINGS: Final = "cache.json"
DEFAULT_MAX_GB: Final = 20.0
_BYTES_PER_GB: Final = 1e9
_ASIDE: Final = (".feature-building-", ".feature-removing-")
_LOCK: Final = ".builder"
_ENTRY: Final = re.compile(rf"(?:{'|'.join(get_args(Kind))})-[0-9a-f]{{{DIGITS}}}")

Say = Callable[[str], None]


@dataclass(slots=True)
class CacheAccount:
    """What a cache was good for.

    Attributes:
        n_found: entries that were there.
        n_computed: entries that were computed and kept.
        n_not_kept: entries that there was no place for: larger than the whole cache may be, or than what is left of it
            beside entries of this training and of others whose entries are not ours to remove.
        damaged: entries that were there and of no use, with the fault of each; they were removed and computed anew.
    """

    n_found: int = 0
    n_computed: int = 0
    n_not_kept: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """What `FeatureCache.entries` says of one entry.

    Attributes:
        kind: ``pose``, ``crops`` or ``embeddings``.
        name: recording that it was computed of first.
        digest: of its key.
        n_bytes: on disk.
        shapes: of its arrays.
        used: when it was last written or read, UTC.
        used_ns: likewise, nanoseconds since 1970.
        fault: what is wrong with its record; "" where it can be read.
        locked: it belongs to another user, who lets nobody read it; its size is not known.
    """

    kind: str
    name: str
    digest: str
    n_bytes: int
    shapes: dict[str, list[int]]
    used: str
    used_ns: int
    fault: str = ""
    locked: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "digest": self.digest,
            "n_bytes": self.n_bytes,
            "shapes": self.shapes,
            "used": self.used,
            "fault": self.fault,
        }


class FeatureCache:
    """The entries of a folder. Any number of processes may use one; of one object one thread.

    Args:
        folder: made when the first entry is written.
        say: told of entries that are damaged, and of what is not kept.

    Attributes:
        folder: of the entries.
        account: what it was good for since it was opened.
    """

    def __init__(self, folder: Path, say: Say | None = None) -> None:
        self.folder = folder
        self.account = CacheAccount()
        self._say: Say = say or (lambda _: None)
        self._told_full = False
        self._in_use: set[str] = set()
        """Names of entries that were read or written: removed, they would be computed again for nothing."""

    def to_dict(self) -> dict[str, Any]:
        """What it was good for, for JSON."""
        return {
            "folder": str(self.folder),
            "found": self.account.n_found,
            "computed": self.account.n_computed,
            "not_kept": self.account.n_not_kept,
            "damaged": self.account.damaged,
        }

    @property
    def max_gb(self) -> float:
        """How large all entries together may be, 1e9 bytes.

        Raises:
            ConfigError: the file that says so is damaged.
        """
        path = self.folder / SETTINGS
        try:
            return _a_bound(float(json.loads(path.read_text(encoding="utf-8"))["max_gb"]))
        except (FileNotFoundError, NotADirectoryError):
            return DEFAULT_MAX_GB
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: does not say how large the cache may be ({error}); give it: `ethostream features --max-gb`"
            ) from error

    def set_max_gb(self, max_gb: float) -> None:
        """Bound the cache, now and from now on; what was used the longest ago is removed.

        Raises:
            ConfigError: it is below 0 or no number.
            DiskFullError, ConfigError: that cannot be written.
        """
        try:
            _a_bound(max_gb)
        except ValueError as error:
            raise ConfigError(f"--max-gb {max_gb}: {error}; give how many GB, as in 50") from error
        self._make()
        path = self.folder / SETTINGS
        try:
            write_whole(path, json.dumps({"schema": 1, "max_gb": max_gb}) + "\n")
        except OSError as error:
            raise unwritable(path, error) from error
        self._shrink_to(max_gb * _BYTES_PER_GB, frozenset())

    def find(self, key: CacheKey, mapped: Collection[str] = ()) -> dict[str, NDArray[Any]] | None:
        """Arrays that are there and whole, and counted; None: they are to be computed.

        An entry that is damaged is said, counted and removed; one that may not be read or removed stays where it is.

        Args:
            key: of the entry.
            mapped: arrays that stay on the disk instead of being loaded; see `read_entry`.
        """
        found = self.read(key, mapped)
        if found is not None:
            self.account.n_found += 1
        return found

    def read(self, key: CacheKey, mapped: Collection[str] = ()) -> dict[str, NDArray[Any]] | None:
        """As `find`, and not counted: for what was written just now."""
        place = self._place(key)
        try:
            found = read_entry(place, key, mapped)
        except DataError as error:
            if not place.exists():  # another process has removed it meanwhile
                return None
            self.account.damaged.append(str(error))
            ours = _is_ours(place)
            what = (
                "it is removed, and computed anew" if ours else "it is another user's to remove, and is not kept anew"
            )
            self._say(f"feature cache: {error}; the entry is damaged: {what}")
            if ours:
                self._remove(place)
            return None
        except PermissionError as error:
            self._say(f"feature cache: {place} may not be read ({error.strerror}); it is computed anew")
            return None
        if found is not None:
            self._in_use.add(place.name)
            with suppress(OSError):  # a cache that may only be read serves as well
                os.utime(place / RECORD)
        return found

    def write(self, key: CacheKey, name: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Keep arrays; False: there is no room for them in the cache.

        Raises:
            DiskFullError, ConfigError: they cannot be written; nothing is left of them.
        """
        forms = {one: form_of(values) for one, values in arrays.items()}
        if not self.may_write(key) or not self.room_for(sum(form.n_bytes for form in forms.values()), name):
            return False
        with self.writing(key, name, forms) as files:
            for one, values in arrays.items():
                files[one].put((), values)
        return True

    @contextmanager
    def writing(self, key: CacheKey, name: str, forms: Mapping[str, Form]) -> Generator[dict[str, ArrayFile]]:
        """Files to fill, which become the entry where the block ends well; ask `room_for` before.

        Args:
            key: of the entry.
            name: of the recording, for people.
            forms: name → shape and type of each array.

        Raises:
            DiskFullError, ConfigError: they cannot be written; nothing is left of them.
        """
        self._make()
        with self._aside() as aside, ExitStack() as stack:
            files = {one: stack.enter_context(ArrayFile(aside / f"{one}.npy", form)) for one, form in forms.items()}
            yield files
            write_record(aside, key, name, {one: file.finish() for one, file in files.items()})
            kept = self._move(aside, self._place(key))
        if kept:
            self._in_use.add(self._place(key).name)
            self.account.n_computed += 1

    def computed_aside(
        self, forms: Mapping[str, Form], fill: Callable[[dict[str, ArrayFile]], None], mapped: Collection[str]
    ) -> dict[str, NDArray[Any]]:
        """Arrays in files beside the entries that nobody finds, and that are gone with whoever holds them.

        Args:
            forms: name → shape and type of each array.
            fill: fills the files.
            mapped: arrays that stay on the disk; see `read_entry`.

        Raises:
            DiskFullError, ConfigError: they cannot be written.
        """
        self._make()
        with self._aside() as aside, ExitStack() as stack:
            files = {one: stack.enter_context(ArrayFile(aside / f"{one}.npy", form)) for one, form in forms.items()}
            fill(files)
            records = {one: file.finish() for one, file in files.items()}
            return {one: read_array(aside, record, one in mapped) for one, record in records.items()}

    def room_for(self, n_bytes: int, name: str = "") -> bool:
        """Make room for an entry, by removing what was used the longest ago; False: there is none.

        What this object has read or written stays: of recordings that are larger than the cache together, each would
        else remove the one that the next training begins with.

        Args:
            n_bytes: of its arrays.
            name: of the recording, for people.
        """
        allowed = self.max_gb * _BYTES_PER_GB
        if n_bytes > allowed:
            self.account.n_not_kept += 1
            self._say(
                f"feature cache: {name} takes {n_bytes / _BYTES_PER_GB:.2f} GB and the whole cache may take "
                f"{self.max_gb:g}: it is not kept (`ethostream features --max-gb` allows more)"
            )
            return False
        if not self.folder.is_dir():
            return True
        left = self._shrink_to(allowed - n_bytes, self._in_use)
        if left + n_bytes <= allowed:
            return True
        self.account.n_not_kept += 1
        if not self._told_full:
            self._told_full = True
            self._say(
                f"feature cache: no room for {name} beside what this training uses and what is another user's "
                f"({left / _BYTES_PER_GB:.2f} of {self.max_gb:g} GB): from here on it is not kept, and every training "
                "computes it again (`ethostream features --max-gb` allows more)"
            )
        return False

    def may_write(self, key: CacheKey) -> bool:
        """Whether an entry may be made, and is not there as one that is not ours to remove."""
        place = self._place(key)
        if not os.path.lexists(place) or _is_ours(place):
            return True
        self.account.n_not_kept += 1
        return False

    def entries(self) -> list[CacheEntry]:
        """Every entry, by kind and name. Its arrays are not read."""
        found = [_entry_of(place) for place in self._places()]
        return sorted((one for one in found if one is not None), key=lambda one: (one.kind, one.name, one.digest))

    def clear(self) -> tuple[int, int]:
        """Remove every entry that is ours to remove, and what kills have left; how many, and how many bytes."""
        entries = [one for one in self.entries() if _is_ours(self.folder / f"{one.kind}-{one.digest}")]
        for one in entries:
            self._remove(self.folder / f"{one.kind}-{one.digest}")
        if self.folder.is_dir():
            with self._alone():
                self._sweep()
        return len(entries), sum(one.n_bytes for one in entries)

    def _shrink_to(self, n_bytes: float, spared: Collection[str]) -> int:
        """Remove what was used the longest ago until the entries take so many bytes; how many are left."""
        with self._alone():
            self._sweep()
            entries = sorted(self.entries(), key=lambda one: (one.used_ns, one.digest))
            left = sum(one.n_bytes for one in entries)
            for one in entries:
                if left <= n_bytes:
                    break
                place = self.folder / f"{one.kind}-{one.digest}"
                if place.name not in spared and _is_ours(place):
                    self._remove(place)
                    left -= one.n_bytes
        return left

    def _place(self, key: CacheKey) -> Path:
        return self.folder / f"{key.kind}-{key.digest}"

    def _places(self) -> list[Path]:
        return sorted(one for one in self.folder.glob("*") if _ENTRY.fullmatch(one.name) and one.is_dir())

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    @contextmanager
    def _aside(self) -> Generator[Path]:
        """A folder to build in. It is locked as long as its process lives, so that others know whether it does."""
        try:
            with self._alone():
                aside = self.folder / f"{_ASIDE[0]}{secrets.token_hex(8)}"
                aside.mkdir()  # with the rights that the user gives to new folders: a group may share a cache
                lock = os.open(aside / _LOCK, os.O_RDWR | os.O_CREAT)
                with suppress(OSError):  # a disk without locks
                    fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        try:
            yield aside
        finally:
            os.close(lock)
            shutil.rmtree(aside, ignore_errors=True)

    def _move(self, aside: Path, place: Path) -> bool:
        """Make it an entry; False: one is there that is not ours to remove."""
        try:
            sync_folder(aside)
            with self._alone():
                if place.exists():  # another process was faster, or it is damaged: ours is whole either way
                    if not _is_ours(place):
                        return False
                    self._remove(place)
                aside.rename(place)
                (place / _LOCK).unlink()
            sync_folder(self.folder)
        except OSError as error:
            raise unwritable(place, error) from error
        return True

    def _remove(self, place: Path) -> None:
        """Remove an entry; it is none from the first moment on."""
        gone = place.with_name(f"{_ASIDE[1]}{place.name}.{os.getpid()}")
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

    def _sweep(self) -> None:
        """Remove what a kill has left: what was being removed, and what nobody builds any more."""
        for prefix in _ASIDE:
            for place in self.folder.glob(f"{prefix}*"):
                if _is_ours(place) and (prefix == _ASIDE[1] or _is_dead(place)):
                    shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """One process at a time, where the disk has locks."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def joined_account(folder: Path, accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several processes say of one cache, as one; see `FeatureCache.to_dict`."""
    counts = {name: sum(int(one[name]) for one in accounts) for name in ("found", "computed", "not_kept")}
    return {"folder": str(folder), **counts, "damaged": [words for one in accounts for words in one["damaged"]]}


def _a_bound(max_gb: float) -> float:
    if not math.isfinite(max_gb) or max_gb < 0:
        raise ValueError("is no size of a cache")
    return max_gb


def _is_ours(place: Path) -> bool:
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


def _entry_of(place: Path) -> CacheEntry | None:
    kind, _, digest = place.name.partition("-")
    if not os.access(place, os.R_OK | os.X_OK):
        return CacheEntry(kind, "", digest, 0, {}, "", 0, f"{place}: may not be read", locked=True)
    try:
        n_bytes = sum(path.stat().st_size for path in place.iterdir())
        used_ns = (place / RECORD).stat().st_mtime_ns
    except OSError:
        return None
    name, shapes, fault = "", dict[str, list[int]](), ""
    try:
        record = read_record(place) or {}
        name = record.get("name", "")
        shapes = {one: values["shape"] for one, values in record.get("arrays", {}).items()}
    except (DataError, PermissionError) as error:
        fault = str(error)
    used = datetime.fromtimestamp(used_ns // 1_000_000_000, UTC).isoformat()
    return CacheEntry(kind, name, digest, n_bytes, shapes, used, used_ns, fault)
