"""One board and the actuators of a task that are lines of it: who armed it, what it says, and that it is kept alive."""

from collections.abc import Callable
from typing import Protocol

from ...streaming.serial_board import SerialBoard
from ...sync.board_protocol import Ack, BoardMessage, Edge, Nak, PulseTrain, Query, Release, Status, Watchdog
from ...sync.clock import NS_PER_MS, Clock
from ...sync.errors import ActuatorError, TriggerError

LEAST_FIRMWARE = (1, 1)
"""Older ones have no duty limit, and fire without having been armed."""
_KEEP_ALIVES = 4
"""So many signs of life in each watchdog time."""
_RELEASE_TRIES = 3
_MAX_READS = 64
"""In one turn: a board that talks without end must not hold up the loop."""
_RELEASE_TIMEOUT_S = 0.1


class Line(Protocol):
    """What a board's messages are about."""

    def accepted(self, seq: int) -> None:
        """The board has taken the command of this number."""
        ...

    def refused(self, seq: int, reason: int) -> None:
        """The board has refused it, and why (`board_protocol.Reason`)."""
        ...

    def edge(self, edge: Edge, t_ns: int) -> None:
        """The line's train has begun or ended, at rig time ``t_ns``."""
        ...

    def lost(self, error: ActuatorError | None, reason: str) -> None:
        """The board can not act any more: it failed, or was released. What it raises beside is for the caller alone."""
        ...


class BoardLink:
    """An open board, shared by its lines. One thread; `turn` has to be called several times in each watchdog time.

    Args:
        board: not yet open.
        watchdog_ms: the board drops every line when it has heard nothing for this long.
        clock: rig time.

    Attributes:
        armed: whether it obeys a pulse train, as far as is known.
        broken: why it is not believed any more; empty while it is.
        on_input: told each change of a watched input line, and its rig time.

    Raises:
        ActuatorError: it cannot be opened, or its firmware is too old.
    """

    def __init__(self, board: SerialBoard, watchdog_ms: int, clock: Clock) -> None:
        self.board = board
        self.armed = False
        self.watchdog_ms = watchdog_ms
        self.broken = ""
        self.on_input: Callable[[Edge, int], object] = lambda _edge, _t_ns: None
        self._clock = clock
        self._lines: dict[int, Line] = {}
        self._next_sign_ns = 0
        try:
            info = board.open()
        except TriggerError as error:
            raise ActuatorError(str(error)) from error
        self.n_outputs = info.n_outputs
        if (info.firmware_major, info.firmware_minor) < LEAST_FIRMWARE:
            board.close()
            raise ActuatorError(
                f"board {board.name}: firmware {info.firmware_major}.{info.firmware_minor} does not limit its lines by "
                "itself; flash deploy/firmware"
            )

    def attach(self, output: int, line: Line) -> None:
        """Give an output to an actuator.

        Raises:
            ActuatorError: the board has no such output, or it is another one's.
        """
        if output >= self.n_outputs:
            raise ActuatorError(f"board {self.board.name}: has outputs 0 to {self.n_outputs - 1}, and no {output}")
        if output in self._lines:
            raise ActuatorError(f"board {self.board.name}: output {output} is asked for by two actuators")
        self._lines[output] = line

    def detach(self, output: int) -> None:
        """An actuator has done; the last one closes the port."""
        self._lines.pop(output, None)
        if not self._lines:
            self.board.close()
            self.broken = self.broken or f"board {self.board.name}: is closed"

    def arm(self, by: Line) -> None:
        """Let the board act, as long as it hears from this process.

        Args:
            by: who asks; it hears of a failure by what is raised, all others as `Line.lost`.

        Raises:
            ActuatorError: it does not answer, or has failed before.
        """
        self._require()
        if self.armed:
            return
        try:
            self.board.command(Watchdog(self.watchdog_ms))
            # What it said before it was armed says that it is not.
            for message in self.board.read(0.0):
                self._take(message)
        except TriggerError as error:
            raise self._break(error, by) from error
        self.armed = True
        self._next_sign_ns = 0

    def tell(self, frames: tuple[bytes, ...]) -> int:
        """Send one of `SerialBoard.prepare`'s frames, without waiting; returns its number.

        Raises:
            ActuatorError: the board is gone.
        """
        try:
            return self.board.send_prepared(frames)
        except TriggerError as error:
            raise self._break(error) from error

    def release(self, reason: str = "") -> None:
        """Drop every line of the board and disarm it. One that does not answer is left alone: its watchdog drops them.

        Args:
            reason: told to the lines that were armed; empty: who releases tells them.

        Raises:
            ActuatorError: it does not answer.
        """
        if self.broken or not self.armed:
            return
        self._disarm(None, reason)
        error: TriggerError | None = None
        for _ in range(_RELEASE_TRIES):
            try:
                self.board.command(Release(), timeout_s=_RELEASE_TIMEOUT_S)
            except TriggerError as failed:
                error = failed
                if self.board.is_open:
                    continue
            else:
                return
            break
        assert error is not None
        raise self._break(error)

    def turn(self, timeout_s: float = 0.0) -> None:
        """Read what the board has said, or says within ``timeout_s``, and give a sign of life.

        Raises:
            ActuatorError: it failed, restarted, or contradicts itself.
        """
        if self.broken:
            return
        try:
            now = self._clock.now_ns()
            if self.armed and now >= self._next_sign_ns:
                self._next_sign_ns = now + self.watchdog_ms * NS_PER_MS // _KEEP_ALIVES
                self.board.send(Query())
            for _ in range(_MAX_READS):
                messages = self.board.read(timeout_s)
                for message in messages:
                    self._take(message)
                if not messages or self.broken:
                    break
                timeout_s = 0.0
        except TriggerError as error:
            raise self._break(error) from error

    def _take(self, message: BoardMessage) -> None:
        if isinstance(message, Edge) and not message.is_input:
            line = self._lines.get(message.line)
            if line is not None:
                line.edge(message, self.board.clock_fit.to_rig_ns(message.board_us))
        elif isinstance(message, Edge):
            self.on_input(message, self.board.clock_fit.to_rig_ns(message.board_us))
        elif isinstance(message, Ack | Nak) and message.command == PulseTrain.TYPE:
            for line in self._lines.values():
                if isinstance(message, Ack):
                    line.accepted(message.command_seq)
                else:
                    line.refused(message.command_seq, message.reason)
        elif isinstance(message, Status) and self.armed and not message.stimuli_armed:
            self._disarm(
                ActuatorError(
                    f"board {self.board.name}: disarmed by itself, since it heard nothing for {self.watchdog_ms} ms; "
                    "this process was held up, or the line is bad: arm again when you know why"
                )
            )

    def _disarm(self, error: ActuatorError | None, reason: str = "") -> None:
        self.armed = False
        for line in self._lines.values():
            line.lost(error, reason)

    def _require(self) -> None:
        if self.broken:
            raise ActuatorError(f"{self.broken}; start the run anew")

    def _break(self, error: TriggerError, besides: Line | None = None) -> ActuatorError:
        """The board cannot be believed any more: say nothing to it, so that its watchdog drops the lines."""
        told = ActuatorError(str(error))
        self.broken = str(error)
        self.board.close()
        self.armed = False
        for line in self._lines.values():
            if line is not besides:
                line.lost(told, "")
        return told
