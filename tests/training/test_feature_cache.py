"""What lies in the cache is whole and of what it says, or it is not taken."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_entries import X, filled, flip, key, left_in, place_of
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.cache.entry import Form
from ethostream.training.cache.place import default_folder, open_cache
from ethostream.training.cache.store import FeatureCache
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies


def test_what_is_written_is_found_again(tmp_path: Path) -> None:
    cache = filled(tmp_path / "deep" / "cache", "a")
    found = FeatureCache(tmp_path / "deep" / "cache").find(key())
    assert found is not None and np.array_equal(found["x"], X)
    assert (found["x"].dtype, found["x"].flags.writeable) == (np.float32, True)
    assert cache.find(key("b")) is None
    assert (cache.account.n_found, cache.account.n_computed, cache.account.damaged) == (0, 1, [])
    assert FeatureCache(tmp_path / "nowhere").find(key()) is None
    assert not (tmp_path / "nowhere").exists()


@given(
    numpy_strategies.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32, np.float64]),
        numpy_strategies.array_shapes(max_dims=4, max_side=4, min_side=0),
    )
)
def test_any_array_comes_back(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    cache.write(key(), "", {"x": values, "y": X})
    found = cache.find(key())
    assert found is not None and (found["x"].dtype, found["x"].shape) == (values.dtype, values.shape)
    assert found["x"].tobytes() == values.tobytes()


def test_arrays_are_filled_in_any_order_and_mapped(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    crops = np.random.default_rng(0).integers(0, 255, (2, 10, 3, 3), np.uint8)
    with cache.writing(key(), "", {"crops": Form(crops.shape, np.uint8)}) as files:
        for view, start, stop in ((1, 0, 4), (0, 0, 10), (1, 4, 10)):
            files["crops"].put((view, start), crops[view, start:stop])
    found = cache.find(key(), mapped=("crops",))
    assert found is not None and isinstance(found["crops"], np.memmap)
    assert np.array_equal(found["crops"], crops)
    found["crops"][0] = 0  # changes what this reader sees, and nothing on the disk
    again = cache.find(key())
    assert again is not None and np.array_equal(again["crops"], crops)
    with pytest.raises(DataError, match="9 of its values were not computed"):
        with cache.writing(key("b"), "", {"crops": Form((2, 3, 3), np.uint8)}) as files:
            files["crops"].put((0,), crops[0, 0])
    assert left_in(tmp_path) == {f"pose-{key().digest}"}


DAMAGE = {
    "a bit": (lambda place: flip(place / "x.npy"), "x.npy: its checksum is"),
    "cut": (lambda place: os.truncate(place / "x.npy", 1000), "x.npy: has 1000 bytes and should have 2528"),
    "longer": (lambda place: (place / "x.npy").open("ab").write(b"0"), "x.npy: has 2529 bytes"),
    "gone": (lambda place: (place / "x.npy").unlink(), "x.npy: cannot be read"),
    "record cut": (lambda place: os.truncate(place / "entry.json", 50), "entry.json: cannot be read"),
    "record empty": (lambda place: (place / "entry.json").write_text("{}"), "entry.json: is no record"),
    "of another": (
        lambda place: shutil.copy(place.with_name(f"pose-{key('b').digest}") / "entry.json", place),
        "entry.json: is the record of something else",
    ),
    "array of another": (
        lambda place: shutil.copy(place.with_name(f"pose-{key('b').digest}") / "x.npy", place),
        "x.npy: its checksum is",
    ),
}


@pytest.mark.parametrize("mapped", [(), ("x",)])
@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_entry_is_named_counted_removed_and_never_taken(
    tmp_path: Path, what: str, mapped: tuple[str, ...]
) -> None:
    filled(tmp_path, "a", "c")
    FeatureCache(tmp_path).write(key("b"), "b", {"x": X + 1})
    damage, fault = DAMAGE[what]
    damage(place_of(tmp_path, "a"))
    said: list[str] = []
    cache = FeatureCache(tmp_path, said.append)
    assert cache.find(key("a"), mapped) is None
    assert not place_of(tmp_path, "a").exists()
    assert len(cache.account.damaged) == len(said) == 1
    assert fault in said[0] and "removed, and computed anew" in said[0]
    assert cache.find(key("c"), mapped) is not None
    assert cache.write(key("a"), "a", {"x": X})
    found = cache.find(key("a"), mapped)
    assert found is not None and np.array_equal(found["x"], X)
    assert (cache.account.n_found, cache.account.n_computed, len(cache.account.damaged)) == (2, 1, 1)


def test_a_mapped_array_outlives_its_entry(tmp_path: Path) -> None:
    found = filled(tmp_path, "a").find(key("a"), mapped=("x",))
    assert FeatureCache(tmp_path).clear()[0] == 1
    assert found is not None and np.array_equal(found["x"], X)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/cache cannot be written .*--cache DIR"):
        FeatureCache(tmp_path / "file" / "cache").write(key(), "a", {"x": X})
    with pytest.raises(ConfigError, match="is a file"):
        open_cache(str(tmp_path / "file"))
    (tmp_path / "cache.json").write_text('{"max_gb": "much"}')
    with pytest.raises(ConfigError, match=r"cache.json: does not say how large"):
        FeatureCache(tmp_path).write(key(), "a", {"x": X})


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = open_cache()
    assert found is not None and found.folder == tmp_path / "ethostream" / "features" == default_folder()
    assert open_cache("none") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "ethostream" / "features"


def test_a_record_says_what_it_is_of(tmp_path: Path) -> None:
    filled(tmp_path, "a")
    record = json.loads((place_of(tmp_path, "a") / "entry.json").read_text())
    assert record["key"] == {"kind": "pose", "content": "a", "recipe": {}}
    (entry,) = FeatureCache(tmp_path).entries()
    assert (entry.kind, entry.name, entry.shapes, entry.fault) == ("pose", "recording a", {"x": [100, 6]}, "")
    with (place_of(tmp_path, "a") / "x.npy").open("rb") as file:
        assert np.array_equal(np.load(file, allow_pickle=False), X)  # any program that reads .npy reads it
