"""A board on a pseudo-terminal: the firmware's own core when all is well, the emulator when it is not."""

from pathlib import Path

import pytest
from board_processes import BoardProcess
from ethostream.streaming.board_config import BoardConfig
from ethostream.streaming.serial_board import SerialBoard
from ethostream.sync import board_protocol as p
from ethostream.sync.clock import NS_PER_S, NS_PER_US, ClockAnchor, RigClock
from ethostream.sync.errors import TriggerError


@pytest.fixture
def clock() -> RigClock:
    return RigClock(ClockAnchor.take())


class Opened:
    """An open board and its process."""

    def __init__(self, process: BoardProcess, clock: RigClock, open_timeout_s: float = 5.0) -> None:
        self._process = process
        self._clock = clock
        self._timeout_s = open_timeout_s

    def __enter__(self) -> SerialBoard:
        self._process.__enter__()
        self.board = SerialBoard("b", BoardConfig(port=self._process.port, open_timeout_s=self._timeout_s), self._clock)
        try:
            self.board.open()
        except BaseException:
            self.__exit__()
            raise
        return self.board

    def __exit__(self, *_: object) -> None:
        self.board.close()
        self._process.__exit__(None, None, None)


def edges(board: SerialBoard, n: int) -> list[p.Edge]:
    found: list[p.Edge] = []
    while len(found) < n:
        batch = board.read(5.0)
        assert batch, "the board fell silent"
        found += [one for one in batch if isinstance(one, p.Edge)]
    return found


def inputs(board: SerialBoard, n: int) -> list[p.Edge]:
    found: list[p.Edge] = []
    while len(found) < n:
        found += [one for one in edges(board, 1) if one.is_input]
    return found


def start(board: SerialBoard, rate_hz: float = 500.0, n: int = 0, line: int = 0) -> None:
    board.command(p.Arm(line))
    board.command(p.Start(line, *p.pulse_period(rate_hz), 200, n))


def test_the_firmware_counts_its_pulses_and_stops(firmware: Path, clock: RigClock) -> None:
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        assert board.info is not None
        assert (board.info.name, board.info.version, board.info.n_outputs) == ("firmware", p.PROTOCOL_VERSION, 4)
        start(board, 600.0)
        found = edges(board, 300)
        assert [one.count for one in found] == list(range(len(found)))
        # 600 Hz is 1666.67 µs: the average is exact, whatever each wait was rounded to or came late by.
        assert found[299].board_us - found[0].board_us == pytest.approx(299 * 5000 / 3, abs=20_000)
        board.command(p.Stop())
        rest = board.read(1.0)
        status = next(one for one in rest if isinstance(one, p.Status))
        assert status.pulses == len(found) + sum(isinstance(one, p.Edge) for one in rest)
        assert not status.armed and not status.running and status.overflow == status.rx_errors == 0
        assert board.n_lost == board.n_damaged == 0


def test_a_train_of_n_pulses_ends_and_says_so(firmware: Path, clock: RigClock) -> None:
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        start(board, 400.0, n=7)
        messages: list[p.BoardMessage] = []
        while not any(isinstance(one, p.Status) for one in messages):
            messages += board.read(5.0)
        assert [one.count for one in messages if isinstance(one, p.Edge)] == list(range(7))
        assert next(one for one in messages if isinstance(one, p.Status)).pulses == 7


def test_edges_of_watched_inputs_are_reported(firmware: Path, clock: RigClock) -> None:
    """Output 1 is wired to input 1: a pulse train comes back as edges, as long as it was told to be."""
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        board.command(p.Watchdog(60_000))
        board.command(p.Watch(1, p.Edges.BOTH))
        board.command(p.PulseTrain(1, width_us=20_000, period_us=50_000, n_pulses=2, max_on_us=25_000))
        found = inputs(board, 4)
        assert [(one.line, one.is_input, one.rising, one.count) for one in found] == [
            (1, True, True, 0), (1, True, False, 1), (1, True, True, 2), (1, True, False, 3)
        ]  # fmt: skip
        assert found[1].board_us - found[0].board_us >= 20_000
        board.command(p.PulseTrain(1, width_us=5_000_000, period_us=0, n_pulses=1, max_on_us=5_000_000))
        board.command(p.Release())
        up, down = inputs(board, 2)
        assert down.board_us - up.board_us < 5_000_000


