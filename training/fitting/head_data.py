"""What a head learns from: the features of whole recordings with a label for every frame. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from ..data.learnt_labels import class_frames, known_frames
from ..splits import PARTS, UNUSED, Part
from ..stretches import class_counts, runs_of

_LEAST_SPREAD = 1e-5
"""A feature whose standard deviation is below so much, or below so much of its mean, counts as one that never changes:
two ways of computing it in float32 differ by a tenth of that, and blown up such noise would be answered."""


@dataclass(frozen=True, slots=True)
class HeadData:
    """One recording.

    Attributes:
        name: for messages.
        x: the head's input, float32 [b, t, f]; a row for each view or animal.
        labels: class of every frame, int16 [t], below 0 where there is none.
        parts: int8 [t], index into ``PARTS`` or ``UNUSED``.
        targets: what is learnt instead of the labels, float32 [t, c] from 0 to 1, NaN in rows that are not learnt from:
            shares of classes, or, with a binary loss, each behaviour by itself. Scores are of the labels all the same.
        sequences: first and last (exclusive) frame of each sequence that has one label as a whole, int64 [n, 2]; None:
            every stretch of one label is one.
    """

    name: str
    x: NDArray[np.float32]
    labels: NDArray[np.int16]
    parts: NDArray[np.int8]
    targets: NDArray[np.float32] | None = None
    sequences: NDArray[np.int64] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames of which something is learnt, bool [t]."""
        return known_frames(self.labels, self.targets)

    def mask(self, part: Part) -> NDArray[np.bool_]:
        """Frames of a part that have a label, bool [t]."""
        return (self.parts == PARTS.index(part)) & (self.labels >= 0)

    def known_in(self, part: Part) -> NDArray[np.bool_]:
        """Frames of a part of which something is learnt, bool [t]; a label of one behaviour alone they may lack."""
        return (self.parts == PARTS.index(part)) & self.known

    def sequences_of(self, part: Part) -> NDArray[np.int64]:
        """Sequences with a label that lie in a part as a whole: first frame, last frame (exclusive), class, [n, 3]."""
        if self.sequences is None:
            edges = np.flatnonzero((np.diff(self.labels) != 0) | (np.diff(self.parts) != 0)) + 1
            bounds = np.stack([np.append(0, edges), np.append(edges, len(self.labels))], axis=1)
        else:
            bounds = self.sequences
        kept = [
            (start, stop, int(self.labels[stop - 1]))
            for start, stop in bounds.tolist()
            if (self.parts[start:stop] == PARTS.index(part)).all() and self.labels[stop - 1] >= 0
        ]
        return np.array(kept, np.int64).reshape(-1, 3)

    def looking_ahead(self, n_frames: int) -> "HeadData":
        """With everything that is answered moved ``n_frames`` later, for a head that waits for so many of the future.

        See `answers_later`.
        """
        if not n_frames:
            return self
        labels, parts = answers_later(self.labels, self.parts, n_frames)
        targets = None
        if self.targets is not None:
            targets = targets_later(self.targets, n_frames)
        sequences = None
        if self.sequences is not None:
            # One that ends with the recording is answered with less look-ahead, by the last frame that there is.
            sequences = np.minimum(self.sequences + n_frames, len(labels))
            some = sequences[:, 1] > sequences[:, 0]
            sequences = sequences[some]
            labels[sequences[:, 1] - 1] = self.labels[self.sequences[some, 1] - 1]
        return replace(self, labels=labels, parts=parts, targets=targets, sequences=sequences)


def answers_later(
    labels: NDArray[np.int16], parts: NDArray[np.int8], n_frames: int
) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """Labels and parts with what is asked at a frame being what was there ``n_frames`` before.

    Where these two frames are of different parts, nothing is asked: neither may be learnt from for the other.
    """
    later, used = np.full_like(labels, -1), np.full_like(parts, UNUSED)
    later[n_frames:] = labels[: max(len(labels) - n_frames, 0)]
    before = parts[: max(len(parts) - n_frames, 0)]
    used[n_frames:] = np.where(parts[n_frames:] == before, before, UNUSED)
    return later, used


def targets_later(targets: NDArray[np.float32], n_frames: int) -> NDArray[np.float32]:
    """Targets with what is asked at a frame being what was there ``n_frames`` before; NaN where nothing was."""
    later = np.full_like(targets, np.nan)
    later[n_frames:] = targets[: max(len(targets) - n_frames, 0)]
    return later


def check_head_data(data: Sequence[HeadData], n_features: int, classes: Sequence[str]) -> None:
    """Refuse what cannot be learnt from.

    Raises:
        DataError: there is none, lengths or widths do not fit, a feature is no finite number, or a label no class.
    """
    if not data:
        raise DataError("there is no recording to learn from")
    for one in data:
        n_frames = one.x.shape[1]
        if len(one.labels) != n_frames or len(one.parts) != n_frames:
            raise DataError(
                f"{one.name}: has features of {n_frames} frames, {len(one.labels)} labels and {len(one.parts)} parts"
            )
        if one.x.shape[2] != n_features:
            raise DataError(f"{one.name}: has {one.x.shape[2]} features, the head takes {n_features}")
        if one.targets is not None and one.targets.shape != (n_frames, len(classes)):
            raise DataError(f"{one.name}: targets are {one.targets.shape}, expected {(n_frames, len(classes))}")
        if n_frames and int(one.labels.max()) >= len(classes):
            raise DataError(f"{one.name}: label {int(one.labels.max())} is none of the {len(classes)} classes")
        finite = np.isfinite(one.x)
        if not finite.all():
            row, frame, feature = (int(place[0]) for place in np.nonzero(~finite))
            raise DataError(
                f"{one.name}: feature {feature} is {one.x[row, frame, feature]} at frame {frame}; fill what is missing "
                "before the fit"
            )


def class_counts_of(data: Sequence[HeadData], n_classes: int, sequences: bool = False) -> NDArray[np.int64]:
    """Frames, or sequences, of each class in the training part, int64 [c]; of several behaviours each counts."""
    if sequences:
        return class_counts((one.sequences_of("train")[:, 2] for one in data), n_classes)
    total = np.zeros(n_classes, np.int64)
    for one in data:
        learnt = one.parts == PARTS.index("train")
        total += class_frames(one.labels[learnt], None if one.targets is None else one.targets[learnt], n_classes)
    return total


def n_learnt_of(data: Sequence[HeadData], sequences: bool = False) -> int:
    """How many frames, or sequences, the training part is learnt from."""
    if sequences:
        return sum(len(one.sequences_of("train")) for one in data)
    return sum(int((one.known & (one.parts == PARTS.index("train"))).sum()) for one in data)


def training_statistics(data: Sequence[HeadData]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation [f] of each feature over the training frames; 1 where a feature never changes.

    Raises:
        DataError: there is no training frame.
    """
    rows = [one.x[:, start:stop] for one in data for start, stop in runs_of(one.parts == PARTS.index("train"))]
    n = sum(one.shape[0] * one.shape[1] for one in rows)
    if not n:
        raise DataError("the training part has no frame; give it a recording, or other blocks")
    mean = sum(one.sum(axis=(0, 1), dtype=np.float64) for one in rows) / n
    square = sum(np.square(one - mean).sum(axis=(0, 1)) for one in rows) / n
    std = np.sqrt(np.asarray(square))
    std[std < _LEAST_SPREAD * np.maximum(np.abs(mean), 1.0)] = 1.0
    return np.asarray(mean).astype(np.float32), std.astype(np.float32)
