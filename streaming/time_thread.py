"""A time client in a thread of its own, for a process that has other things to do than to wait for answers."""

import threading

from ..sync.clock import FollowedClock
from ..sync.closing import Closing
from .time_client import TimeClient

_POLL_MS = 50


class TimeThread(Closing):
    """Asks, takes the answers when they come, and steers `clock`. The client belongs to it from here on.

    Args:
        client: just made; it is closed with this.
    """

    def __init__(self, client: TimeClient) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="time")
        self._thread.start()

    @property
    def clock(self) -> FollowedClock:
        """Rig time, once it ``is_set``."""
        return self._client.clock

    @property
    def lost(self) -> bool:
        """The server answered once, and now is silent."""
        return self._client.lost

    @property
    def error_bound_ns(self) -> int | None:
        """Rig time here is off by so much at most while the drift is steady; None: it is not known yet."""
        estimate = self._client.fit.estimate
        return None if estimate is None else estimate.error_bound_ns

    def _run(self) -> None:
        while not self._stop.is_set():
            self._client.poll(_POLL_MS)
        self._client.close()

    def close(self) -> None:
        """Tell the server that this host goes, and end the thread."""
        self._stop.set()
        self._thread.join()
