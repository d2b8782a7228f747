"""Every kind of actuator with something at its other end that sees what it does.

Network kinds have real sockets, ``serial`` the firmware's core on a pseudo-terminal and in simulated time. Where there
is no hardware here, the fake stands at the seam of the SDK: counters of nidaqmx, lines of gpiod, an outlet of pylsl.
"""

import ctypes
import http.server
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import zmq
from board_processes import BoardProcess
from ethostream.inference.actuators.actuator import Actuator, Report
from ethostream.inference.actuators.board_link import BoardLink
from ethostream.inference.actuators.config import ActuatorConfig
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.inference.actuators.serial_actuator import SerialActuator, SerialActuatorConfig
from ethostream.streaming.messages import Decision
from ethostream.streaming.serial_board import SerialBoard
from ethostream.sync.clock import Clock, ClockAnchor, FakeClock, RigClock
from pydantic import TypeAdapter
from simulated_board import SimulatedBoard, highs

CONFIG: TypeAdapter[ActuatorConfig] = TypeAdapter(ActuatorConfig)
PATIENCE = 1000
"""Turns of a few milliseconds; only what fails needs them all."""


def decision(set_id: int, due_ns: int = 0, actuator: str = "line") -> Decision:
    return Decision(
        "rule", set_id, "fired", "onset", "rear", 0.75, actuator, (), 1, 2, 3, 0, trial=set_id, t_due_ns=due_ns
    )


class Bench:
    """One kind, ready to be opened.

    Attributes:
        options: of the task file.
        acknowledges: whether the kind hears from its other end.
        acted: what the other end has seen: set ids where they travel, else 0 for each act.
    """

    acknowledges = False

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.stack = stack
        self.clock: Clock = RigClock(ClockAnchor.take())
        self.options: dict[str, Any] = {}
        self.acted: list[int] = []
        self.tmp_path = tmp_path

    def open(self, **more: Any) -> Actuator:
        config = CONFIG.validate_python(self.options | more)
        actuator = make_actuators({"line": config}, self.clock)["line"]
        self.stack.callback(actuator.close)
        return actuator

    def pump(self) -> None:
        """Let a little time pass, and look at the other end."""

    def until(self, actuator: Actuator, done: Callable[[list[Report]], bool]) -> list[Report]:
        """Turn the loop until it is done."""
        reports: list[Report] = []
        for _ in range(PATIENCE):
            reports += actuator.poll()
            if done(reports):
                return reports
            self.pump()
        raise AssertionError(f"did not happen; reports {reports}, acted {self.acted}")

    def wait(self, actuator: Actuator, n: int) -> list[Report]:
        """Until the other end has seen ``n`` acts."""
        return self.until(actuator, lambda _: len(self.acted) >= n)


class LogBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        self.options = {"kind": "log"}

    def open(self, **more: Any) -> Actuator:
        self.actuator: Any = super().open(**more)
        return self.actuator

    def pump(self) -> None:
        self.acted = [0] * self.actuator.inner.n_fired


class NullBench(LogBench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        self.options = {"kind": "null"}


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


class FakeOutlet:
    pushed: ClassVar[list[str]] = []

    def __init__(self, info: tuple[Any, ...], *_: int) -> None:
        assert info[:2] == ("marks", "Markers")

    def push_sample(self, row: list[str]) -> None:
        FakeOutlet.pushed += row


class LslBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(stack, tmp_path)
        fake: Any = ModuleType("pylsl")
        fake.StreamInfo, fake.StreamOutlet, fake.cf_string = lambda *words: words, FakeOutlet, 3
        monkeypatch.setitem(sys.modules, "pylsl", fake)
        FakeOutlet.pushed = []
        self.options = {"kind": "lsl", "stream": "marks"}

    def pump(self) -> None:
        self.acted = [json.loads(text)["set_id"] for text in FakeOutlet.pushed]


class UdpBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path, kind: str = "udp") -> None:
        super().__init__(stack, tmp_path)
        self.socket = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.01)
        self.options = {"kind": kind, "port": self.socket.getsockname()[1]}

    def pump(self) -> None:
        try:
            self.acted.append(self.set_id(self.socket.recv(4096)))
        except TimeoutError:
            return

    def set_id(self, data: bytes) -> int:
        return json.loads(data)["set_id"]


