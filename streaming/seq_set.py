"""A set of frame numbers kept as runs, so that a day of frames without a loss is one pair of integers."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class SeqSet:
    """Integers as half-open runs ``[start, stop)``, sorted, never touching. One thread."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in runs:
            self.add_run(start, stop)

    def add(self, seq: int) -> bool:
        """Add one; False when it was there."""
        stops = self._stops
        if stops and stops[-1] == seq:
            stops[-1] = seq + 1
            return True
        if seq in self:
            return False
        self.add_run(seq, seq + 1)
        return True

    def add_run(self, start: int, stop: int) -> None:
        """Add ``start`` up to, not including, ``stop``; an empty run adds nothing."""
        if stop <= start:
            return
        left = bisect_right(self._starts, start)
        if left and self._stops[left - 1] >= start:
            left -= 1
            start = self._starts[left]
        right = bisect_right(self._starts, stop)
        if right > left:
            stop = max(stop, self._stops[right - 1])
        self._starts[left:right] = [start]
        self._stops[left:right] = [stop]

    def __contains__(self, seq: object) -> bool:
        if not isinstance(seq, int):
            return False
        index = bisect_right(self._starts, seq) - 1
        return index >= 0 and seq < self._stops[index]

    def __len__(self) -> int:
        return sum(self._stops) - sum(self._starts)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.runs():
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeqSet) and self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"SeqSet({list(self.runs())})"

    def runs(self) -> Iterator[tuple[int, int]]:
        """The runs ``(start, stop)`` in order."""
        return zip(self._starts, self._stops, strict=True)

    def named(self, most: int = 8) -> str:
        """As words: ``3, 7-9``, and how many runs there are beyond the ``most`` first."""
        runs = list(self.runs())
        words = [str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in runs[:most]]
        return ", ".join(words) + (f" and {len(runs) - most} more run(s)" if len(runs) > most else "")

    @property
    def first(self) -> int:
        """The smallest; the set must not be empty."""
        return self._starts[0]

    @property
    def last(self) -> int:
        """The largest; the set must not be empty."""
        return self._stops[-1] - 1

    def union(self, *others: "SeqSet") -> "SeqSet":
        """All that is in this set or in one of ``others``."""
        return SeqSet(sorted(run for one in (self, *others) for run in one.runs()))

    def minus(self, other: "SeqSet") -> "SeqSet":
        """What is in this set and not in ``other``."""
        result = SeqSet()
        holes = list(other.runs())
        index = 0
        for start, stop in self.runs():
            while index < len(holes) and holes[index][1] <= start:
                index += 1
            at, hole = start, index
            while hole < len(holes) and holes[hole][0] < stop:
                result.add_run(at, min(holes[hole][0], stop))
                at = max(at, holes[hole][1])
                hole += 1
            result.add_run(at, stop)
        return result

    def smallest(self, n: int) -> "SeqSet":
        """The ``n`` smallest."""
        result = SeqSet()
        for start, stop in self.runs():
            if n <= 0:
                break
            taken = min(stop - start, n)
            result.add_run(start, start + taken)
            n -= taken
        return result
