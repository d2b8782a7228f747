"""The wire protocol between the rig and its microcontroller boards: trigger source and actuators. Pure, no clock.

A frame on the wire is ``COBS(type, seq, body, crc) 0x00``: consistent overhead byte stuffing (Cheshire and Baker,
IEEE/ACM ToN 7:159, 1999) removes every zero, so that a zero always ends a frame and a reader that lost its place is
whole again at the next one. ``type`` and ``seq`` are one byte each, the body has the one length that its type allows,
and ``crc`` is CRC-16/CCITT-FALSE of all before it; numbers are little-endian. ``seq`` counts up by one per frame and
direction, so that a frame lost on the way is noticed.

A damaged frame that still has a known type and its length passes the checksum once in 65,536 times. What rests on a
frame therefore checks more: pulses carry their own number, and the account at the end compares all of them.

``deploy/firmware/ethostream_board/board_core.h`` is the other end.
"""

import struct
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import IntEnum, IntFlag
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

from .errors import TriggerError

PROTOCOL_VERSION = 1
NAME_BYTES = 16
MAX_FRAME_BYTES = 40
"""No frame is longer on the wire, its closing zero included; a longer run without a zero is garbage."""
WRAP_US = 1 << 32
"""The board's microsecond clock goes round every 71.6 minutes."""
MAX_PERIOD_DENOMINATOR = 1_000_000
_CRC = struct.Struct("<H")


class Reason(IntEnum):
    """Why a board refused a command."""

    UNKNOWN_COMMAND = 1
    OTHER_VERSION = 2
    NOT_ARMED = 3
    BAD_VALUE = 4
    BUSY = 5
    NO_SUCH_LINE = 6


class Edges(IntFlag):
    """Which edges of an input line are reported."""

    NONE = 0
    RISING = 1
    FALLING = 2
    BOTH = 3


@dataclass(frozen=True, slots=True)
class BoardMessage:
    """Base of all: ``TYPE`` and ``FORMAT`` (of `struct`) say how its fields travel, in their order."""

    TYPE: ClassVar[int] = 0
    FORMAT: ClassVar[str] = "<"


@dataclass(frozen=True, slots=True)
class Hello(BoardMessage):
    """To the board: who are you? Answered by `HelloIs`, or by `Nak` from a board of another version."""

    TYPE: ClassVar[int] = 0x01
    FORMAT: ClassVar[str] = "<B"
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Arm(BoardMessage):
    """To the board: count pulses and edges from 0; ``START`` is allowed from now on, once."""

    TYPE: ClassVar[int] = 0x02
    FORMAT: ClassVar[str] = "<B"
    line: int


@dataclass(frozen=True, slots=True)
class Start(BoardMessage):
    """To the board: make pulses on the armed line, ``period_num / period_den`` µs apart on average, for ever exactly.

    ``width_us``: how long the line is high. ``n_pulses`` 0: until stopped.
    """

    TYPE: ClassVar[int] = 0x03
    FORMAT: ClassVar[str] = "<BIIII"
    line: int
    period_num: int
    period_den: int
    width_us: int
    n_pulses: int = 0


@dataclass(frozen=True, slots=True)
class Stop(BoardMessage):
    """To the board: no more trigger pulses, and disarm. Answered by `Ack`, then by the last `Status`."""

    TYPE: ClassVar[int] = 0x04
    FORMAT: ClassVar[str] = "<"


@dataclass(frozen=True, slots=True)
class PulseTrain(BoardMessage):
    """To the board: ``n_pulses`` of ``width_us`` every ``period_us`` on an output line, from now on.

    ``max_on_us`` is a hard limit on the time that the line is high without a break, whatever the other numbers say.
    """

    TYPE: ClassVar[int] = 0x05
    FORMAT: ClassVar[str] = "<BIIII"
    line: int
    width_us: int
    period_us: int
    n_pulses: int
    max_on_us: int


@dataclass(frozen=True, slots=True)
class Watchdog(BoardMessage):
    """To the board: when no frame came for ``timeout_ms``, drop every output line and disarm."""

    TYPE: ClassVar[int] = 0x06
    FORMAT: ClassVar[str] = "<I"
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Ping(BoardMessage):
    """To the board: what time is it? Answered by `Pong` with the same token."""

    TYPE: ClassVar[int] = 0x07
    FORMAT: ClassVar[str] = "<I"
    token: int


@dataclass(frozen=True, slots=True)
class Watch(BoardMessage):
    """To the board: report these edges of an input line."""

    TYPE: ClassVar[int] = 0x08
    FORMAT: ClassVar[str] = "<BB"
    line: int
    edges: int


