"""The wire protocol between the rig and its microcontroller boards: trigger source and actuators. Pure, no clock.

A frame on the wire is ``COBS(type, seq, body, crc) 0x00`` (`board_framing`): a zero always ends a frame, and a reader
that lost its place is whole again at the next one. ``type`` and ``seq`` are one byte each; types from 0x80 on are what
the board says. The body has the one length that its type allows, ``crc`` is of all before it, and numbers are
little-endian. ``seq`` counts up by one per frame and direction, so that a frame lost on the way is noticed.

A damaged frame that still has a known type and its length passes the checksum once in 65,536 times. What rests on a
frame therefore checks more: pulses carry their own number, and the account at the end compares all of them.

A message is one class below: its type, and its fields in the order in which they travel.
``deploy/firmware/ethostream_board/board_core.h`` is the other end.
"""

import struct
from dataclasses import astuple, dataclass, fields
from enum import IntEnum, IntFlag
from fractions import Fraction
from typing import Annotated, ClassVar, NamedTuple, dataclass_transform, get_type_hints

from .board_framing import cobs_decode, cobs_encode, crc16
from .errors import TriggerError
from .tick_unwrap import TickUnwrap

PROTOCOL_VERSION = 1
NAME_BYTES = 16
MAX_FRAME_BYTES = 40
"""No frame is longer on the wire, its closing zero included; a longer run without a zero is garbage."""
CLOCK_BITS = 32
WRAP_US = 1 << CLOCK_BITS
"""The board's microsecond clock goes round every 71.6 minutes."""
MAX_PERIOD_DENOMINATOR = 1_000_000
_FROM_BOARD = 0x80
_CRC_BYTES = 2

U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
Name = Annotated[str, f"{NAME_BYTES}s"]

_KINDS: "dict[int, tuple[type[BoardMessage], struct.Struct]]" = {}


class Reason(IntEnum):
    """Why a board refused a command."""

    UNKNOWN_COMMAND = 1
    OTHER_VERSION = 2
    NOT_ARMED = 3
    BAD_VALUE = 4
    BUSY = 5
    NO_SUCH_LINE = 6
    OVER_LIMIT = 7


class Edges(IntFlag):
    """Which edges of an input line are reported."""

    NONE = 0
    RISING = 1
    FALLING = 2
    BOTH = 3


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class BoardMessage:
    """Base of all: a subclass with its ``code`` is a message, a frozen dataclass that `encode` and `Decoder` know.

    Attributes:
        TYPE: the byte that says which message it is.
        FORMAT: of `struct`, how its fields travel.
    """

    TYPE: ClassVar[int]
    FORMAT: ClassVar[str]

    def __init_subclass__(cls, code: int) -> None:
        dataclass(frozen=True)(cls)
        hints = get_type_hints(cls, include_extras=True)
        cls.TYPE = code
        cls.FORMAT = "<" + "".join(hints[field.name].__metadata__[0] for field in fields(cls))
        _KINDS[code] = cls, struct.Struct(cls.FORMAT)


class Hello(BoardMessage, code=0x01):
    """To the board: who are you? Answered by `HelloIs`, or by `Nak` from a board of another version."""

    version: U8 = PROTOCOL_VERSION


class Arm(BoardMessage, code=0x02):
    """To the board: count pulses and edges from 0; ``START`` is allowed from now on, once."""

    line: U8


class Start(BoardMessage, code=0x03):
    """To the board: make pulses on the armed line, ``period_num / period_den`` µs apart on average, for ever exactly.

    ``width_us``: how long the line is high. ``n_pulses`` 0: until stopped.
    """

    line: U8
    period_num: U32
    period_den: U32
    width_us: U32
    n_pulses: U32 = 0


class Stop(BoardMessage, code=0x04):
    """To the board: no more trigger pulses, and disarm. Answered by `Ack`, then by the last `Status`."""


class PulseTrain(BoardMessage, code=0x05):
    """To the board: ``n_pulses`` of ``width_us`` every ``period_us`` on an output line, from now on.

    ``max_on_us`` is a hard limit on the time that the line is high without a break, whatever the other numbers say. It
    is refused where the board's own limits of time on and duty forbid it, while a train runs on that line, and where no
    `Watchdog` has armed the board. First rise and end of each train are reported as `Edge`, with the train's number.
    """

    line: U8
    width_us: U32
    period_us: U32
    n_pulses: U32
    max_on_us: U32


class Watchdog(BoardMessage, code=0x06):
    """To the board: when no frame came for ``timeout_ms``, drop every output line and disarm.

    It allows `PulseTrain` from now on, until a `Release`, a `Hello`, or the silence that it speaks of.
    """

    timeout_ms: U32


class Ping(BoardMessage, code=0x07):
    """To the board: what time is it? Answered by `Pong` with the same token."""

    token: U32


class Watch(BoardMessage, code=0x08):
    """To the board: report these edges of an input line."""

    line: U8
    edges: U8


class Query(BoardMessage, code=0x09):
    """To the board: send `Status`."""


