"""Join what the rig said with what the simulator knows, in bounded memory and in either order of arrival."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from ..streaming.messages import FrameTruth, SourceFrame

ItemT = TypeVar("ItemT")

MAX_FRAMES = 32_768
"""Frames whose truth is kept: 68 s of eight cameras at 60 Hz."""
MAX_WAITING = 2_048
"""Items that wait for their truth: 34 s at 60 Hz, so what they wait for is still kept when it is their turn."""


class Known(NamedTuple):
    """What the simulator knows of one frame."""

    instant: int
    behavior: str


FrameKey = tuple[str, int, int]


def frame_key(frame: SourceFrame | FrameTruth) -> FrameKey:
    """``(camera, epoch, seq)``: names one device frame for ever."""
    return frame.camera, frame.epoch, frame.seq


class TruthStore:
    """Truth by frame; the oldest leave first."""

    def __init__(self, max_frames: int = MAX_FRAMES) -> None:
        self._known: dict[FrameKey, Known] = {}
        self._max_frames = max_frames
        self.n_seen = 0

    def add(self, truth: FrameTruth) -> None:
        """Keep one frame's truth."""
        self.n_seen += 1
        self._known[frame_key(truth)] = Known(truth.instant, truth.behavior)
        if len(self._known) > self._max_frames:
            del self._known[next(iter(self._known))]

    def get(self, key: FrameKey) -> Known | None:
        return self._known.get(key)


class TruthJoin(Generic[ItemT]):
    """Holds each item until the truth of all its frames is known, then hands both to ``settle``, in order.

    An item that waits too long (its truth was lost, or there is none) is handed over with what is known of it, which
    may be nothing. One thread.
    """

    def __init__(
        self,
        store: TruthStore,
        settle: Callable[[ItemT, list[Known]], None],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._store = store
        self._settle = settle
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[ItemT, tuple[FrameKey, ...]]] = deque()

    def add(self, item: ItemT, frames: Iterable[SourceFrame]) -> None:
        """Take one item and the frames whose truth it needs."""
        self._waiting.append((item, tuple(frame_key(frame) for frame in frames)))
        if len(self._waiting) > self._max_waiting:
            item, keys = self._waiting.popleft()
            self._settle(item, self._lookup(keys))
        self.advance()

    def advance(self) -> None:
        """Settle from the oldest on as long as everything is known."""
        while self._waiting:
            item, keys = self._waiting[0]
            known = self._lookup(keys)
            if len(known) < len(keys):
                return
            self._waiting.popleft()
            self._settle(item, known)

    def sweep(self) -> None:
        """Settle everything that is known by now, also behind an item that still waits."""
        waiting, self._waiting = self._waiting, deque()
        for item, keys in waiting:
            known = self._lookup(keys)
            if len(known) == len(keys):
                self._settle(item, known)
            else:
                self._waiting.append((item, keys))

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def _lookup(self, keys: tuple[FrameKey, ...]) -> list[Known]:
        found = (self._store.get(key) for key in keys)
        return [known for known in found if known is not None]
