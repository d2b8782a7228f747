"""A cache stays as large as it may be, and forgets what was used the longest ago."""

import json
from pathlib import Path

import numpy as np
import pytest
from cache_entries import X, filled, key, left_in
from ethostream.sync.errors import ConfigError
from ethostream.training.cache.entry import Form
from ethostream.training.cache.store import FeatureCache


def test_it_is_bounded_and_forgets_what_was_used_the_longest_ago(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", "b", "c")
    assert cache.max_gb == 20.0
    of_one = cache.entries()[0].n_bytes
    assert cache.find(key("a")) is not None  # used just now
    cache.set_max_gb(3.4 * of_one / 1e9)
    assert {one.name for one in cache.entries()} == {"recording a", "recording b", "recording c"}
    assert FeatureCache(tmp_path).write(key("d"), "recording d", {"x": X})  # the bound is the folder's
    assert {one.name for one in cache.entries()} == {"recording a", "recording c", "recording d"}
    cache.set_max_gb(1.4 * of_one / 1e9)
    assert {one.name for one in cache.entries()} == {"recording d"}
    said: list[str] = []
    small = FeatureCache(tmp_path, said.append)
    assert not small.write(key("e"), "recording e", {"x": np.zeros((1000, 6))})
    assert "recording e takes" in said[0] and small.account.n_not_kept == 1
    assert {one.name for one in cache.entries()} == {"recording d"}


def test_what_a_training_uses_is_not_removed_for_its_next_recording(tmp_path: Path) -> None:
    """Else a data set larger than the bound finds nothing, ever: each recording removes the one that is read next."""
    filled(tmp_path, "old")
    of_one = FeatureCache(tmp_path).entries()[0].n_bytes
    FeatureCache(tmp_path).set_max_gb(2.5 * of_one / 1e9)
    for found in ([0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]):
        said: list[str] = []
        cache = FeatureCache(tmp_path, said.append)
        for content, there in zip("abcd", found, strict=True):
            assert (cache.find(key(content)) is not None) == bool(there), content
            if not there:
                cache.write(key(content), content, {"x": X})
        assert {one.name for one in cache.entries()} == {"a", "b"}  # and what nobody used made room for them
        assert cache.account.n_not_kept == 2
        assert len(said) == 1 and "no room for c" in said[0] and "--max-gb" in said[0]


def test_what_there_is_no_room_for_is_mapped_and_gone_with_its_reader(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    found = cache.computed_aside({"x": Form(X.shape, X.dtype)}, lambda files: files["x"].put((), X), mapped=("x",))
    assert isinstance(found["x"], np.memmap) and np.array_equal(found["x"], X)
    assert left_in(tmp_path) == set() and cache.entries() == []


@pytest.mark.parametrize("max_gb", [float("nan"), float("inf"), -1.0])
def test_a_bound_that_is_no_size_is_refused_and_removes_nothing(tmp_path: Path, max_gb: float) -> None:
    cache = filled(tmp_path, "a")
    with pytest.raises(ConfigError, match=r"--max-gb .* is no size of a cache"):
        cache.set_max_gb(max_gb)
    assert cache.max_gb == 20.0
    (tmp_path / "cache.json").write_text(json.dumps({"max_gb": max_gb}))
    with pytest.raises(ConfigError, match=r"cache.json: does not say how large"):
        cache.write(key("b"), "b", {"x": X})
    assert len(cache.entries()) == 1


def test_clear_removes_entries_and_nothing_else(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", "b")
    (tmp_path / "notes-of-mine").mkdir()
    (tmp_path / "notes-of-mine" / "entry.json").write_text("{}")
    (tmp_path / "pose-mine.csv").write_text("")
    n, n_bytes = cache.clear()
    assert n == 2 and n_bytes > 2 * X.nbytes
    assert left_in(tmp_path) == {"notes-of-mine", "pose-mine.csv"}
