"""Frames of one instant, from cameras that run on their own: matched by mid-exposure time, never by counting.

Pure: no sockets, no clock; the caller says what time it is. Two frames of one instant must lie within ``tolerance_ns``
of each other. While every camera's time error stays below half the tolerance and the tolerance is at most a quarter of
the period, frames of different instants are at least three quarters of a period less the errors apart and so can
never meet in one set.

Every frame that goes in ends in exactly one of: complete set, partial set, duplicate, late. A set closes when it is
complete, or as partial when its deadline has passed; nothing waits for ever. A set that completes is handed out at
once, even when an older one is still open: a dropped frame of one camera never delays the next instant.

Cameras that count the pulses of a common trigger say more than any clock: where two frames carry trigger ids, the ids
alone decide whether they are of one instant, and clocks may then differ by more than half a period. By how much each
does is learnt from the sets that the ids complete, and taken out before any time is compared (`trigger_ids`). A frame
whose time is not to be believed yet (``timed`` False) is paired by its id alone, and no other frame by its time.
"""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import ClockError
from .trigger_ids import IdCounts, TriggerIds

T = TypeVar("T")

_HISTORY_SETS = 256
"""Closed sets remembered to tell a late frame from a new instant: over four seconds at 60 Hz."""
_HISTORY_FRAMES = 1024
"""Frames per camera remembered to tell a duplicate."""
_MAX_OPEN = 64
"""Open sets at the same time; the oldest is closed as partial when another begins."""

_NO_TIME_NS = 2**62
"""Half the span of a set without a believed time: no time lies close to both its ends."""


@dataclass(frozen=True, slots=True)
class ClosedSet(Generic[T]):
    """One frame set. ``items`` has a place per camera in the assembler's order, None where the view is missing."""

    set_id: int
    items: tuple[T | None, ...]
    missing: tuple[str, ...]
    t_mid_ns: int

    @property
    def complete(self) -> bool:
        return not self.missing


@dataclass(slots=True)
class _OpenSet(Generic[T]):
    """``min_ns`` and ``max_ns`` are those of frames whose times are believed, while there is none, of the others."""

    items: list[T | None]
    ids: list[int]
    times: list[int]
    min_ns: int
    max_ns: int
    deadline_ns: int
    timed: bool
    n: int = 0
    pulse: int = -1


@dataclass(slots=True)
class SetCounts:
    """Where the frames and the sets went. ``frames_*`` add up to the frames that were given."""

    complete: int = 0
    partial: int = 0
    frames_complete: int = 0
    frames_partial: int = 0
    frames_duplicate: int = 0
    frames_late: int = 0


@dataclass(slots=True)
class _CameraHistory:
    recent: deque[Hashable] = field(default_factory=deque[Hashable])
    known: set[Hashable] = field(default_factory=set[Hashable])

    def seen(self, key: Hashable) -> bool:
        if key in self.known:
            return True
        self.recent.append(key)
        self.known.add(key)
        if len(self.recent) > _HISTORY_FRAMES:
            self.known.discard(self.recent.popleft())
        return False


