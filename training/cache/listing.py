"""What lies in a cache: every entry with its size and when it was used. Arrays are not read."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...sync.errors import DataError
from .entry import RECORD, read_record
from .folder import CacheFolder


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One entry.

    Attributes:
        kind: ``pose``, ``crops`` or ``embeddings``.
        name: recording that it was computed of first.
        digest: of its key.
        n_bytes: on disk.
        shapes: of its arrays.
        used: when it was last written or read, UTC.
        used_ns: likewise, nanoseconds since 1970.
        place: its folder.
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
    place: Path
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


def entries_in(folder: CacheFolder) -> list[CacheEntry]:
    """Every entry, by kind and name."""
    found = [_entry_of(place) for place in folder.places()]
    return sorted((one for one in found if one is not None), key=lambda one: (one.kind, one.name, one.digest))


def _entry_of(place: Path) -> CacheEntry | None:
    kind, _, digest = place.name.partition("-")
    if not os.access(place, os.R_OK | os.X_OK):
        return CacheEntry(kind, "", digest, 0, {}, "", 0, place, f"{place}: may not be read", locked=True)
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
    return CacheEntry(kind, name, digest, n_bytes, shapes, used, used_ns, place, fault)
