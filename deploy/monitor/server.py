"""The web server in a thread of the monitor process."""

import errno
import socket
import threading

import uvicorn

from ...sync.closing import Closing
from ...sync.errors import AddressError, NodeError
from .app import Disarm, make_app
from .hub import Hub

SEND_BUFFER_BYTES = 128 * 1024
"""Small on purpose: what waits in the kernel for a slow tab is already old."""
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3


class MonitorServer(Closing):
    """Serves the page of a hub from construction until `close`.

    Args:
        hub: where the newest of everything lies.
        host: a loopback address.
        port: 0: any free one; ``port`` then says which.
        disarm: what the page's button does; None: it has none.

    Raises:
        AddressError: the port is in use, or not ours to take.
    """

    def __init__(self, hub: Hub, host: str, port: int, disarm: Disarm | None = None) -> None:
        self._listener = _listen(host, port)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._started = threading.Event()
        config = uvicorn.Config(
            make_app(hub, self._started.set, disarm),
            ws_per_message_deflate=False,
            ws_max_size=1024,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            loop="asyncio",
            http="h11",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="monitor page")
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S):
            self.close()
            raise NodeError(f"monitor: the page at {self.address} did not start; see this node's log")

    def _serve(self) -> None:
        self._server.run(sockets=[self._listener])

    @property
    def alive(self) -> bool:
        """Whether the server's thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Close every connection and the port."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # inherited by each connection
        listener.bind((host, port))
        listener.listen(32)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise AddressError(
            f"monitor: port {port} on {host} {why}; another rig's page? Choose another with "
            f"--set monitor.port=N, or any free one with --set monitor.port=0"
        ) from error
    return listener
