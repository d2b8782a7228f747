"""zenoh with its shared-memory transport, peer to peer over a unix socket.

Its Python binding fills a buffer from bytes and gives a payload as bytes: one copy on each end belongs to it.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from .peer import Image, Place, Pool

WINDOW = 8
ZEROMQ = False


def require() -> None:
    import_module("zenoh")
    import_module("zenoh.shm")


def _session(library: Any, listen: list[str], connect: list[str]) -> Any:
    config = library.Config()
    for key, value in (
        ("mode", "peer"),
        ("transport/shared_memory/enabled", True),
        ("scouting/multicast/enabled", False),
        ("scouting/gossip/enabled", False),
        ("listen/endpoints", listen),
        ("connect/endpoints", connect),
        ("connect/timeout_ms", -1),
    ):
        config.insert_json5(key, json.dumps(value))
    return library.open(config)


class ZenohSender:
    def __init__(self, place: Place, camera: int) -> None:
        library = import_module("zenoh")
        self._shm = import_module("zenoh.shm")
        self._pool = Pool(place)
        self._bytes = place.shape[0] * place.shape[1]
        self._session = _session(library, [f"unixsock-stream/{place.folder}/z{camera}"], [])
        slots = place.n_slots + 2
        self._provider = self._shm.ShmProvider.default_backend((self._bytes + 4096) * slots)
        self._policy = self._shm.BlockOn(self._shm.GarbageCollect())
        self._publisher = self._session.declare_publisher(
            f"{place.session}/cam{camera}", congestion_control=library.CongestionControl.BLOCK
        )

    def image(self) -> Image:
        return self._pool.image

    def send(self) -> None:
        buffer = self._provider.alloc(self._bytes, policy=self._policy)
        buffer[:] = self._pool.image.tobytes()
        self._publisher.put(buffer)
        self._pool.turn()

    def close(self) -> None:
        self._session.close()


class ZenohReader:
    def __init__(self, place: Place) -> None:
        library = import_module("zenoh")
        self._shape = place.shape
        self._queue: Queue[Any] = Queue(place.n_slots * place.cameras)
        addresses = [f"unixsock-stream/{place.folder}/z{camera}" for camera in range(place.cameras)]
        self._session = _session(library, [], addresses)
        self._subscriber = self._session.declare_subscriber(f"{place.session}/**", self._take)

    def _take(self, sample: Any) -> None:
        try:
            self._queue.put_nowait(sample.payload)
        except Full:
            return  # the driver counts what is missing

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, None]]:
        found: list[tuple[Image, None]] = []
        try:
            payload = self._queue.get(timeout=timeout_ms / 1000)
            while True:
                found.append((np.frombuffer(payload.to_bytes(), np.uint8).reshape(self._shape), None))
                payload = self._queue.get_nowait()
        except Empty:
            return found

    def whole(self, token: None) -> bool:
        return True

    def close(self) -> None:
        self._session.close()


def sender(place: Place, camera: int) -> ZenohSender:
    return ZenohSender(place, camera)


def reader(place: Place, number: int) -> ZenohReader:
    return ZenohReader(place)
