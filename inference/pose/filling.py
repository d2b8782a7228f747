"""Raw points to points that are always there: causally, with how old each of them is."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..cropper import State
from .history import frames_since, held
from .measures import Values


@dataclass(frozen=True, slots=True)
class Filled:
    """A block without holes.

    Attributes:
        xy: (t, a, k, 2) px, finite everywhere.
        since: (t, a, k) frames since the point was seen, 0 where it is seen.
        age: (t, a, k) frames since the value was found, 0 where it is of this frame.
    """

    xy: Values
    since: NDArray[np.int64]
    age: NDArray[np.int64]


class Filling:
    """Fills missing points by what is known at that frame.

    A missing point stays where it was seen last for ``max_fill`` frames. Then, and when it was never seen, it is at
    the mean of those points of its animal that are seen, and where there are none it stays where it is. Points of an
    animal of which nothing was seen yet are at the mean of all points that are seen, and before any was seen at 0.

    Args:
        n_animals: of the model.
        n_keypoints: of each.
        max_fill: frames.
    """

    never_frames: ClassVar[int] = 1 << 40
    """Frames since a point was seen that never was."""

    def __init__(self, n_animals: int, n_keypoints: int, max_fill: int) -> None:
        self._shape = (n_animals, n_keypoints)
        self._max_fill = max_fill

    def initial(self) -> State:
        return {
            "xy": np.zeros((*self._shape, 2), np.float64),
            "since": np.full(self._shape, self.never_frames, np.int64),
            "age": np.full(self._shape, self.never_frames, np.int64),
            "found": np.zeros(self._shape, np.int64),
        }

    def block(self, state: State, xy: Values, seen: NDArray[np.bool_]) -> tuple[State, Filled]:
        """Fill a block of points (t, a, k, 2), which are 0 where they are not seen."""
        n_seen = seen.sum(axis=2)
        of_animal = np.zeros((*xy.shape[:2], 2))
        for number in range(xy.shape[2]):
            of_animal = of_animal + xy[:, :, number]
        of_all, n_all = np.zeros((len(xy), 2)), n_seen.sum(axis=1)
        for animal in range(xy.shape[1]):
            of_all = of_all + of_animal[:, animal]
        of_animal = of_animal / np.maximum(n_seen, 1)[..., None]
        of_all = of_all / np.maximum(n_all, 1)[:, None]

        since = frames_since(seen, state["since"])
        stale = ~seen & (since > self._max_fill) & (n_seen > 0)[..., None]
        own = seen | stale
        found = np.logical_or.accumulate(own, axis=0) | (state["found"] > 0)
        borrowed = ~found & (n_all > 0)[:, None, None]
        values = np.where(
            seen[..., None],
            xy,
            np.where(stale[..., None], of_animal[:, :, None], of_all[:, None, None]),
        )
        marked = own | borrowed
        filled = held(values, marked, state["xy"])
        age = frames_since(marked, state["age"])
        after: State = {
            "xy": filled[-1].copy(),
            "since": since[-1].copy(),
            "age": age[-1].copy(),
            "found": found[-1].astype(np.int64),
        }
        return after, Filled(filled, since, age)
