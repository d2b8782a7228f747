"""iceoryx2: one service per camera, samples loaned and written in place, read in place; readers poll."""

import ctypes
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from ethostream.sync.clock import ClockAnchor, RigClock

from .peer import Image, Place

WINDOW = 8
ZEROMQ = False
_POLL_NS = 100_000


def require() -> None:
    import_module("iceoryx2")


def _service(library: Any, node: Any, place: Place, camera: int) -> Any:
    name = library.ServiceName.new(f"{place.session}/cam{camera}")
    return (
        node.service_builder(name)
        .publish_subscribe(library.Slice[ctypes.c_uint8])
        .subscriber_max_buffer_size(place.n_slots)
        .subscriber_max_borrowed_samples(place.n_slots)
        .max_subscribers(place.readers)
        .enable_safe_overflow(True)
        .open_or_create()
    )


class Iceoryx2Sender:
    def __init__(self, place: Place, camera: int) -> None:
        library = import_module("iceoryx2")
        library.set_log_level(library.LogLevel.Error)
        self._shape = place.shape
        self._bytes = place.shape[0] * place.shape[1]
        self._node = library.NodeBuilder.new().create(library.ServiceType.Ipc)
        self._service = _service(library, self._node, place, camera)
        self._publisher = self._service.publisher_builder().initial_max_slice_len(self._bytes).create()
        self._sample: Any = None

    def image(self) -> Image:
        if self._sample is None:
            self._sample = self._publisher.loan_slice_uninit(self._bytes)
        pixels = (ctypes.c_uint8 * self._bytes).from_address(self._sample.payload_ptr)
        return np.frombuffer(pixels, np.uint8).reshape(self._shape)

    def send(self) -> None:
        self._sample.assume_init().send()
        self._sample = None

    def close(self) -> None:
        self._sample = None
        self._publisher.delete()


class Iceoryx2Reader:
    def __init__(self, place: Place) -> None:
        library = import_module("iceoryx2")
        library.set_log_level(library.LogLevel.Error)
        self._shape = place.shape
        self._bytes = place.shape[0] * place.shape[1]
        self._clock = RigClock(ClockAnchor.take())
        self._node = library.NodeBuilder.new().create(library.ServiceType.Ipc)
        self._services = [_service(library, self._node, place, camera) for camera in range(place.cameras)]
        self._subscribers = [one.subscriber_builder().create() for one in self._services]

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, Any]]:
        found: list[tuple[Image, Any]] = []
        until = self._clock.now_ns() + timeout_ms * 1_000_000
        while True:
            for subscriber in self._subscribers:
                while (sample := subscriber.receive()) is not None:
                    pixels = (ctypes.c_uint8 * self._bytes).from_address(sample.payload_ptr)
                    found.append((np.frombuffer(pixels, np.uint8).reshape(self._shape), sample))
            now = self._clock.now_ns()
            if found or now >= until:
                return found
            self._clock.sleep_until_ns(now + _POLL_NS)

    def whole(self, token: Any) -> bool:
        return True

    def close(self) -> None:
        for one in self._subscribers:
            one.delete()


def sender(place: Place, camera: int) -> Iceoryx2Sender:
    return Iceoryx2Sender(place, camera)


def reader(place: Place, number: int) -> Iceoryx2Reader:
    return Iceoryx2Reader(place)
