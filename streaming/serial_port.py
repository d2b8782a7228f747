"""A serial port and when its bytes came; the only importer of pyserial (extra ``serial``)."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..sync.clock import Clock
from ..sync.errors import ConfigError
from .board_config import BoardConfig

if TYPE_CHECKING:
    from serial import Serial

_WRITE_TIMEOUT_S = 0.1
_LISTEN_S = 0.1
_MAX_CHUNKS = 4096
"""Kept unread: a board says some dozens in a second."""


class BoardPort(Protocol):
    """Bytes to and from a board. Its faults are OSErrors."""

    def receive(self, timeout_s: float) -> tuple[bytes, int]:
        """What has come, and rig time just after; empty when nothing came in time."""
        ...

    def send(self, data: bytes) -> None:
        """Write all of it."""
        ...

    def close(self) -> None:
        """May be called twice."""
        ...


OpenPort = Callable[[BoardConfig, Clock], BoardPort]


class SerialPort:
    """Read by the thread that asks. It has the port for itself alone.

    Raises:
        ConfigError: pyserial is not installed.
        OSError: no such port, or it is taken.
    """

    def __init__(self, config: BoardConfig, clock: Clock) -> None:
        try:
            import serial
        except ModuleNotFoundError as error:
            raise ConfigError("pyserial is not installed; pip install 'ethostream[serial]' brings it") from error
        self._clock = clock
        self._port: Serial = serial.Serial(
            config.port, config.baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S, exclusive=True
        )

    def receive(self, timeout_s: float) -> tuple[bytes, int]:
        port = self._port
        try:
            if port.timeout != timeout_s:  # pyserial sets up the whole port at each assignment
                port.timeout = timeout_s
            first = port.read(1)
            data = first + port.read(port.in_waiting) if first else b""
        except TypeError as error:  # closed under it
            raise OSError("the port was closed") from error
        return data, self._clock.now_ns()

    def send(self, data: bytes) -> None:
        self._port.write(data)

    def close(self) -> None:
        self._port.close()


class ListeningPort:
    """Read by a thread of its own, so that bytes are stamped when they come and not when somebody looks.

    Raises:
        ConfigError: pyserial is not installed.
        OSError: no such port, or it is taken.
    """

    def __init__(self, config: BoardConfig, clock: Clock) -> None:
        self._port = SerialPort(config, clock)
        self._clock = clock
        self._chunks: deque[tuple[bytes, int]] = deque(maxlen=_MAX_CHUNKS)
        self._came = threading.Event()
        self._ending = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._listen, name=f"port-{config.port}", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ending:
            try:
                chunk = self._port.receive(_LISTEN_S)
            except OSError as error:
                self._error = error
                self._came.set()
                return
            if chunk[0]:
                self._chunks.append(chunk)
                self._came.set()

    def receive(self, timeout_s: float) -> tuple[bytes, int]:
        if not self._chunks and self._error is None and timeout_s > 0:
            self._came.wait(timeout_s)
        self._came.clear()
        if self._chunks:
            return self._chunks.popleft()
        if self._error is not None:
            raise self._error
        return b"", self._clock.now_ns()

    def send(self, data: bytes) -> None:
        self._port.send(data)

    def close(self) -> None:
        self._ending = True
        self._thread.join()
        self._port.close()
