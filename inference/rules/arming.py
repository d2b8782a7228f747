"""Whether rules may fire at all: a person, a schedule and an input line have to agree. Pure: it is told the time."""

from typing import Final, Literal

import numpy as np

from ...streaming.messages import Arming, SyncPulse
from ...sync.clock import NS_PER_S
from ..cropper import State
from .arming_config import ArmingConfig, LineEdge, LineLevel
from .triggers import FAR_NS, NEVER_NS

PERSON: Final = "person"
START: Final = "start"
STOP: Final = "stop"
LINK: Final = "link"
SCHEDULE: Final = "schedule"

_UNKNOWN: Final = -1
_N_BEFORE_LATEST: Final = 8
"""Values of a snapshot of versions that did not keep the latest time that they were told."""
Level = Literal[-1, 0, 1]


class ArmingState:
    """What person, schedule and line say, and the messages of every change.

    In the replay of what a recording holds it follows the recorded messages and asks nobody (`follow`).

    Args:
        config: of the task.
        armed: False: a person has to arm first, whatever the task says (a process that was started again).
    """

    def __init__(self, config: ArmingConfig, armed: bool) -> None:
        self._config = config
        self._line: LineLevel | LineEdge | None = config.line
        self._person = armed and config.at_start
        self._zero_ns = NEVER_NS
        self._windows_ns = [(_ns(one.from_s), FAR_NS if one.to_s is None else _ns(one.to_s)) for one in config.windows]
        self._level: Level = _UNKNOWN
        self._edge_until_ns = NEVER_NS
        self._heard_ns = NEVER_NS
        self._next_ns = NEVER_NS
        self._latest_ns = NEVER_NS  # what pulses and ticks said: nothing is judged at a time before
        self._following = False
        self._changes: list[Arming] = []
        self.armed = False
        self._judge(NEVER_NS)

    def begin(self, zero_ns: int, now_ns: int) -> None:
        """The session began at ``zero_ns``; said as ``start``."""
        self._zero_ns = zero_ns
        self._judge(max(now_ns, self._latest_ns))  # not kept as the latest: a start is announced ahead
        self._changes.append(Arming(self.armed, START, now_ns))

    def set_person(self, armed: bool, t_ns: int, by: str = PERSON) -> None:
        """A person arms or disarms, or the end of the run disarms; a message always says what holds now and by whom."""
        if self._following:
            return
        self.tick(t_ns)  # what a silent line or a closed window has ended is not there to be armed
        t_ns = self._latest_ns
        self._person = armed
        self._judge(t_ns)
        self._changes.append(Arming(self.armed, by if self.armed == armed else self._blocker(t_ns), t_ns))

    def pulse(self, pulse: SyncPulse, now_ns: int | None = None) -> None:
        """An edge that the board saw or made.

        One that comes late arms for what is left of its time, and not for what is past: it is judged at the latest time
        that was told.

        Args:
            pulse: one that claims a time to come is taken for one of now, else the board could never be silent until
                then.
            now_ns: rig time; None: not known, since this is a recording.
        """
        line = self._line
        if line is None or self._following:
            return
        t_ns = max(pulse.t_ns if now_ns is None else min(pulse.t_ns, now_ns), self._heard_ns)
        self.tick(t_ns)
        self._heard_ns = t_ns
        if pulse.n_lost and isinstance(line, LineLevel):
            # Any of them may have been the edge that disarms. One that arms for a while can be lost without harm.
            self._level = _UNKNOWN
            self._update(t_ns, f"line {line.line}")
        if pulse.line == line.line:
            self._level = 1 if pulse.rising else 0
            if isinstance(line, LineEdge) and pulse.rising == (line.edge == "rising"):
                self._edge_until_ns = t_ns + _ns(line.for_s)
        self._forget_when_silent(line)
        self._update(t_ns, f"line {line.line}")

    def tick(self, t_ns: int) -> None:
        """Rig time is ``t_ns``: a window may have opened or closed, or the board fallen silent."""
        if t_ns <= self._latest_ns or self._following:
            return
        self._latest_ns = t_ns
        if t_ns < self._next_ns:
            return
        line = self._line
        if line is not None:
            self._forget_when_silent(line)
        by_line = self._line_allows(t_ns) != self._line_allowed
        self._update(t_ns, f"line {line.line}" if line is not None and by_line else SCHEDULE)

    def follow(self) -> None:
        """From now on only `recorded` changes anything."""
        self._following = True

    def recorded(self, message: Arming) -> None:
        """In replay: what the live run said."""
        if self._following:
            self.armed = message.armed

    def take_changes(self) -> list[Arming]:
        """The messages since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def _forget_when_silent(self, line: LineLevel | LineEdge) -> None:
        """What happened on a line of a silent board is not known: an edge has to be seen first."""
        if self._latest_ns - self._heard_ns > _ns(line.silent_after_s):
            self._level, self._edge_until_ns = _UNKNOWN, NEVER_NS

    def _update(self, t_ns: int, by: str) -> None:
        t_ns = self._latest_ns = max(t_ns, self._latest_ns)
        before = self.armed
        self._judge(t_ns)
        if self.armed != before:
            self._changes.append(Arming(self.armed, by, t_ns))

    def _judge(self, t_ns: int) -> None:
        self._line_allowed = self._line_allows(t_ns)
        self.armed = self._person and self._line_allowed and self._schedule_allows(t_ns)
        self._next_ns = self._next_change_ns(t_ns)

    def _blocker(self, t_ns: int) -> str:
        if not self._schedule_allows(t_ns):
            return SCHEDULE
        return f"line {self._line.line}" if self._line is not None and not self._line_allows(t_ns) else PERSON

    def _schedule_allows(self, t_ns: int) -> bool:
        if not self._windows_ns:
            return True
        if self._zero_ns == NEVER_NS:
            return False
        return any(begin <= t_ns - self._zero_ns < end for begin, end in self._windows_ns)

    def _line_allows(self, t_ns: int) -> bool:
        line = self._line
        if line is None:
            return True
        if isinstance(line, LineEdge):
            return t_ns < self._edge_until_ns
        return self._level == (1 if line.armed_when == "high" else 0)

    def _next_change_ns(self, t_ns: int) -> int:
        """The first instant after ``t_ns`` at which time alone may change the answer; to be asked again then."""
        times: list[int] = []
        if self._zero_ns != NEVER_NS:
            for begin, end in self._windows_ns:
                times += [self._zero_ns + begin, self._zero_ns + end if end != FAR_NS else FAR_NS]
        if self._line is not None and self._heard_ns != NEVER_NS:
            times += [self._edge_until_ns, self._heard_ns + _ns(self._line.silent_after_s) + 1]
        return min((one for one in times if one > t_ns), default=FAR_NS)

    def snapshot(self) -> State:
        values = [
            self._person, self._zero_ns, self._level, self._edge_until_ns, self._heard_ns, self._next_ns, self.armed,
            self._line_allowed, self._latest_ns,
        ]  # fmt: skip
        return {"arming": np.array(values, np.int64)}

    def restore(self, state: State) -> None:
        """Continue from a snapshot (`completed`); messages that were not taken yet are gone."""
        values = [int(value) for value in state["arming"]]
        self._person, self.armed, self._line_allowed = bool(values[0]), bool(values[6]), bool(values[7])
        self._zero_ns, self._edge_until_ns, self._heard_ns, self._next_ns = values[1], values[3], values[4], values[5]
        self._level = 1 if values[2] == 1 else 0 if values[2] == 0 else _UNKNOWN
        self._latest_ns = values[_N_BEFORE_LATEST]
        self._changes = []


def completed(state: State) -> State:
    """A snapshot as this version keeps it, where an earlier one kept less; any other as it is."""
    values = state.get("arming")
    if values is None or values.shape != (_N_BEFORE_LATEST,):
        return state
    return {**state, "arming": np.append(values, np.int64(NEVER_NS))}


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
