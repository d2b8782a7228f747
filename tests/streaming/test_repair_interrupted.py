"""A repair that is killed, or that finds no room: nothing is lost, and the next one ends it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ethostream.streaming import repair as repair_module
from ethostream.streaming.folder_lock import LOCK_FILE
from ethostream.streaming.repair import WORK_FOLDER, repair
from ethostream.streaming.verify import verify
from ethostream.sync.errors import DiskFullError
from torn_recording import record, snapshot, torn

__all__ = ["torn"]


@pytest.mark.parametrize("step", range(13))
def test_a_repair_that_is_killed_is_taken_up_by_the_next(
    torn: tuple[Any, Path], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of the folder's names is a point at which it may end; all torn bytes are there at each of them."""
    _, folder = torn
    originals = {name: (folder / name).read_bytes() for name in ("events.mcap", "cam0.mkv", "recording.json")}
    left = [step]

    class KilledError(Exception):
        pass

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return real(*args, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", counted(os.link))
        patched.setattr(Path, "replace", counted(Path.replace))
        patched.setattr(repair_module, "sync_folder", counted(repair_module.sync_folder))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            first = repair(folder).state
        except KilledError:
            first = "killed"
    for name, data in originals.items():
        places = [folder / name, folder / "torn" / name]
        assert any(place.exists() and place.read_bytes() == data for place in places), (name, step)
    committed = (folder / WORK_FOLDER / "commit.json").exists()
    closed = json.loads((folder / "recording.json").read_text())["closed"]
    expected = "finished" if committed else "whole" if closed else "repaired"
    assert first == "killed" or expected == "whole"
    assert repair(folder).state == expected
    after = verify(folder, decode=True)
    assert after.ok, after.errors
    assert {path.name for path in (folder / "torn").iterdir()} == set(originals)
    assert repair(folder).state == "whole"


def test_torn_files_that_were_deleted_in_between_take_nothing_along(
    torn: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All new files are in their place, the note is still there, and a person has made room."""
    _, folder = torn

    class KilledError(Exception):
        pass

    def killed(_path: Path) -> None:
        if _path == folder:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(repair_module, "sync_folder", killed)
        with pytest.raises(KilledError):
            repair(folder)
    files = {name: (folder / name).read_bytes() for name in ("events.mcap", "cam0.mkv", "recording.json")}
    shutil.rmtree(folder / "torn")
    assert repair(folder).state == "finished"
    assert files == {name: (folder / name).read_bytes() for name in files}
    assert verify(folder, decode=True).ok


def test_it_needs_room_for_the_new_files(make_rig: Any, small_disk: Path) -> None:
    rig = make_rig(folder=small_disk / "live", shape=(96, 128))
    record(rig)
    folder = snapshot(rig, small_disk / "rec")
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 300_000))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (".reserve", LOCK_FILE)}
    with pytest.raises(DiskFullError, match="free some, or copy"):
        repair(folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK_FILE}
    (small_disk / "filler").unlink()
    repair(folder)
    assert verify(folder).ok
