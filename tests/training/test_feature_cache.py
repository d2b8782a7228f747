"""What lies in the cache is whole and of what it says, or it is not taken."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethostream.sync.errors import ConfigError, DataError, DiskFullError
from ethostream.training.cache.crops import CODE_BELOW, CODE_ITSELF
from ethostream.training.cache.entry import Form
from ethostream.training.cache.key import CacheKey, array_sha256, code_below, imported_by, modules_below
from ethostream.training.cache.place import default_folder, open_cache
from ethostream.training.cache.store import FeatureCache
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

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


def test_everything_in_a_key_counts() -> None:
    keys = [
        key(), key("b"), key(a=1), key(a=2), key(a={"b": [1, 2]}), key(a={"b": [2, 1]}), CacheKey("crops", "a", {}),
    ]  # fmt: skip
    assert len({one.digest for one in keys}) == len(keys)
    assert key(a=1, b=2).digest == CacheKey("pose", "a", {"b": 2, "a": 1}).digest
    arrays = [X, X[:50], X.reshape(50, 12), X.astype(np.float64), X + np.float32(1e-6) * (X == 3)]
    assert len({array_sha256(one) for one in arrays}) == len(arrays)


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


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a bit": (lambda place: _flip(place / "x.npy"), "x.npy: its checksum is"),
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


def test_a_mapped_array_goes_to_another_process_as_the_name_of_its_file(tmp_path: Path) -> None:
    """As `fit.devices` above 1 sends it."""
    cache = filled(tmp_path, "a")
    found = cache.find(key("a"), mapped=("x",))
    assert found is not None
    sent = bytes(ForkingPickler.dumps(found["x"]))
    assert len(sent) < 600 < X.nbytes
    again = ForkingPickler.loads(sent)
    assert isinstance(again, np.memmap) and np.array_equal(again, X)
    part = ForkingPickler.loads(bytes(ForkingPickler.dumps(found["x"][3:7, 1:])))
    assert np.array_equal(part, X[3:7, 1:]) and not isinstance(part, np.memmap)
    cache.clear()
    with pytest.raises(DataError, match=r"x.npy cannot be mapped by a second process"):
        ForkingPickler.loads(sent)
    unlinked = ForkingPickler.loads(bytes(ForkingPickler.dumps(found["x"])))
    assert np.array_equal(unlinked, X) and not isinstance(unlinked, np.memmap)


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


def test_a_mapped_array_outlives_its_entry(tmp_path: Path) -> None:
    found = filled(tmp_path, "a").find(key("a"), mapped=("x",))
    assert FeatureCache(tmp_path).clear()[0] == 1
    assert found is not None and np.array_equal(found["x"], X)


def test_clear_removes_entries_and_nothing_else(tmp_path: Path) -> None:
    cache = filled(tmp_path, "a", "b")
    (tmp_path / "notes-of-mine").mkdir()
    (tmp_path / "notes-of-mine" / "entry.json").write_text("{}")
    (tmp_path / "pose-mine.csv").write_text("")
    n, n_bytes = cache.clear()
    assert n == 2 and n_bytes > 2 * X.nbytes
    assert left_in(tmp_path) == {"notes-of-mine", "pose-mine.csv"}


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_feature_cache import X, key
from ethostream.training.cache import store
from ethostream.training.cache.entry import ArrayFile

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[3]
if where == "midst":
    put = ArrayFile.put
    ArrayFile.put = lambda self, start, values: (put(self, start, values[:50]), killed())
elif where == "record":
    store.write_record = killed
else:
    store.sync_folder = killed
store.FeatureCache(Path(sys.argv[2])).write(key(), "a", {"x": X})
"""


@pytest.mark.parametrize("where", ["midst", "record", "move"])
def test_what_a_kill_left_half_is_never_taken(tmp_path: Path, where: str) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, here, str(tmp_path), where], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (left,) = left_in(tmp_path)
    assert left.startswith(".feature-building-")
    cache = FeatureCache(tmp_path)
    assert cache.entries() == [] and cache.find(key()) is None and cache.account.damaged == []
    assert cache.write(key(), "a", {"x": X})
    assert left_in(tmp_path) == {f"pose-{key().digest}"}  # and the rest of the dead is gone


