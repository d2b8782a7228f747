"""Which animal is which, where a tracker exchanges two of them or gives one of them twice."""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ..cropper import State
from .config import Identity
from .measures import Values, length

_Point = complex
"""x + iy, px: what Python is quickest with, one at a time."""


@dataclass(frozen=True, slots=True)
class Identified:
    """A block with animals in order.

    Attributes:
        xy: (t, 2, k, 2) px.
        seen: (t, 2, k) which points are there.
        likelihood: (t, 2, k).
        twin: (t,) both animals of the tracker were one.
    """

    xy: Values
    seen: NDArray[np.bool_]
    likelihood: Values
    twin: NDArray[np.bool_]


def nearest_order(found: list[_Point | None], last: list[_Point | None], order: int) -> int:
    """0: as found, 1: exchanged, whichever is the shorter way; ``order`` on a tie, and while nothing is known.

    A single animal, while only one was ever seen, is that one.
    """
    if None in last and None in found:
        unknown = last == [None, None] or found == [None, None]
        return order if unknown else int((found[0] is None) != (last[0] is None))
    as_found = way_between(found[0], last[0]) + way_between(found[1], last[1])
    exchanged = way_between(found[1], last[0]) + way_between(found[0], last[1])
    if as_found == exchanged:
        return order
    return 1 if exchanged < as_found else 0


def way_between(now: _Point | None, before: _Point | None) -> float:
    """Length of the way; 0 where one end is not known."""
    return 0.0 if now is None or before is None else abs(now - before)


def as_one(
    twin: NDArray[np.bool_], xy: Values, seen: NDArray[np.bool_], likelihood: Values
) -> tuple[Values, NDArray[np.bool_], Values]:
    """Where two are one, either has all points of both; what both have is in the middle."""
    either = seen[:, :1] | seen[:, 1:]
    number = np.maximum(seen[:, :1].astype(np.float64) + seen[:, 1:], 1.0)
    is_twin = twin[:, None, None]
    return (
        np.where(is_twin[..., None], (xy[:, :1] + xy[:, 1:]) / number[..., None], xy),
        np.where(is_twin, either, seen),
        np.where(is_twin, np.maximum(likelihood[:, :1], likelihood[:, 1:]), likelihood),
    )


class Identities:
    """Puts two animals in order, frame after frame.

    With ``nearest`` the order is the one in which both together moved the shortest way since each was last seen, and a
    single animal is the one that was nearer, or the only one that was ever seen; on a tie the order stays. Where the
    two are twins (see `PoseFill`), the one that was nearer is there, with the points of both, and the other is missing.
    An animal is where the mean of its seen points is.
    """

    def __init__(self, identity: Identity, twin_px: float | None) -> None:
        self._nearest = identity == "nearest"
        self._twin_px = twin_px

    def initial(self) -> State:
        return {"last": np.zeros((2, 2), np.float64), "known": np.zeros(2, np.int64), "order": np.zeros(1, np.int64)}

    def block(self, state: State, xy: Values, seen: NDArray[np.bool_], likelihood: Values) -> tuple[State, Identified]:
        """Order a block of raw points, which are 0 where they are not seen."""
        twin = self._twins(xy, seen)
        if twin.any():
            xy, seen, likelihood = as_one(twin, xy, seen, likelihood)
        n_seen = seen.sum(axis=2)
        centre = np.zeros((len(xy), 2, 2))
        for number in range(xy.shape[2]):
            centre = centre + np.where(seen[:, :, number, None], xy[:, :, number], 0.0)
        centre = centre / np.maximum(n_seen, 1)[..., None]
        after, order, dropped = self._walk(state, centre, n_seen > 0, twin)
        turned = order[:, None, None] == 1
        seen = np.where(turned, seen[:, ::-1], seen) & (np.arange(2) != dropped[:, None])[:, :, None]
        xy = np.where(turned[..., None], xy[:, ::-1], xy)
        likelihood = np.where(turned, likelihood[:, ::-1], likelihood)
        return after, Identified(np.where(seen[..., None], xy, 0.0), seen, np.where(seen, likelihood, 0.0), twin)

    def _twins(self, xy: Values, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self._twin_px is None:
            return np.zeros(len(xy), np.bool_)
        shared = seen[:, 0] & seen[:, 1]
        near = length(xy[:, 0] - xy[:, 1]) <= self._twin_px
        return np.logical_or.reduce(shared, axis=1) & np.logical_and.reduce(near | ~shared, axis=1)

    def _walk(
        self, state: State, centre: Values, there: NDArray[np.bool_], twin: NDArray[np.bool_]
    ) -> tuple[State, NDArray[np.int64], NDArray[np.int64]]:
        """Frame by frame, since each order depends on where the animals were found before it.

        Returns:
            Next state; (t,) 1 where the two change places; (t,) which of them, in order, is a twin to be dropped, or
            -1.
        """
        pairs = zip((state["last"][:, 0] + 1j * state["last"][:, 1]).tolist(), state["known"].tolist(), strict=True)
        last: list[_Point | None] = [place if known else None for place, known in pairs]
        order = int(state["order"][0])
        orders, dropped = [0] * len(centre), [-1] * len(centre)
        places = (centre[..., 0] + 1j * centre[..., 1]).T.tolist()
        rows = zip(*places, *there.T.tolist(), twin.tolist(), strict=True)
        for place, (a, b, is_a, is_b, is_twin) in enumerate(rows):
            if not (is_a or is_b):
                orders[place] = order
                continue
            found: list[_Point | None] = [a if is_a else None, b if is_b else None]
            if self._nearest and not is_twin:
                order = nearest_order(found, last, order)
            orders[place] = order
            if order:
                found.reverse()
            if is_twin:
                ways = [inf if last[n] is None else way_between(found[n], last[n]) for n in (0, 1)]
                gone = 0 if ways[1] < ways[0] else 1
                dropped[place], found[gone] = gone, None
            last = [last[n] if found[n] is None else found[n] for n in (0, 1)]
        after: State = {
            "last": np.array([(0.0, 0.0) if one is None else (one.real, one.imag) for one in last], np.float64),
            "known": np.array([one is not None for one in last], np.int64),
            "order": np.array([order], np.int64),
        }
        return after, np.array(orders, np.int64), np.array(dropped, np.int64)
