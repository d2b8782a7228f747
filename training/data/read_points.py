"""Points of a file as a model takes them. Light to import: whoever only predicts waits for nothing of the training."""

import numpy as np
from numpy.typing import NDArray

from ...acquisition.pose.pose_table import PoseTable
from ...inference.gap import RATE_TOLERANCE
from ...inference.model_input import PoseInput
from ...inference.pose.select import PointSelection
from ...sync.errors import ConfigError, DataError


def rate_of(table: PoseTable, stated_hz: float | None) -> float:
    """Frames per second of a file of points: what it says itself, or what was said of it.

    Raises:
        DataError: nobody says, or both do and differ.
    """
    if stated_hz is None and table.rate_hz is None:
        raise DataError(f"{table.path}: does not say its frame rate; give 'rate_hz' with the recording, or --fps")
    if stated_hz is not None and table.rate_hz is not None and abs(stated_hz / table.rate_hz - 1.0) > RATE_TOLERANCE:
        raise DataError(
            f"{table.path}: says {table.rate_hz:g} frames/s, and {stated_hz:g} was given; leave one of them out"
        )
    rate_hz = stated_hz if stated_hz is not None else table.rate_hz
    assert rate_hz is not None
    return rate_hz


def points_of(table: PoseTable, pose: PoseInput) -> NDArray[np.float32]:
    """The points that a model takes, in its order, float32 [t, animals, keypoints, 3].

    Raises:
        DataError: a keypoint is not there, or the number of animals differs.
    """
    return selection_of(table, pose).of(table.points)


def selection_of(table: PoseTable, pose: PoseInput) -> PointSelection:
    """Which points of a file a model takes.

    Raises:
        DataError: a keypoint is not there, or the number of animals differs.
    """
    try:
        return PointSelection(table.animals, table.keypoints, pose, str(table.path), table.there)
    except ConfigError as error:
        raise DataError(str(error)) from error
