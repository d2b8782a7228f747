"""Bouts, and what a model learns from them: one class per frame, or every behaviour on its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import ConfigError, DataError
from ..stretches import bout_runs

UNLABELLED = -1
"""Class index of a frame that has no label."""


@dataclass(frozen=True, slots=True)
class Bout:
    """One stretch of one behaviour: ``start_frame <= i < stop_frame``, frames from 0.

    ``line`` is where it stands in its file, 0 where that has no lines.
    """

    start_frame: int
    stop_frame: int
    behavior: str
    confidence: float | None = None
    line: int = 0


def frame_labels(
    bouts: Sequence[Bout],
    n_frames: int,
    classes: Sequence[str],
    path: Path,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    priority: Sequence[str] = (),
) -> NDArray[np.int16]:
    """One class index per frame, int16 [n_frames]; ``UNLABELLED`` where no bout is, or one that is ignored.

    Args:
        bouts: of one stream of `read_labels`, in any order.
        n_frames: length of the recording.
        classes: names in the order of the model.
        path: the label file, for messages.
        rename: label name → class name, applied first.
        ignore: label names whose frames count as unlabelled.
        priority: where bouts of different behaviours overlap, the one that stands first here has the frame; both must
            stand here. Classes, and names that are ignored. Empty: an overlap is refused.

    Raises:
        DataError: a behaviour is neither a class nor ignored, a bout ends beyond the recording, or bouts overlap and
            nothing says which counts.
        ConfigError: ``priority`` names something that is neither a class nor ignored.
    """
    names = _Names(path, classes, rename, ignore)
    ranks = names.ranks(priority)
    named = [names.of(bout, n_frames) for bout in bouts]
    # What counts more is written later. Unlisted ones come first, and may not be written over.
    order = sorted(range(len(bouts)), key=lambda place: -ranks.get(named[place], len(ranks)))
    labels = np.full(n_frames, UNLABELLED, np.int16)
    owners = np.full(n_frames, -1, np.int64)
    for place in order:
        bout, name = bouts[place], named[place]
        frames = slice(bout.start_frame, bout.stop_frame)
        taken = owners[frames]
        if (taken >= 0).any():
            for other in np.unique(taken[taken >= 0]).tolist():
                names.check_overlap((bout, name), (bouts[other], named[other]), ranks)
        labels[frames] = names.index.get(name, UNLABELLED)
        owners[frames] = place
    return labels


def behavior_matrix(
    bouts: Sequence[Bout],
    n_frames: int,
    classes: Sequence[str],
    path: Path,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
) -> NDArray[np.bool_]:
    """Every behaviour on its own, bool [n_frames, classes]: is it there? Overlaps are what this is for.

    A frame without any is all False; whether anybody looked at it is in `labelled_frames`. The arguments are those of
    `frame_labels`.

    Raises:
        DataError: a behaviour is neither a class nor ignored, or a bout ends beyond the recording.
    """
    names = _Names(path, classes, rename, ignore)
    present = np.zeros((n_frames, len(classes)), np.bool_)
    for bout in bouts:
        column = names.index.get(names.of(bout, n_frames))
        if column is not None:
            present[bout.start_frame : bout.stop_frame, column] = True
    return present


def labelled_frames(
    bouts: Sequence[Bout],
    n_frames: int,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    unlabelled: Sequence[tuple[int, int]] = (),
) -> NDArray[np.bool_]:
    """Which rows of `behavior_matrix` count, bool [n_frames].

    Those within ``unlabelled`` (`LabelFile.unlabelled`) and within bouts that are ignored do not.
    """
    counts = np.ones(n_frames, np.bool_)
    for start, stop in unlabelled:
        counts[start:stop] = False
    for bout in bouts:
        if bout.behavior in ignore or (rename or {}).get(bout.behavior) in ignore:
            counts[bout.start_frame : bout.stop_frame] = False
    return counts


def bouts_of(labels: NDArray[np.integer], classes: Sequence[str]) -> list[Bout]:
    """The bouts of a frame-wise label array; the inverse of `frame_labels`."""
    starts, stops, kinds = (part.tolist() for part in bout_runs(labels))
    return [Bout(start, stop, classes[int(kind)]) for start, stop, kind in zip(starts, stops, kinds, strict=True)]


class _Names:
    """From the names of a label file to classes."""

    def __init__(
        self, path: Path, classes: Sequence[str], rename: Mapping[str, str] | None, ignore: Sequence[str]
    ) -> None:
        self._path, self._rename, self._ignore = path, rename or {}, set(ignore)
        self.index = {name: place for place, name in enumerate(classes) if name not in self._ignore}

    def of(self, bout: Bout, n_frames: int) -> str:
        """The class of a bout, or the name that is ignored."""
        if bout.stop_frame > n_frames:
            raise DataError(
                f"{self._where(bout)}: {bout.behavior} goes on to frame {bout.stop_frame - 1} (counted from 0), and "
                f"the recording has {n_frames} frames; are these its labels, and is 'frames' their convention?"
            )
        if bout.behavior in self._ignore:
            return bout.behavior
        name = self._rename.get(bout.behavior, bout.behavior)
        if name not in self.index and name not in self._ignore:
            raise DataError(
                f"{self._where(bout)}: {bout.behavior!r} is not among the classes ({', '.join(self.index)}); list it "
                f"under labels.rename or labels.ignore (with a folder: {self._ignoring(bout.behavior)}), or, before a "
                "training, add it to 'classes'"
            )
        return name

    def ranks(self, priority: Sequence[str]) -> dict[str, int]:
        """Name → its place in ``priority``."""
        if len(set(priority)) < len(priority):
            raise ConfigError(f"priority names something twice: {', '.join(priority)}")
        if unknown := [name for name in priority if name not in self.index and name not in self._ignore]:
            raise ConfigError(
                f"priority: {unknown[0]!r} is neither a class ({', '.join(self.index)}) nor ignored; renamed labels "
                "stand here by their class"
            )
        return {name: place for place, name in enumerate(priority)}

    def check_overlap(self, one: tuple[Bout, str], other: tuple[Bout, str], ranks: Mapping[str, int]) -> None:
        """Refuse two bouts, each with its name of `of`, that say different things when nothing says which counts."""
        same = self.index.get(one[1]) == self.index.get(other[1])
        missing = [name for _, name in (one, other) if name not in ranks]
        if same or not missing:
            return
        first, second = sorted((one[0], other[0]), key=lambda bout: (bout.start_frame, bout.line))
        line = f"line {first.line}, " if first.line else ""
        raise DataError(
            f"{self._where(second)}: {second.behavior} begins at frame {second.start_frame}, within {first.behavior} "
            f"({line}{first.start_frame} to {first.stop_frame}, counted from 0, stop exclusive), and a frame has one "
            f"class; say with 'priority' which behaviour counts ({', '.join(sorted(missing))} not in it), or learn "
            "each behaviour on its own"
        )

    def _ignoring(self, name: str) -> str:
        """The options that ignore one name more; what is given there stands in place of what is ignored otherwise."""
        return " ".join(f"--ignore {one}" for one in sorted({*self._ignore, name}))

    def _where(self, bout: Bout) -> str:
        return f"{self._path}: line {bout.line}" if bout.line else f"{self._path}"
