"""What a network is to answer at every frame: a share of each class, and whether the frame is learnt from at all."""

import numpy as np
from numpy.typing import NDArray

from ..splits import PARTS, Part

_FAR = 1 << 40
"""Further than any change of label."""


def frame_targets(
    labels: NDArray[np.integer],
    parts: NDArray[np.int8],
    n_classes: int,
    edge_frames: int = 0,
    margin: int = 0,
    given: NDArray[np.float32] | None = None,
    part: Part = "train",
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Targets [t, c] and which frames count [t].

    Args:
        labels: class of every frame, below 0 where there is none.
        parts: part of every frame.
        n_classes: c.
        edge_frames: within so many frames of a change of label inside the part the target passes linearly from one
            class to the other, half and half at the change; 0: at once.
        margin: frames on both sides of a change of label that do not count.
        given: targets instead of labels, [t, c] from 0 to 1; a row with NaN does not count.
        part: which frames count.
    """
    counts = parts == PARTS.index(part)
    if given is not None:
        counts = counts & ~np.isnan(given).any(axis=1)
        return np.where(counts[:, None], given, 0.0).astype(np.float32), counts
    counts = counts & (labels >= 0)
    if margin:
        counts &= _distance_to_change(labels) >= margin
    targets = np.zeros((len(labels), n_classes), np.float32)
    known = np.flatnonzero(labels >= 0)
    targets[known, labels[known]] = 1.0
    if edge_frames:
        _soften(targets, labels, parts, edge_frames)
    return targets, counts


def _distance_to_change(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Whole frames between each frame and the nearest change of label; the frames beside a change have 0."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    frames = np.arange(len(labels))
    after = np.searchsorted(changes, frames, side="right")
    bounded = np.concatenate([[-_FAR], changes, [_FAR]])
    return np.minimum(frames - bounded[after], bounded[after + 1] - frames - 1)


def _soften(targets: NDArray[np.float32], labels: NDArray[np.integer], parts: NDArray[np.int8], width: int) -> None:
    """Give the class on the other side of the nearest change its share."""
    together = (labels[1:] >= 0) & (labels[:-1] >= 0) & (parts[1:] == parts[:-1])
    changes = np.flatnonzero((np.diff(labels) != 0) & together) + 1
    if not len(changes):
        return
    n = len(labels)
    stretch = np.cumsum(np.concatenate([[0], (np.diff(labels) != 0) | (np.diff(parts) != 0)]))
    frames = np.arange(n)
    after = np.searchsorted(changes, frames, side="right")
    before_edge, after_edge = changes[np.maximum(after - 1, 0)], changes[np.minimum(after, len(changes) - 1)]
    # A change counts for the two stretches that meet there, and for none behind them.
    away_before = np.where((after > 0) & (stretch[before_edge] == stretch), frames - before_edge + 0.5, np.inf)
    meets_after = (after < len(changes)) & (stretch[after_edge - 1] == stretch)
    away_after = np.where(meets_after, after_edge - frames - 0.5, np.inf)
    away = np.minimum(away_before, away_after)
    other = np.where(away_before <= away_after, labels[before_edge - 1], labels[after_edge])
    soft = np.flatnonzero(away < width)
    share = (0.5 - away[soft] / (2 * width)).astype(np.float32)
    targets[soft, labels[soft]] -= share
    targets[soft, other[soft]] += share
