"""Actuators that tell another program, on their benches: real sockets, and an outlet of pylsl that is a fake."""

import http.server
import json
import socket
import struct
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import zmq
from actuator_bench import PATIENCE, Bench
from ethostream.inference.actuators.actuator import Actuator


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
