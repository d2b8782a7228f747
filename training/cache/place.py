"""Where the cache lies: one for all runs of a user, unless a command says otherwise."""

import os
from pathlib import Path
from typing import Final

from ...sync.errors import ConfigError
from .store import FeatureCache, Say

OFF: Final = "none"


def default_folder() -> Path:
    """``ethostream/features`` in the user's cache folder (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "ethostream" / "features"


def open_cache(asked: str | None = None, say: Say | None = None) -> FeatureCache | None:
    """The cache that a command asks for.

    Args:
        asked: a folder, `OFF`, or None: `default_folder`.
        say: told of damaged entries and of what is not kept.

    Raises:
        ConfigError: it is no folder.
    """
    if asked == OFF:
        return None
    folder = default_folder() if asked is None else Path(asked)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--cache {folder}: is a file; give a folder, or none")
    return FeatureCache(folder, say)
