"""The firmware's own core in simulated time, behind what `SerialBoard` takes for a serial port.

Time is a `FakeClock` that moves when somebody waits on the port, or when a test says so; the board moves with it. What
travels may be changed, held up or lost on the way, in either direction, and the port may be unplugged.
"""

import ctypes
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from math import ceil
from pathlib import Path

from ethostream.streaming.board_config import BoardConfig
from ethostream.sync.clock import NS_PER_S, NS_PER_US, Clock, FakeClock

HERE = Path(__file__).parent
FIRMWARE = HERE.parents[1] / "deploy" / "firmware" / "ethostream_board"
MAX_ON_US, MAX_DUTY = 2_000_000, 0.25
"""The limits of the simulated board's firmware, as `simulated_board.cpp` has them."""
STEP_US = 200
WIRE_US = 300
"""How long bytes are on their way, in each direction."""


def compile_simulated_board(folder: Path) -> Path | None:
    """The library; None where there is no C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if compiler is None:
        return None
    library = folder / "simulated_board.so"
    flags = ["-std=c++11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{FIRMWARE}"]
    subprocess.run([compiler, *flags, str(HERE / "simulated_board.cpp"), "-o", str(library)], check=True)
    return library


def load_simulated_board(library: Path) -> ctypes.CDLL:
    """The library with its functions' types."""
    loaded = ctypes.CDLL(str(library))
    board, u64, u32, u8, size = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint8, ctypes.c_size_t
    loaded.board_new.restype, loaded.board_new.argtypes = board, [u64, u32]
    loaded.board_delete.argtypes = [board]
    loaded.board_receive.argtypes = [board, ctypes.c_char_p, size]
    loaded.board_run.argtypes = [board, u64, u32]
    loaded.board_take.restype, loaded.board_take.argtypes = size, [board, ctypes.c_char_p, size]
    loaded.board_level.argtypes = [board, u8]
    loaded.board_n_changes.restype, loaded.board_n_changes.argtypes = size, [board]
    loaded.board_change.argtypes = [board, size, *(ctypes.POINTER(one) for one in (u64, u8, u8))]
    return loaded


