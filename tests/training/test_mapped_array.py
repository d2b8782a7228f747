"""An array that stays on the disk goes to another process as the name of its file."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.training.cache.mapped import MappedArray, map_again, map_array

X = np.arange(300_000, dtype=np.int32).reshape(300, 1000)


def mapped(folder: Path) -> MappedArray:
    path = folder / "x.bin"
    path.write_bytes(b"header" + X.tobytes())
    return map_array(path, X.dtype, 6, X.shape)


def test_the_whole_array_goes_by_name_and_is_mapped_again(tmp_path: Path) -> None:
    sent = bytes(ForkingPickler.dumps({"crops": mapped(tmp_path)}))
    assert len(sent) < 2000
    found = ForkingPickler.loads(sent)["crops"]
    assert isinstance(found, MappedArray) and np.array_equal(found, X)
    found[0, 0] = 7  # stays with the process that did it
    assert np.array_equal(mapped_bytes(tmp_path), X)


def mapped_bytes(folder: Path) -> np.ndarray:
    return np.frombuffer((folder / "x.bin").read_bytes()[6:], X.dtype).reshape(X.shape)


def test_a_part_of_it_and_what_is_gone_go_as_they_are(tmp_path: Path) -> None:
    whole = mapped(tmp_path)
    part = ForkingPickler.loads(ForkingPickler.dumps(whole[3:5]))
    assert np.array_equal(part, X[3:5])
    sums = ForkingPickler.loads(ForkingPickler.dumps(whole + 1))
    assert np.array_equal(sums, X + 1)
    (tmp_path / "x.bin").unlink()
    assert np.array_equal(ForkingPickler.loads(ForkingPickler.dumps(whole)), X)


def test_what_was_removed_on_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was the cache cleared meanwhile"):
        map_again(str(tmp_path / "x.bin"), "<i4", 6, (3,))
