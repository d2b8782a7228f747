"""Short interruptions of a behaviour are closed; for that every label comes out later by a fixed lag."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ...sync.clock import NS_PER_MS, NS_PER_S
from ...sync.errors import ClockError
from ..cropper import State
from .decider import MAX_STEPS_PER_S, NONE, AddedDelay


class GapClosing:
    """What comes out at t is the closed label of t - lag, where the lag is the largest of the gaps.

    From left to right: when a behaviour is interrupted and comes back at most its ``gap_ns`` after the interruption
    began, the interruption takes its name, whatever was in it; then the same goes on from where it came back. A label
    holds from its step until the next one. Nothing that comes later than the lag is needed, so that this equals the
    same done offline, shifted by the lag.

    Args:
        gaps_ns: longest interruption that is closed, one per class.
    """

    def __init__(self, gaps_ns: list[int]) -> None:
        self._gaps_ns = list(gaps_ns)
        self._lag_ns = max(gaps_ns)
        self._capacity = 2 + self._lag_ns * MAX_STEPS_PER_S // NS_PER_S
        self._changes: deque[tuple[int, int]] = deque()  # time and new label, not older than the lag
        self._newest = NONE
        self._label = NONE

    def delays(self) -> list[AddedDelay]:
        """The lag, for every class."""
        lag_ms = self._lag_ns / NS_PER_MS
        return [AddedDelay(lag_ms, lag_ms)] * len(self._gaps_ns)

    def step(self, label: int, t_ns: int) -> int:
        """Take the label of a step, give the closed label of one lag ago.

        Raises:
            ClockError: steps come faster than `MAX_STEPS_PER_S`.
        """
        changes = self._changes
        if label != self._newest:
            self._newest = label
            if len(changes) == self._capacity:
                raise ClockError(
                    f"stabiliser: more than {MAX_STEPS_PER_S} steps per second within {self._lag_ns / NS_PER_MS:g} ms; "
                    "the exposure times are wrong"
                )
            changes.append((t_ns, label))
        due_ns = t_ns - self._lag_ns
        while changes and changes[0][0] <= due_ns:
            if not self._closed():
                self._label = changes.popleft()[1]
        return self._label

    def _closed(self) -> bool:
        """Whether the first change begins an interruption that ends in time; all of it is then dropped."""
        if self._label == NONE:
            return False
        latest_ns = self._changes[0][0] + self._gaps_ns[self._label]
        for place, (t_ns, label) in enumerate(self._changes):
            if t_ns > latest_ns:
                return False
            if label == self._label:
                for _ in range(place + 1):
                    self._changes.popleft()
                return True
        return False

    def reset(self) -> None:
        self._changes.clear()
        self._newest = NONE
        self._label = NONE

    def snapshot(self) -> State:
        changes = np.full((self._capacity, 2), NONE, np.int64)
        if self._changes:
            changes[: len(self._changes)] = self._changes
        return {
            "stabiliser.closing": np.array([self._label, self._newest, len(self._changes)], np.int64),
            "stabiliser.changes": changes,
        }

    def restore(self, state: State) -> None:
        self._label, self._newest, n = (int(value) for value in state["stabiliser.closing"])
        pairs: NDArray[np.int64] = state["stabiliser.changes"][:n]
        self._changes = deque((int(t_ns), int(label)) for t_ns, label in pairs)
