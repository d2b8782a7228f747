"""TensorRT engines on disk: one folder per engine, named by the hash of everything that the engine depends on.

An engine is built aside and moved to its place when it is whole, so that a build that was cut off leaves nothing that
looks like one, and two processes that build the same do not meet.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ..sync.errors import BundleError, ConfigError
from ..sync.whole_file import write_whole

RECORD: Final = "engine.json"
DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine depends on: where one of these differs, another engine is built.

    Attributes:
        graph: file name of the graph, for people.
        model_sha256: of the bytes of the graph, as it came with the bundle.
        builder: ``tensorrt`` (through ONNX Runtime) or ``tensorrt_native``.
        precision: ``fp32`` or ``fp16``.
        shapes: input → its shape.
        versions: of TensorRT, ONNX Runtime, CUDA and the driver, of what converted the graph to ``fp16`` where that is
            not TensorRT itself, and which GPU.
    """

    graph: str
    model_sha256: str
    builder: str
    precision: str
    shapes: dict[str, tuple[int, ...]]
    versions: dict[str, str]

    @property
    def digest(self) -> str:
        """Beginning of the sha256 of it all."""
        return _digest(asdict(self))


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]


def default_folder() -> Path:
    """``ethostream/engines`` in the user's cache folder (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "ethostream" / "engines"


class EngineCache:
    """The engines of a folder.

    Args:
        folder: made when the first engine is built; None: `default_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def find(self, key: EngineKey) -> Path | None:
        """Folder of an engine that is there and whole."""
        place = self.folder / key.digest
        record = _read(place)
        return place if record is not None and record["key"] == _plain(key) else None

    def timing_folder(self, versions: Mapping[str, str]) -> Path:
        """Where TensorRT keeps how long its kernels take on a GPU: it serves every engine that is built there."""
        place = self.folder / f"timing-{_digest(dict(versions))}"
        self._make(place)
        return place

    @contextmanager
    def building(self, key: EngineKey) -> Generator[Path]:
        """A folder to build in, which becomes that of the engine where the block ends well.

        Raises:
            ConfigError: the cache folder cannot be written.
            BundleError: nothing was built.
        """
        self._make(self.folder)
        aside = Path(tempfile.mkdtemp(prefix="building-", dir=self.folder))
        try:
            yield aside
            self._finish(key, aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _finish(self, key: EngineKey, aside: Path) -> None:
        sizes = {one.name: one.stat().st_size for one in sorted(aside.iterdir()) if one.is_file()}
        if not sizes:
            raise BundleError(f"{key.graph}: TensorRT wrote no engine, so none of its operators would run there")
        write_whole(aside / RECORD, json.dumps({"key": _plain(key), "files": sizes}, indent=1) + "\n")
        place = self.folder / key.digest
        with self._alone():
            if self.find(key) is not None:
                return
            shutil.rmtree(place, ignore_errors=True)  # torn, or of an older format
            try:
                aside.rename(place)
            except OSError as error:
                # Where locks do not hold, on some network disks, another process may have been faster.
                if self.find(key) is None:
                    raise ConfigError(
                        f"engine cache {self.folder}: {place.name} cannot be replaced ({error.strerror}); remove it, "
                        "or set gpu.engine_cache to a folder of yours"
                    ) from error

    @contextmanager
    def _alone(self) -> Generator[None]:
        """One process or thread at a time, where the disk has locks."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def records(self) -> list[dict[str, Any]]:
        """Every whole engine: its folder, key and size in bytes."""
        if not self.folder.is_dir():
            return []
        found: list[dict[str, Any]] = []
        for place in sorted(self.folder.iterdir()):
            record = _read(place)
            if record is not None:
                n_bytes = sum(record["files"].values())
                found.append({"folder": str(place), **record["key"], "n_bytes": n_bytes})
        return found

    def _make(self, place: Path) -> None:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"engine cache {self.folder}: cannot be written ({error.strerror}); set gpu.engine_cache to a folder "
                "of yours"
            ) from error


def _plain(key: EngineKey) -> dict[str, Any]:
    """The key as JSON gives it back."""
    return json.loads(json.dumps(asdict(key)))


def _read(place: Path) -> dict[str, Any] | None:
    """The record of an engine folder; None: there is none, or a file is not as long as it says."""
    try:
        record: dict[str, Any] = json.loads((place / RECORD).read_text(encoding="utf-8"))
        whole = all((place / name).stat().st_size == size for name, size in record["files"].items())
        return record if whole and record["key"]["graph"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
