"""What is looked at and printed before anything is learnt: do frames, tracks and labels fit, what is there to learn?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...sync.errors import DataError
from ..config.labels import LabelOptions
from ..scores.bouts import FEW_BOUTS
from ..splits import UNUSED, SplitRule, TimeBlockSplit, split_by_block
from ..stretches import bout_runs, runs_of

FEW_RECORDINGS: Final = 3
"""A class in fewer recordings is known from those animals only."""
_MUCH_MISSING: Final = 0.5


@dataclass(frozen=True, slots=True)
class CheckedRecording:
    """One recording as it was read.

    Attributes:
        name: of the recording.
        n_frames: how many frames each file says there are: ``pose``, ``video``, ``labels``; the first one counts. A
            file that does not say is left out.
        labels: int16 [t] class index, below 0 where there is none.
        covered: int16 [t], in how many bouts of the label file each frame lies; None: not known.
        known: bool [t], frames of which something is learnt; None: those with a class.
        meeting: bool [t], frames in bouts of several classes; None: not known.
        meet_as: what becomes of these, in words.
        whole: it has one label as a whole.
        rate_hz: frames per second.
        missing: share of the points that the tracker did not give; None: not known.
        group: of the recording.
        said: what was found while its files were read, in words.
    """

    name: str
    n_frames: Mapping[str, int]
    labels: NDArray[np.int16]
    rate_hz: float
    covered: NDArray[np.int16] | None = None
    known: NDArray[np.bool_] | None = None
    meeting: NDArray[np.bool_] | None = None
    meet_as: str = ""
    whole: bool = False
    missing: float | None = None
    group: str | None = None
    said: Sequence[str] = ()

    @property
    def n_unlabelled(self) -> int:
        """Frames of which nothing is learnt: nobody labelled them, or their label is ignored."""
        return int(np.count_nonzero(~self.learnt))

    @property
    def n_overlaps(self) -> int:
        """Frames that bouts of several classes claim."""
        return 0 if self.meeting is None else int(np.count_nonzero(self.meeting))

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Stretches (start, stop exclusive) between the first and the last bout that nobody labelled."""
        if self.covered is None or not self.covered.any():
            return []
        inside = np.flatnonzero(self.covered)
        mask = (self.covered == 0) & ~self.learnt
        mask[: inside[0]] = mask[inside[-1] :] = False
        return runs_of(mask)

    def notes(self) -> list[str]:
        """What is odd about it, one line each."""
        found = [f"{self.name}: {words}" for words in self.said]
        first, *others = self.n_frames.items()
        for what, n in others:
            if n != first[1]:
                found.append(f"{self.name}: {_difference(what, n, *first)}")
        if self.n_overlaps:
            found.append(f"{self.name}: {self.n_overlaps} frames lie in bouts of several classes; {self.meet_as}")
        if self.gaps:
            start, stop = max(self.gaps, key=lambda gap: gap[1] - gap[0])
            found.append(
                f"{self.name}: {len(self.gaps)} gap(s) between bouts, the longest from frame {start} to {stop} "
                "(exclusive): those frames count as unlabelled"
            )
        if self.missing is not None and self.missing > _MUCH_MISSING:
            found.append(f"{self.name}: {self.missing:.0%} of the points are missing")
        return found

    @property
    def learnt(self) -> NDArray[np.bool_]:
        """Frames of which something is learnt, bool [t]."""
        return self.labels >= 0 if self.known is None else self.known


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How much of a class there is: frames, share of the labelled frames, bouts, recordings with it, median bout."""

    n_frames: int
    share: float
    n_bouts: int
    n_recordings: int
    median_s: float | None


@dataclass(frozen=True, slots=True)
class DataCheck:
    """Everything that was found.

    Attributes:
        recordings: as they were read.
        classes: by name, in order.
        notes: what was assumed, left out or is odd, one line each.
    """

    recordings: list[CheckedRecording]
    classes: dict[str, ClassCount]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "recordings": {
                one.name: {
                    "n_frames": dict(one.n_frames),
                    "rate_hz": one.rate_hz,
                    "n_unlabelled": one.n_unlabelled,
                    "n_gaps": len(one.gaps),
                    "n_overlapping": one.n_overlaps,
                    "missing": one.missing,
                    "group": one.group,
                }
                for one in self.recordings
            },
            "classes": {
                name: {
                    "n_frames": one.n_frames,
                    "share": one.share,
                    "n_bouts": one.n_bouts,
                    "n_recordings": one.n_recordings,
                    "median_bout_s": one.median_s,
                }
                for name, one in self.classes.items()
            },
            "notes": list(self.notes),
        }


def cut_bouts(labels: NDArray[np.int16], parts: NDArray[np.int8]) -> int:
    """How many bouts lie on both sides of a border between two parts."""
    used = np.flatnonzero(parts != UNUSED)
    borders = [(used[place], used[place + 1]) for place in np.flatnonzero(np.diff(parts[used]))]
    across = [labels[before : after + 1] for before, after in borders]
    return sum(bool(shown[0] >= 0 and (shown == shown[0]).all()) for shown in across)


def check_data(
    recordings: Sequence[CheckedRecording],
    classes: Sequence[str],
    notes: Sequence[str] = (),
    split: SplitRule | None = None,
) -> DataCheck:
    """Count, and note what is odd.

    Args:
        recordings: as they were read.
        classes: names in order.
        notes: what is known already, to stand first.
        split: how they are split; None: not at all.

    Raises:
        DataError: blocks of time do not fit; see `split_by_block`.
    """
    counts = _count(recordings, classes)
    found = [*notes, *(line for one in recordings for line in one.notes())]
    if isinstance(split, TimeBlockSplit):
        for one in recordings:
            parts = split_by_block(split, one.learnt, one.rate_hz, one.name)
            if n := cut_bouts(one.labels, parts):
                found.append(
                    f"{one.name}: {n} bout(s) lie on both sides of a border between two parts, guard or not: what is "
                    "scored there is more alike to what is learnt than a new recording would be"
                )
    for name, one in counts.items():
        if not one.n_bouts:
            found.append(f"{name}: no frame is labelled so")
        elif one.n_bouts < FEW_BOUTS or one.n_recordings < min(FEW_RECORDINGS, len(recordings)):
            found.append(
                f"{name}: {one.n_bouts} bout(s) in {one.n_recordings} recording(s) are few: what is learnt of it and "
                "its scores hang on single bouts"
            )
    return DataCheck(list(recordings), counts, found)


def refuse_whole(recordings: Sequence[CheckedRecording], supervision: str) -> None:
    """Refuse to learn every frame from labels that are of recordings as a whole.

    Raises:
        DataError: ``fit.supervision`` is ``frame``, and a recording has such a label.
    """
    if supervision == "frame" and (found := [one.name for one in recordings if one.whole]):
        raise DataError(
            f"{', '.join(found[:3])}{' …' if len(found) > 3 else ''}: has one label as a whole, which says nothing of "
            "its single frames; set fit.supervision: sequence_mean or sequence_last, or label its frames"
        )


def meeting_as(options: LabelOptions) -> str:
    """What becomes of frames in bouts of several classes, in words."""
    if options.overlap == "each":
        decided = "scored as the first of 'priority' that is there" if options.priority else "not scored as one class"
        return f"each is learnt on its own, and they are {decided}"
    return "the order of 'priority' decided"


def print_check(check: DataCheck, console: Console) -> None:
    """Two tables and the notes."""
    kinds = list(dict.fromkeys(kind for one in check.recordings for kind in one.n_frames))
    table = _table("recording", *(f"{kind}\nframes" for kind in kinds), "unlabelled", "gaps", "overlaps", "missing")
    for one in check.recordings:
        table.add_row(
            one.name,
            *(f"{one.n_frames[kind]:,}" if kind in one.n_frames else "-" for kind in kinds),
            f"{one.n_unlabelled:,}",
            f"{len(one.gaps):,}",
            f"{one.n_overlaps:,}",
            "-" if one.missing is None else f"{one.missing:.1%}",
        )
    console.print(table)
    table = _table("class", "frames", "share", "bouts", "recordings", "median bout")
    for name, one in check.classes.items():
        median = "-" if one.median_s is None else f"{one.median_s:.2f} s"
        table.add_row(
            name, f"{one.n_frames:,}", f"{one.share:.1%}", f"{one.n_bouts:,}", f"{one.n_recordings:,}", median
        )
    console.print(table)
    for note in check.notes:
        console.print(Text("LOOK  ", style="bold yellow").append(note, style="default"))


def _count(recordings: Sequence[CheckedRecording], classes: Sequence[str]) -> dict[str, ClassCount]:
    frames = np.zeros(len(classes), np.int64)
    within = np.zeros(len(classes), np.int64)
    lengths: list[list[float]] = [[] for _ in classes]
    for one in recordings:
        counts = np.bincount(one.labels[one.labels >= 0], minlength=len(classes))
        frames += counts
        within += counts > 0
        for start, stop, kind in zip(*(part.tolist() for part in bout_runs(one.labels)), strict=True):
            lengths[kind].append((stop - start) / one.rate_hz)
    total = max(int(frames.sum()), 1)
    return {
        name: ClassCount(
            n_frames=int(frames[place]),
            share=float(frames[place]) / total,
            n_bouts=len(lengths[place]),
            n_recordings=int(within[place]),
            median_s=float(np.median(lengths[place])) if lengths[place] else None,
        )
        for place, name in enumerate(classes)
    }


def _difference(what: str, n: int, first: str, n_first: int) -> str:
    """Both counts in words; one frame of difference is called by its name."""
    words = f"{what} has {n:,} frames, {first} {n_first:,}"
    if abs(n - n_first) == 1:
        return (
            f"{words}: OFF BY ONE. Look whether the first row or the last is the one too many; frames are taken to "
            "agree from the first on"
        )
    return f"{words}; frames are taken to agree from the first on"


def _table(corner: str, *names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bright_black")
    table.add_column(corner, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table
