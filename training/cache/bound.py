"""How large a cache may be, which stands in its folder, and what is removed for it: what was used the longest ago."""

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Final

from ...sync.errors import ConfigError
from ...sync.whole_file import write_whole
from .entry import unwritable
from .folder import CacheFolder, is_ours
from .listing import entries_in

DEFAULT_MAX_GB: Final = 20.0
BYTES_PER_GB: Final = 1e9
_SETTINGS: Final = "cache.json"


def read_max_gb(folder: Path) -> float:
    """How large all entries together may be, 1e9 bytes.

    Raises:
        ConfigError: the file that says so is damaged.
    """
    path = folder / _SETTINGS
    try:
        return _checked(float(json.loads(path.read_text(encoding="utf-8"))["max_gb"]))
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULT_MAX_GB
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: does not say how large the cache may be ({error}); give it: `ethostream features --max-gb`"
        ) from error


def write_max_gb(folder: CacheFolder, max_gb: float) -> None:
    """Say it from now on; nothing is removed yet.

    Raises:
        ConfigError: it is below 0 or no number.
        DiskFullError, ConfigError: that cannot be written.
    """
    try:
        _checked(max_gb)
    except ValueError as error:
        raise ConfigError(f"--max-gb {max_gb}: {error}; give how many GB, as in 50") from error
    folder.make()
    path = folder.path / _SETTINGS
    try:
        write_whole(path, json.dumps({"schema": 1, "max_gb": max_gb}) + "\n")
    except OSError as error:
        raise unwritable(path, error) from error


def shrink(folder: CacheFolder, n_bytes: float, spared: Collection[str] = frozenset()) -> int:
    """Remove what was used the longest ago until the entries take so many bytes; how many are left.

    Args:
        folder: must be there.
        n_bytes: that the entries may take.
        spared: names of entries that stay in any case; so does what is not ours to remove.
    """
    with folder.alone():
        folder.sweep()
        entries = sorted(entries_in(folder), key=lambda one: (one.used_ns, one.digest))
        left = sum(one.n_bytes for one in entries)
        for one in entries:
            if left <= n_bytes:
                break
            if one.place.name not in spared and is_ours(one.place):
                folder.remove(one.place)
                left -= one.n_bytes
    return left


def _checked(max_gb: float) -> float:
    if not math.isfinite(max_gb) or max_gb < 0:
        raise ValueError("is no size of a cache")
    return max_gb
