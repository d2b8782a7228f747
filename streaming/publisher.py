"""The sending end of the bus: one bound socket per node."""

import zmq

from ..sync.closing import Closing
from .address import bind, check_address
from .keys import Keys
from .messages import Message
from .topics import MIB, Topic
from .wire import encode

HIGH_WATER = 20_000
"""Held per reader: about 20 s of headers of an eight-camera rig; a reader beyond it loses some, and sees it."""
_PIXEL_BYTES_HELD = 256 * MIB
_MAX_HEARD_BYTES = 4096
"""Readers send a handshake and subscriptions. Without a bound a stranger fills the memory before it is refused."""


def high_water_for(frame_bytes: int) -> int:
    """How many messages to hold per reader when each carries ``frame_bytes`` of pixels: 256 MiB of them at most."""
    return HIGH_WATER if not frame_bytes else max(8, min(HIGH_WATER, _PIXEL_BYTES_HELD // frame_bytes))


class Publisher(Closing):
    """Publishes the messages of one node. One thread.

    With ``keys`` only hosts of the allow-list can read it; the context needs a `Gatekeeper`.

    Raises:
        AddressError: the address is in use, or refused.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        source: str,
        endpoint: str,
        high_water: int = HIGH_WATER,
        keys: Keys | None = None,
    ) -> None:
        check_address(endpoint, keys)
        self.source = source
        self._sequences: dict[bytes, int] = {}
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, high_water)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_HEARD_BYTES)
        cure = "; is another rig running? stop it, or choose another address"
        self.endpoint = bind(self._socket, endpoint, keys, source, cure)

    def publish(
        self, topic: Topic, message: Message, camera: str = "", pixels: memoryview | bytes | None = None
    ) -> bytes:
        """Send one message; never waits for a reader. Returns the encoded body, as a recorder logs it.

        Raises:
            WireError: wrong type for the topic, or over its size bound.
        """
        key = topic.key(camera)
        seq = self._sequences.get(key, 0)
        body = encode(topic, self.source, seq, message)
        if pixels is None:
            self._socket.send_multipart((key, body), copy=True)
        else:
            self._socket.send_multipart((key, body, pixels), copy=len(pixels) < 65536)
        self._sequences[key] = seq + 1
        return body

    def close(self) -> None:
        """Send what is queued (two seconds at most) and release the address."""
        self._socket.close()