class SimulatedBoard:
    """A board on its wires, and the world's time.

    Args:
        library: of `load_simulated_board`.
        clock: moved by this object only.
        start_us: what the board's own clock shows when the simulation begins.

    Attributes:
        step_us: how long each turn of the board's main loop takes.
        from_host, from_board: change the bytes of one write on their way; may return fewer, more or others.
    """

    def __init__(self, library: ctypes.CDLL, clock: FakeClock, start_us: int = 0) -> None:
        self.clock = clock
        self.t0_ns = clock.now_ns()
        self.from_host: Callable[[bytes], bytes] = lambda data: data
        self.from_board: Callable[[bytes], bytes] = lambda data: data
        self.held = False
        self.plugged = True
        self.restarts: list[int] = []
        self.step_us = STEP_US
        self._library = library
        self._start_us = start_us
        self._board = library.board_new(0, start_us)
        self._changes: list[tuple[int, int, bool]] = []
        self._down: deque[tuple[int, bytes]] = deque()
        self._up: deque[tuple[int, bytes]] = deque()
        self.port: SimulatedPort | None = None

    def close(self) -> None:
        self._keep_changes()
        self._library.board_delete(self._board)

    def now_us(self) -> int:
        return (self.clock.now_ns() - self.t0_ns) // NS_PER_US

    def open_port(self, _config: BoardConfig, _clock: Clock) -> "SimulatedPort":
        if not self.plugged or self.port is not None:
            raise OSError("no such port, or in use")
        self.port = SimulatedPort(self)
        self._up.clear()
        return self.port

    def run(self, us: int) -> None:
        """Let time pass."""
        self.run_until(self.now_us() + us)

    def run_until(self, until_us: int) -> None:
        while True:
            arrives = self._down[0][0] if self._down and not self.held else until_us
            now = self.now_us()
            stop = max(now, min(until_us, arrives, now + max(2000, self.step_us)))
            self._library.board_run(self._board, stop, self.step_us)
            self.clock.set_ns(self.t0_ns + stop * NS_PER_US)
            while not self.held and self._down and self._down[0][0] <= stop:
                data = self._down.popleft()[1]
                self._library.board_receive(self._board, data, len(data))
            self._collect()
            if stop >= until_us:
                return

    def restart(self) -> None:
        """The board loses its power for a moment: all is forgotten, and its lines are low."""
        self._keep_changes()
        now = self.now_us()
        for line in range(4):
            if self.level(line):
                self._changes.append((now, line, False))
        self._library.board_delete(self._board)
        self._board = self._library.board_new(now, self._start_us)
        self.restarts.append(now)
        self._down.clear()
        self._collect()

    def unplug(self) -> None:
        """The cable is out: the port fails, and what was on its way is lost. The board keeps its power."""
        self.plugged = False
        self._down.clear()
        self._up.clear()

    def hold(self) -> None:
        """From now on nothing arrives, in either direction, until `release_held`: then all of it at once."""
        self.held = True

    def release_held(self) -> None:
        self.held = False
        now = self.now_us()
        for way in (self._down, self._up):
            late = [(max(now, at), data) for at, data in way]
            way.clear()
            way.extend(late)

    def level(self, line: int) -> bool:
        return bool(self._library.board_level(self._board, line))

    def changes(self) -> list[tuple[int, int, bool]]:
        """(µs, line, high) of every change of an output so far."""
        self._keep_changes()
        return list(self._changes)

    def _keep_changes(self) -> None:
        us, line, high = ctypes.c_uint64(), ctypes.c_uint8(), ctypes.c_uint8()
        known = getattr(self, "_known", 0)
        n = self._library.board_n_changes(self._board)
        if getattr(self, "_known_of", None) != self._board:
            known = 0
        for at in range(known, n):
            self._library.board_change(self._board, at, us, line, high)
            self._changes.append((us.value, line.value, bool(high.value)))
        self._known, self._known_of = n, self._board

    def _collect(self) -> None:
        buffer = ctypes.create_string_buffer(4096)
        n = self._library.board_take(self._board, buffer, len(buffer))
        if n and self.plugged:
            self._up.append((self.now_us() + WIRE_US, self.from_board(buffer.raw[:n])))

    def write(self, data: bytes) -> None:
        sent = self.from_host(data)
        if sent:
            self._down.append((self.now_us() + WIRE_US, sent))

    def arrived(self) -> tuple[bytes, int]:
        """What the host can read now, and when it came, µs."""
        if not self.held and self._up and self._up[0][0] <= self.now_us():
            came_us, data = self._up.popleft()
            return data, came_us
        return b"", self.now_us()


class SimulatedPort:
    """A `BoardPort` in simulated time. Bytes are stamped when they came, as the thread of a `ListeningPort` does it."""

    def __init__(self, board: SimulatedBoard) -> None:
        self._board = board
        self._closed = False

    def receive(self, timeout_s: float) -> tuple[bytes, int]:
        self._check()
        board = self._board
        deadline = board.now_us() + ceil(timeout_s * 1e6)
        while True:
            data, came_us = board.arrived()
            left = deadline - board.now_us()
            if data or left <= 0:
                return data, board.t0_ns + came_us * NS_PER_US
            board.run(min(STEP_US, left))
            self._check()

    def send(self, data: bytes) -> None:
        self._check()
        self._board.write(data)

    def close(self) -> None:
        self._closed = True
        if self._board.port is self:
            self._board.port = None

    def _check(self) -> None:
        if self._closed or not self._board.plugged:
            raise OSError("the port is gone")


def highs(changes: list[tuple[int, int, bool]], line: int, end_us: int) -> list[tuple[int, int]]:
    """(rise, fall) of a line, µs; one that is still high falls at ``end_us``."""
    found: list[tuple[int, int]] = []
    rose: int | None = None
    for us, which, high in changes:
        if which == line and high and rose is None:
            rose = us
        elif which == line and not high and rose is not None:
            found.append((rose, us))
            rose = None
    return found + ([] if rose is None else [(rose, end_us)])


SECOND_US = NS_PER_S // NS_PER_US
