"""Plain pyzmq: PUB and SUB over ipc, pixels inside the message, copy=False on both ends."""

from collections.abc import Sequence

import numpy as np
import zmq

from .peer import Image, Place, Pool

WINDOW = 8
ZEROMQ = True


def require() -> None:
    """A dependency of ethostream."""


class PyzmqSender:
    def __init__(self, place: Place, camera: int) -> None:
        self._pool = Pool(place)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, place.n_slots)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"ipc://{place.folder}/cam{camera}")

    def image(self) -> Image:
        return self._pool.image

    def send(self) -> None:
        self._socket.send(self._pool.image, copy=False)
        self._pool.turn()

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class PyzmqReader:
    def __init__(self, place: Place) -> None:
        self._shape = place.shape
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, place.n_slots)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        for camera in range(place.cameras):
            self._socket.connect(f"ipc://{place.folder}/cam{camera}")

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, None]]:
        found: list[tuple[Image, None]] = []
        if not self._socket.poll(timeout_ms):
            return found
        while True:
            try:
                message = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return found
            found.append((np.frombuffer(message.buffer, np.uint8).reshape(self._shape), None))

    def whole(self, token: None) -> bool:
        return True

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()


def sender(place: Place, camera: int) -> PyzmqSender:
    return PyzmqSender(place, camera)


def reader(place: Place, number: int) -> PyzmqReader:
    return PyzmqReader(place)
