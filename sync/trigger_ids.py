"""Trigger ids of several cameras made comparable, and what they teach of the cameras' clocks. Pure.

A camera counts the pulses of the common trigger since it was armed. Cameras that were armed before the trigger began
count alike. One that returned counts from its return: its ids are of use again only once its distance from the others
is known, and until then time decides for it. The distance is taken where time has put it into the same sets as the
others, many times in a row with the same result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .clock import NS_PER_S

_VOTES = 16
"""Sets in a row that must agree on how a camera's ids are shifted."""
_DISPUTES = 32
"""Sets in a row in which no other camera had the same id, while one with another id was there at the same time."""
_LEARNT = 16
"""Sets after which a clock's offset is known well enough to check others against it."""
_GAIN_EARLY, _GAIN, _EARLY = 4, 32, 32
"""Share of what is left that is corrected at each set: a quarter for the first sets, then one in 32."""
_FAR = 8
"""Sets in a row that lie an eighth of a period off, before that is learnt too."""
_RELEARN = 64
"""Sets in a row that contradict a learnt offset, before it is learnt anew."""
_BACK = 64
"""An id this far behind the newest is no late frame: the counter began anew."""
_FRESH = 1_000_000
"""Where nobody's ids continue, numbering goes on this far above."""
_ALIVE_NS = 2 * NS_PER_S


@dataclass(slots=True)
class IdCounts:
    """What became of the ids; one entry per camera.

    Attributes:
        restarts: the ids began anew.
        mismatched: the id paired a frame whose time, less the learnt offset, was over half a period from its set's.
        realigned: the ids turned out to be shifted against the others', and were brought back in line.
        distant_ns: how far the camera's frames lie from those that its ids pair them with, as learnt, where that is
            more than half a period; else 0. Its clock is off by so much, or its count began a pulse apart: ids and
            times together cannot tell which.
    """

    restarts: list[int]
    mismatched: list[int]
    realigned: list[int]
    distant_ns: list[int]


@dataclass(slots=True)
class _Camera:
    epoch: int = -1
    newest: int = -1
    shift: int | None = None
    seen_ns: int = 0
    vote: int = 0
    n_votes: int = 0
    dispute: int = 0
    n_disputes: int = 0
    n_learnt: int = 0
    n_against: int = 0
    n_far: int = 0
    offset: float = 0.0


