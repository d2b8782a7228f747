"""What is learnt from the labels of a recording: a class per frame, each behaviour by itself, or one for all of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config.labels import LabelOptions
from ..label_files.frame_labels import UNLABELLED, behavior_matrix, labelled_frames
from ..stretches import class_counts
from .recording_labels import StreamLabels, labels_of, naming_off_by_one


@dataclass(frozen=True, slots=True)
class LearntLabels:
    """The labels of one recording.

    Attributes:
        labels: class of every frame, int16 [t], below 0 where it has none or not one alone. Scores of labels are of
            these.
        targets: with ``overlap: each`` 1 where a behaviour is there and 0 where not, float32 [t, classes], and NaN in
            frames that nobody has looked at; None: ``labels`` say all.
        sequences: with one label for the whole recording its first and last frame (exclusive), int64 [1, 2]; the label
            stands at the last frame alone, which is what answers for it. None: labels are of frames.
    """

    labels: NDArray[np.int16]
    targets: NDArray[np.float32] | None = None
    sequences: NDArray[np.int64] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames of which something is learnt, bool [t]."""
        return known_frames(self.labels, self.targets)

    def every(self, n: int) -> "LearntLabels":
        """Those of every n-th frame, from the first on."""
        labels = self.labels[::n]
        sequences = None
        if self.sequences is not None:
            sequences = -(-self.sequences // n)
            labels = labels.copy()
            labels[sequences[:, 1] - 1] = self.labels[self.sequences[:, 1] - 1]
        return LearntLabels(labels, None if self.targets is None else self.targets[::n], sequences)


def learnt_labels(stream: StreamLabels, n_frames: int, classes: list[str], options: LabelOptions) -> LearntLabels:
    """What a recording of so many frames is labelled with.

    Raises:
        DataError: as `labels_of`.
    """
    if stream.whole is not None:
        labels = labels_of(stream, n_frames, classes, options)
        labels[:-1] = UNLABELLED
        return LearntLabels(labels, sequences=np.array([[0, n_frames]], np.int64))
    if options.overlap == "each":
        return _each(stream, n_frames, classes, options)
    return LearntLabels(labels_of(stream, n_frames, classes, options))


def known_frames(labels: NDArray[np.integer], targets: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Frames of which something is learnt, bool [t]; a frame without any behaviour is one, if somebody looked."""
    return labels >= 0 if targets is None else np.logical_not(np.isnan(targets).any(axis=1))


def class_frames(labels: NDArray[np.integer], targets: NDArray[np.float32] | None, n_classes: int) -> NDArray[np.int64]:
    """In how many frames each class is there, int64 [n_classes]; with targets of their own several may be in one."""
    if targets is None:
        return class_counts([labels], n_classes)
    return np.rint(np.nan_to_num(targets).sum(axis=0, dtype=np.float64)).astype(np.int64)


def _each(stream: StreamLabels, n_frames: int, classes: list[str], options: LabelOptions) -> LearntLabels:
    with naming_off_by_one(stream, n_frames):
        there = behavior_matrix(stream.bouts, n_frames, classes, stream.path, options.rename, options.ignore)
    known = labelled_frames(stream.bouts, n_frames, options.rename, options.ignore, stream.unlabelled)
    if options.rest is not None:
        there[known & ~there.any(axis=1), classes.index(options.rest)] = True
    targets = there.astype(np.float32)
    targets[~known] = np.nan
    # One class: the only behaviour, or, where all that meet stand in ``priority``, the first of these.
    ranks = np.array([options.priority.index(name) if name in options.priority else np.inf for name in classes])
    of_frame = np.where(there, ranks, -np.inf)
    decided = (there.sum(axis=1) == 1) | (there.any(axis=1) & np.isfinite(of_frame.max(axis=1, initial=-np.inf)))
    first = np.where(there, np.minimum(ranks, len(classes)), len(classes) + 1).argmin(axis=1)
    return LearntLabels(np.where(known & decided, first, UNLABELLED).astype(np.int16), targets)
