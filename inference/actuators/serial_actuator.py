"""TTL pulses made by a microcontroller on a serial port, which runs the sketch of ``deploy/firmware``.

One command starts a whole train; the board times it, limits it, and says when its line rose by its own clock. The
command is written before it is needed: firing is one write of thirty bytes. The board drops the line when it hears
nothing for ``watchdog_ms``, refuses whatever comes before it was armed again, and forgets that it was armed when it, or
the program at the other end, begins anew.
"""

from collections import deque
from contextlib import suppress
from typing import Literal

from pydantic import Field

from ...streaming.board_config import BoardConfig
from ...streaming.messages import Decision
from ...sync.board_protocol import Edge, PulseTrain, Reason
from ...sync.clock import NS_PER_MS, Clock
from ...sync.errors import ActuatorError
from .actuator import BaseActuator
from .board_link import BoardLink
from .limits import PulseConfig

_FORGET_NS = 10_000 * NS_PER_MS
_SLACK_NS = 10 * NS_PER_MS
"""A rise that lies outside the time from command to report by more than this and the least round trip is no
acknowledgement. A ceramic resonator is off by 5 ms in the second before its drift is known."""
_LAST_WORDS_NS = 50 * NS_PER_MS
_LAST_WORDS_SLICE_S = 0.01
_REFUSALS = {Reason.BUSY: "the board's line is busy", Reason.OVER_LIMIT: "the board's own limit of time on"}


class SerialActuatorConfig(BoardConfig, PulseConfig):
    """A line of a board; several actuators may be lines of one.

    Attributes:
        output: line of the board.
        watchdog_ms: the board drops its lines and disarms when it has heard nothing for this long.
        ack_timeout_ms: a firing whose rise is not reported after this time has failed.
    """

    kind: Literal["serial"] = "serial"
    output: int = Field(default=1, ge=0, le=15)
    watchdog_ms: int = Field(default=1000, ge=100, le=10_000)
    ack_timeout_ms: float = Field(default=250.0, gt=0, le=5000)


class _Pending:
    """A firing that the board has not answered yet."""

    __slots__ = ("accepted", "decision", "late", "seq", "told_ns")

    def __init__(self, seq: int, decision: Decision, told_ns: int) -> None:
        self.seq = seq
        self.decision = decision
        self.told_ns = told_ns
        self.accepted = False
        self.late = False


