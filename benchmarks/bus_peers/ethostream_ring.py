"""ethostream: pixels through a shared-memory ring, headers over ZeroMQ, as camera node and recorder do it."""

from collections.abc import Sequence

import zmq
from ethostream.streaming.frames import FrameReceiver, FrameSender
from ethostream.streaming.messages import FrameHeader
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import FRAME
from ethostream.sync.errors import FrameOverwrittenError

from .peer import Image, Place

WINDOW = 8
ZEROMQ = False


def require() -> None:
    """Always there."""


class RingSender:
    def __init__(self, place: Place, camera: int) -> None:
        self._name = f"cam{camera}"
        self._frames = FrameSender(place.session, self._name, 0, place.shape, place.n_slots)
        self._context = zmq.Context()
        self._bus = Publisher(self._context, self._name, f"ipc://{place.folder}/{self._name}")
        self._height, self._width = place.shape
        self._seq = 0

    def image(self) -> Image:
        return self._frames.acquire()

    def send(self) -> None:
        ring, slot, generation, _ = self._frames.commit()
        header = FrameHeader(
            self._name, 0, self._seq, 0, 0, 0, "simulated", self._width, self._height, "mono8", ring, slot, generation
        )
        self._bus.publish(FRAME, header, self._name)
        self._seq += 1

    def close(self) -> None:
        self._bus.close()
        self._context.term()
        self._frames.close()


class RingBusReader:
    def __init__(self, place: Place) -> None:
        self._context = zmq.Context()
        endpoints = [f"ipc://{place.folder}/cam{camera}" for camera in range(place.cameras)]
        self._bus = EverySubscriber(self._context, endpoints, [FRAME])
        self._frames = FrameReceiver()

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, FrameHeader]]:
        found: list[tuple[Image, FrameHeader]] = []
        for one in self._bus.receive(timeout_ms):
            assert isinstance(one.message, FrameHeader)
            try:
                found.append((self._frames.view(one.message), one.message))
            except FrameOverwrittenError:
                continue  # counted by the driver, which knows how many were sent
        return found

    def whole(self, token: FrameHeader) -> bool:
        try:
            self._frames.check(token)
        except FrameOverwrittenError:
            return False
        return True

    def close(self) -> None:
        self._bus.close()
        self._context.term()


def sender(place: Place, camera: int) -> RingSender:
    return RingSender(place, camera)


def reader(place: Place, number: int) -> RingBusReader:
    return RingBusReader(place)
