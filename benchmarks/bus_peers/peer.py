"""What a way of moving frames must do to be measured: a sender per camera, a reader per process, and nothing else.

The driver (`benchmarks/bus.py`) writes each frame into `Sender.image`, stamps camera, number and time into its first 24
bytes, and sums every byte of what `Reader.poll` gives: the work around each peer is the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where the peers of one run meet.

    Attributes:
        folder: for sockets, new and empty.
        session: a name that no other run has.
        shape: of one frame.
        n_slots: frames that a sender may have under way.
        cameras: how many senders there are.
        readers: how many reading processes there are.
    """

    folder: str
    session: str
    shape: tuple[int, int]
    n_slots: int
    cameras: int
    readers: int


class Sender(Protocol):
    """One camera. One thread."""

    def image(self) -> Image:
        """The buffer that the next frame is written into: pixels of its own, as a camera's buffer is written again."""
        ...

    def send(self) -> None:
        """Pass on what was written into `image`."""
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """One reading process, of all cameras. One thread."""

    def poll(self, timeout_ms: int) -> Sequence[tuple[Image, Any]]:
        """Wait for a frame, then all that are there, each with what `whole` needs. The image is valid while held."""
        ...

    def whole(self, token: Any) -> bool:
        """After the last byte was read: was the frame still the one that was sent?"""
        ...

    def close(self) -> None: ...


class Peer(Protocol):
    """A module of this package."""

    WINDOW: int
    """Frames that may be under way in the unpaced run without the peer losing one."""
    ZEROMQ: bool
    """It is built on ZeroMQ."""

    def sender(self, place: Place, camera: int) -> Sender: ...

    def reader(self, place: Place, number: int) -> Reader: ...


PEERS = {
    "ethostream": "ethostream_ring",
    "pyzmq": "plain_pyzmq",
    "imagezmq": "imagezmq_hub",
    "netgear": "vidgear_netgear",
    "iceoryx2": "iceoryx2_samples",
    "zenoh": "zenoh_shm",
}


def load_peer(name: str) -> Any:
    """The module of a peer.

    Raises:
        ImportError: its library is not installed.
    """
    module = import_module(f"bus_peers.{PEERS[name]}")
    module.require()
    return module


POOL_SPARE = 4
"""Beyond what a queue of ``n_slots`` holds, a few frames are in the hands of threads."""


class Pool:
    """Buffers that are written in turn, for peers that send from the sender's own memory."""

    def __init__(self, place: Place) -> None:
        self._buffers = [np.zeros(place.shape, np.uint8) for _ in range(place.n_slots + POOL_SPARE)]
        self._at = 0

    @property
    def image(self) -> Image:
        return self._buffers[self._at]

    def turn(self) -> None:
        self._at = (self._at + 1) % len(self._buffers)
