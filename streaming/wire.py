"""MessagePack on the wire: one versioned envelope around each message, validated on receipt.

A message on a socket is ``[topic key, body]``, or ``[topic key, body, pixels]``. The body is the MessagePack array
``[schema version, source node, sequence number, message]``; the sequence number counts up per source and topic key, so
that a reader sees what it lost. `msgspec` checks every field against the message type while it decodes.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import msgspec

from ..sync.errors import WireError
from .messages import SCHEMA_VERSION, Message
from .topics import TOPICS, Topic

_encoder = msgspec.msgpack.Encoder()


class Received(NamedTuple):
    """One decoded message.

    Attributes:
        topic: its row of the topic table.
        camera: the camera of a per-camera topic, else "".
        source: name of the node that published it.
        seq: counts up by one per (source, topic, camera).
        message: the body.
        body: the bytes it was decoded from, as they are logged.
        pixels: the pixel part where one came along, else None.
        n_lost: messages of the same source and key that were lost just before this one.
    """

    topic: Topic
    camera: str
    source: str
    seq: int
    message: Message
    body: bytes
    pixels: memoryview | None = None
    n_lost: int = 0


def encode(topic: Topic, source: str, seq: int, message: Message) -> bytes:
    """Encode the body of one message.

    Raises:
        WireError: the message is not of the topic's type, or larger than the topic allows.
    """
    if type(message) is not topic.message:
        raise WireError(f"topic {topic.name}: carries {topic.message.__name__}, not {type(message).__name__}")
    body = _encoder.encode((SCHEMA_VERSION, source, seq, message))
    if len(body) > topic.max_bytes:
        raise WireError(f"topic {topic.name}: message of {len(body)} bytes is over its bound of {topic.max_bytes}")
    return body


def decode(key: bytes, body: bytes) -> Received:
    """Decode and validate one message.

    Raises:
        WireError: unknown topic, oversized, truncated, malformed, or of another schema version; the message says which.
    """
    topic, camera, decoder = _route(key)
    if len(body) > topic.max_bytes:
        raise WireError(f"topic {topic.name}: message of {len(body)} bytes is over its bound of {topic.max_bytes}")
    try:
        envelope: Any = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"topic {topic.name}: {describe(body)}; {error}") from error
    if envelope.version != SCHEMA_VERSION:
        raise WireError(
            f"topic {topic.name}: schema version {envelope.version} from {envelope.source!r}, this is version "
            f"{SCHEMA_VERSION}; run the same ethostream release on every node"
        )
    return Received(topic, camera, envelope.source, envelope.seq, envelope.message, body)


def describe(body: bytes) -> str:
    """Say in words what a body that does not validate looks like; reads it with an independent MessagePack decoder."""
    try:
        value = msgpack.unpackb(body, raw=False, strict_map_key=False)
    except (ValueError, TypeError, RecursionError) as error:
        return f"{len(body)} bytes that are not one MessagePack value ({error or type(error).__name__})"
    if isinstance(value, list) and len(value) == 4 and isinstance(value[0], int) and value[0] != SCHEMA_VERSION:
        return f"schema version {value[0]}, this is version {SCHEMA_VERSION}"
    return f"a MessagePack {type(value).__name__} that is not a valid message"


@lru_cache(maxsize=4096)
def _route(key: bytes) -> tuple[Topic, str, Any]:
    try:
        name, *rest = key.decode().split("/")
    except UnicodeDecodeError as error:
        raise WireError(f"topic key {key!r} is not text") from error
    topic = TOPICS.get(name)
    if topic is None or len(rest) != (2 if topic.per_camera else 1) or rest[-1] or key != topic.key(rest[0]):
        raise WireError(f"topic key {key!r} is not in the topic table; run the same ethostream release on every node")
    return topic, rest[0] if topic.per_camera else "", _decoder(topic.name)


@lru_cache(maxsize=256)
def _decoder(topic_name: str) -> Any:
    message_type = TOPICS[topic_name].message
    envelope = msgspec.defstruct(
        f"{message_type.__name__}Envelope",
        [("version", int), ("source", str), ("seq", int), ("message", message_type)],
        array_like=True,
        frozen=True,
        gc=False,
    )
    return msgspec.msgpack.Decoder(envelope)
