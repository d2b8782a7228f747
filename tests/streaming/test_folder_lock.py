"""Who writes a folder: a repair keeps off while a recorder lives, and no longer."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ethostream.streaming.folder_lock import LOCK_FILE, FolderLock
from ethostream.streaming.repair import repair
from ethostream.streaming.verify import verify
from ethostream.sync.errors import RecordingError
from torn_recording import record, torn

__all__ = ["torn"]


def test_it_refuses_while_the_recorder_lives(make_rig: Any) -> None:
    rig = make_rig()
    record(rig)
    with pytest.raises(RecordingError, match=f"is being written by a recorder \\(process {os.getpid()} "):
        repair(rig.folder)
    assert any("being written" in error for error in verify(rig.folder).errors)


def test_a_lock_of_another_process_with_the_same_number_holds_nothing(torn: tuple[Any, Path]) -> None:
    _, folder = torn
    path = folder / LOCK_FILE
    mine = {**json.loads(path.read_text()), "inode": path.stat().st_ino}
    path.write_text(json.dumps(mine))
    with pytest.raises(RecordingError, match="is being written by a recorder"):
        repair(folder)
    path.write_text(json.dumps({**mine, "created": mine["created"] + "1"}))
    assert repair(folder).state == "repaired"


def test_a_lock_whose_file_was_removed_in_between_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder ends between our opening of its file and our lock: a third one would make a new file and lock that."""
    first, real = FolderLock(tmp_path, "recorder"), fcntl.flock

    def late(fd: int, operation: int) -> None:
        first.close()
        real(fd, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", late)
        with pytest.raises(RecordingError, match="try again"):
            FolderLock(tmp_path, "repair")
    FolderLock(tmp_path, "repair").close()


def test_without_locks_of_the_system_the_process_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_fd: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with FolderLock(tmp_path, "recorder"), pytest.raises(RecordingError, match="is being written by a recorder"):
        FolderLock(tmp_path, "repair")
    FolderLock(tmp_path, "repair").close()
