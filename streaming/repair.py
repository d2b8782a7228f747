"""Closing a recording that a crash or a power cut has left open: whole files beside the torn ones, then a swap.

All new files are written into ``.repair/`` and forced onto the disk; then a commit note is; only then are the torn
files moved to ``torn/`` and the new ones put in their place. A repair that is itself cut off is taken up by the next
one: before the note it begins anew, after it it goes on swapping. At any instant every torn byte is in the folder.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..sync.clock import NS_PER_S, ClockAnchor
from ..sync.errors import DiskFullError, RecordingError, VideoError
from .container_end import is_whole
from .durable import sync_folder, write_atomically
from .event_log import EventLog
from .folder_lock import FolderLock
from .recording_info import (
    EVENTS_FILE,
    INFO_FILE,
    RecordingInfo,
    RepairNote,
    read_info,
    software_versions,
    write_info,
)
from .recording_writer import RESERVE_FILE
from .repair_files import OnProgress, account_poses, mend_events, mend_video, read_torn
from .topics import MIB

WORK_FOLDER = ".repair"
TORN_FOLDER = "torn"
_COMMIT = "commit.json"


@dataclass(slots=True)
class RepairResult:
    """What `repair` has done.

    Attributes:
        path: the recording.
        state: ``whole``: it was closed and is untouched; ``repaired``: now; ``finished``: an earlier repair that was
            cut off has been brought to its end.
        note: what was left out, as it stands in ``recording.json``; None where nothing ever was repaired.
    """

    path: str
    state: Literal["whole", "repaired", "finished"]
    note: RepairNote | None = None

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return {"path": self.path, "state": self.state, "repaired": self.note and self.note.model_dump(mode="json")}


def repair(path: Path | str, *, keep_torn: bool = True, on_progress: OnProgress | None = None) -> RepairResult:
    """Close a torn recording. Harmless on a whole one, and a second time.

    Args:
        path: the recording.
        keep_torn: False deletes the torn files at the end.
        on_progress: told how far it is, from this thread.

    Raises:
        RecordingError: it is not a recording, or its recorder, or another repair, is still at work on it.
        DiskFullError: the new files do not fit beside the torn ones.
        VideoError: a video could be read and not be written anew.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RecordingError(f"{folder}: is not a folder; give the folder of a recording")
    tell = on_progress or (lambda _what, _part: None)
    with FolderLock(folder, "repair"):
        if (folder / WORK_FOLDER / _COMMIT).exists():
            return _finish(folder, "finished")
        info = read_info(folder)
        if info.closed and not _damaged(folder, info):
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)  # of a repair that ended just before it cleared up
            return RepairResult(str(folder), "whole", info.repaired)
        _discard(folder)
        try:
            _prepare(folder, info, keep_torn, tell)
        except (RecordingError, VideoError):
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)  # the room that it takes may be what was lacking
            raise
        return _finish(folder, "repaired")


def needs_repair(folder: Path) -> bool:
    """It was not closed, or a repair of it was cut off.

    Raises:
        RecordingError: it is not a recording.
    """
    info = read_info(folder)
    return (folder / WORK_FOLDER / _COMMIT).exists() or not info.closed or _damaged(folder, info)


def _damaged(folder: Path, info: RecordingInfo) -> bool:
    """A file was cut after it was closed, as on a disk that lied about what it had taken."""
    if not EventLog(folder / EVENTS_FILE).closed:
        return True
    videos = [folder / one.file for one in info.cameras.values()]
    return any(video.exists() and not is_whole(video) for video in videos)


def _discard(folder: Path) -> None:
    shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    (folder / RESERVE_FILE).unlink(missing_ok=True)
    (folder / f"{INFO_FILE}.new").unlink(missing_ok=True)