@dataclass(frozen=True, slots=True)
class Query(BoardMessage):
    """To the board: send `Status`."""

    TYPE: ClassVar[int] = 0x09
    FORMAT: ClassVar[str] = "<"


@dataclass(frozen=True, slots=True)
class Release(BoardMessage):
    """To the board: end every pulse train of `PulseTrain`; their lines are low at once. The trigger goes on."""

    TYPE: ClassVar[int] = 0x0A
    FORMAT: ClassVar[str] = "<"


@dataclass(frozen=True, slots=True)
class HelloIs(BoardMessage):
    """From the board: who it is. It says so unasked when it has begun anew, and its clock and counts with it."""

    TYPE: ClassVar[int] = 0x81
    FORMAT: ClassVar[str] = f"<BBBBBI{NAME_BYTES}s"
    version: int
    firmware_major: int
    firmware_minor: int
    n_outputs: int
    n_inputs: int
    board_us: int
    name: str


@dataclass(frozen=True, slots=True)
class Ack(BoardMessage):
    """From the board: the command of this type and sequence number is in force."""

    TYPE: ClassVar[int] = 0x82
    FORMAT: ClassVar[str] = "<BB"
    command: int
    command_seq: int


@dataclass(frozen=True, slots=True)
class Nak(BoardMessage):
    """From the board: that command was refused, and why (`Reason`)."""

    TYPE: ClassVar[int] = 0x83
    FORMAT: ClassVar[str] = "<BBB"
    command: int
    command_seq: int
    reason: int


@dataclass(frozen=True, slots=True)
class Edge(BoardMessage):
    """From the board: edge number ``count`` (from 0 since it was armed) of a line, at ``board_us`` (wraps)."""

    TYPE: ClassVar[int] = 0x84
    FORMAT: ClassVar[str] = "<BBII"
    line: int
    flags: int
    count: int
    board_us: int

    RISING: ClassVar[int] = 1
    INPUT: ClassVar[int] = 2

    @property
    def rising(self) -> bool:
        return bool(self.flags & self.RISING)

    @property
    def is_input(self) -> bool:
        return bool(self.flags & self.INPUT)


@dataclass(frozen=True, slots=True)
class Status(BoardMessage):
    """From the board: its account since it was armed.

    ``pulses`` it made on the trigger line, ``edges`` it saw on input lines, ``rx_errors`` damaged frames from the host,
    ``overflow`` edges that it could not report since its queue was full (they are in the counts all the same).
    """

    TYPE: ClassVar[int] = 0x85
    FORMAT: ClassVar[str] = "<IBIIHH"
    board_us: int
    flags: int
    pulses: int
    edges: int
    rx_errors: int
    overflow: int

    ARMED: ClassVar[int] = 1
    RUNNING: ClassVar[int] = 2
    WATCHDOG: ClassVar[int] = 4

    @property
    def armed(self) -> bool:
        return bool(self.flags & self.ARMED)

    @property
    def running(self) -> bool:
        return bool(self.flags & self.RUNNING)

    @property
    def watchdog_fired(self) -> bool:
        return bool(self.flags & self.WATCHDOG)


@dataclass(frozen=True, slots=True)
class Pong(BoardMessage):
    """From the board: its clock when it read the `Ping` of this token."""

    TYPE: ClassVar[int] = 0x86
    FORMAT: ClassVar[str] = "<II"
    token: int
    board_us: int


COMMANDS: tuple[type[BoardMessage], ...] = (
    Hello, Arm, Start, Stop, PulseTrain, Watchdog, Ping, Watch, Query, Release,
)  # fmt: skip
REPORTS: tuple[type[BoardMessage], ...] = (HelloIs, Ack, Nak, Edge, Status, Pong)
_STRUCTS = {one.TYPE: (one, struct.Struct(one.FORMAT)) for one in (*COMMANDS, *REPORTS)}


class Frame(NamedTuple):
    """One decoded frame. ``n_lost`` frames of this direction were lost just before it, modulo 256."""

    seq: int
    message: BoardMessage
    n_lost: int


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, initial 0xFFFF, not reflected; of ``b"123456789"`` it is 0x29B1."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def cobs_encode(data: bytes) -> bytes:
    """At most 253 bytes without any zero; one byte longer than ``data``."""
    out = bytearray()
    for block in data.split(b"\0"):
        out.append(len(block) + 1)
        out += block
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """What was encoded, or None where this cannot be the whole of an encoding."""
    out = bytearray()
    at = 0
    while at < len(data):
        end = at + data[at]
        if data[at] == 0 or end > len(data):
            return None
        out += data[at + 1 : end]
        if end < len(data):
            out.append(0)
        at = end
    return bytes(out) if data else None


