"""A serial port that listens by itself: when bytes came, and when the port went away."""

from pathlib import Path

import pytest
from board_processes import BoardProcess
from ethostream.streaming.board_config import BoardConfig
from ethostream.streaming.serial_port import BoardPort, ListeningPort, SerialPort
from ethostream.sync.board_protocol import Arm, Decoder, Edge, Hello, HelloIs, Ping, Pong, Start, encode
from ethostream.sync.clock import NS_PER_MS, ClockAnchor, RigClock

LATE_NS = 60 * NS_PER_MS


@pytest.fixture
def clock() -> RigClock:
    return RigClock(ClockAnchor.take())


def messages(port: BoardPort, decoder: Decoder) -> list[object]:
    data, _ = port.receive(5.0)
    return [frame.message for frame in decoder.feed(data)]


@pytest.mark.parametrize("kind", [SerialPort, ListeningPort])
def test_bytes_go_there_and_come_back(firmware: Path, clock: RigClock, kind: type[SerialPort]) -> None:
    with BoardProcess.firmware(firmware) as board:
        port = kind(BoardConfig(port=board.port), clock)
        decoder = Decoder()
        port.send(encode(Hello(), 0))
        got: list[object] = []
        while not any(isinstance(one, HelloIs) for one in got):
            got += messages(port, decoder)
        port.close()
        port.close()


def test_what_is_read_late_was_stamped_when_it_came(firmware: Path, clock: RigClock) -> None:
    """On a busy machine one answer may come late; not all of ten."""
    with BoardProcess.firmware(firmware) as board:
        port = ListeningPort(BoardConfig(port=board.port), clock)
        decoder = Decoder()
        port.send(encode(Hello(), 0))
        while not any(isinstance(one, HelloIs) for one in messages(port, decoder)):
            pass
        trips_ns: list[int] = []
        for token in range(10):
            sent_ns = clock.now_ns()
            port.send(encode(Ping(token), token + 1))
            clock.sleep_until_ns(sent_ns + LATE_NS)
            answered = False
            while not answered:
                data, came_ns = port.receive(5.0)
                answered = any(isinstance(frame.message, Pong) for frame in decoder.feed(data))
            trips_ns.append(came_ns - sent_ns)
        assert 0 < min(trips_ns) < LATE_NS
        port.close()


def test_a_port_that_goes_away_is_an_error_after_what_it_said(clock: RigClock) -> None:
    with BoardProcess.faulty("vanish", 5) as board:
        port = ListeningPort(BoardConfig(port=board.port), clock)
        port.send(encode(Arm(0), 0) + encode(Start(0, 20_000, 1, 100), 1))
        clock.sleep_until_ns(clock.now_ns() + 300 * NS_PER_MS)  # it has said all and gone, most likely; both are right
        decoder = Decoder()
        got: list[object] = []
        with pytest.raises(OSError, match=r".+"):
            while True:
                got += messages(port, decoder)
        assert [one.count for one in got if isinstance(one, Edge)] == [0, 1, 2, 3, 4]
        port.close()
