"""What every label file becomes: bouts by stream, and what the file says of itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ...sync.errors import DataError
from .frame_labels import Bout

LabelKind = Literal[
    "bouts",
    "frames",
    "recordings",
    "caltech",
    "boris",
    "boris_project",
    "deepethogram",
    "simba",
    "matlab",
    "events",
    "simulator",
]
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)

FrameConvention = Literal["zero_based_exclusive", "zero_based_inclusive", "one_based_inclusive", "one_based_exclusive"]
"""Which number the first frame has, and whether the frame named as the end still belongs to the bout."""

Span = tuple[int, int]
"""``start <= frame < stop``, counted from 0."""

_LISTED = 12


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What is declared about a label file by whoever reads it.

    Attributes:
        rate_hz: frames per second of the labelled video; needed where a file holds times and does not say it.
        frames: the frame convention; None: that of the format.
        behaviors: columns that are behaviours, for formats that keep them among other columns (``simba``).
    """

    rate_hz: float | None = None
    frames: FrameConvention | None = None
    behaviors: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class StreamSource:
    """Whose labels a stream holds; "" where the file does not say."""

    recording: str = ""
    subject: str = ""
    rater: str = ""


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A label file, read.

    Nothing is mended: bouts may overlap, leave gaps, end beyond the video or bear names that nobody declared. What is
    to follow from that, `frame_labels` and its callers decide.

    Attributes:
        path: of the file.
        kind: its format.
        streams: name → bouts in order of time; "" is the name of the only stream of a format that has but one.
        names: every behaviour that the file declares, or, where it declares none, uses; in its order.
        n_frames: length of the recording where the file says it, else None.
        rate_hz: frames per second where the file says it, else None.
        sources: stream → recording, subject and rater, for formats that hold several.
        unlabelled: stream → stretches that the file itself marks as not labelled; where it is silent, a frame
            without a bout may as well have been looked at and found empty.
        whole: stream → behaviour that the recording shows as a whole, for formats that say nothing of its frames; its
            stream has no bouts.
        broken: stream → why it cannot be used; such a stream is not in ``streams``.
        notes: what was found on the way and is not wrong enough to refuse, in words.
    """

    path: Path
    kind: LabelKind
    streams: dict[str, list[Bout]]
    names: list[str]
    n_frames: int | None = None
    rate_hz: float | None = None
    sources: dict[str, StreamSource] = field(default_factory=dict)
    unlabelled: dict[str, list[Span]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def raters(self) -> list[str]:
        """Everyone who labelled, in the file's order; empty where it does not say."""
        return [name for name in dict.fromkeys(source.rater for source in self.sources.values()) if name]

    def find_stream(self, name: str | None = None) -> str:
        """The key of a stream in ``streams``.

        Args:
            name: the key itself, or a recording, subject or rater that only one stream belongs to; None: the only one.

        Raises:
            DataError: there is no such stream, there are several, or it is broken.
        """
        keys = [*self.streams, *self.broken]
        if name is None:
            found = keys
        elif name in keys:
            found = [name]
        else:
            found = [
                key for key, source in self.sources.items() if name in (source.recording, source.subject, source.rater)
            ]
        if len(found) != 1:
            shown = ", ".join(repr(key) for key in keys[:_LISTED]) + (", …" if len(keys) > _LISTED else "")
            wanted = f"no stream {name!r}" if not found else f"{len(found)} streams" + (f" of {name!r}" if name else "")
            raise DataError(f"{self.path}: has {wanted}; name one with --stream or the key stream: {shown}")
        if found[0] in self.broken:
            raise DataError(f"{self.path}: {self.broken[found[0]]}")
        return found[0]
