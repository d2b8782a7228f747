"""Engines on disk: what makes another one, and what never looks like one."""

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from ethostream.inference.engine_cache import RECORD, EngineCache, EngineKey, default_folder
from ethostream.sync.errors import BundleError, ConfigError

KEY = EngineKey(
    graph="embedder.onnx",
    model_sha256="a" * 64,
    builder="tensorrt",
    precision="fp16",
    shapes={"crops": (8, 300, 300)},
    versions={"gpu": "H100", "driver": "580.1", "tensorrt": "101600", "onnxruntime": "1.31.1"},
)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def build(cache: EngineCache, key: EngineKey = KEY, content: bytes = b"engine") -> None:
    with cache.building(key) as aside:
        (aside / "x.engine").write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "b" * 64},
        {"builder": "tensorrt_native"},
        {"precision": "fp32"},
        {"shapes": {"crops": (7, 300, 300)}},
        {"shapes": {"crops": (8, 300, 302)}},
        {"versions": {**KEY.versions, "gpu": "H200"}},
        {"versions": {**KEY.versions, "driver": "580.2"}},
        {"versions": {**KEY.versions, "tensorrt": "101601"}},
        {"versions": {**KEY.versions, "onnxruntime": "1.31.2"}},
    ],
)
def test_whatever_differs_is_another_engine(tmp_path: Path, change: dict[str, Any]) -> None:
    cache = EngineCache(tmp_path)
    build(cache)
    assert cache.find(KEY) is not None
    other = replace(KEY, **change)
    assert other.digest != KEY.digest and cache.find(other) is None
    build(cache, other, b"other")
    found = cache.find(other)
    assert found is not None and (found / "x.engine").read_bytes() == b"other"
    assert {one["n_bytes"] for one in cache.records()} == {5, 6}


def test_the_order_of_versions_does_not_matter() -> None:
    assert replace(KEY, versions=dict(reversed(KEY.versions.items()))).digest == KEY.digest


def test_a_build_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.building(KEY) as aside:
        (aside / "x.engine").write_bytes(b"half")
        raise KeyboardInterrupt
    assert cache.find(KEY) is None and not list(tmp_path.iterdir())
    with pytest.raises(BundleError, match="TensorRT wrote no engine"), cache.building(KEY):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["shorter", "gone", "no record", "torn record", "empty record", "another key"])
def test_an_engine_that_is_not_whole_is_built_again(tmp_path: Path, harm: str) -> None:
    cache = EngineCache(tmp_path)
    build(cache)
    place = cache.find(KEY)
    assert place is not None
    if harm == "shorter":
        (place / "x.engine").write_bytes(b"eng")
    elif harm == "gone":
        (place / "x.engine").unlink()
    elif harm == "no record":
        (place / RECORD).unlink()
    elif harm == "torn record":
        (place / RECORD).write_text('{"key"')
    elif harm == "empty record":
        (place / RECORD).write_text('{"key": [], "files": {}}')
    else:
        text = (place / RECORD).read_text()
        (place / RECORD).write_text(text.replace('"fp16"', '"fp32"'))
    assert cache.find(KEY) is None and (cache.records() == [] or harm == "another key")
    build(cache, content=b"engine anew")
    assert cache.find(KEY) == place and (place / "x.engine").read_bytes() == b"engine anew"
    assert [one for one in tmp_path.iterdir() if one.name.startswith("building-")] == []


def test_who_comes_second_keeps_the_first(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with cache.building(KEY) as aside:
        build(EngineCache(tmp_path), content=b"first")
        (aside / "x.engine").write_bytes(b"second")
    place = cache.find(KEY)
    assert place is not None and (place / "x.engine").read_bytes() == b"first"


def test_two_that_end_together_leave_one_whole_engine(tmp_path: Path, restless: None) -> None:
    """Both find a torn one in their place."""
    cache = EngineCache(tmp_path)
    place = tmp_path / KEY.digest
    for _ in range(30):
        barrier = Barrier(2)

        def build_beside(barrier: Barrier = barrier) -> bytes:
            with EngineCache(tmp_path).building(KEY) as aside:
                (aside / "x.engine").write_bytes(b"engine")
                barrier.wait(10)
            found = cache.find(KEY)
            assert found is not None
            return (found / "x.engine").read_bytes()

        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "torn").write_bytes(b"")
        with ThreadPoolExecutor(2) as pool:
            assert [one.result() for one in [pool.submit(build_beside) for _ in range(2)]] == [b"engine"] * 2
        assert [one.name for one in tmp_path.iterdir()] == [KEY.digest]


def test_where_locks_do_not_hold_the_faster_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the last moment another process puts a whole engine there."""
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if not target.exists():
            shutil.copytree(self, target)
            (target / "x.engine").write_bytes(b"faster")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    build(EngineCache(tmp_path), content=b"slower")
    place = EngineCache(tmp_path).find(KEY)
    assert place is not None and (place / "x.engine").read_bytes() == b"faster"
    assert list(tmp_path.iterdir()) == [place]


def test_a_place_that_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    (tmp_path / KEY.digest).write_text("no folder")
    with pytest.raises(ConfigError, match=f"{KEY.digest} cannot be replaced .*remove it"):
        build(EngineCache(tmp_path))
    assert [one.name for one in tmp_path.iterdir()] == [KEY.digest]


def test_timings_are_shared_by_the_engines_of_one_gpu(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    one = cache.timing_folder(KEY.versions)
    assert one.is_dir() and one == cache.timing_folder(dict(reversed(KEY.versions.items())))
    assert one != cache.timing_folder({**KEY.versions, "gpu": "H200"})
    assert cache.records() == []


def test_where_engines_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == EngineCache().folder == tmp_path / "ethostream" / "engines"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_folder() == tmp_path / "home" / ".cache" / "ethostream" / "engines"
    assert EngineCache(tmp_path / "none").records() == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"engine cache .*file.*gpu\.engine_cache"):
        build(EngineCache(tmp_path / "file" / "engines"))
