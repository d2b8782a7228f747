"""Results that took their time, on disk: one folder per entry, named by the hash of everything that it depends on.

What is read is compared with its checksum, and what is written is there as a whole or not at all.
"""

import os
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...sync.errors import DataError
from .account import CacheAccount
from .bound import BYTES_PER_GB, read_max_gb, shrink, write_max_gb
from .entry import RECORD, ArrayFile, Form, form_of, read_array, read_entry, write_record
from .folder import CacheFolder, is_ours
from .key import CacheKey
from .listing import CacheEntry, entries_in

Say = Callable[[str], None]


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
        self._disk = CacheFolder(folder)
        self._say: Say = say or (lambda _: None)
        self._told_full = False
        self._in_use: set[str] = set()
        """Names of entries that were read or written: removed, they would be computed again for nothing."""

    def to_dict(self) -> dict[str, Any]:
        """What it was good for, for JSON."""
        return self.account.to_dict(self.folder)

    @property
    def max_gb(self) -> float:
        """How large all entries together may be, 1e9 bytes.

        Raises:
            ConfigError: the file that says so is damaged.
        """
        return read_max_gb(self.folder)

    def set_max_gb(self, max_gb: float) -> None:
        """Bound the cache, now and from now on; what was used the longest ago is removed.

        Raises:
            ConfigError: it is below 0 or no number.
            DiskFullError, ConfigError: that cannot be written.
        """
        write_max_gb(self._disk, max_gb)
        shrink(self._disk, max_gb * BYTES_PER_GB)

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
        place = self._disk.place(key)
        try:
            found = read_entry(place, key, mapped)
        except DataError as error:
            if not place.exists():  # another process has removed it meanwhile
                return None
            self.account.damaged.append(str(error))
            ours = is_ours(place)
            what = (
                "it is removed, and computed anew" if ours else "it is another user's to remove, and is not kept anew"
            )
            self._say(f"feature cache: {error}; the entry is damaged: {what}")
            if ours:
                self._disk.remove(place)
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
        self._disk.make()
        with self._disk.aside() as aside, ExitStack() as stack:
            files = {one: stack.enter_context(ArrayFile(aside / f"{one}.npy", form)) for one, form in forms.items()}
            yield files
            write_record(aside, key, name, {one: file.finish() for one, file in files.items()})
            kept = self._disk.move(aside, self._disk.place(key))
        if kept:
            self._in_use.add(self._disk.place(key).name)
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
        self._disk.make()
        with self._disk.aside() as aside, ExitStack() as stack:
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
        allowed = self.max_gb * BYTES_PER_GB
        if n_bytes > allowed:
            self.account.n_not_kept += 1
            self._say(
                f"feature cache: {name} takes {n_bytes / BYTES_PER_GB:.2f} GB and the whole cache may take "
                f"{self.max_gb:g}: it is not kept (`ethostream features --max-gb` allows more)"
            )
            return False
        if not self.folder.is_dir():
            return True
        left = shrink(self._disk, allowed - n_bytes, self._in_use)
        if left + n_bytes <= allowed:
            return True
        self.account.n_not_kept += 1
        if not self._told_full:
            self._told_full = True
            self._say(
                f"feature cache: no room for {name} beside what this training uses and what is another user's "
                f"({left / BYTES_PER_GB:.2f} of {self.max_gb:g} GB): from here on it is not kept, and every training "
                "computes it again (`ethostream features --max-gb` allows more)"
            )
        return False

    def may_write(self, key: CacheKey) -> bool:
        """Whether an entry may be made, and is not there as one that is not ours to remove."""
        place = self._disk.place(key)
        if not os.path.lexists(place) or is_ours(place):
            return True
        self.account.n_not_kept += 1
        return False

    def entries(self) -> list[CacheEntry]:
        """Every entry, by kind and name. Its arrays are not read."""
        return entries_in(self._disk)

    def clear(self) -> tuple[int, int]:
        """Remove every entry that is ours to remove, and what kills have left; how many, and how many bytes."""
        entries = [one for one in self.entries() if is_ours(one.place)]
        for one in entries:
            self._disk.remove(one.place)
        if self.folder.is_dir():
            with self._disk.alone():
                self._disk.sweep()
        return len(entries), sum(one.n_bytes for one in entries)
