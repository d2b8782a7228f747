"""The account of one camera's frame counter: what came, what came twice, what never came, if it went back. Pure."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from ..streaming.header_filter import REORDER_WINDOW

_DUPLICATE_WINDOW = 256
"""Nothing is delivered a second time, or after it was given up, from further back than this."""

Arrival = Literal["new", "duplicate", "back"]


@dataclass(frozen=True, slots=True)
class Missing:
    """``n`` frames from ``first_seq`` on that the device never delivered."""

    first_seq: int
    n: int


class FrameLedger:
    """Counts one camera's frames in one epoch.

    A jump in the counter becomes a declared drop once the frames are more than `REORDER_WINDOW` behind, or at the end.
    Within that window the first frames too may come out of order: ``first_seq`` then moves down.
    At any time: ``last_seq - first_seq + 1 == captured + dropped + pending``.
    """

    def __init__(self) -> None:
        self.first_seq = -1
        self.last_seq = -1
        self.captured = 0
        self.dropped = 0
        self.duplicates = 0
        self._pending: list[int] = []
        self._certain: list[Missing] = []
        self._recent: deque[int] = deque(maxlen=_DUPLICATE_WINDOW)
        self._newest_ns = 0

    @property
    def pending(self) -> int:
        """Frames that are missing and not declared yet."""
        return len(self._pending) + sum(missing.n for missing in self._certain)

    def arrive(self, seq: int, t_exposure_ns: int) -> Arrival:
        """Account one delivered frame.

        ``back``: the counter has gone back, by more than any repeat would, or to a number that was there already with
        an exposure after all others. Nothing is counted, and frames cannot be told from repeats any more.
        """
        if self.first_seq < 0:
            self.first_seq = self.last_seq = seq
        elif seq > self.last_seq:
            first = self.last_seq + 1
            if seq - first > REORDER_WINDOW:
                # What a long jump leaves behind is beyond hope at once; only its end may still come out of order.
                self._certain.append(Missing(first, seq - REORDER_WINDOW - first))
                first = seq - REORDER_WINDOW
            self._pending.extend(range(first, seq))
            self.last_seq = seq
        elif seq in self._pending:
            self._pending.remove(seq)
        elif self.last_seq - REORDER_WINDOW <= seq < self.first_seq:
            self._pending.extend(range(seq + 1, self.first_seq))
            self.first_seq = seq
        elif t_exposure_ns > self._newest_ns or (seq < self.last_seq - _DUPLICATE_WINDOW and seq not in self._recent):
            return "back"
        else:
            self.duplicates += 1
            return "duplicate"
        self._newest_ns = max(self._newest_ns, t_exposure_ns)
        self._recent.append(seq)
        self.captured += 1
        return "new"

    def lose_last(self, n: int) -> Missing | None:
        """``n`` frames after all others were lost, after `declare` has ended; None where there was none to follow."""
        if n <= 0 or self.first_seq < 0:
            return None
        missing = Missing(self.last_seq + 1, n)
        self.last_seq += n
        self.dropped += n
        return missing

    def declare(self, *, end: bool = False) -> list[Missing]:
        """The drops that are certain by now, as runs; each is given once. ``end``: nothing more will come."""
        if not self._pending and not self._certain:
            return []
        limit = self.last_seq + 1 if end else self.last_seq - REORDER_WINDOW
        certain = sorted(seq for seq in self._pending if seq < limit)
        self._pending = [seq for seq in self._pending if seq >= limit]
        runs = self._certain
        self._certain = []
        for seq in certain:
            if runs and runs[-1].first_seq + runs[-1].n == seq:
                runs[-1] = Missing(runs[-1].first_seq, runs[-1].n + 1)
            else:
                runs.append(Missing(seq, 1))
        self.dropped += sum(missing.n for missing in runs)
        return runs
