"""Messages to a program outside of the rig, over one ZeroMQ socket that connects to it. Not the rig's own bus."""

import re
from typing import Literal

import zmq

from ..sync.closing import Closing
from ..sync.errors import AddressError

_ENDPOINT = re.compile(r"^(tcp://[^\s/:*]+:\d+|tcp://\[[0-9a-fA-F:]+\]:\d+|ipc://[^\s*]+)$")
_WAITING = 64


class ZmqOutlet(Closing):
    """Sends single-part messages and never waits. One thread.

    Args:
        endpoint: of the receiver, which binds it: ``tcp://HOST:PORT`` or ``ipc://FILE``.
        pattern: ``push``: `send` says no while no receiver is connected, or it is 64 messages behind. ``pub``: who
            has not subscribed gets nothing, and nobody knows.

    Raises:
        AddressError: this is no such endpoint.
    """

    def __init__(self, endpoint: str, pattern: Literal["push", "pub"]) -> None:
        if not _ENDPOINT.match(endpoint):
            raise AddressError(f"{endpoint}: is not the address of a receiver; write tcp://HOST:PORT or ipc://FILE")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH if pattern == "push" else zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, _WAITING)
        self._socket.setsockopt(zmq.LINGER, 0)
        # Without it a socket queues for receivers that may never come, and says that it sent.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.connect(endpoint)

    def send(self, body: bytes) -> bool:
        """Send; False: nobody takes it."""
        try:
            self._socket.send(body, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """May be called twice."""
        if not self._socket.closed:
            self._socket.close(linger=0)
            self._context.term()
