"""The newest of everything for the browsers, with no queue anywhere: a slow tab skips, the others do not notice."""

import asyncio
import threading
from collections.abc import Iterator, Mapping


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
        self._n_skipped = 0

    @property
    def n_clients(self) -> int:
        """Browsers that look on now; any thread."""
        return len(self._clients)

    @property
    def n_skipped(self) -> int:
        """Payloads that some client never got because it was still busy with older ones; any thread."""
        with self._lock:
            waiting = sum(client.skipped(self._slots) for client in self._clients)
            return self._n_skipped + waiting

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
        with self._lock:
            self._clients.add(client)
        return client

    def leave(self, client: "HubClient") -> None:
        """Forget a client."""
        with self._lock:
            self._clients.discard(client)
            self._n_skipped += client.skipped(self._slots)

    def newest(self, slot: str) -> tuple[int, bytes]:
        """Version and payload of a slot; (0, b"") where nothing was ever put."""
        with self._lock:
            return self._slots.get(slot, (0, b""))

    def take(self, slot: str, client: "HubClient") -> bytes | None:
        """The payload of a slot where this client does not have it yet, from now on counted as sent."""
        with self._lock:
            version, payload = self._slots[slot]
            last = client.sent.get(slot)
            if version == last:
                return None
            client.n_skipped += 0 if last is None else version - last - 1
            client.sent[slot] = version
            return payload

    def slots(self) -> list[str]:
        """Names, in the order in which they were first filled."""
        with self._lock:
            return list(self._slots)


class HubClient:
    """What one browser has been sent: the version of each slot. The hub guards it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.sent: dict[str, int] = {}
        self.n_skipped = 0
        self.changed = asyncio.Event()
        self.changed.set()

    def take(self) -> Iterator[tuple[str, bytes]]:
        """Each slot that changed, newest payload at the moment it is asked for. Send one before asking for the next."""
        self.changed.clear()
        for slot in self._hub.slots():
            payload = self._hub.take(slot, self)
            if payload is not None:
                yield slot, payload

    def skipped(self, slots: Mapping[str, tuple[int, bytes]]) -> int:
        """What it has skipped, with what has already been replaced while it is still busy. The hub holds its lock."""
        replaced = sum(max(0, slots[slot][0] - version - 1) for slot, version in self.sent.items())
        return self.n_skipped + replaced
