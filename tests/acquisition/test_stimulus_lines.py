"""The firmware's stimulus lines in simulated time: who may raise them, for how long, and what drops them."""

import ctypes
from collections.abc import Iterator

import pytest
from ethostream.streaming.board_config import BoardConfig
from ethostream.streaming.serial_board import SerialBoard
from ethostream.sync import board_protocol as p
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import TriggerError
from simulated_board import MAX_DUTY, MAX_ON_US, STEP_US, WIRE_US, SimulatedBoard, highs

LATE_US = 2 * STEP_US


@pytest.fixture
def world(simulated_board_library: ctypes.CDLL) -> Iterator[SimulatedBoard]:
    one = SimulatedBoard(simulated_board_library, FakeClock(10**18), 2**32 - 1_000_000)
    yield one
    one.close()


@pytest.fixture
def board(world: SimulatedBoard) -> SerialBoard:
    one = SerialBoard("b", BoardConfig(port="simulated"), world.clock, world.open_port)
    one.open()
    return one


def train(width_us: int, period_us: int = 0, n: int = 1, line: int = 1) -> p.PulseTrain:
    return p.PulseTrain(line, width_us, period_us, n, width_us)


def on_us(world: SimulatedBoard, line: int = 1) -> list[int]:
    return [fall - rise for rise, fall in highs(world.changes(), line, world.now_us())]


def test_a_board_that_nobody_armed_raises_no_line(world: SimulatedBoard, board: SerialBoard) -> None:
    with pytest.raises(TriggerError, match="not armed"):
        board.command(train(1000))
    board.command(p.Watchdog(500))
    board.command(train(1000))
    world.run(10_000)
    assert [abs(one - 1000) <= LATE_US for one in on_us(world)] == [True]


@pytest.mark.parametrize("by", ["release", "hello", "silence", "restart"])
def test_what_disarms_a_board_drops_its_lines_and_refuses_what_follows(
    world: SimulatedBoard, board: SerialBoard, by: str
) -> None:
    board.command(p.Watchdog(500))
    board.command(train(1_500_000))
    assert world.level(1)
    began_us = world.now_us()
    if by == "release":
        board.command(p.Release())
    elif by == "hello":
        board.send(p.Hello())
        world.run(WIRE_US + STEP_US)
    elif by == "silence":
        world.run(500_000 + LATE_US)
    else:
        world.restart()
    assert not world.level(1)
    (lasted,) = on_us(world)
    assert lasted <= world.now_us() - began_us + WIRE_US + LATE_US
    board.send(train(1000))
    world.run(10_000)
    assert not world.level(1) and len(on_us(world)) == 1


def test_signs_of_life_keep_a_line_up(world: SimulatedBoard, board: SerialBoard) -> None:
    board.command(p.Watchdog(100))
    board.command(train(1_500_000))
    for _ in range(60):
        board.send(p.Query())
        world.run(30_000)
    assert [abs(one - 1_500_000) <= LATE_US for one in on_us(world)] == [True]


def test_a_line_that_is_busy_is_not_made_longer(world: SimulatedBoard, board: SerialBoard) -> None:
    board.command(p.Watchdog(60_000))
    board.command(train(400_000))
    with pytest.raises(TriggerError, match="running already"):
        board.command(train(400_000))
    board.command(train(400_000, line=2))
    world.run(1_000_000)
    assert [abs(one - 400_000) <= LATE_US for one in on_us(world) + on_us(world, 2)] == [True, True]


def test_the_board_limits_the_time_that_a_line_is_high(world: SimulatedBoard, board: SerialBoard) -> None:
    """Asked again and again for all that it gives: over any time T no more than its longest pulse and its duty."""
    board.command(p.Watchdog(60_000))
    refused = 0
    begin_us = world.now_us()
    while world.now_us() - begin_us < 60_000_000:
        try:
            board.command(train(900_000))
        except TriggerError as error:
            assert "longer than the board itself allows" in str(error) or "running already" in str(error)
            refused += 1
        world.run(250_000)
    assert refused > 10
    pulses = highs(world.changes(), 1, world.now_us())
    for place, (rise, _) in enumerate(pulses):
        on = 0
        for n, (_, fall) in enumerate(pulses[place:]):
            on = sum(one[1] - one[0] for one in pulses[place : place + n + 1])
            assert on <= MAX_ON_US + MAX_DUTY * (fall - rise) + LATE_US * (n + 1)
    assert sum(on_us(world)) > 0.9 * MAX_DUTY * 60_000_000  # and it gives what it may


def test_a_train_that_the_budget_cannot_hold_is_refused_as_a_whole(world: SimulatedBoard, board: SerialBoard) -> None:
    board.command(p.Watchdog(60_000))
    with pytest.raises(TriggerError, match="longer than the board itself allows"):
        board.command(train(100_000, 200_000, n=100))
    assert on_us(world) == []
    board.command(train(10_000, 40_000, n=200))  # at its duty, for ever
    world.run(9_000_000)
    assert len(on_us(world)) == 200


def test_a_board_that_is_held_up_pays_for_what_its_pulses_last_longer(
    world: SimulatedBoard, board: SerialBoard
) -> None:
    """Its main loop takes 9 ms a turn: pulses of 10 ms last up to 19, and the train ends when its share is used up."""
    board.command(p.Watchdog(60_000))
    board.command(train(10_000, 41_000, n=5000))
    world.step_us = 9000
    world.run(55_000_000)
    pulses = highs(world.changes(), 1, world.now_us())
    asked = 5000 * 41_000
    assert len(pulses) < 55_000_000 * 5000 / asked - 50
    begin = pulses[0][0]
    on = sum(fall - rise for rise, fall in pulses)
    assert on <= MAX_ON_US + MAX_DUTY * (pulses[-1][1] - begin) + 2 * world.step_us


def test_a_train_is_reported_when_it_begins_and_when_it_ends(world: SimulatedBoard, board: SerialBoard) -> None:
    board.command(p.Watchdog(60_000))
    for _ in range(2):
        board.command(train(5000, 20_000, n=3))
        world.run(100_000)
    found = [one for _ in range(40) for one in board.read(0.001) if isinstance(one, p.Edge)]
    assert [(one.line, one.is_input, one.rising, one.count) for one in found] == [
        (1, False, True, 0), (1, False, False, 0), (1, False, True, 1), (1, False, False, 1)
    ]  # fmt: skip
    pulses = highs(world.changes(), 1, world.now_us())
    told_us = [(board.clock_fit.to_rig_ns(one.board_us) - world.t0_ns) / 1000 for one in found]
    assert told_us == pytest.approx([pulses[0][0], pulses[2][1], pulses[3][0], pulses[5][1]], abs=2)


def test_a_status_says_whether_the_board_would_obey(world: SimulatedBoard, board: SerialBoard) -> None:
    def armed() -> bool:
        status = board.command(p.Query(), answer=p.Status)
        assert isinstance(status, p.Status)
        return status.stimuli_armed

    assert not armed()
    board.command(p.Watchdog(300))
    assert armed()
    world.run(400_000)
    assert not armed()


def test_an_answer_to_a_ping_that_is_lost_is_not_waited_for(world: SimulatedBoard, board: SerialBoard) -> None:
    """The next answers say that the board is there."""
    lost: list[bytes] = []

    def lose_the_first(data: bytes) -> bytes:
        if lost:
            return data
        lost.append(data)
        return b""

    world.from_host = lose_the_first
    n_used = board.clock_fit.n_used
    for _ in range(12):
        board.read(0.3)
    assert lost and board.clock_fit.n_used > n_used + 3
