"""Videos of a moving board: which frames to calibrate from.

Not all frames: neighbours repeat each other, and those in which the board moves fast are smeared. Every k-th frame is
looked at in all cameras; sharp instants are then taken one by one, always that which brings most that is still missing.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from ...streaming.video import VideoReader
from ...sync.errors import CalibrationError
from .board import Board, Corners
from .coverage import CoverageTracker
from .detection import CameraDetections, CameraSource, Progress, no_progress

N_LOOKED = 240
"""Frames per camera that are searched for the board."""
N_CHOSEN = 60
"""Instants kept at most."""
_MIN_SHARPNESS = 0.6
"""A view less sharp than this share of its camera's median is left out."""


def detect_videos(
    sources: Mapping[str, CameraSource],
    board: Board,
    *,
    allow_missing: bool = False,
    progress: Progress = no_progress,
) -> list[CameraDetections]:
    """Look for the board in videos that run in step: frame i of each is one instant.

    Args:
        sources: each with a video.
        board: what is shown.
        allow_missing: accept videos of different lengths; instants are counted from their beginnings.
        progress: told how far it is.

    Raises:
        CalibrationError: the videos have different lengths.
        VideoError: one cannot be read.
    """
    found, looked = _look(sources, board, allow_missing, progress)
    sharp = _sharp(found)
    tracker = CoverageTracker({name: (one.width, one.height) for name, one in found.items()}, board)
    chosen: list[str] = []
    left = {instant: seen for instant, seen in sharp.items() if seen}
    while left and len(chosen) < N_CHOSEN:
        best = max(left, key=lambda instant: (tracker.gain(left[instant]), _worst_sharpness(left[instant])))
        if tracker.gain(left[best]) == 0:
            break
        tracker.add(left[best])
        chosen.append(best)
        del left[best]
    for name, one in found.items():
        one.images = {instant: sharp[instant][name] for instant in sorted(chosen, key=int) if name in sharp[instant]}
        one.not_found = [instant for instant in looked if instant not in one.images and instant in chosen]
    return list(found.values())


def _look(
    sources: Mapping[str, CameraSource], board: Board, allow_missing: bool, progress: Progress
) -> tuple[dict[str, CameraDetections], list[str]]:
    found: dict[str, CameraDetections] = {}
    looked: list[str] = []
    with ExitStack() as stack:
        readers: dict[str, VideoReader] = {}
        for name, source in sources.items():
            assert source.video is not None
            readers[name] = stack.enter_context(VideoReader(source.video, "mono8"))
            found[name] = CameraDetections(name, readers[name].width, readers[name].height)
        n_frames = [reader.n_frames for reader in readers.values() if reader.n_frames is not None]
        total = min(n_frames) if n_frames else 0
        stride = max(total // N_LOOKED, 1)
        images = {name: np.empty(reader.shape, np.uint8) for name, reader in readers.items()}
        frame = 0
        while True:
            ended = [name for name, reader in readers.items() if reader.read_into(images[name]) is None]
            if ended:
                if len(ended) < len(readers) and not allow_missing:
                    raise CalibrationError(
                        f"videos of different lengths: {', '.join(ended)} ends after {frame} frames and "
                        f"{', '.join(sorted(set(readers) - set(ended)))} goes on; frame i must be the same instant in "
                        "all. Cut them alike, or accept it (--allow-missing) if they began at the same instant"
                    )
                break
            if frame % stride == 0:
                progress("looking for the board in the videos", frame, max(total, frame + 1))
                looked.append(str(frame))
                for name, image in images.items():
                    corners = board.detect(image)
                    if corners is not None:
                        found[name].images[str(frame)] = corners
            frame += 1
        progress("looking for the board in the videos", frame, frame)
    return found, looked


def _sharp(found: Mapping[str, CameraDetections]) -> dict[str, dict[str, Corners]]:
    """Views by instant, without the smeared ones."""
    by_instant: dict[str, dict[str, Corners]] = {}
    for name, one in found.items():
        if not one.images:
            continue
        least = _MIN_SHARPNESS * float(np.median([corners.sharpness for corners in one.images.values()]))
        for instant, corners in one.images.items():
            if corners.sharpness >= least:
                by_instant.setdefault(instant, {})[name] = corners
    return by_instant


def _worst_sharpness(seen: Mapping[str, Corners]) -> float:
    return min(corners.sharpness for corners in seen.values())
