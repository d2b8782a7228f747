"""Stretches of equal values in a vector, and how often each class stands in one. Only numpy; needs nothing of ours."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Runs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""First index, last index (exclusive) and value of every stretch, each int64 [n]."""


def runs_of(mask: NDArray[np.bool_], min_frames: int = 1) -> list[tuple[int, int]]:
    """Stretches (start, stop exclusive) of True that are at least ``min_frames`` long."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=np.int8(0), append=np.int8(0)))
    return [
        (int(start), int(stop))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
        if stop - start >= min_frames
    ]


def value_runs(values: NDArray[np.integer]) -> Runs:
    """Every stretch of one value, whatever the value."""
    if not len(values):
        none = np.zeros(0, np.int64)
        return none, none, none
    starts = np.append(0, np.flatnonzero(np.diff(values)) + 1).astype(np.int64)
    return starts, np.append(starts[1:], len(values)), values[starts].astype(np.int64)


def bout_runs(labels: NDArray[np.integer]) -> Runs:
    """Every bout; labels below 0 are of no class."""
    starts, stops, kinds = value_runs(np.maximum(labels.astype(np.int64), -1))
    is_bout = kinds >= 0
    return starts[is_bout], stops[is_bout], kinds[is_bout]


def class_counts(labels: Iterable[NDArray[np.integer[Any]]], n_classes: int) -> NDArray[np.int64]:
    """How often each class stands in some vectors, int64 [n_classes]; labels below 0 are of no class."""
    total = np.zeros(n_classes, np.int64)
    for one in labels:
        total += np.bincount(one[one >= 0], minlength=n_classes)
    return total
