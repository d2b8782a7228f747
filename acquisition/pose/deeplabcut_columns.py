"""Which column of a DeepLabCut table is which coordinate of which point of which animal. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from .pose_table import ONE_ANIMAL

SCORER: Final = "scorer"
INDIVIDUALS: Final = "individuals"
BODYPARTS: Final = "bodyparts"
COORDS: Final = "coords"
SINGLE_LEVELS: Final = (SCORER, BODYPARTS, COORDS)
MULTI_LEVELS: Final = (SCORER, INDIVIDUALS, BODYPARTS, COORDS)
"""Head rows of a file with one animal, and with several."""
_COORDS: Final = ("x", "y", "likelihood")
_COPY: Final = re.compile(r"\.\d+$")
"""What some programs append to a name that stands above several columns."""
_NONE: Final = -1


@dataclass(frozen=True, slots=True)
class Columns:
    """``places``: [animals, keypoints, 3] column of x, y and likelihood; -1 where there is none."""

    animals: tuple[str, ...]
    keypoints: tuple[str, ...]
    places: NDArray[np.intp]

    def points(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """The points of a table [t, columns]: [t, animals, keypoints, 3] float32."""
        points = values[:, self.places.ravel()].astype(np.float32).reshape(len(values), *self.places.shape)
        points[:, self.places == _NONE] = np.nan
        points[:, self.places[..., 2] == _NONE, 2] = 1.0
        return points


def sort_columns(head: Sequence[Sequence[str]], levels: Sequence[str], where: str) -> Columns:
    """Read the head of a table.

    Animals that do not share all keypoints, as with DeepLabCut's unique body parts, have every keypoint of the file;
    those that are not theirs are missing throughout.

    Args:
        head: the names above each column, one sequence per level.
        levels: what each of them names: `SINGLE_LEVELS` or `MULTI_LEVELS`.
        where: the file, for messages.

    Raises:
        DataError: several networks in one file, another coordinate than x, y and likelihood, a column twice, or a point
            without x or y.
    """
    names = dict(zip(levels, head, strict=True))
    scorers = {_COPY.sub("", name) for name in names[SCORER]}
    if len(scorers) > 1:
        raise DataError(f"{where}: holds the points of several networks ({', '.join(sorted(scorers))}); export one")
    bodyparts, coords = names[BODYPARTS], names[COORDS]
    individuals = names.get(INDIVIDUALS, [ONE_ANIMAL] * len(bodyparts))
    animals, keypoints = tuple(dict.fromkeys(individuals)), tuple(dict.fromkeys(bodyparts))
    places = np.full((len(animals), len(keypoints), 3), _NONE, np.intp)
    for place, (animal, keypoint, coord) in enumerate(zip(individuals, bodyparts, coords, strict=True)):
        if coord not in _COORDS:
            raise DataError(
                f"{where}: column {place + 2} is {coord!r} of {keypoint!r}; x, y and likelihood are read, and nothing "
                "else: export points in pixels of one camera"
            )
        at = animals.index(animal), keypoints.index(keypoint), _COORDS.index(coord)
        if places[at] != _NONE:
            raise DataError(f"{where}: column {place + 2} is {coord!r} of {keypoint!r} of {animal!r} once more")
        places[at] = place
    there = (places != _NONE).any(axis=2)
    for a, k in zip(*np.nonzero(there & (places[..., :2] == _NONE).any(axis=2)), strict=True):
        raise DataError(f"{where}: {keypoints[k]!r} of {animals[a]!r} has no column for x or for y; export it again")
    return Columns(animals, keypoints, places)
