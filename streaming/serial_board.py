"""One microcontroller board on a serial port: handshake, commands that are answered, messages, its clock.

Trigger source and actuators use it alike, each with a board of its own, since a port has one owner.
"""

from collections.abc import Callable

from ..sync.board_clock import BoardClock
from ..sync.board_protocol import (
    PROTOCOL_VERSION,
    Ack,
    BoardMessage,
    Decoder,
    Edge,
    Hello,
    HelloIs,
    Nak,
    Ping,
    Pong,
    Reason,
    Release,
    Status,
    Stop,
    Unwrapper,
    encode,
)
from ..sync.clock import NS_PER_MS, NS_PER_S, Clock
from ..sync.errors import TriggerError
from .board_config import BoardConfig
from .serial_port import BoardPort, OpenPort, SerialPort

_ANSWER_TIMEOUT_S = 1.0
_HELLO_AGAIN_NS = 300 * NS_PER_MS
_PING_PERIOD_NS = 250 * NS_PER_MS
_PONG_TIMEOUT_NS = 2 * NS_PER_S
_N_FIRST_PINGS = 16
_READ_SLICE_S = 0.02
_TOKENS = 1 << 32
_SEQS = 256

CURES = {
    Reason.UNKNOWN_COMMAND: "its firmware is older than this release; flash deploy/firmware",
    Reason.OTHER_VERSION: "its firmware speaks another protocol; flash deploy/firmware",
    Reason.NOT_ARMED: "it was not armed; did it restart?",
    Reason.BAD_VALUE: "rate or pulse length is beyond what this board can make; see deploy/firmware/README.md",
    Reason.BUSY: "it is running already; unplug it and plug it in again",
    Reason.NO_SUCH_LINE: "it has no such line; see the pins in deploy/firmware/README.md",
    Reason.OVER_LIMIT: "the line would be high for longer than the board itself allows; see deploy/firmware/README.md",
}


