"""Actuators that drive hardware, on their benches.

``serial`` has the firmware's core, on a pseudo-terminal and in simulated time. Where there is no hardware here, the
fake stands at the seam of the SDK: counters of nidaqmx, lines of gpiod, a sound card of miniaudio.
"""

import ctypes
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from actuator_bench import Bench
from board_processes import BoardProcess
from ethostream.inference.actuators.actuator import Actuator, Report
from ethostream.inference.actuators.board_link import BoardLink
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.inference.actuators.serial_actuator import SerialActuator, SerialActuatorConfig
from ethostream.streaming.serial_board import SerialBoard
from ethostream.sync.clock import Clock, FakeClock
from simulated_board import SimulatedBoard, highs


class SerialBench(Bench):
    """On a pseudo-terminal, in real time."""

    acknowledges = True

    def __init__(self, stack: ExitStack, tmp_path: Path, firmware: Path) -> None:
        super().__init__(stack, tmp_path)
        board = stack.enter_context(BoardProcess.firmware(firmware))
        self.options = {"kind": "serial", "port": board.port, "pulse_ms": 1.0, "output": 2}

    def until(self, actuator: Actuator, done: Callable[[list[Report]], bool]) -> list[Report]:
        def seen(reports: list[Report]) -> bool:
            new = [one.decision.set_id for one in reports if one.state == "acknowledged" and one.decision is not None]
            self.acted += [one for one in new if one not in self.acted]
            return done(reports)

        return super().until(actuator, seen)

    def pump(self) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + 2_000_000)


class SimulatedBench(Bench):
    """The firmware's core in simulated time."""

    acknowledges = True

    def __init__(self, stack: ExitStack, tmp_path: Path, library: ctypes.CDLL) -> None:
        super().__init__(stack, tmp_path)
        clock = FakeClock(1_700_000_000_000_000_000)
        self.clock, self.world = clock, SimulatedBoard(library, clock)
        stack.callback(self.world.close)
        self.options = {"kind": "serial", "port": "simulated", "pulse_ms": 5.0}

    def link(self, config: SerialActuatorConfig) -> BoardLink:
        return BoardLink(SerialBoard("b", config, self.clock, self.world.open_port), config.watchdog_ms, self.clock)

    def open(self, **more: Any) -> Actuator:
        config = SerialActuatorConfig.model_validate(self.options | more)
        actuator = LimitedActuator(SerialActuator("line", config, self.link(config), self.clock), config, self.clock)
        self.stack.callback(actuator.close)
        return actuator

    def pump(self) -> None:
        self.world.run(5000)
        self.acted = [0] * len(highs(self.world.changes(), 1, self.world.now_us()))


class FakeCounter:
    """One nidaqmx task: a counter that makes its pulses in the time of the bench."""

    made: ClassVar[list["FakeCounter"]] = []
    clock: Clock
    error: type[Exception]
    fails = ""

    def __init__(self) -> None:
        self.co_channels = self.timing = self
        self.starts: list[int] = []
        self.calls: list[tuple[Any, ...]] = []
        self.running = self.closed = False
        self.lasts_s = 0.0
        self.n = 1
        FakeCounter.made.append(self)

    def _check(self, what: str) -> None:
        if FakeCounter.fails == what:
            raise FakeCounter.error(f"{what}: device unplugged\nTask Name: x", -1)

    def add_co_pulse_chan_time(self, counter: str, **options: Any) -> Any:
        self._check("add")
        self.calls.append((counter, options))
        self.lasts_s = options["high_time"]
        self.period_s = options["high_time"] + options["low_time"]
        return self

    def cfg_implicit_timing(self, sample_mode: Any, samps_per_chan: int) -> None:
        self.n = samps_per_chan
        self.lasts_s += (samps_per_chan - 1) * self.period_s

    def control(self, _mode: Any) -> None:
        pass

    def start(self) -> None:
        self._check("start")
        assert not self.running, "a task that was not stopped cannot be started"
        self.running = True
        self.starts.append(FakeCounter.clock.now_ns())

    def is_task_done(self) -> bool:
        self._check("is_task_done")
        done_ns = self.starts[-1] + round(self.lasts_s * 1e9) if self.starts else 0
        return FakeCounter.fails != "endless" and FakeCounter.clock.now_ns() >= done_ns

    def stop(self) -> None:
        self.running = False

    def close(self) -> None:
        self.closed = True


class NidaqBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(stack, tmp_path)
        nidaqmx = pytest.importorskip("nidaqmx")
        self.fake_clock = FakeClock(10**18)
        self.clock = self.fake_clock
        FakeCounter.made, FakeCounter.fails = [], ""
        FakeCounter.clock, FakeCounter.error = self.clock, nidaqmx.errors.DaqError
        monkeypatch.setattr(nidaqmx, "Task", FakeCounter)
        self.options = {"kind": "nidaq", "counter": "Dev1/ctr0", "pulse_ms": 5.0}

    def pump(self) -> None:
        self.fake_clock.advance_ns(5_000_000)
        self.acted = [0 for one in FakeCounter.made for _ in one.starts]


class GpioBench(Bench):
    acknowledges = True

    def __init__(self, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(stack, tmp_path)
        self.log = tmp_path / "gpio.log"
        self.log.touch()
        monkeypatch.setenv("GPIO_LOG", str(self.log))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fake_gpiod"))
        self.options = {"kind": "gpio", "line": 17, "pulse_ms": 0.5}

    def changes(self) -> list[tuple[bool, int]]:
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [(high == "1", int(t_ns)) for high, t_ns in rows]

    def pump(self) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + 2_000_000)
        self.acted = [0 for high, _ in self.changes() if high]


class SoundBench(Bench):
    """A stream that plays into nothing; what is played is seen where the sound card would take it."""

    def __init__(self, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(stack, tmp_path)
        miniaudio: Any = pytest.importorskip("miniaudio")
        bench = self
        self.peaks: list[int] = []

        class Device(miniaudio.PlaybackDevice):  # type: ignore[misc, name-defined]
            def start(self, stream: Any) -> None:
                def seen() -> Any:
                    n = yield b""
                    while True:
                        block = stream.send(n)
                        bench.peaks.append(max(map(abs, block)))
                        n = yield block

                taken = seen()
                next(taken)
                super().start(taken)

        monkeypatch.setattr(miniaudio, "PlaybackDevice", Device)
        self.options = {"kind": "sound", "backend": "null", "pulse_ms": 20.0, "volume": 0.5, "max_duty": 1.0}

    def pump(self) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + 5_000_000)
        loud = [peak > 0 for peak in self.peaks]
        self.acted = [0 for before, now in pairwise(loud) if before and not now]  # tones that have ended
