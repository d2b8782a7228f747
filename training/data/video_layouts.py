"""Folders of labelled video that are found without a ``dataset.yaml``.

``recordings``
    Folders that ethostream recorded, each a session. Its labels are the file ``labels.*`` in it, or, where its cameras
    were simulated, what the simulator knows. Cameras that delivered the same instants frame by frame are the views of
    one recording; where frames of one are missing, each camera is a recording by itself, of the same group.
``videos``
    Videos with a file of labels of the same name beside each, or in a folder ``labels/``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...streaming.messages import FrameTruth
from ...streaming.recording_info import EVENTS_FILE, INFO_FILE
from ...streaming.recording_reader import Recording
from ...streaming.topics import TRUTH
from ...sync.clock import NS_PER_S
from ...sync.errors import DataError
from ..config.recordings import VideoData

RECORDINGS: Final = "recordings"
VIDEOS: Final = "videos"
VIDEO_ENDINGS: Final = frozenset({".mp4", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm"})
LABEL_ENDINGS: Final = (".csv", ".tsv", ".txt", ".boris", ".mat")
_LABELS: Final = "labels"
_OUT_OF_STEP: Final = 0.5
"""Periods between exposures from which two frames are of different instants."""


def recorded_sessions(path: Path, stream: str | None) -> tuple[list[VideoData], list[str]]:
    """The labelled recordings of a folder, or the recording that it is.

    Args:
        path: the folder.
        stream: of labels, where their files hold several.

    Returns:
        Entries, paths relative to the folder, and what was left out or is odd, in words. No entries: it holds none.

    Raises:
        DataError: there are recordings, and none has labels.
        RecordingError, VideoError: one cannot be read.
    """
    folders = sorted(one.parent for one in [*path.glob(INFO_FILE), *path.glob(f"*/{INFO_FILE}")])
    entries: list[VideoData] = []
    notes: list[str] = []
    for folder in folders:
        found, said = _session(path, folder, stream)
        entries += found
        notes += said
    if folders and not entries:
        raise DataError(
            f"{path}: holds {len(folders)} recording(s), none of them with video and labels ({'; '.join(notes)}); put "
            "a file labels.csv into each"
        )
    return entries, notes


def labelled_videos(path: Path, stream: str | None) -> tuple[list[VideoData], list[str]]:
    """Videos with labels of the same name; see `recorded_sessions`.

    Raises:
        DataError: a video has several files of labels.
    """
    entries: list[VideoData] = []
    bare: list[str] = []
    for video in sorted(one for one in path.iterdir() if one.suffix.lower() in VIDEO_ENDINGS):
        files = list(_files_of(video.stem, path, path / _LABELS))
        if len(files) > 1:
            raise DataError(
                f"{video}: has several files of labels ({', '.join(one.name for one in files)}); keep one, or write a "
                "dataset.yaml"
            )
        if not files:
            bare.append(video.name)
            continue
        entries.append(
            _entry(name=video.stem, path=video.relative_to(path), labels=files[0].relative_to(path), stream=stream)
        )
    notes = [f"left out, since there are no labels: {', '.join(bare)}"] if entries and bare else []
    return entries, notes


def _session(root: Path, folder: Path, stream: str | None) -> tuple[list[VideoData], list[str]]:
    recording = Recording.open(folder)
    videos = {
        camera: recording.video_path(camera).relative_to(root)
        for camera in recording.info.cameras
        if recording.info.video and recording.video_path(camera).exists()
    }
    if not videos:
        return [], [f"{folder.name}: left out, since it holds no video"]
    files = list(_files_of(_LABELS, folder))
    if len(files) > 1:
        raise DataError(f"{folder}: has several files of labels ({', '.join(one.name for one in files)}); keep one")
    simulated = not files and any(isinstance(one.message, FrameTruth) for one in recording.messages([TRUTH]))
    if not files and not simulated:
        return [], [f"{folder.name}: left out, since there are no labels"]
    labels = (files[0] if files else folder / EVENTS_FILE).relative_to(root)
    kind = "simulator" if simulated else None
    name = folder.name
    first = next(iter(videos))
    if _in_step(recording, list(videos)):
        return [
            _entry(name=name, views=videos, labels=labels, stream=first if simulated else stream, label_kind=kind)
        ], []
    lost = f"{name}: frames are missing, so that its cameras are not in step"
    if not simulated:
        one = _entry(name=name, views={first: videos[first]}, labels=labels, stream=stream)
        return [one], [f"{lost}; of {', '.join(videos)} only {first} is taken, which the labels are taken to count"]
    apart = [
        _entry(
            name=f"{name}-{camera}", views={camera: video}, labels=labels, stream=camera, label_kind=kind, group=name
        )
        for camera, video in videos.items()
    ]
    return apart, [f"{lost}; each is a recording by itself"]


def _in_step(recording: Recording, cameras: list[str]) -> bool:
    """Whether row by row the videos show the same instants."""
    times: list[np.ndarray[Any, Any]] = []
    for camera in cameras:
        index, pairing = recording.index(camera)
        if any(place < 0 for place in pairing.header_of):
            return False
        times.append(np.array([index.times[place] for place in pairing.header_of], np.int64))
    if len({len(one) for one in times}) > 1:
        return False
    period_ns = NS_PER_S / recording.camera(cameras[0]).rate_hz
    return all(bool((np.abs(one - times[0]) < _OUT_OF_STEP * period_ns).all()) for one in times)


def _files_of(stem: str, *folders: Path) -> Iterator[Path]:
    """Files of labels of this name."""
    for folder in folders:
        for ending in LABEL_ENDINGS:
            if (folder / f"{stem}{ending}").is_file():
                yield folder / f"{stem}{ending}"


def _entry(**keys: Any) -> VideoData:
    return VideoData(kind="video", **keys)
