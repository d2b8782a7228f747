"""The newest of everything for the browsers, with no queue anywhere: a slow tab skips, the others do not notice."""

import asyncio
import threading
from collections.abc import Iterator


class Hub:
    """Slots that the node fills and every client empties at its own pace.

    `put` and `publish` are for the node's thread, the rest for the server's event loop. A slot holds one payload and
    counts its versions; a client knows the version of each slot that it has sent last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, tuple[int, bytes]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: set[HubClient] = set()
        self.n_skipped = 0
        """Payloads that some client never got because it was still busy with older ones."""

    @property
    def n_clients(self) -> int:
        """Browsers that look on now; any thread."""
        return len(self._clients)

    def put(self, slot: str, payload: bytes) -> None:
        """Replace what is in a slot."""
        with self._lock:
            version = self._slots.get(slot, (0, b""))[0]
            self._slots[slot] = (version + 1, payload)

    def publish(self) -> None:
        """Tell the clients that slots have changed."""
        with self._lock:
            loop = self._loop
            if loop is not None:
                loop.call_soon_threadsafe(self._wake)

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Bind to the server's loop; None when it is about to end."""
        with self._lock:
            self._loop = loop

    def _wake(self) -> None:
        for client in self._clients:
            client.changed.set()

    def join(self) -> "HubClient":
        """A new client; its slots are all unsent."""
        client = HubClient(self)
        self._clients.add(client)
        return client

    def leave(self, client: "HubClient") -> None:
        """Forget a client."""
        self._clients.discard(client)

    def newest(self, slot: str) -> tuple[int, bytes]:
        """Version and payload of a slot; (0, b"") where nothing was ever put."""
        with self._lock:
            return self._slots.get(slot, (0, b""))

    def slots(self) -> list[str]:
        """Names, in the order in which they were first filled."""
        with self._lock:
            return list(self._slots)


class HubClient:
    """What one browser has been sent."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sent: dict[str, int] = {}
        self.changed = asyncio.Event()
        self.changed.set()
        self.n_sent = 0
        self.n_skipped = 0

    def take(self) -> Iterator[tuple[str, bytes]]:
        """Each slot that changed, newest payload at the moment it is asked for. Send one before asking for the next."""
        self.changed.clear()
        for slot in self._hub.slots():
            version, payload = self._hub.newest(slot)
            last = self._sent.get(slot)
            if version == last:
                continue
            skipped = 0 if last is None else version - last - 1
            self.n_skipped += skipped
            self._hub.n_skipped += skipped
            self._sent[slot] = version
            self.n_sent += 1
            yield slot, payload