class FrameSetAssembler(Generic[T]):
    """Groups frames of several cameras into sets.

    Args:
        cameras: names, in the order of a set's items.
        period_ns: nominal frame period.
        tolerance_ns: two frames of one set are at most this far apart, mid-exposure; default a quarter period.
        deadline_ns: a set waits this long after its first frame arrived; default one period.
        first_id: of the first set.

    Raises:
        ClockError: a tolerance of half a period or more could pair frames of different instants.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        period_ns: int,
        tolerance_ns: int | None = None,
        deadline_ns: int | None = None,
        first_id: int = 0,
    ) -> None:
        self.cameras = tuple(cameras)
        self.tolerance_ns = period_ns // 4 if tolerance_ns is None else tolerance_ns
        self.deadline_ns = period_ns if deadline_ns is None else deadline_ns
        if not 0 < self.tolerance_ns < period_ns / 2:
            raise ClockError(
                f"frame-set tolerance of {self.tolerance_ns} ns at a period of {period_ns} ns: choose more than 0 and "
                "less than half the period, else frames of different instants could meet in one set"
            )
        self.counts = SetCounts()
        self._index = {camera: place for place, camera in enumerate(self.cameras)}
        self._open: list[_OpenSet[T]] = []
        self._closed: deque[tuple[int, int, int]] = deque(maxlen=_HISTORY_SETS)
        self._history = [_CameraHistory() for _ in self.cameras]
        self._lost: set[int] = set()
        self._next_id = first_id
        self._ids = TriggerIds(self.cameras, period_ns)
        self._closed_pulses: deque[int] = deque(maxlen=_HISTORY_SETS)
        self._known_pulses: set[int] = set()
        self._n_plain = 0
        self._horizon_ns: int | None = None
        self._newest_ns: int | None = None

    @property
    def ids(self) -> IdCounts:
        """What became of the trigger ids, per camera in the assembler's order."""
        return self._ids.counts

    def knows_ids(self, camera: str, epoch: int) -> bool:
        """Whether this start of a camera counts triggers comparably with the other cameras; its first one does."""
        return self._ids.known(self._index[camera], epoch)

    def add(
        self,
        camera: str,
        key: Hashable,
        t_mid_ns: int,
        now_ns: int,
        item: T,
        trigger_id: int = -1,
        epoch: int = 0,
        timed: bool = True,
    ) -> list[ClosedSet[T]]:
        """Give one frame; returns the sets that it closed.

        Args:
            camera: who took it.
            key: names this frame among the camera's recent ones, as (epoch, seq, time); the same key is a duplicate.
            t_mid_ns: middle of its exposure, rig time.
            now_ns: when it arrived, rig time. Frames that were waiting together are best given in this order.
            item: what to hand out in the set.
            trigger_id: the trigger pulse that made this frame, counted by the camera; -1: not known.
            epoch: of the camera; ids begin anew with it.
            timed: ``t_mid_ns`` is to be believed; where it is not, the frame finds others by its trigger id, or nobody.
        """
        place = self._index[camera]
        closed = self.tick(now_ns)
        if self._history[place].seen(key):
            self.counts.frames_duplicate += 1
            return closed
        pulse, as_stamped_ns = -1, t_mid_ns
        if trigger_id >= 0:
            pulse = self._ids.pulse(place, trigger_id, epoch, now_ns)
            t_mid_ns -= self._ids.offset_ns[place]
        best = self._match(place, t_mid_ns, pulse, timed)
        if best is None and pulse >= 0 and timed:
            other = self._match(place, t_mid_ns, -1, timed)
            if other is not None:
                self._ids.disputed(place, trigger_id, other.pulse)
        if best is None:
            if self._too_late(t_mid_ns, pulse, timed):
                self.counts.frames_late += 1
                return closed
            if len(self._open) >= _MAX_OPEN:
                closed.append(self._close(self._open[0]))
            n = len(self.cameras)
            best = _OpenSet[T]([None] * n, [-1] * n, [0] * n, t_mid_ns, t_mid_ns, now_ns + self.deadline_ns, timed)
            self._open.append(best)
        if trigger_id >= 0:
            if timed:
                best.ids[place], best.times[place] = trigger_id, as_stamped_ns
            if best.pulse < 0:
                best.pulse = pulse
        best.items[place] = item
        best.n += 1
        if timed and not best.timed:
            best.timed, best.min_ns, best.max_ns = True, t_mid_ns, t_mid_ns
            self._absorb(best)
        elif timed or not best.timed:
            best.min_ns = min(best.min_ns, t_mid_ns)
            best.max_ns = max(best.max_ns, t_mid_ns)
        if self._finished(best):
            closed.append(self._close(best))
        return closed

    def tick(self, now_ns: int) -> list[ClosedSet[T]]:
        """Close what has passed its deadline."""
        if not self._open:
            return []
        return [self._close(one) for one in [one for one in self._open if one.deadline_ns <= now_ns]]

    def flush(self) -> list[ClosedSet[T]]:
        """Close all that is open: the end of a run."""
        return [self._close(one) for one in list(self._open)]

    def set_lost(self, camera: str, lost: bool) -> list[ClosedSet[T]]:
        """Do not wait for a camera that is known to be gone; its sets stay partial. Returns what that closes."""
        if lost:
            self._lost.add(self._index[camera])
        else:
            self._lost.discard(self._index[camera])
        return [self._close(one) for one in [one for one in self._open if self._finished(one)]]

    def next_deadline_ns(self) -> int | None:
        """When `tick` has something to do next, None while nothing is open."""
        return min((one.deadline_ns for one in self._open), default=None)

    def _match(self, place: int, t_mid_ns: int, pulse: int, timed: bool) -> _OpenSet[T] | None:
        best: _OpenSet[T] | None = None
        best_distance = self.tolerance_ns + 1
        for one in self._open:
            if one.items[place] is not None:
                continue
            if pulse >= 0 and one.pulse >= 0:
                if one.pulse == pulse:
                    return one
                continue
            if not (timed and one.timed):
                continue
            distance = max(one.max_ns - t_mid_ns, t_mid_ns - one.min_ns)
            if distance < best_distance:
                best, best_distance = one, distance
        return best

    def _absorb(self, one: _OpenSet[T]) -> None:
        """Its time is known from now on: take in the set that time alone began beside it."""
        for other in self._open:
            near = max(one.max_ns, other.max_ns) - min(one.min_ns, other.min_ns) <= self.tolerance_ns
            apart = all(mine is None or theirs is None for mine, theirs in zip(one.items, other.items, strict=True))
            if other is one or not (other.timed and other.pulse < 0 and near and apart):
                continue
            for place, item in enumerate(other.items):
                if item is not None:
                    one.items[place], one.ids[place], one.times[place] = item, other.ids[place], other.times[place]
            one.n += other.n
            one.min_ns, one.max_ns = min(one.min_ns, other.min_ns), max(one.max_ns, other.max_ns)
            one.deadline_ns = min(one.deadline_ns, other.deadline_ns)
            self._open.remove(other)
            return

    def _too_late(self, t_mid_ns: int, pulse: int, timed: bool) -> bool:
        if pulse >= 0 and self._closed_pulses:
            if pulse in self._known_pulses:
                return True
            if len(self._closed_pulses) == _HISTORY_SETS and pulse < self._closed_pulses[0]:
                return True
            # Of the closed sets only those without an id can still have been this frame's.
            return timed and self._n_plain > 0 and self._was_closed(t_mid_ns, plain_only=True)
        if not timed:
            return False
        if self._newest_ns is None or t_mid_ns > self._newest_ns + self.tolerance_ns:
            return False
        if self._horizon_ns is not None and t_mid_ns <= self._horizon_ns:
            return True
        return self._was_closed(t_mid_ns, plain_only=False)

    def _was_closed(self, t_mid_ns: int, *, plain_only: bool) -> bool:
        return any(
            max(high - t_mid_ns, t_mid_ns - low) <= self.tolerance_ns
            for low, high, pulse in reversed(self._closed)
            if pulse < 0 or not plain_only
        )

    def _finished(self, one: _OpenSet[T]) -> bool:
        if not self._lost:
            return one.n == len(self.cameras)
        return all(item is not None or place in self._lost for place, item in enumerate(one.items))

    def _close(self, one: _OpenSet[T]) -> ClosedSet[T]:
        self._open.remove(one)
        if len(self._closed) == _HISTORY_SETS:
            _, oldest, pulse = self._closed[0]
            self._n_plain -= pulse < 0
            if oldest < _NO_TIME_NS:
                self._horizon_ns = oldest if self._horizon_ns is None else max(self._horizon_ns, oldest)
        low, high = (one.min_ns, one.max_ns) if one.timed else (-_NO_TIME_NS, _NO_TIME_NS)
        self._closed.append((low, high, one.pulse))
        if one.pulse >= 0:
            self._remember(one)
        else:
            self._n_plain += 1
        if one.timed:
            self._newest_ns = one.max_ns if self._newest_ns is None else max(self._newest_ns, one.max_ns)
        missing = tuple(self._missing(one))
        if missing:
            self.counts.partial += 1
            self.counts.frames_partial += one.n
        else:
            self.counts.complete += 1
            self.counts.frames_complete += one.n
        set_id = self._next_id
        self._next_id += 1
        return ClosedSet(set_id, tuple(one.items), missing, (one.min_ns + one.max_ns) // 2)

    def _remember(self, one: _OpenSet[T]) -> None:
        if len(self._closed_pulses) == _HISTORY_SETS:
            self._known_pulses.discard(self._closed_pulses.popleft())
        self._closed_pulses.append(one.pulse)
        self._known_pulses.add(one.pulse)
        self._ids.closed(one.ids, one.times, one.pulse)

    def _missing(self, one: _OpenSet[T]) -> Iterator[str]:
        return (camera for camera, item in zip(self.cameras, one.items, strict=True) if item is None)
