"""Firings as lines of JSON on one TCP connection, sent by a thread of its own."""

import select
import socket
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError
from .actuator import BaseActuator
from .firing_text import firing_json
from .limits import ActionConfig
from .send_worker import CANCELLED, Outcome, SendWorker


class WaitingConfig(ActionConfig):
    """Of kinds whose receiver may be slow.

    Attributes:
        timeout_ms: how long one sending may take.
        most_waiting: firings that may wait; one more is refused.
    """

    timeout_ms: float = Field(default=1000.0, ge=1, le=60_000)
    most_waiting: int = Field(default=16, ge=1, le=1024)


class TcpActuatorConfig(WaitingConfig):
    """One line of JSON per firing.

    Attributes:
        host: name or address; another than this machine only where it is named here.
        port: there.
    """

    kind: Literal["tcp"] = "tcp"
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(ge=1, le=65535)


class SendingActuator(BaseActuator):
    """Base of those that hand each firing to a `SendWorker`."""

    def __init__(self, name: str, config: WaitingConfig) -> None:
        super().__init__(name)
        self._timeout_s = config.timeout_ms / 1000
        self._most = config.most_waiting
        self._worker = SendWorker(f"actuator-{name}", self._send, config.most_waiting)

    def _send(self, decision: Decision, still_wanted: Callable[[], bool]) -> Outcome | None:
        raise NotImplementedError

    def _act(self, decision: Decision) -> bool:
        if self._worker.offer(decision):
            return True
        self._say(decision, "refused", f"{self._most} firings wait to be sent")
        return False

    def _rest(self) -> None:
        self._worker.cancel()

    def _look(self) -> None:
        self._reports += self._worker.reports()

    def _begin_to_end(self) -> None:
        self._worker.end()
        self._reports += self._worker.reports()

    def _let_go(self) -> None:
        # Connecting and sending may take `timeout_ms` each.
        self._worker.close(min(self._patience_s, 2 * self._timeout_s + 1.0))
        self._reports += self._worker.reports()


class TcpActuator(SendingActuator):
    """Keeps one connection; when it breaks the firing has failed, and the next one connects anew.

    Raises:
        ActuatorError: nobody listens there.
    """

    def __init__(self, name: str, config: TcpActuatorConfig) -> None:
        self._to = (config.host, config.port)
        self._connection: socket.socket | None = None
        self._where = f"actuator {name}: {config.host}:{config.port}"
        self._connection = self._connect(config.timeout_ms / 1000)
        super().__init__(name, config)

    def _connect(self, timeout_s: float) -> socket.socket:
        try:
            connection = socket.create_connection(self._to, timeout_s)
        except (OSError, UnicodeError) as error:  # the latter: a host that can be no name
            raise ActuatorError(f"{self._where} takes no connection ({error}); is its program running?") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _send(self, decision: Decision, still_wanted: Callable[[], bool]) -> Outcome | None:
        if self._connection is not None and self._has_ended(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = self._connect(self._timeout_s)
        # Connecting may have taken its time.
        if not still_wanted():
            return CANCELLED
        try:
            self._connection.sendall(firing_json(decision, self.name) + b"\n")
        except OSError as error:
            self._drop()
            raise ActuatorError(f"{self._where} does not take it ({error}); is its program running?") from error
        return None

    @staticmethod
    def _has_ended(connection: socket.socket) -> bool:
        """Whether the other end has closed: what is written then is lost without a word."""
        look = select.poll()  # select.select knows no descriptor above 1023
        try:
            look.register(connection, select.POLLIN)
            return bool(look.poll(0)) and connection.recv(4096) == b""
        except OSError:
            return True

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _let_go(self) -> None:
        super()._let_go()
        self._drop()
