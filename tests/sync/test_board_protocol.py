"""The wire protocol: what goes in comes out, in any split; garbage costs frames and never makes one up."""

import binascii
from fractions import Fraction
from itertools import pairwise

import pytest
from ethostream.sync import board_protocol as p
from ethostream.sync.errors import TriggerError
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

BYTES = st.binary(max_size=32)


def values(kind: type[p.BoardMessage]) -> st.SearchStrategy[p.BoardMessage]:
    sizes = {"B": 8, "H": 16, "I": 32}
    fields: list[st.SearchStrategy[object]] = []
    for code in kind.FORMAT.removeprefix("<").replace("16s", "s"):
        if code == "s":
            fields.append(st.text("abcXYZ-_0189", max_size=p.NAME_BYTES))
        else:
            fields.append(st.integers(0, 2 ** sizes[code] - 1))
    return st.tuples(*fields).map(lambda one: kind(*one))


MESSAGES = st.one_of([values(kind) for kind in (*p.COMMANDS, *p.REPORTS)])


def test_the_checksum_is_the_published_one() -> None:
    assert p.crc16(b"123456789") == 0x29B1
    assert all(p.crc16(one) == binascii.crc_hqx(one, 0xFFFF) for one in (b"", b"\0", b"\xff" * 31, bytes(range(32))))


@given(st.binary(max_size=250))
@example(b"\0")
@example(b"")
def test_stuffed_bytes_hold_no_zero_and_come_back(data: bytes) -> None:
    stuffed = p.cobs_encode(data)
    assert 0 not in stuffed and len(stuffed) == len(data) + 1
    assert p.cobs_decode(stuffed) == data


@given(st.lists(st.tuples(MESSAGES, st.integers(0, 255)), max_size=8), st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=300)
def test_messages_come_back_in_any_split(sent: list[tuple[p.BoardMessage, int]], cuts: list[int]) -> None:
    wire = b"".join(p.encode(message, seq) for message, seq in sent)
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    decoder = p.Decoder()
    got = [frame for a, b in pairwise(places) for frame in decoder.feed(wire[a:b])]
    assert [(frame.message, frame.seq) for frame in got] == sent
    assert decoder.n_damaged == 0


@given(MESSAGES)
def test_no_message_is_longer_than_is_read(message: p.BoardMessage) -> None:
    assert len(p.encode(message, 0)) <= p.MAX_FRAME_BYTES


@given(st.lists(st.one_of(BYTES, MESSAGES), max_size=12))
@settings(max_examples=300)
def test_after_garbage_and_a_zero_the_reader_is_whole_again(parts: list[bytes | p.BoardMessage]) -> None:
    wire = b"".join(one + b"\0" if isinstance(one, bytes) else p.encode(one, 7) for one in parts)
    got = [frame.message for frame in p.Decoder().feed(wire)]
    assert got == [one for one in parts if not isinstance(one, bytes)]


@seed(4711)  # a damaged frame of the right length passes a 16-bit checksum once in 65,536 times: these do not
@given(st.lists(MESSAGES, min_size=1, max_size=4), st.data())
@settings(max_examples=600, database=None)
def test_damaged_bytes_never_yield_a_wrong_message(sent: list[p.BoardMessage], data: st.DataObject) -> None:
    wire = bytearray(b"".join(p.encode(message, n) for n, message in enumerate(sent)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(wire) - 1))
        how = data.draw(st.sampled_from(["flip", "replace", "remove", "insert"]))
        if how == "flip":
            wire[place] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "replace":
            wire[place] = data.draw(st.integers(0, 255))
        elif how == "insert":
            wire.insert(place, data.draw(st.integers(0, 255)))
        elif len(wire) > 1:
            del wire[place]
    left = list(sent)
    for frame in p.Decoder().feed(bytes(wire)):
        assert frame.message in left, "a message that nobody sent"
        del left[: left.index(frame.message) + 1]


def test_how_often_a_damaged_frame_passes() -> None:
    """Two bytes wrong anywhere in a frame: of every frame that differs from the one sent, none is taken."""
    wire = p.encode(p.Edge(0, 1, 1234, 987654321), 17)[:-1]
    good = p.decode_frame(wire)
    passed = sum(
        p.decode_frame(bytes([*wire[:a], wire[a] ^ x, *wire[a + 1 : b], wire[b] ^ y, *wire[b + 1 :]]))
        not in (None, good)
        for a in range(len(wire))
        for b in range(a + 1, len(wire))
        for x in (1, 0x80, 0x55)
        for y in (1, 0x80, 0x55)
    )
    assert passed == 0


def test_an_endless_run_without_a_zero_is_dropped_and_counted_once() -> None:
    decoder = p.Decoder()
    for _ in range(1000):
        assert decoder.feed(b"\x55" * 64) == []
    assert [frame.message for frame in decoder.feed(b"\x01\0" + p.encode(p.Stop(), 3))] == [p.Stop()]
    assert decoder.n_damaged == 1


def test_lost_frames_are_counted_over_the_wrap_of_their_number() -> None:
    decoder = p.Decoder()
    wire = b"".join(p.encode(p.Query(), seq) for seq in (253, 254, 1, 2))
    assert [frame.n_lost for frame in decoder.feed(wire)] == [0, 0, 2, 0]
    assert decoder.n_lost == 2


@given(st.integers(0, 2**33), st.lists(st.integers(-(2**20), 2**31 - 1), max_size=50))
def test_the_clock_counts_on_over_its_wrap(start: int, steps: list[int]) -> None:
    unwrapper, true = p.Unwrapper(), start
    base = unwrapper.unwrap(start % p.WRAP_US) - start
    newest = start
    for step in steps:
        true = newest + step if step >= 0 else max(start, newest + step)
        newest = max(newest, true)
        assert unwrapper.unwrap(true % p.WRAP_US) - base == true


@pytest.mark.parametrize("rate_hz", [60.0, 59.94, 30.0, 29.97, 100.0, 1000 / 3, 0.5, 5000.0])
def test_the_period_is_exact(rate_hz: float) -> None:
    num, den = p.pulse_period(rate_hz)
    assert den <= p.MAX_PERIOD_DENOMINATOR and num < 2**32
    assert abs(Fraction(num, den) * Fraction(rate_hz) / 1_000_000 - 1) < 1e-8
    assert p.pulse_period(60.0) == (50_000, 3)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, 1e-5])
def test_a_rate_that_cannot_be_is_refused(rate_hz: float) -> None:
    with pytest.raises(TriggerError, match="trigger rate"):
        p.pulse_period(rate_hz)


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(TriggerError, match="cannot be sent"):
        p.encode(p.Start(0, 2**32, 1, 10), 0)
