"""imagezmq: ImageSender and ImageHub in PUB/SUB, over ipc; one hub subscribes to all senders.

Its high-water mark stays at ZeroMQ's 1000 messages: a reader that is further behind than the sender has buffers gets
frames that were written again meanwhile, which the driver counts as wrong.
"""

from collections.abc import Sequence
from importlib import import_module

import zmq

from .peer import Image, Place, Pool

WINDOW = 8
ZEROMQ = True


def require() -> None:
    import_module("imagezmq")


class ImagezmqSender:
    def __init__(self, place: Place, camera: int) -> None:
        library = import_module("imagezmq")
        self._pool = Pool(place)
        self._name = f"cam{camera}"
        self._sender = library.ImageSender(f"ipc://{place.folder}/{self._name}", REQ_REP=False)
        self._sender.zmq_socket.setsockopt(zmq.LINGER, 0)

    def image(self) -> Image:
        return self._pool.image

    def send(self) -> None:
        self._sender.send_image(self._name, self._pool.image)
        self._pool.turn()

    def close(self) -> None:
        self._sender.close()


class ImagezmqReader:
    def __init__(self, place: Place) -> None:
        library = import_module("imagezmq")
        self._hub = library.ImageHub(f"ipc://{place.folder}/cam0", REQ_REP=False)
        for camera in range(1, place.cameras):
            self._hub.connect(f"ipc://{place.folder}/cam{camera}")

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, None]]:
        found: list[tuple[Image, None]] = []
        while self._hub.zmq_socket.poll(0 if found else timeout_ms):
            _, image = self._hub.recv_image()
            found.append((image, None))
        return found

    def whole(self, token: None) -> bool:
        return True

    def close(self) -> None:
        self._hub.zmq_socket.close(linger=0)
        self._hub.zmq_context.term()


def sender(place: Place, camera: int) -> ImagezmqSender:
    return ImagezmqSender(place, camera)


def reader(place: Place, number: int) -> ImagezmqReader:
    return ImagezmqReader(place)
