"""Which video frame belongs to which header.

The i-th frame of a camera's video belongs to the i-th logged header that is neither a duplicate nor covered by a
``Gap(source="recorder")``. The time in the video (`frame_pts_ms` of the header's exposure) proves it: where the two
disagree, frames are matched by time instead, and what stands alone on either side is named.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error

from ..sync.errors import VideoError
from .header_filter import HeaderFilter
from .messages import FrameHeader, Gap, Pose
from .seq_set import SeqSet
from .video_writer import frame_pts_ms

_LOOK_AHEAD_MS = 2000
_FRAMES_PER_PROGRESS = 64
"""Few enough that large frames from a slow disk do not keep a node from its heartbeat."""

Progress = Callable[[], None]


class CameraIndex:
    """All headers of one camera, or poses of one source, in logged order, compactly; duplicates are left out.

    Attributes:
        filter: which frames came, by epoch, and how often they came again.
        lost: frames that the recorder declared, by epoch.
        epochs, seqs, times: of each header; the time is that of exposure.
        places: where each header stands in the event log.
    """

    def __init__(self) -> None:
        self.filter = HeaderFilter()
        self.lost: dict[int, SeqSet] = {}
        self.epochs = array("q")
        self.seqs = array("q")
        self.times = array("q")
        self.places = array("q")

    def add_header(self, header: FrameHeader | Pose, place: int = -1) -> bool:
        """Account the next logged header; False for a duplicate."""
        if not self.filter.is_new(header.epoch, header.seq):
            return False
        self.epochs.append(header.epoch)
        self.seqs.append(header.seq)
        self.times.append(header.t_exposure_ns)
        self.places.append(place)
        return True

    def add_gap(self, gap: Gap) -> None:
        """Account a gap; only those of the recorder matter here."""
        if gap.source == "recorder":
            self.lost.setdefault(gap.epoch, SeqSet()).add_run(gap.first_seq, gap.first_seq + gap.n)

    def expected(self) -> Sequence[int]:
        """Positions (into `seqs`) of the headers that should have a video frame, in order."""
        if not self.lost:
            return range(len(self.seqs))
        empty = SeqSet()
        return array("q", (i for i, seq in enumerate(self.seqs) if seq not in self.lost.get(self.epochs[i], empty)))


@dataclass(slots=True)
class Pairing:
    """Outcome of matching a video to its headers.

    Attributes:
        header_of: for each video frame the position of its header in `CameraIndex.seqs`, or -1.
        missing: positions of headers that should have a frame and have none.
        extra: video frames that no header claims.
        exact: the rule of order alone gave the same answer.
    """

    header_of: "array[int]" = field(default_factory=lambda: array("q"))
    missing: "array[int]" = field(default_factory=lambda: array("q"))
    extra: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def exact(self) -> bool:
        return not self.missing and not self.extra


def pair_frames(
    index: CameraIndex, pts_ms: Sequence[int], t_start_ns: int, on_progress: Progress | None = None
) -> Pairing:
    """Match video frames (their pts in file order) to headers; ``on_progress`` is called every few frames."""
    expected = index.expected()
    result = Pairing()
    at, last = 0, -1
    for frame, pts in enumerate(pts_ms):
        if on_progress is not None and frame % _FRAMES_PER_PROGRESS == 0:
            on_progress()
        found = -1
        for position in range(at, len(expected)):
            due = frame_pts_ms(index.times[expected[position]], t_start_ns, last)
            if due == pts:
                found = position
                break
            if due > pts + _LOOK_AHEAD_MS:
                break
        if found < 0:
            result.header_of.append(-1)
            result.extra.append(frame)
            continue
        result.missing.extend(expected[at:found])
        result.header_of.append(expected[found])
        at, last = found + 1, pts
    result.missing.extend(expected[at:])
    return result


def demux_pts_ms(path: Path) -> Iterator[int]:
    """Times of all whole frames of a video, in file order, without decoding; stops at a tear.

    Raises:
        VideoError: not there, or not a video.
    """
    try:
        container = av.open(str(path), "r")
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path}: cannot be read as video ({getattr(error, 'strerror', None) or error}); was it moved, or cut "
            "before its first frame?"
        ) from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: has no video stream; it is not a video of a recording")
        stream = container.streams.video[0]
        base = stream.time_base
        if base is None:
            raise VideoError(f"{path}: its video stream has no time base; it is not a video of a recording")
        in_ms = base == Fraction(1, 1000)
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    return
                if packet.size and packet.pts is not None:
                    yield packet.pts if in_ms else round(packet.pts * base * 1000)
        except av.error.FFmpegError:
            return


def read_pts_ms(path: Path, on_progress: Progress | None = None) -> "array[int]":
    """`demux_pts_ms` as one array; ``on_progress`` is called every few frames."""
    times = array("q")
    for pts in demux_pts_ms(path):
        if on_progress is not None and len(times) % _FRAMES_PER_PROGRESS == 0:
            on_progress()
        times.append(pts)
    return times
