"""One entry of the cache: a folder with arrays as ``.npy``, and a record with the length and SHA-256 of each.

The record is written last. Arrays are read by their header and never unpickled.
"""

import errno
import hashlib
import io
import json
import math
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...sync.closing import Closing
from ...sync.errors import ConfigError, DataError, DiskFullError
from ...sync.whole_file import write_whole
from .key import CacheKey
from .mapped import map_array

RECORD: Final = "entry.json"
SCHEMA: Final = 1
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Form:
    """Shape and type of an array that is about to be written."""

    shape: tuple[int, ...]
    dtype: DTypeLike

    @property
    def n_bytes(self) -> int:
        """Of its values."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def form_of(values: NDArray[Any]) -> Form:
    """Shape and type of an array."""
    return Form(values.shape, values.dtype)


def unwritable(path: Path, error: OSError) -> DiskFullError | ConfigError:
    """The error for a file of the cache that could not be written."""
    if error.errno in _NO_ROOM:
        return DiskFullError(
            f"feature cache: no room for {path} ({error.strerror}); free some space, let the cache be smaller "
            "(`ethostream features --max-gb`), give another folder with --cache DIR, or none with --cache none"
        )
    return ConfigError(
        f"feature cache: {path} cannot be written ({error.strerror}); give a folder of yours with --cache DIR, or none "
        "with --cache none"
    )


class ArrayFile(Closing):
    """An array on its way to the disk, in pieces and in any order. One thread.

    Args:
        path: of the ``.npy`` file; must not be there.
        form: of the whole array.

    Raises:
        DiskFullError: there is no room.
        ConfigError: it cannot be written for another reason.
    """

    def __init__(self, path: Path, form: Form) -> None:
        self._path, self._form = path, form
        self._n_left = math.prod(form.shape)
        dtype = np.dtype(form.dtype)
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": form.shape}
        np.lib.format.write_array_header_1_0(header, described)
        self._begin = len(header.getvalue())
        self._steps = [dtype.itemsize * math.prod(form.shape[axis + 1 :]) for axis in range(len(form.shape))]
        try:
            self._file: BinaryIO = path.open("xb")
            self._file.write(header.getvalue())
        except OSError as error:
            raise unwritable(path, error) from error

    def put(self, start: tuple[int, ...], values: NDArray[Any]) -> None:
        """Write values that lie one after the other in the array, from the place ``start`` on.

        Args:
            start: indices along the first axes; of the others it is 0.
            values: of the array's type.
        """
        place = self._begin + sum(at * step for at, step in zip(start, self._steps, strict=False))
        content = np.ascontiguousarray(values, self._form.dtype)
        try:
            self._file.seek(place)
            self._file.write(content.data)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._n_left -= content.size

    def finish(self) -> dict[str, Any]:
        """Force it onto the disk; its part of the record.

        Raises:
            DataError: not every value was written.
        """
        if self._n_left:
            raise DataError(f"feature cache: {self._path.name}: {self._n_left} of its values were not computed")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with self._path.open("rb") as file:
                sha256 = _sha256_of(file)
            size = self._path.stat().st_size
        except OSError as error:
            raise unwritable(self._path, error) from error
        return {
            "file": self._path.name,
            "bytes": size,
            "sha256": sha256,
            "shape": list(self._form.shape),
            "dtype": np.dtype(self._form.dtype).str,
        }

    def close(self) -> None:
        """Give the file back, finished or not; may be called twice."""
        with suppress(OSError):  # one that is not finished is thrown away, whether or not its rest finds room
            self._file.close()


def write_record(place: Path, key: CacheKey, name: str, arrays: Mapping[str, dict[str, Any]]) -> None:
    """Write the record of an entry, which makes it one.

    Raises:
        DiskFullError, ConfigError: it cannot be written.
    """
    record = {"schema": SCHEMA, "name": name, "key": key.plain(), "arrays": dict(arrays)}
    try:
        write_whole(place / RECORD, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise unwritable(place / RECORD, error) from error


def read_record(place: Path) -> dict[str, Any] | None:
    """The record of an entry; None: there is none.

    Raises:
        DataError: it is damaged.
        PermissionError: it may not be read.
    """
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{place / RECORD}: cannot be read ({error})") from error
    try:
        whole = record["schema"] == SCHEMA and isinstance(record["name"], str) and isinstance(record["key"], dict)
        whole &= all({"file", "bytes", "sha256", "shape", "dtype"} <= set(one) for one in record["arrays"].values())
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DataError(f"{place / RECORD}: is no record of this version")
    return record


def read_entry(place: Path, key: CacheKey, mapped: Collection[str]) -> dict[str, NDArray[Any]] | None:
    """The arrays of an entry, every byte compared with its checksum; None: there is no such entry.

    Args:
        place: its folder.
        key: what it must be of.
        mapped: arrays that stay on the disk; the system reads what is looked at, and what is changed is not written.

    Raises:
        DataError: it is damaged, or of something else; the message names file and fault.
        PermissionError: it may not be read.
    """
    record = read_record(place)
    if record is None:
        return None
    if record["key"] != key.plain():
        raise DataError(f"{place / RECORD}: is the record of something else")
    return {name: read_array(place, one, name in mapped) for name, one in record["arrays"].items()}


def read_array(place: Path, record: Mapping[str, Any], mapped: bool) -> NDArray[Any]:
    """One array of an entry; see `read_entry`.

    Args:
        place: folder of the file.
        record: from `ArrayFile.finish`.
        mapped: it stays on the disk.

    Raises:
        DataError, PermissionError: as `read_entry`.
    """
    path = place / Path(str(record["file"])).name
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != record["bytes"]:
                raise DataError(f"{path}: has {size} bytes and should have {record['bytes']}")
            content = bytearray(0 if mapped else size)
            if mapped:
                sha256 = _sha256_of(file)
            else:
                file.readinto(content)
                sha256 = hashlib.sha256(content).hexdigest()
            if sha256 != record["sha256"]:
                raise DataError(f"{path}: its checksum is {sha256[:12]} and should be {str(record['sha256'])[:12]}")
            file.seek(0)
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if [list(shape), dtype.str] != [record["shape"], record["dtype"]]:
                raise DataError(f"{path}: holds {dtype.str} {list(shape)}, and its record says something else")
            begin = file.tell()
            if mapped:
                return map_array(path, dtype, begin, shape)
            return np.ndarray(shape, dtype, content, begin)
    except PermissionError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _sha256_of(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