class SerialActuator(BaseActuator):
    """One line of a board.

    Args:
        name: of the task file.
        config: options.
        link: the open board.
        clock: rig time.

    Raises:
        ActuatorError: the board has no such line.
    """

    def __init__(self, name: str, config: SerialActuatorConfig, link: BoardLink, clock: Clock) -> None:
        super().__init__(name)
        self._link = link
        self._clock = clock
        self._output = config.output
        # Whatever is held up for longer than the watchdog allows is refused by the board.
        self._doubt_ns = config.watchdog_ms * NS_PER_MS + _SLACK_NS
        self._timeout_ns = round(config.ack_timeout_ms * NS_PER_MS)
        train = PulseTrain(
            config.output, config.pulse_us, config.period_us, config.n_pulses, round(config.max_on_ms * 1000)
        )
        self._frames = link.board.prepare(train)
        self._pending: deque[_Pending] = deque()
        self._last_count: int | None = None
        link.attach(config.output, self)

    def _ready(self) -> None:
        self._link.arm(self)

    def _act(self, decision: Decision) -> bool:
        told_ns = self._clock.now_ns()
        if self._pending and told_ns - self._pending[-1].told_ns < self._doubt_ns:
            # It may still be on its way: both would arrive together, and their pulses lie closer than was meant.
            self._say(decision, "refused", "the firing before has not been answered")
            return False
        self._pending.append(_Pending(self._link.tell(self._frames), decision, told_ns))
        return True

    def _rest(self) -> None:
        with suppress(ActuatorError):  # `lost` says it, of every line
            self._link.release()

    def _fail(self, decision: Decision | None, error: ActuatorError) -> None:
        self._armed = False
        with suppress(ActuatorError):
            # All lines of the board go down with this one, and are told why.
            self._link.release(f"its board was released, since actuator {self.name} failed")
        super()._fail(decision, error)

    def _look(self) -> None:
        with suppress(ActuatorError):
            self._link.turn()
        now = self._clock.now_ns()
        for one in self._pending:
            if not one.late and now - one.told_ns > self._timeout_ns:
                one.late = True
                what = "taken, and its rise was not reported" if one.accepted else "not answered"
                self._say(one.decision, "failed", f"{what} within {self._timeout_ns / NS_PER_MS:g} ms")
        while self._pending and now - self._pending[0].told_ns > _FORGET_NS:
            self._pending.popleft()

    def _let_go(self) -> None:
        # The board says that a line is released before it says what the line did last.
        deadline_ns = self._clock.now_ns() + _LAST_WORDS_NS
        with suppress(ActuatorError):
            while self._pending and not self._link.broken and self._clock.now_ns() < deadline_ns:
                self._link.turn(_LAST_WORDS_SLICE_S)
        for one in self._pending:
            if not one.late:
                self._say(one.decision, "failed", "closed before the board had reported its rise")
        self._pending.clear()
        self._link.detach(self._output)

    def accepted(self, seq: int) -> None:
        """See `board_link.Line`."""
        for one in reversed(self._pending):
            if one.seq == seq:  # numbers wrap: the newest of this one
                one.accepted = True
                return

    def refused(self, seq: int, reason: int) -> None:
        """See `board_link.Line`."""
        for one in reversed(self._pending):
            if one.seq == seq and not one.accepted:
                self._pending.remove(one)
                known = _REFUSALS.get(Reason(reason)) if reason in set(Reason) else None
                if known is not None:
                    self._say(one.decision, "refused", known)
                else:
                    self._fail(one.decision, ActuatorError(f"refused by the board: {_words(reason)}"))
                return

    def edge(self, edge: Edge, t_ns: int) -> None:
        """See `board_link.Line`. A rise that cannot be is a lie: the board is released, and not believed any more."""
        if not edge.rising:
            return
        now = self._clock.now_ns()
        slack_ns = _SLACK_NS + self._link.board.clock_fit.delay_ns
        asked = [one for one in self._pending if one.told_ns <= t_ns + slack_ns]
        if self._last_count is not None and edge.count <= self._last_count:
            self._lied(f"reports train {edge.count} after train {self._last_count}")
        elif not asked:
            self._lied("reports a rise that nobody asked for")
        elif t_ns > now + slack_ns:
            self._lied(f"reports a rise {(t_ns - now) / NS_PER_MS:.1f} ms before it happens")
        else:
            mine = asked[-1]
            while (earlier := self._pending.popleft()) is not mine:
                if not earlier.late:
                    self._say(earlier.decision, "failed", "the rise of a later one was reported, and not its own")
            self._say(mine.decision, "acknowledged", "late" if mine.late else "", t_ns, edge.board_us)
        self._last_count = max(edge.count, -1 if self._last_count is None else self._last_count)

    def lost(self, error: ActuatorError | None, reason: str) -> None:
        """See `board_link.Line`."""
        was_armed, self._armed = self._armed, False
        if error is None:
            if was_armed and reason:
                self._say(None, "released", reason)
            return
        for one in self._pending:
            if not one.late:
                self._say(one.decision, "failed", str(error))
        self._pending.clear()
        # A board that is gone is news for a line that rests as well.
        if was_armed or self._link.broken:
            self._say(None, "failed", str(error))

    def _lied(self, words: str) -> None:
        error = ActuatorError(
            f"actuator {self.name}: its board {words}; it is released. Does another program use the port? Is the "
            "firmware that of deploy/firmware?"
        )
        self._fail(None, error)


def _words(reason: int) -> str:
    return Reason(reason).name.lower().replace("_", " ") if reason in set(Reason) else f"reason {reason}"