class OscBench(UdpBench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        pytest.importorskip("pythonosc")
        super().__init__(stack, tmp_path, "osc")

    def set_id(self, data: bytes) -> int:
        """By the letter of OSC 1.0: strings end with a zero and fill up to four bytes."""
        words = [b"/ethostream", b",ssfih", b"rule", b"rear"]
        for word in words:
            length = len(word) // 4 * 4 + 4
            assert data[:length] == word + b"\0" * (length - len(word)), data
            data = data[length:]
        probability, trial, set_id = struct.unpack(">fiq", data)
        assert (probability, trial) == (0.75, set_id)
        return set_id


class TcpBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        self.server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.server.settimeout(0.01)
        self.connection: socket.socket | None = None
        self.text = b""
        self.n_connections = 0
        stack.callback(self.hang_up)
        self.options = {"kind": "tcp", "port": self.server.getsockname()[1]}

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def pump(self) -> None:
        try:
            if self.connection is None:
                self.connection, _ = self.server.accept()
                self.connection.settimeout(0.01)
                self.n_connections += 1
            self.text += self.connection.recv(4096)
        except TimeoutError:
            return
        except OSError:  # the test has closed the server: nothing waits here any more
            self.clock.sleep_until_ns(self.clock.now_ns() + 10_000_000)
            return
        *lines, self.text = self.text.split(b"\n")
        self.acted += [json.loads(line)["set_id"] for line in lines]


class ZmqBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.term)
        self.socket = context.socket(zmq.PULL)
        stack.callback(self.socket.close, linger=0)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.options = {"kind": "zmq", "endpoint": f"tcp://127.0.0.1:{port}"}

    def open(self, **more: Any) -> Actuator:
        actuator: Any = super().open(**more)
        # Until the two have found each other, firings are refused: this asks the socket itself, past the actuator.
        outlet = actuator.inner._outlet
        for _ in range(PATIENCE):
            if outlet._socket.poll(10, zmq.POLLOUT):
                return actuator
        raise AssertionError("not connected")

    def pump(self) -> None:
        if self.socket.poll(10):
            self.acted.append(json.loads(self.socket.recv())["set_id"])


class HttpBench(Bench):
    acknowledges = True

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        bench = self
        self.status = 204
        self.gate = threading.Event()
        self.gate.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                bench.gate.wait(10)
                assert self.path == "/fire?x=1"
                bench.acted.append(body["set_id"])
                self.send_response(bench.status)
                if bench.status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(self.server.server_close)
        stack.callback(self.server.shutdown)
        stack.callback(self.gate.set)
        self.options = {"kind": "http", "url": f"http://127.0.0.1:{self.server.server_port}/fire?x=1"}

    def pump(self) -> None:
        self.clock.sleep_until_ns(self.clock.now_ns() + 2_000_000)


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


KINDS = ["log", "null", "serial", "simulated", "nidaq", "gpio", "lsl", "udp", "osc", "tcp", "zmq", "http", "sound"]


@pytest.fixture
def bench(kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Any":
    """The bench of one kind; what it opened is closed at the end."""
    with ExitStack() as stack:
        match kind:
            case "serial":
                yield SerialBench(stack, tmp_path, request.getfixturevalue("firmware"))
            case "simulated":
                yield SimulatedBench(stack, tmp_path, request.getfixturevalue("simulated_board_library"))
            case "nidaq" | "gpio" | "lsl" | "sound":
                made = {"nidaq": NidaqBench, "gpio": GpioBench, "lsl": LslBench, "sound": SoundBench}[kind]
                yield made(stack, tmp_path, monkeypatch)
            case _:
                plain: dict[str, type[Bench]] = {
                    "log": LogBench, "null": NullBench, "udp": UdpBench, "osc": OscBench, "tcp": TcpBench,
                    "zmq": ZmqBench, "http": HttpBench,
                }  # fmt: skip
                yield plain[kind](stack, tmp_path)