class SerialBoard:
    """An open board. One thread.

    Args:
        name: for messages.
        config: port and timeouts.
        clock: rig time.
        open_port: how its port is opened.

    Attributes:
        info: what it said of itself.
        clock_fit: its clock.
        n_lost: frames from the board that were lost on the way.
        n_damaged: stretches of bytes that were no frame.
    """

    def __init__(self, name: str, config: BoardConfig, clock: Clock, open_port: OpenPort = SerialPort) -> None:
        self.name = name
        self.info: HelloIs | None = None
        self.clock_fit = BoardClock()
        self._config = config
        self._clock = clock
        self._decoder = Decoder()
        self._unwrapper = Unwrapper()
        self._port: BoardPort | None = None
        self._new_port = open_port
        self._seq = 0
        self._token = 0
        self._asked: dict[int, int] = {}
        self._next_ping_ns = 0
        self._waiting: list[BoardMessage] = []

    @property
    def n_lost(self) -> int:
        return self._decoder.n_lost

    @property
    def n_damaged(self) -> int:
        return self._decoder.n_damaged

    @property
    def is_open(self) -> bool:
        """Whether it has its port."""
        return self._port is not None

    def open(self) -> HelloIs:
        """Open the port, find out who is there, stop what it may still do, and read its clock.

        Raises:
            ConfigError: pyserial is not installed.
            TriggerError: no such port, no answer, or a board of another version.
        """
        self._open_port()
        try:
            self.info = self._shake_hands()
            # A board that a crashed run left behind may still be pulsing. It may also have greeted on its own when it
            # started, and again when asked: what came before it stopped is not news.
            self._waiting.clear()
            self.command(Stop(), answer=Status)
            self.command(Release())
            self._waiting.clear()
            for _ in range(_N_FIRST_PINGS):
                self._ping()
                if self._wait_for(lambda one: isinstance(one, Pong), _ANSWER_TIMEOUT_S) is None:
                    raise TriggerError(
                        f"board {self.name}: does not answer pings; unplug it, plug it in again and start anew"
                    )
        except TriggerError:
            self.close()
            raise
        return self.info

    def _open_port(self) -> None:
        port = self._config.port
        try:
            self._port = self._new_port(self._config, self._clock)
        except OSError as error:  # pyserial's own error is one
            raise TriggerError(
                f"board {self.name}: {port} cannot be opened ({error}); is it plugged in, is the name right (see "
                "/dev/serial/by-id), may this user open it (group dialout), and does no other program hold it?"
            ) from error

    def _shake_hands(self) -> HelloIs:
        deadline = self._clock.now_ns() + round(self._config.open_timeout_s * NS_PER_S)
        while (now := self._clock.now_ns()) < deadline:
            self.send(Hello())
            patience_s = min(_HELLO_AGAIN_NS, deadline - now) / NS_PER_S
            answer = self._wait_for(lambda one: isinstance(one, HelloIs | Nak), patience_s)
            if answer is None:
                continue
            if isinstance(answer, Nak):
                raise TriggerError(f"board {self.name}: refused the greeting; {_cure(answer.reason)}")
            assert isinstance(answer, HelloIs)
            if answer.version != PROTOCOL_VERSION:
                raise TriggerError(
                    f"board {self.name}: speaks protocol {answer.version}, this release {PROTOCOL_VERSION}; flash the "
                    "firmware in deploy/firmware"
                )
            return answer
        heard = (
            f"{self._decoder.n_damaged} stretches of other bytes came" if self._decoder.n_damaged else "it is silent"
        )
        raise TriggerError(
            f"board {self.name}: no answer on {self._config.port} within {self._config.open_timeout_s:g} s ({heard}); "
            "is it the right port, and is the firmware of deploy/firmware on it?"
        )

    def send(self, message: BoardMessage) -> int:
        """Send without waiting for an answer; returns the sequence number.

        Raises:
            TriggerError: the port is gone, or takes nothing.
        """
        seq = self._seq
        self._seq = (seq + 1) & 0xFF
        self._write(encode(message, seq))
        return seq

    @staticmethod
    def prepare(message: BoardMessage) -> tuple[bytes, ...]:
        """A message as it is sent at every sequence number, for `send_prepared`.

        Raises:
            TriggerError: a value does not fit its field.
        """
        return tuple(encode(message, seq) for seq in range(_SEQS))

    def send_prepared(self, frames: tuple[bytes, ...]) -> int:
        """`send` of what `prepare` made: nothing but the write.

        Raises:
            TriggerError: the port is gone, or takes nothing.
        """
        seq = self._seq
        self._seq = (seq + 1) & 0xFF
        self._write(frames[seq])
        return seq

    def command(
        self, message: BoardMessage, answer: type[BoardMessage] = Ack, timeout_s: float = _ANSWER_TIMEOUT_S
    ) -> BoardMessage:
        """Send a command and wait until it is in force. What else comes meanwhile is kept for `read`.

        Raises:
            TriggerError: refused (the message says why), or not answered within ``timeout_s``.
        """
        seq = self.send(message)

        def answers(one: BoardMessage) -> bool:
            if isinstance(one, Ack | Nak) and (one.command, one.command_seq) != (message.TYPE, seq):
                return False
            return isinstance(one, (answer, Nak))

        got = self._wait_for(answers, timeout_s)
        if got is None:
            raise TriggerError(
                f"board {self.name}: {type(message).__name__} was not answered within {timeout_s:g} s; it "
                "hangs, or the line is bad: check cable and power, then start anew"
            )
        if isinstance(got, Nak):
            raise TriggerError(f"board {self.name}: refused {message}: {_cure(got.reason)}")
        return got

    def read(self, timeout_s: float) -> list[BoardMessage]:
        """All messages that are there, as soon as there is one; keeps the clock followed meanwhile. Wraps are undone.

        ``board_us`` of an `Edge` is unwrapped. Pings and their answers are dealt with here, though an answered one
        is handed on too.

        Raises:
            TriggerError: the port is gone, the board restarted, or stopped answering.
        """
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            return waiting
        deadline = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        while True:
            now = self._clock.now_ns()
            if self.clock_fit.n_used and now >= self._next_ping_ns:
                self._ping()
            left_s = max(0.0, (deadline - now) / NS_PER_S)
            data, t_ns = self._read_bytes(min(left_s, _READ_SLICE_S))
            if data:
                messages = [self._accept(frame.message, t_ns) for frame in self._decoder.feed(data)]
                if messages:
                    return messages
            else:
                self._check_pongs(now)  # only where nothing was waiting: this process may have been held up itself
            if left_s <= 0.0:
                return []

    def close(self) -> None:
        """Let go of the port; may be called twice."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _accept(self, message: BoardMessage, t_received_ns: int) -> BoardMessage:
        if isinstance(message, HelloIs) and self.info is not None and self.clock_fit.n_used:
            raise TriggerError(
                f"board {self.name}: restarted by itself, and its counts with it; check its power supply and cable"
            )
        if isinstance(message, Pong):
            if message.token not in self._asked:
                raise TriggerError(
                    f"board {self.name}: answers a ping ({message.token}) that was never sent; two programs seem to "
                    "use this port, or its firmware is broken"
                )
            # Answers come in order: one that was damaged on the way is not waited for any more.
            while (oldest := next(iter(self._asked))) != message.token:
                del self._asked[oldest]
            t_sent_ns = self._asked.pop(message.token)
            self.clock_fit.add(t_sent_ns, self._unwrapper.unwrap(message.board_us), t_received_ns)
        elif isinstance(message, Edge):
            return Edge(message.line, message.flags, message.count, self._unwrapper.unwrap(message.board_us))
        return message

    def _ping(self) -> None:
        self._token = (self._token + 1) % _TOKENS
        now = self._clock.now_ns()
        self._asked[self._token] = now
        self._next_ping_ns = now + _PING_PERIOD_NS
        self.send(Ping(self._token))

    def _check_pongs(self, now: int) -> None:
        oldest = next(iter(self._asked.values()), now)
        if now - oldest > _PONG_TIMEOUT_NS:
            raise TriggerError(
                f"board {self.name}: did not answer for {_PONG_TIMEOUT_NS / NS_PER_S:g} s; it hangs or its cable is "
                "bad: unplug it, plug it in again and start anew"
            )

    def _wait_for(self, wanted: Callable[[BoardMessage], bool], timeout_s: float) -> BoardMessage | None:
        """The first message that is wanted, None where there is none in time; what else comes is kept for `read`."""
        deadline = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        kept: list[BoardMessage] = []
        try:
            while (left := deadline - self._clock.now_ns()) > 0:
                for place, one in enumerate(batch := self.read(left / NS_PER_S)):
                    if wanted(one):
                        kept += batch[place + 1 :]
                        return one
                    kept.append(one)
        finally:
            self._waiting = kept + self._waiting
        return None

    def _read_bytes(self, timeout_s: float) -> tuple[bytes, int]:
        port = self._open()
        try:
            return port.receive(timeout_s)
        except OSError as error:
            raise self._gone(error) from error

    def _write(self, data: bytes) -> None:
        port = self._open()
        try:
            port.send(data)
        except OSError as error:
            raise self._gone(error) from error

    def _open(self) -> BoardPort:
        if self._port is None:
            raise TriggerError(f"board {self.name}: is not open")
        return self._port

    def _gone(self, error: Exception) -> TriggerError:
        return TriggerError(
            f"board {self.name}: {self._config.port} is gone ({error}); was it unplugged? plug it in and start anew"
        )


def _cure(reason: int) -> str:
    return CURES[Reason(reason)] if reason in set(Reason) else f"reason {reason}, which this release does not know"