def encode(message: BoardMessage, seq: int) -> bytes:
    """The bytes of one frame, its closing zero included.

    Raises:
        TriggerError: a value does not fit its field.
    """
    values = [value.encode("ascii", "replace") if isinstance(value, str) else value for value in astuple(message)]
    try:
        body = struct.pack(message.FORMAT, *values)
    except struct.error as error:
        raise TriggerError(f"{message}: cannot be sent to a board ({error}); check the numbers") from error
    payload = bytes((message.TYPE, seq & 0xFF)) + body
    return cobs_encode(payload + _CRC.pack(crc16(payload))) + b"\0"


def decode_frame(data: bytes) -> tuple[int, BoardMessage] | None:
    """Sequence number and message of the bytes between two zeros; None where they are damaged or unknown."""
    payload = cobs_decode(data)
    if payload is None or len(payload) < 2 + _CRC.size:
        return None
    kind, form = _STRUCTS.get(payload[0], (None, None))
    if kind is None or form is None or len(payload) != 2 + form.size + _CRC.size:
        return None
    if _CRC.unpack_from(payload, len(payload) - 2)[0] != crc16(payload[:-2]):
        return None
    values: list[Any] = list(form.unpack_from(payload, 2))
    for place, value in enumerate(values):
        if isinstance(value, bytes):
            values[place] = value.rstrip(b"\0").decode("ascii", "replace")
    return payload[1], kind(*values)


class Decoder:
    """Bytes in, frames out, in any split; whole again at the first zero after garbage. One direction of one line.

    Attributes:
        n_frames: good frames.
        n_damaged: runs of bytes between zeros that were no good frame.
        n_lost: frames whose number was skipped, modulo 256 at a time.
    """

    def __init__(self) -> None:
        self.n_frames = 0
        self.n_damaged = 0
        self.n_lost = 0
        self._pending = bytearray()
        self._overlong = False
        self._next_seq: int | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes."""
        frames: list[Frame] = []
        self._pending += data
        while (end := self._pending.find(0)) >= 0:
            run = bytes(self._pending[:end])
            del self._pending[: end + 1]
            if self._overlong or len(run) >= MAX_FRAME_BYTES:
                self._overlong = False
                self.n_damaged += 1
            elif run:
                frames.extend(self._frame(run))
        if len(self._pending) >= MAX_FRAME_BYTES:
            self._pending.clear()
            self._overlong = True
        return frames

    def _frame(self, run: bytes) -> Iterable[Frame]:
        decoded = decode_frame(run)
        if decoded is None:
            self.n_damaged += 1
            return
        seq, message = decoded
        # A board that has begun anew counts from 0; what it says first is its name.
        expected = seq if self._next_seq is None or isinstance(message, HelloIs) else self._next_seq
        n_lost = (seq - expected) & 0xFF
        self._next_seq = (seq + 1) & 0xFF
        self.n_frames += 1
        self.n_lost += n_lost
        yield Frame(seq, message, n_lost)


class Unwrapper:
    """Makes a 32-bit microsecond counter count on: each value lies within half a turn (35.8 min) of the newest one."""

    def __init__(self) -> None:
        self._newest: int | None = None

    def unwrap(self, board_us: int) -> int:
        """The value without the wrap; the first one is taken as it is."""
        if self._newest is None:
            self._newest = board_us
            return board_us
        step = (board_us - self._newest + WRAP_US // 2) % WRAP_US - WRAP_US // 2
        value = self._newest + step
        self._newest = max(self._newest, value)
        return value


def pulse_period(rate_hz: float) -> tuple[int, int]:
    """Numerator and denominator of the period in µs: 60 Hz is 50000 / 3, so that no rounding adds up.

    Raises:
        TriggerError: the rate cannot be said so exactly that it does not drift.
    """
    rate = Fraction(rate_hz).limit_denominator(10_000)
    if rate > 0:
        period = Fraction(1_000_000) / rate
        if period.denominator <= MAX_PERIOD_DENOMINATOR and period.numerator < WRAP_US:
            return period.numerator, period.denominator
    raise TriggerError(
        f"trigger rate {rate_hz:g} Hz: a board takes 0.001 Hz and more, and at most {MAX_PERIOD_DENOMINATOR} as the "
        "denominator of its period in µs; choose a rate with fewer digits"
    )
