"""A cache that other processes use and other users own, kills and full disks included."""

import os
import resource
import signal
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from cache_entries import X, filled, flip, key, left_in, place_of
from ethostream.sync.errors import DataError, DiskFullError
from ethostream.training.cache.entry import Form
from ethostream.training.cache.store import FeatureCache


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


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from cache_entries import X, key
from ethostream.training.cache import folder, store
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
    folder.sync_folder = killed
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
from test_feature_cache_shared import fill_disk
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


OF_ANOTHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_feature_cache_shared import share
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
            flip(place_of(tmp_path, "damaged") / "x.npy")
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
