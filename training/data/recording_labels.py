"""The labels of one recording: one stream of a label file, frame by frame, and what is odd about them."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from ..config.labels import LabelOptions
from ..config.recordings import LabelledData, PoseData, RaterLabels, VideoData
from ..label_files import Span, read_labels
from ..label_files.frame_labels import Bout, frame_labels


@dataclass(frozen=True, slots=True)
class StreamLabels:
    """One stream of a label file, as it stands there.

    Attributes:
        path: of the file.
        stream: its name there; "" where the format has but one.
        bouts: in order of time; they may overlap where the format has several behaviours at once.
        n_frames: how many frames the recording has, where the file says it.
        names: of the behaviours in it, by name.
        unlabelled: stretches (start, stop exclusive) that the file itself marks as not labelled.
        notes: what was found while reading, in words.
        whole: behaviour of the recording as a whole, where the file says nothing of frames.
    """

    path: Path
    stream: str
    bouts: list[Bout]
    n_frames: int | None
    names: list[str]
    unlabelled: list[Span]
    notes: list[str]
    whole: str | None = None

    def bouts_in(self, n_frames: int) -> list[Bout]:
        """Its bouts; a label of the whole recording is one of ``n_frames``."""
        return self.bouts if self.whole is None else [Bout(0, n_frames, self.whole)]

    def covered(self, n_frames: int) -> NDArray[np.int16]:
        """How many bouts each frame lies in, int16 [n_frames]."""
        edges = np.zeros(n_frames + 1, np.int64)
        for bout in self.bouts_in(n_frames):
            edges[min(bout.start_frame, n_frames)] += 1
            edges[min(bout.stop_frame, n_frames)] -= 1
        return np.cumsum(edges[:-1]).astype(np.int16)

    def meeting(self, n_frames: int, options: LabelOptions) -> NDArray[np.bool_]:
        """Frames in bouts of several classes, bool [n_frames]; all names that are ignored count as one."""
        covered: dict[str, NDArray[np.bool_]] = {}
        for bout in self.bouts_in(n_frames):
            name = options.rename.get(bout.behavior, bout.behavior)
            ignored = bout.behavior in options.ignore or name in options.ignore
            mask = covered.setdefault("" if ignored else name, np.zeros(n_frames, np.bool_))
            mask[bout.start_frame : bout.stop_frame] = True
        total = np.zeros(n_frames, np.int16)
        for mask in covered.values():
            total += mask
        return total > 1

    @property
    def sha256(self) -> str:
        """Of what is labelled and not of how it is written: the same labels in another file have the same."""
        rows = "\n".join(f"{bout.start_frame} {bout.stop_frame} {bout.behavior}" for bout in self.bouts)
        rows += "" if self.whole is None else f"\n{self.stream}: {self.whole}"
        return hashlib.sha256(rows.encode()).hexdigest()


def read_stream(entry: LabelledData | RaterLabels, path: Path, rate_hz: float | None) -> StreamLabels:
    """Read the labels that an entry means.

    Args:
        entry: kind, convention and stream.
        path: its file, from anywhere.
        rate_hz: of the recording, for files that state times.

    Raises:
        DataError: the file cannot be read, is of another kind, or has not that stream, or several and none is named.
    """
    found = read_labels(path, entry.label_kind, rate_hz=rate_hz, frames=entry.frames, behaviors=entry.behaviors)
    wanted = entry.stream
    if wanted is None and found.whole and isinstance(entry, PoseData | VideoData):
        wanted = entry.recording_name
    stream = found.find_stream(wanted)
    bouts, whole = found.streams[stream], found.whole.get(stream)
    return StreamLabels(
        path=path,
        stream=stream,
        bouts=bouts,
        n_frames=found.n_frames,
        names=sorted({bout.behavior for bout in bouts} if whole is None else {whole}),
        unlabelled=found.unlabelled.get(stream, []),
        notes=list(found.notes),
        whole=whole,
    )


def read_raters(entry: LabelledData, root: Path, rate_hz: float | None, own: StreamLabels) -> dict[str, StreamLabels]:
    """Read the labels of the other raters of a recording, by name.

    Args:
        entry: the recording.
        root: folder that relative paths start from.
        rate_hz: of the recording.
        own: the labels that are learnt from.

    Raises:
        DataError: as `read_stream`, or a rater's labels are the recording's own: he would agree with himself.
    """
    found: dict[str, StreamLabels] = {}
    for name, rater in entry.compare.items():
        labels = read_stream(rater, root / rater.labels, rate_hz)
        if labels.path.resolve() == own.path.resolve() and labels.stream == own.stream:
            where = f"stream {own.stream!r} of {own.path}" if own.stream else str(own.path)
            raise DataError(
                f"compare {name}: {where} holds the recording's own labels, and a rater agrees with himself; name "
                "another file, or another 'stream' of this one: compare: {NAME: {labels: FILE, stream: STREAM}}"
            )
        found[name] = labels
    return found


def labels_of(stream: StreamLabels, n_frames: int, classes: list[str], options: LabelOptions) -> NDArray[np.int16]:
    """Class index of every frame, int16 [n_frames], below 0 where there is none.

    Raises:
        DataError: labels go beyond the recording (off by one is named), a behaviour is unknown, or two overlap.
    """
    bouts = stream.bouts_in(n_frames)
    with naming_off_by_one(stream, n_frames):
        labels = frame_labels(
            bouts, n_frames, classes, stream.path, options.rename, options.ignore, priority=options.priority
        )
    if options.rest is not None:
        empty = stream.covered(n_frames) == 0
        for start, stop in stream.unlabelled:
            empty[start:stop] = False
        labels[empty] = classes.index(options.rest)
    return labels


@contextmanager
def naming_off_by_one(stream: StreamLabels, n_frames: int) -> Generator[None]:
    """A `DataError` about labels that end one frame too late says what that mostly comes from."""
    try:
        yield
    except DataError as error:
        if max((bout.stop_frame for bout in stream.bouts), default=0) != n_frames + 1:
            raise
        raise DataError(
            f"{error} They end ONE frame too late, which is an off-by-one: do they count from 1 and are read as "
            "counting from 0, is their last frame meant to be exclusive (see 'frames'), or did the tracks lose their "
            "first row?"
        ) from error


def classes_in(streams: list[StreamLabels], options: LabelOptions) -> list[str]:
    """The behaviours that label files hold, renamed, without those that are ignored, by name."""
    names = {
        options.rename.get(name, name) for stream in streams for name in stream.names if name not in options.ignore
    }
    if options.rest is not None:
        names.add(options.rest)
    return sorted(names - set(options.ignore))