def test_what_another_process_builds_is_left_alone(tmp_path: Path) -> None:
    first, second = FeatureCache(tmp_path), FeatureCache(tmp_path)
    with first.writing(key(), "a", {"x": Form(X.shape, X.dtype)}) as files:
        files["x"].put((0,), X[:50])
        assert second.write(key(), "a", {"x": X})  # the same, faster
        assert second.write(key("b"), "b", {"x": X})
        files["x"].put((50,), X[50:])
    found = first.find(key())
    assert found is not None and np.array_equal(found["x"], X)
    assert [one.name for one in first.entries()] == ["a", "b"]


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_feature_cache import X, fill_disk, key
fill_disk(Path(sys.argv[2]))
"""


def fill_disk(folder: Path) -> None:
    """In a process of its own: no file may become longer than 4 kB."""
    cache = filled(folder, "before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        cache.write(key(), "a", {"x": np.zeros((1000, 6))})
    except DiskFullError as error:
        sys.stdout.write(str(error))
        assert [one.name for one in cache.entries()] == ["recording before"]
        assert cache.find(key()) is None and cache.account.damaged == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", FULL, here, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert "feature cache: no room for" in said and "--cache none" in said and "--max-gb" in said
    assert left_in(tmp_path) == {place_of(tmp_path, "before").name}


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/cache cannot be written .*--cache DIR"):
        FeatureCache(tmp_path / "file" / "cache").write(key(), "a", {"x": X})
    with pytest.raises(ConfigError, match="is a file"):
        open_cache(str(tmp_path / "file"))
    (tmp_path / "cache.json").write_text('{"max_gb": "much"}')
    with pytest.raises(ConfigError, match=r"cache.json: does not say how large"):
        FeatureCache(tmp_path).write(key(), "a", {"x": X})


OF_ANOTHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_feature_cache import share
share()
"""


def share() -> None:
    """In a process of its own, in a cache of root's whose entry `a` nobody may open, `b` others may read."""
    was_root = os.geteuid() == 0
    if was_root:
        os.setuid(65534)
    said: list[str] = []
    cache = FeatureCache(Path(), said.append)
    assert cache.find(key("a")) is None
    assert len(said) == 1 and "may not be read" in said[0] and cache.account.damaged == []
    assert not cache.write(key("a"), "a", {"x": X})  # it is computed, and what is there stays
    found = cache.find(key("b"))
    assert found is not None and np.array_equal(found["x"], X)
    assert {(one.name, one.locked) for one in cache.entries()} >= {("", True), ("recording b", False)}
    if was_root:
        assert cache.find(key("damaged")) is None
        assert "another user's to remove" in said[-1] and len(cache.account.damaged) == 1
        assert not cache.write(key("damaged"), "", {"x": X})
    cache.set_max_gb(1e-6)
    assert cache.clear()[0] == 0


def test_entries_of_others_are_read_where_they_may_be_and_never_removed(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        filled(tmp_path, "a", "b")
        if os.geteuid() == 0:
            FeatureCache(tmp_path).write(key("damaged"), "", {"x": X})
            _flip(place_of(tmp_path, "damaged") / "x.npy")
    finally:
        os.umask(before)
    assert place_of(tmp_path, "b").stat().st_mode & 0o777 == 0o755
    place_of(tmp_path, "a").chmod(0)
    tmp_path.chmod(0o777)
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", OF_ANOTHER, here], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    place_of(tmp_path, "a").chmod(0o755)
    found = FeatureCache(tmp_path).find(key("a"))
    assert found is not None and np.array_equal(found["x"], X)
    assert not any(name.startswith(".feature") for name in left_in(tmp_path))


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = open_cache()
    assert found is not None and found.folder == tmp_path / "ethostream" / "features" == default_folder()
    assert open_cache("none") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "ethostream" / "features"


def test_code_that_images_pass_through_is_found_by_its_imports() -> None:
    """Also what is imported inside a function, and what that imports."""
    found = modules_below("inference.cropper")
    assert {
        f"ethostream.inference.{name}"
        for name in ("cropper", "crop_rule", "grey", "background_cropper", "background_bootstrap")
    } <= found
    assert "ethostream.acquisition.simulated_bedding" in modules_below("acquisition.simulated_camera")
    assert "ethostream.streaming.container_end" in modules_below("streaming.video")
    assert len({code_below(one) for one in ("inference.cropper", "inference.grey", "streaming.video")}) == 3


def test_a_record_says_what_it_is_of(tmp_path: Path) -> None:
    filled(tmp_path, "a")
    record = json.loads((place_of(tmp_path, "a") / "entry.json").read_text())
    assert record["key"] == {"kind": "pose", "content": "a", "recipe": {}}
    (entry,) = FeatureCache(tmp_path).entries()
    assert (entry.kind, entry.name, entry.shapes, entry.fault) == ("pose", "recording a", {"x": [100, 6]}, "")
    with (place_of(tmp_path, "a") / "x.npy").open("rb") as file:
        assert np.array_equal(np.load(file, allow_pickle=False), X)  # any program that reads .npy reads it


def test_every_module_that_images_pass_through_is_in_their_key() -> None:
    """What reads recordings imports nothing that makes pixels and is not hashed, the simulator's views included."""
    hashed = set[str]().union(*(modules_below(one) for one in CODE_BELOW))
    for module in CODE_ITSELF:
        makes_images = {one for one in imported_by(module) if one.split(".")[1] in ("acquisition", "streaming")}
        assert makes_images <= hashed, module
        seen = {one for one in imported_by(module) if one.split(".")[1] == "inference"}
        # Names alone, and the feature steps, each of which stands in the key with the hash of its code.
        assert seen - hashed <= {"ethostream.inference.manifest", "ethostream.inference.features"}, module
    assert "ethostream.acquisition.simulated_viewpoints" in imported_by("training.data.video_sources")