class Release(BoardMessage, code=0x0A):
    """To the board: end each train of `PulseTrain`; its lines are low at once, and disarmed. The trigger goes on."""


class HelloIs(BoardMessage, code=0x81):
    """From the board: who it is. It says so unasked when it has begun anew, and its clock and counts with it."""

    version: U8
    firmware_major: U8
    firmware_minor: U8
    n_outputs: U8
    n_inputs: U8
    board_us: U32
    name: Name


class Ack(BoardMessage, code=0x82):
    """From the board: the command of this type and sequence number is in force."""

    command: U8
    command_seq: U8


class Nak(BoardMessage, code=0x83):
    """From the board: that command was refused, and why (`Reason`)."""

    command: U8
    command_seq: U8
    reason: U8


class Edge(BoardMessage, code=0x84):
    """From the board: edge number ``count`` (from 0 since it was armed) of a line, at ``board_us`` (wraps)."""

    line: U8
    flags: U8
    count: U32
    board_us: U32

    RISING: ClassVar[int] = 1
    INPUT: ClassVar[int] = 2

    @property
    def rising(self) -> bool:
        return bool(self.flags & self.RISING)

    @property
    def is_input(self) -> bool:
        return bool(self.flags & self.INPUT)


class Status(BoardMessage, code=0x85):
    """From the board: its account since it was armed.

    ``pulses`` it made on the trigger line, ``edges`` it saw on input lines, ``rx_errors`` damaged frames from the host,
    ``overflow`` edges that it could not report since its queue was full (they are in the counts all the same).
    """

    board_us: U32
    flags: U8
    pulses: U32
    edges: U32
    rx_errors: U16
    overflow: U16

    ARMED: ClassVar[int] = 1
    RUNNING: ClassVar[int] = 2
    WATCHDOG: ClassVar[int] = 4
    STIMULI: ClassVar[int] = 8

    @property
    def armed(self) -> bool:
        return bool(self.flags & self.ARMED)

    @property
    def running(self) -> bool:
        return bool(self.flags & self.RUNNING)

    @property
    def watchdog_fired(self) -> bool:
        return bool(self.flags & self.WATCHDOG)

    @property
    def stimuli_armed(self) -> bool:
        """Whether it would obey a `PulseTrain`."""
        return bool(self.flags & self.STIMULI)


class Pong(BoardMessage, code=0x86):
    """From the board: its clock when it read the `Ping` of this token."""

    token: U32
    board_us: U32


COMMANDS = tuple(kind for kind, _ in _KINDS.values() if kind.TYPE < _FROM_BOARD)
REPORTS = tuple(kind for kind, _ in _KINDS.values() if kind.TYPE >= _FROM_BOARD)


class Frame(NamedTuple):
    """One decoded frame. ``n_lost`` frames of this direction were lost just before it, modulo 256."""

    seq: int
    message: BoardMessage
    n_lost: int


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
    return cobs_encode(payload + crc16(payload).to_bytes(_CRC_BYTES, "little")) + b"\0"


def decode_frame(run: bytes) -> tuple[int, BoardMessage] | None:
    """Sequence number and message of the bytes between two zeros; None where they are damaged or unknown."""
    data = cobs_decode(run) if len(run) < MAX_FRAME_BYTES else None
    if not data or data[0] not in _KINDS:
        return None
    kind, form = _KINDS[data[0]]
    payload, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(payload) != 2 + form.size or int.from_bytes(crc, "little") != crc16(payload):
        return None
    values = form.unpack_from(payload, 2)
    return payload[1], kind(*[_text(value) if isinstance(value, bytes) else value for value in values])


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode("ascii", "replace")


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
        self._rest = b""
        self._next_seq: int | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes."""
        *runs, rest = (self._rest + data).split(b"\0")
        self._rest = rest[:MAX_FRAME_BYTES]  # enough of it to be known as too long
        return [frame for run in runs if run and (frame := self._frame(run))]

    def _frame(self, run: bytes) -> Frame | None:
        decoded = decode_frame(run)
        if decoded is None:
            self.n_damaged += 1
            return None
        seq, message = decoded
        # A board that has begun anew counts from 0; what it says first is its name.
        expected = seq if self._next_seq is None or isinstance(message, HelloIs) else self._next_seq
        n_lost = (seq - expected) & 0xFF
        self._next_seq = (seq + 1) & 0xFF
        self.n_frames += 1
        self.n_lost += n_lost
        return Frame(seq, message, n_lost)


class Unwrapper:
    """Makes the board's microseconds count on: each value lies within half a turn (35.8 min) of the newest one."""

    def __init__(self) -> None:
        self._ticks = TickUnwrap(CLOCK_BITS)
        self._newest: int | None = None

    def unwrap(self, board_us: int) -> int:
        """The value without the wrap; the first one is taken as it is."""
        newest = board_us if self._newest is None else self._newest
        value = self._ticks.nearest(board_us, newest)
        self._newest = max(newest, value)
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