class TriggerIds:
    """Ids of the cameras of one rig. One thread.

    Args:
        cameras: names.
        period_ns: of the frames.
    """

    def __init__(self, cameras: Sequence[str], period_ns: int) -> None:
        n = len(cameras)
        self._half_ns, self._near_ns = period_ns // 2, period_ns // 8
        self._cameras = [_Camera() for _ in cameras]
        self._newest_pulse = -1
        self._anchor = -1
        self.offset_ns = [0] * n
        """By how much each camera's clock is ahead of that of the first camera, as far as ids have told."""
        self.counts = IdCounts([0] * n, [0] * n, [0] * n, [0] * n)

    def known(self, place: int, epoch: int) -> bool:
        """Whether `pulse` would tell a number for this start of a camera."""
        one = self._cameras[place]
        return one.epoch < 0 or (one.epoch == epoch and one.shift is not None)

    def pulse(self, place: int, trigger_id: int, epoch: int, now_ns: int) -> int:
        """The number that this id has in common with the other cameras; -1 while that is not known."""
        one = self._cameras[place]
        one.seen_ns = now_ns
        if one.epoch != epoch or trigger_id < one.newest - _BACK:
            if one.epoch < 0:
                one.shift = 0
            else:
                self.counts.restarts[place] += 1
                one.shift, one.n_votes, one.n_disputes = None, 0, 0
            one.epoch, one.newest = epoch, trigger_id
        one.newest = max(one.newest, trigger_id)
        if one.shift is None:
            if any(other.shift is not None and now_ns - other.seen_ns < _ALIVE_NS for other in self._cameras):
                return -1
            one.shift = self._newest_pulse + _FRESH - trigger_id
        pulse = trigger_id + one.shift
        self._newest_pulse = max(self._newest_pulse, pulse)
        return pulse

    def disputed(self, place: int, trigger_id: int, pulse: int) -> None:
        """A frame found nobody of its id, and somebody else's ``pulse`` at its time."""
        one = self._cameras[place]
        shift = pulse - trigger_id
        one.n_disputes = one.n_disputes + 1 if shift == one.dispute else 1
        one.dispute = shift
        if one.n_disputes >= _DISPUTES:
            one.shift, one.n_disputes = shift, 0
            self.counts.realigned[place] += 1

    def closed(self, ids: Sequence[int], times_ns: Sequence[int], pulse: int) -> None:
        """Learn from a closed set: raw ids and times, offsets left in, in the cameras' order, id -1 where none."""
        aligned: list[int] = []
        for place, trigger_id in enumerate(ids):
            one = self._cameras[place]
            if trigger_id < 0:
                continue
            if one.shift is None:
                self._vote(one, place, pulse - trigger_id)
            elif trigger_id + one.shift == pulse:
                aligned.append(place)
        if len(aligned) > 1:
            # Offsets as they are now: while several sets are open, each teaches only what the last has not taught.
            self._learn(aligned, [t_ns - offset for t_ns, offset in zip(times_ns, self.offset_ns, strict=True)])

    def _learn(self, aligned: list[int], times_ns: Sequence[int]) -> None:
        """The members of one set lie at one instant: what is left between them is error of their clocks."""
        known = [place for place in aligned if self._cameras[place].n_learnt] or aligned
        times = sorted(times_ns[place] for place in known)
        median = times[len(times) // 2]
        near = [t_ns for t_ns in times if -self._near_ns <= t_ns - median <= self._near_ns]
        middle = sum(near) // len(near)
        for place in aligned:
            self._check(place, times_ns[place] - middle)
        if self._anchor < 0:
            self._anchor = aligned[0]
        # One clock counts as right, else all of them together could wander.
        common = self._cameras[self._anchor].offset
        for place, one in enumerate(self._cameras):
            if one.n_learnt:
                one.offset -= common
                self.offset_ns[place] = round(one.offset)
        if max(self.offset_ns) - min(self.offset_ns) > self._half_ns:
            self._doubt()

    def _doubt(self) -> None:
        """See whose learnt offset is more than half a period from that of the camera in the middle.

        Of an even number there are two in the middle. Where these disagree, nobody knows who is right.
        """
        learnt = [place for place, one in enumerate(self._cameras) if one.n_learnt >= _LEARNT]
        if not learnt:
            return
        offsets = sorted(self.offset_ns[place] for place in learnt)
        for middle in {offsets[(len(offsets) - 1) // 2], offsets[len(offsets) // 2]}:
            for place in learnt:
                apart_ns = self.offset_ns[place] - middle
                if abs(apart_ns) > self._half_ns:
                    self.counts.distant_ns[place] = apart_ns

    def _vote(self, one: _Camera, place: int, shift: int) -> None:
        one.n_votes = one.n_votes + 1 if shift == one.vote else 1
        one.vote = shift
        if one.n_votes >= _VOTES:
            one.shift = shift
            self.counts.realigned[place] += 1

    def _check(self, place: int, apart_ns: int) -> None:
        one = self._cameras[place]
        one.n_disputes = 0
        if one.n_learnt >= _LEARNT and abs(apart_ns) > self._half_ns:
            self.counts.mismatched[place] += 1
            one.n_against += 1
            if one.n_against >= _RELEARN:
                one.n_learnt = 0
            return
        one.n_against = 0
        one.n_far = one.n_far + 1 if abs(apart_ns) > self._near_ns else 0
        if one.n_learnt >= _LEARNT and 0 < one.n_far < _FAR:
            return  # the time of its arrival, most likely, while its clock is fitted anew
        one.n_learnt += 1
        if one.n_learnt > 1:
            apart_ns //= _GAIN if one.n_learnt > _EARLY else _GAIN_EARLY
        one.offset += apart_ns