def _prepare(folder: Path, info: RecordingInfo, keep_torn: bool, tell: OnProgress) -> None:
    """Write all new files, and the commit note last."""
    _check_room(folder, info)
    work = folder / WORK_FOLDER
    try:
        work.mkdir()
        torn = read_torn(folder, info, tell)
        names: list[str] = []
        for camera in info.cameras:
            names += mend_video(torn, camera, work, tell)
        for source in info.poses:
            account_poses(torn, source)
        names.append(mend_events(torn, work, tell))
        note = RepairNote(
            utc=datetime.fromtimestamp(ClockAnchor.take().utc_ns // NS_PER_S, UTC).isoformat(),
            ethostream=software_versions().get("ethostream", ""),
            t_last_ns=torn.t_last_ns,
            cut_bytes=torn.cut_bytes,
            cut_frames=torn.cut_frames,
            missing=torn.missing,
            kept=_free_name(folder) if keep_torn else "",
        )
        closed = info.model_copy(
            update={
                "closed": True,
                "t_stop_ns": torn.t_last_ns,
                "written": torn.written,
                "declared": torn.declared,
                "n_messages": EventLog(work / EVENTS_FILE).count(),
                "n_refused": torn.n_refused,
                "video_stopped": torn.video_stopped,
                "repaired": note,
            }
        )
        write_info(work, closed)
        # The account last: until it is in its place the recording is torn, and nobody reads it as whole.
        new = [name for name in (*names, INFO_FILE) if (work / name).exists()]
        emptied = [name for name in names if name not in new]
        write_atomically(work / _COMMIT, json.dumps({"new": new, "emptied": emptied, "kept": note.kept}))
    except OSError as error:
        raise RecordingError(f"{work}: cannot be written ({error.strerror}); check the disk and its rights") from error


def _free_name(folder: Path) -> str:
    """A recording that is damaged again after a repair keeps what was torn the first time."""
    names = (TORN_FOLDER, *(f"{TORN_FOLDER}{n}" for n in range(2, 1000)))
    return next(name for name in names if not (folder / name).exists())


def _check_room(folder: Path, info: RecordingInfo) -> None:
    files = [folder / EVENTS_FILE, *(folder / one.file for one in info.cameras.values())]
    needed = sum(path.stat().st_size for path in files if path.exists()) + MIB
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"{folder}: repair writes whole files beside the torn ones and needs {needed / MIB:.0f} MiB, this disk has "
            f"{free / MIB:.0f} MiB free; free some, or copy the recording to another disk and repair it there"
        )


def _finish(folder: Path, state: Literal["repaired", "finished"]) -> RepairResult:
    """Swap: every torn file to ``torn/``, every new one into its place. May be begun again at any point."""
    work = folder / WORK_FOLDER
    try:
        commit: dict[str, Any] = json.loads((work / _COMMIT).read_text(encoding="utf-8"))
        kept = folder / commit["kept"] if commit["kept"] else work / TORN_FOLDER
        kept.mkdir(exist_ok=True)
        # What is already in its place has left the work folder, and is not taken for a torn file.
        left = [name for name in commit["new"] if (work / name).exists()]
        for name in (*left, *commit["emptied"]):
            _keep(folder / name, kept / name)
        sync_folder(kept)
        for name in (*left, *commit["emptied"]):
            if (folder / name).exists() and not (kept / name).exists():
                (folder / name).rename(kept / name)
            if name in left:
                (work / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)  # nothing of it could be kept
        for one in (kept, folder):
            sync_folder(one)
        # The note goes first: a folder without it is only something left over.
        (work / _COMMIT).unlink()
        shutil.rmtree(work)
        sync_folder(folder)
    except OSError as error:
        raise RecordingError(
            f"{folder}: the repaired files cannot be put in their place ({error.strerror}); check rights and disk, "
            "then run repair again: it goes on from here"
        ) from error
    return RepairResult(str(folder), state, read_info(folder).repaired)


def _keep(place: Path, kept: Path) -> None:
    """The torn file under its other name too."""
    if place.exists() and not kept.exists():
        with suppress(OSError):  # a disk without links: it is moved in its turn, and for an instant has no new one
            os.link(place, kept)
