"""Entries of a feature cache for tests."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from ethostream.training.cache.key import CacheKey
from ethostream.training.cache.store import FeatureCache

X = np.arange(600, dtype=np.float32).reshape(100, 6)


def key(content: str = "a", **recipe: Any) -> CacheKey:
    return CacheKey("pose", content, recipe)


def filled(folder: Path, *contents: str) -> FeatureCache:
    """A cache with an entry of `X` for each of these, the first used the longest ago."""
    cache = FeatureCache(folder)
    for place, content in enumerate(contents):
        assert cache.write(key(content), f"recording {content}", {"x": X})
        os.utime(place_of(folder, content) / "entry.json", ns=(place, place))
    return cache


def place_of(folder: Path, content: str) -> Path:
    return folder / f"pose-{key(content).digest}"


def left_in(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def flip(path: Path) -> None:
    """Change the last bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