def test_silence_of_the_host_drops_the_lines(firmware: Path, clock: RigClock) -> None:
    """The watchdog: nothing is sent for longer than it allows, and the pulses end by themselves."""
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        board.command(p.Watchdog(200))
        board.command(p.Watch(2, p.Edges.BOTH))
        board.command(p.PulseTrain(2, width_us=8_000_000, period_us=0, n_pulses=1, max_on_us=8_000_000))
        start(board, 100.0)
        clock.sleep_until_ns(clock.now_ns() + NS_PER_S // 2)  # what is tested is silence itself
        messages = board.read(5.0)
        while not any(isinstance(one, p.Status) for one in messages):
            messages += board.read(5.0)
        status = next(one for one in messages if isinstance(one, p.Status))
        assert status.watchdog_fired and not status.running and not status.armed
        falls = [one for one in messages if isinstance(one, p.Edge) and one.is_input and not one.rising]
        assert [one.line for one in falls] == [2]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (p.Start(0, 50_000, 3, 500), "not armed"),
        (p.Arm(9), "no such line"),
        (p.Watch(9, 1), "no such line"),
        (p.Watchdog(0), "beyond what this board can make"),
        (p.PulseTrain(1, 5000, 0, 1, 4000), "beyond what this board can make"),
        (p.PulseTrain(1, 4_000_000_000, 0, 1, 4_000_000_000), "beyond what this board can make"),
        (p.PulseTrain(1, 5000, 4000, 3, 10_000), "beyond what this board can make"),
        (p.PulseTrain(1, 9_000_000, 9_100_000, 2, 9_000_000), "longer than the board itself allows"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    firmware: Path, clock: RigClock, command: p.BoardMessage, reason: str
) -> None:
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        if isinstance(command, p.PulseTrain):
            board.command(p.Watchdog(60_000))
        with pytest.raises(TriggerError, match=reason):
            board.command(command)


@pytest.mark.parametrize(
    ("num", "den", "width"), [(50_000, 0, 500), (100, 1, 50), (1000, 1, 995), (5_000_000, 2_000_000, 1)]
)
def test_periods_that_no_timer_makes_are_refused(
    firmware: Path, clock: RigClock, num: int, den: int, width: int
) -> None:
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        board.command(p.Arm(0))
        with pytest.raises(TriggerError, match="beyond what this board can make"):
            board.command(p.Start(0, num, den, width))
        start(board, 500.0, n=1)
        assert edges(board, 1)[0].count == 0


def test_the_firmware_survives_garbage(firmware: Path, clock: RigClock) -> None:
    with Opened(BoardProcess.firmware(firmware), clock) as board:
        start(board, 100.0)
        for seed in range(40):
            board._write(bytes((seed * 37 + n * n) % 256 for n in range(90)))  # pyright: ignore[reportPrivateUsage]
        board._write(b"\0")  # pyright: ignore[reportPrivateUsage]
        status = board.command(p.Query(), answer=p.Status)
        assert isinstance(status, p.Status) and status.rx_errors > 0 and status.running


@pytest.mark.parametrize("ppm", [0.0, 150.0, -3000.0])
def test_pulses_have_rig_time(firmware: Path, clock: RigClock, ppm: float) -> None:
    """Over the wrap of the board's 32-bit clock: each edge lies between the start and its arrival."""
    process = BoardProcess.firmware(firmware, ppm, 2**32 - 400_000)
    with Opened(process, clock) as board:
        before_ns = clock.now_ns()
        start(board, 100.0)
        last_ns = before_ns
        for one in edges(board, 130):
            t_ns = board.clock_fit.to_rig_ns(one.board_us)
            assert last_ns - 2_000_000 < t_ns <= clock.now_ns()
            last_ns = t_ns
        assert one.board_us > 2**32
        assert board.clock_fit.drift_ppm == pytest.approx(ppm, abs=500)  # of a second and a bit, on a busy machine
        assert abs(clock.now_ns() - last_ns) < 5 * NS_PER_S and board.clock_fit.delay_ns > 10 * NS_PER_US


def test_a_board_that_a_crashed_run_left_pulsing_is_taken_over(firmware: Path, clock: RigClock) -> None:
    process = BoardProcess.firmware(firmware)
    with process:
        first = SerialBoard("b", BoardConfig(port=process.port), clock)
        first.open()
        start(first, 300.0)
        edges(first, 10)
        first.close()
        second = SerialBoard("b", BoardConfig(port=process.port), clock)
        second.open()
        start(second, 300.0)
        assert [one.count for one in edges(second, 5)][:5] == list(range(5))
        second.close()


@pytest.mark.parametrize(
    ("fault", "number", "words"),
    [
        ("babble", 0, "no answer on /dev/.*stretches of other bytes.*right port"),
        ("mute", 0, "no answer on /dev/.*it is silent.*firmware"),
        ("other_version", 0, "speaks protocol 2"),
        ("refuse", p.Stop.TYPE, "refused Stop"),
    ],
)
def test_a_board_that_cannot_be_opened_says_why(clock: RigClock, fault: str, number: int, words: str) -> None:
    with pytest.raises(TriggerError, match=words):
        with Opened(BoardProcess.faulty(fault, number), clock, 1.0):
            pass


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("stall", "did not answer for 2 s"),
        ("restart", "restarted by itself"),
        ("vanish", "is gone .*unplugged"),
        ("wrong_token", "that was never sent"),
        ("clock_jump", "did it restart"),
    ],
)
def test_a_board_that_fails_while_it_runs_is_an_error(clock: RigClock, fault: str, words: str) -> None:
    with Opened(BoardProcess.faulty(fault, 20), clock) as board:
        start(board, 100.0)
        with pytest.raises(TriggerError, match=words):
            while True:
                board.read(1.0)


def test_garbage_between_frames_costs_nothing(clock: RigClock) -> None:
    with Opened(BoardProcess.faulty("garbage", 2), clock) as board:
        start(board, 300.0)
        found = edges(board, 100)
        assert [one.count for one in found] == list(range(len(found)))
        assert board.n_damaged > 10 and board.n_lost == 0


def test_no_port_is_said_so(clock: RigClock) -> None:
    with pytest.raises(TriggerError, match=r"/dev/ttyNOTHERE cannot be opened .*dialout"):
        SerialBoard("b", BoardConfig(port="/dev/ttyNOTHERE"), clock).open()


def test_two_programs_cannot_use_one_port(firmware: Path, clock: RigClock) -> None:
    process = BoardProcess.firmware(firmware)
    with Opened(process, clock):
        with pytest.raises(TriggerError, match="no other program hold it"):
            SerialBoard("c", BoardConfig(port=process.port), clock).open()
