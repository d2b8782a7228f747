"""The board's clock against truth: delays, drift far beyond a crystal's, and a clock that jumps."""

import numpy as np
import pytest
from ethostream.sync.board_clock import BoardClock
from ethostream.sync.errors import TriggerError

T0 = 1_700_000_000_000_000_000


def pings(ppm: float, seconds: float, seed: int = 0, every_s: float = 0.25) -> list[tuple[int, int, int]]:
    """(sent, board µs, received): half a millisecond of queueing at random on top of 150 µs each way."""
    rng = np.random.default_rng(seed)
    found: list[tuple[int, int, int]] = []
    for n in range(int(seconds / every_s)):
        sent = T0 + round(n * every_s * 1e9)
        there, back = 150_000 + rng.exponential(200_000, 2)
        if rng.random() < 0.02:
            back += 20e6
        taken = sent + there
        found.append((sent, int((taken - T0) / 1000 * (1 + ppm * 1e-6)) + 5_000_000, round(taken + back)))
    return found


@pytest.mark.parametrize("ppm", [0.0, 50.0, -200.0, 4000.0])
def test_error_against_truth(ppm: float) -> None:
    clock = BoardClock()
    errors: list[float] = []
    for n, (sent, board_us, received) in enumerate(pings(ppm, 120.0)):
        clock.add(sent, board_us, received)
        if n > 40:  # between this ping and the next one
            ahead_us = board_us + 200_000
            truth = T0 + (ahead_us - 5_000_000) / (1 + ppm * 1e-6) * 1000
            errors.append(abs(clock.to_rig_ns(ahead_us) - truth) / 1000)
    assert np.quantile(errors, 0.99) < 200  # half of the queueing that the best pings of 60 s still have, and more
    assert clock.drift_ppm == pytest.approx(ppm, abs=10)
    assert clock.locked and 300_000 <= clock.delay_ns < 500_000


@pytest.mark.parametrize("jump_us", [-5_000_000, -1_000_000, 20_000, 3_000_000])
def test_a_jump_is_an_error(jump_us: int) -> None:
    clock = BoardClock()
    told = pings(20.0, 10.0)
    for one in told[:-1]:
        clock.add(*one)
    sent, board_us, received = told[-1]
    with pytest.raises(TriggerError, match="did it restart"):
        clock.add(sent, board_us + jump_us, received)


def test_answers_that_were_read_late_are_no_jump() -> None:
    """A loop that looks every 20 ms now and then: the line bends towards what it read late, and a good ping is true."""
    clock = BoardClock()
    for n, (sent, board_us, received) in enumerate(pings(0.0, 20.0)):
        late_ns = 20_000_000 if n % 9 else 0
        clock.add(sent, board_us, received + late_ns)
    assert clock.n_used == 80


def test_nothing_is_said_before_the_first_ping() -> None:
    with pytest.raises(TriggerError, match="never read"):
        BoardClock().to_rig_ns(0)
    with pytest.raises(TriggerError, match="never read"):
        BoardClock().to_board_us(0)


@pytest.mark.parametrize("ppm", [50.0, -5000.0])
def test_the_boards_clock_at_a_rig_time_is_the_other_way_round(ppm: float) -> None:
    """Hours away too: with the drift of a ceramic resonator a shortcut would be off by milliseconds."""
    clock = BoardClock()
    for one in pings(ppm, 30.0):
        clock.add(*one)
    for board_us in (0, 5_000_000, 4 * 3600 * 1_000_000):
        assert abs(clock.to_board_us(clock.to_rig_ns(board_us)) - board_us) <= 1
