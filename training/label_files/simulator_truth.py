"""What the simulator knows of a recording of simulated cameras: the event log of the recording is the label file.

Each camera is a stream of its own; its frames are those of its video.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ...streaming.messages import FrameTruth
from ...streaming.recording_reader import Recording
from ...streaming.topics import TRUTH
from ...sync.errors import DataError, RecordingError
from .file_head import FileHead
from .frame_labels import Bout
from .label_file import LabelFile, ReadOptions, Span

_MAGIC: Final = b"\x89MCAP"


def matches(head: FileHead) -> bool:
    """Whether the file is an event log."""
    return head.data.startswith(_MAGIC)


def read(path: Path, options: ReadOptions) -> LabelFile:
    """Read the truth of every camera out of an event log.

    Frames whose truth is not in it are unlabelled.

    Raises:
        DataError: it belongs to no recording, or holds no truth: its cameras were not simulated.
    """
    try:
        recording = Recording.open(path.parent)
        truth: dict[str, dict[tuple[int, int], str]] = {}
        for logged in recording.messages([TRUTH]):
            if isinstance(logged.message, FrameTruth):
                one = logged.message
                truth.setdefault(one.camera, {})[one.epoch, one.seq] = one.behavior
        if not truth:
            raise DataError(
                f"{path}: holds no truth, since no camera of {path.parent} is simulated; give a file of labels for it"
            )
        rows = {camera: frame_keys(recording, camera) for camera in recording.info.cameras if camera in truth}
    except RecordingError as error:
        raise DataError(f"{path}: is an event log of no recording that can be read ({error})") from error
    labels = {camera: [truth[camera].get(key, "") for key in keys] for camera, keys in rows.items()}
    streams = {camera: [Bout(*span, name) for span, name in _runs(of) if name] for camera, of in labels.items()}
    return LabelFile(
        path,
        "simulator",
        streams,
        sorted({bout.behavior for bouts in streams.values() for bout in bouts}),
        n_frames=len(next(iter(labels.values()))) if len(labels) == 1 else None,
        unlabelled={camera: [span for span, name in _runs(of) if not name] for camera, of in labels.items()},
    )


def frame_keys(recording: Recording, camera: str) -> list[tuple[int, int]]:
    """Epoch and number of every frame in a camera's video; (-1, -1) for one that no header is of.

    Raises:
        RecordingError: there is no such camera.
        VideoError: its video cannot be read.
    """
    index, pairing = recording.index(camera)
    return [(-1, -1) if at < 0 else (index.epochs[at], index.seqs[at]) for at in pairing.header_of]


def _runs(names: Sequence[str]) -> list[tuple[Span, str]]:
    """Stretches of equal names."""
    edges = [place for place in range(len(names)) if place == 0 or names[place] != names[place - 1]]
    return [((start, stop), names[start]) for start, stop in zip(edges, [*edges[1:], len(names)], strict=True) if names]
