"""The last minute of a label stream as stretches of one label each: what an ethogram draws."""

from collections import deque

from ..sync.clock import NS_PER_MS, NS_PER_S
from .snapshot import Stretch

WINDOW_NS = 60 * NS_PER_S
HOLE_NS = NS_PER_S // 2
"""A longer silence is a hole in the strip rather than the label going on."""
MAX_STRETCHES = 2_048


class LabelStrip:
    """Stretches of the last ``window_ns``, in bounded memory. Labels come in order of time; older ones are dropped."""

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._stretches: deque[list[int | str]] = deque(maxlen=MAX_STRETCHES)
        self._last_ns = 0
        self.label = ""

    def add(self, label: str, t_ns: int) -> None:
        """The label at one instant; "" is no label."""
        if t_ns < self._last_ns:
            if self._last_ns - t_ns <= self._window_ns:
                return
            self._stretches.clear()  # a replay has started from the beginning
        near = t_ns - self._last_ns <= HOLE_NS
        if self._stretches and near:
            self._stretches[-1][2] = t_ns
        if label and not (self._stretches and near and self.label == label):
            self._stretches.append([label, t_ns, t_ns])
        elif not label and self.label:
            self._stretches.append(["", t_ns, t_ns])
        self.label, self._last_ns = label, t_ns
        while self._stretches and int(self._stretches[0][2]) < t_ns - self._window_ns:
            self._stretches.popleft()

    def stretches(self) -> tuple[Stretch, ...]:
        """Oldest first; times in milliseconds."""
        return tuple(
            Stretch(str(label), int(start) / NS_PER_MS, int(end) / NS_PER_MS)
            for label, start, end in self._stretches
            if label and end != start
        )


def agreement(labels: tuple[Stretch, ...], truth: tuple[Stretch, ...]) -> float | None:
    """Share of the time covered by both strips in which they say the same; None where nothing overlaps."""
    same = both = 0.0
    i = j = 0
    while i < len(labels) and j < len(truth):
        a, b = labels[i], truth[j]
        overlap = min(a.end_ms, b.end_ms) - max(a.start_ms, b.start_ms)
        if overlap > 0:
            both += overlap
            same += overlap if a.label == b.label else 0.0
        if a.end_ms <= b.end_ms:
            i += 1
        else:
            j += 1
    return same / both if both > 0 else None
