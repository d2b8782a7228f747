"""Keypoints over time as one array, whatever tracker they came from. A leaf: numpy only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError

X: Final = 0
Y: Final = 1
LIKELIHOOD: Final = 2
ONE_ANIMAL: Final = "animal"
"""Name of the animal where a file knows one only and has no name for it."""


@dataclass(frozen=True, slots=True)
class PoseTable:
    """The keypoints of one recording; row i is frame i.

    Attributes:
        keypoints: names, in the order of the file.
        animals: names, in the order of the file.
        points: [t, animals, keypoints, 3] float32: x px, y px, likelihood 0 to 1. Where a point is missing x and y are
            NaN and its likelihood is 0; it is 1 where the format has none.
        rate_hz: frames per second; None: the file does not say.
        path: the file.
    """

    keypoints: tuple[str, ...]
    animals: tuple[str, ...]
    points: NDArray[np.float32]
    rate_hz: float | None
    path: Path

    @property
    def n_frames(self) -> int:
        return len(self.points)

    @property
    def there(self) -> NDArray[np.bool_]:
        """(animals, keypoints) which points there are in any frame."""
        return np.logical_or.reduce(~np.isnan(self.points[..., X]), axis=0)


def make_pose_table(
    path: Path,
    animals: tuple[str, ...],
    keypoints: tuple[str, ...],
    points: NDArray[np.floating],
    rate_hz: float | None = None,
) -> PoseTable:
    """A table of what a reader has found; what is missing becomes missing in one way.

    A point lacks both coordinates where it lacks one. Likelihoods are held within 0 and 1 (some trackers give 1.0000002
    and the like), and are 0 where they are NaN: nothing vouches for the point then.

    Args:
        path: the file.
        animals: their names.
        keypoints: their names.
        points: [t, animals, keypoints, 3].
        rate_hz: where the file says it.

    Raises:
        DataError: no frame, no name, or a name twice.
    """
    for what, names in (("animal", animals), ("keypoint", keypoints)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            found = f"{what} {', '.join(map(repr, twice))} stands twice" if twice else f"it names no {what}"
            raise DataError(f"{path}: {found}; export it again from the tracker")
    if points.shape[1:] != (len(animals), len(keypoints), 3):
        names = f"{len(animals)} animals with {len(keypoints)} keypoints each"
        raise DataError(f"{path}: points of shape {points.shape} for {names}; export it again from the tracker")
    if not len(points):
        raise DataError(f"{path}: holds no frame; export it again from the tracker")
    table = points.astype(np.float32)
    missing = np.isnan(table[..., X]) | np.isnan(table[..., Y])
    table[missing, X] = table[missing, Y] = np.nan
    likelihood = np.nan_to_num(table[..., LIKELIHOOD], nan=0.0)
    table[..., LIKELIHOOD] = np.where(missing, 0.0, np.clip(likelihood, 0.0, 1.0))
    return PoseTable(keypoints, animals, table, rate_hz, path)
