"""The receiving end of the bus: `EverySubscriber` gets all and counts what it lost, `LatestSubscriber` the newest."""

from collections.abc import Iterable, Sequence

import zmq

from ..sync.closing import Closing
from ..sync.errors import WireError
from .address import check_address
from .keys import Keys
from .messages import Message
from .publisher import HIGH_WATER
from .topics import MIB, TOPICS, Topic
from .wire import Received, decode

MAX_PIXEL_BYTES = 64 * MIB
_TYPICAL_PARTS = 2


class EverySubscriber(Closing):
    """Every message of the chosen topics, in order per publisher. One thread.

    What cannot be decoded is counted in ``n_refused`` (the last reason is in ``last_refusal``) and left out; what was
    lost on the way shows in ``Received.n_lost`` and ``n_lost``.

    Args:
        context: the process's ZeroMQ context.
        endpoints: addresses of the publishers.
        topics: rows of the topic table.
        cameras: only these for per-camera topics; None for all.
        high_water: messages held per publisher while this reader is slow.
        keys: of this host, where its publishers have them too.
        server: name of the publishers' host in the allow-list; None: this host itself.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoints: Iterable[str],
        topics: Iterable[Topic],
        cameras: Sequence[str] | None = None,
        high_water: int = HIGH_WATER,
        keys: Keys | None = None,
        server: str | None = None,
    ) -> None:
        self.n_refused = 0
        self.n_lost = 0
        self.last_refusal = ""
        self.heard: set[str] = set()
        """Publishers of which at least one message has come: their subscription is in force."""
        self._next_seq: dict[tuple[str, bytes], int] = {}
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, high_water)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max(MAX_PIXEL_BYTES, *(topic.max_bytes for topic in TOPICS.values())))
        for topic in topics:
            prefixes = (
                [topic.key(camera) for camera in cameras]
                if topic.per_camera and cameras is not None
                else [topic.prefix()]
            )
            for key in prefixes:
                self._socket.setsockopt(zmq.SUBSCRIBE, key)
        if keys is not None:
            keys.connect(self._socket, server)
        for endpoint in endpoints:
            check_address(endpoint, keys)
            self._socket.connect(endpoint)

    def receive(self, timeout_ms: int, max_messages: int = 1024) -> list[Received]:
        """Wait up to ``timeout_ms`` for a message, then take all that are there, ``max_messages`` at most."""
        received: list[Received] = []
        if not self._socket.poll(timeout_ms):
            return received
        for _ in range(max_messages):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            one = self._accept(parts)
            if one is not None:
                received.append(one)
        return received

    def _accept(self, parts: list[bytes]) -> Received | None:
        try:
            if not _TYPICAL_PARTS <= len(parts) <= _TYPICAL_PARTS + 1:
                raise WireError(f"a message of {len(parts)} parts; 2 or 3 are expected")
            one = decode(parts[0], parts[1])
        except WireError as error:
            self.n_refused += 1
            self.last_refusal = str(error)
            return None
        stream = (one.source, parts[0])
        expected = self._next_seq.get(stream, one.seq)
        # A publisher that starts again counts from 0: nothing was lost by that.
        n_lost = one.seq - expected if one.seq > expected else 0
        self._next_seq[stream] = one.seq + 1
        self.n_lost += n_lost
        self.heard.add(one.source)
        if n_lost or len(parts) > _TYPICAL_PARTS:
            return one._replace(n_lost=n_lost, pixels=memoryview(parts[2]) if len(parts) > _TYPICAL_PARTS else None)
        return one

    def close(self) -> None:
        self._socket.close(linger=0)


class LatestSubscriber(Closing):
    """The newest message per topic key; older ones are skipped and counted. One thread.

    It drains its socket on each call. A low high-water mark would bound the number of messages, not their age.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoints: Iterable[str],
        topics: Iterable[Topic],
        cameras: Sequence[str] | None = None,
        high_water: int = HIGH_WATER,
        keys: Keys | None = None,
    ) -> None:
        self._every = EverySubscriber(context, endpoints, topics, cameras, high_water, keys)
        self.n_skipped = 0

    @property
    def n_refused(self) -> int:
        return self._every.n_refused

    @property
    def heard(self) -> set[str]:
        return self._every.heard

    def latest(self, timeout_ms: int) -> dict[tuple[Topic, str], Received]:
        """What is new since the last call, newest only, by (topic, camera); waits ``timeout_ms`` at most."""
        newest: dict[tuple[Topic, str], Received] = {}
        batch = self._every.receive(timeout_ms)
        while batch:
            for one in batch:
                key = (one.topic, one.camera)
                self.n_skipped += key in newest
                newest[key] = one
            batch = self._every.receive(0)
        return newest

    def newest(self, topic: Topic, timeout_ms: int, camera: str = "") -> Message | None:
        """The newest message of one topic that came since the last call, else None."""
        one = self.latest(timeout_ms).get((topic, camera))
        return one.message if one else None

    def close(self) -> None:
        self._every.close()
