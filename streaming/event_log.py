"""``events.mcap``: every message of a recording in order of arrival, readable up to a tear.

Not chunked: each message stands in the file by itself, so a process that is killed loses what it had not flushed and
nothing else. A channel is a topic key, its message encoding ``msgpack``, its schema the message class; the data are the
body as it travelled (``streaming/wire.py``), version, source and sequence number included.
"""

import errno
import json
import mmap
import os
import struct
import threading
from collections.abc import Collection, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel
from mcap.writer import MCAP0_MAGIC, CompressionType, IndexType, Writer

from ..sync.errors import DiskFullError, RecordingError, WireError
from .messages import Message
from .topics import MIB, Topic
from .wire import decode

MAX_PENDING_BYTES = 64 * MIB
"""Held while the disk takes nothing; a message beyond it is refused and counted."""

_WRITE_BYTES = MIB
_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_KNOWN_OPCODES = frozenset(int(opcode) for opcode in Opcode)


class _Tail:
    """The end of the file that is not written yet. A write that fails leaves it as it was, to be tried again.

    One thread fills it, another may flush it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._n_bytes = 0
        self.n_written = 0

    def write(self, data: bytes) -> int:
        with self._lock:
            self._pending += data
            self._n_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._n_bytes

    @property
    def n_pending(self) -> int:
        return len(self._pending)

    def flush(self) -> None:
        with self._flushing:
            while True:
                with self._lock:
                    chunk = bytes(memoryview(self._pending)[:_WRITE_BYTES])
                if not chunk:
                    return
                try:
                    n = os.write(self._fd, chunk)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise DiskFullError(
                            f"{self._path}: no space left for messages; free some on this disk"
                        ) from error
                    raise RecordingError(
                        f"{self._path}: cannot be written ({error.strerror}); check the disk"
                    ) from error
                with self._lock:
                    del self._pending[:n]
                    self.n_written += n

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class EventLogWriter:
    """Writes ``events.mcap``. One thread; `flush`, ``n_pending``, ``position`` and ``written`` are for any.

    Attributes:
        n_messages: messages taken.
        n_refused: messages that found no room, since the disk took nothing for too long.

    Raises:
        RecordingError: the file exists or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_messages = 0
        self.n_refused = 0
        try:
            self._tail = _Tail(path)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be created ({error.strerror}); choose another folder") from error
        self._writer = Writer(
            self._tail,  # pyright: ignore[reportArgumentType] - it needs write and tell only
            compression=CompressionType.NONE,
            index_types=IndexType.NONE,
            use_chunking=False,
        )
        self._writer.start(profile="ethostream", library="ethostream")
        self._channels: dict[bytes, int] = {}
        self._schemas: dict[str, int] = {}

    def append(self, topic: Topic, camera: str, seq: int, body: bytes, t_ns: int) -> None:
        """Add one message as it travelled, received (or sent) at rig time ``t_ns``."""
        if self._tail.n_pending > MAX_PENDING_BYTES:
            self.n_refused += 1
            return
        key = topic.key(camera)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = self._open_channel(topic, key)
        self._writer.add_message(channel, t_ns, body, t_ns, seq & 0xFFFFFFFF)
        self.n_messages += 1

    @property
    def n_pending(self) -> int:
        """Bytes that are not with the operating system yet."""
        return self._tail.n_pending

    @property
    def position(self) -> int:
        """Bytes of the log so far, those that wait included."""
        return self._tail.tell()

    @property
    def written(self) -> int:
        """Bytes that the operating system has; up to there the log outlives this process."""
        return self._tail.n_written

    def flush(self) -> None:
        """Hand everything to the operating system; from then on it outlives this process.

        Raises:
            DiskFullError: no space; what is waiting is kept and tried again with the next flush.
            RecordingError: the disk refuses.
        """
        self._tail.flush()

    def close(self) -> None:
        """Write the summary and close. Raises as `flush`; the file is then closed without its end."""
        try:
            self._writer.finish()
            self._tail.flush()
        finally:
            self._tail.close()

    def _open_channel(self, topic: Topic, key: bytes) -> int:
        name = topic.message.__name__
        if name not in self._schemas:
            schema = json.dumps(msgspec.json.schema(topic.message)).encode()
            self._schemas[name] = self._writer.register_schema(name, "jsonschema", schema)
        return self._writer.register_channel(key.decode(), "msgpack", self._schemas[name])


class LoggedMessage(NamedTuple):
    """One message of a recording.

    Attributes:
        topic: its row of the topic table.
        camera: the camera of a per-camera topic, else "".
        source: the node that published it.
        seq: of the envelope.
        log_time_ns: rig time at which the recorder took it.
        message: the message.
        body: the envelope as it travelled.
        place: where it stands in the file, for `EventLog.at`.
    """

    topic: Topic
    camera: str
    source: str
    seq: int
    log_time_ns: int
    message: Message
    body: bytes
    place: int = -1


class EventLog:
    """Reads ``events.mcap``, torn or whole. May be read by several at a time; each pass opens the file again.

    Attributes:
        path: the file.
        closed: it ends as a whole file ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - len(MCAP0_MAGIC)))
                self.closed = size > 2 * len(MCAP0_MAGIC) and file.read() == MCAP0_MAGIC
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error.strerror}); is this a recording folder?") from error

    def messages(self, topics: Collection[Topic] | None = None, *, skip_bad: bool = False) -> Iterator[LoggedMessage]:
        """The messages in order of arrival, of ``topics`` only where given; ends without an error at a tear.

        ``skip_bad``: pass over messages that do not validate, as a power cut may leave where the disk had begun a page.

        Raises:
            WireError: a message does not validate, or was written by a release that cannot be read.
            RecordingError: the file is not an event log.
        """
        for key, t_ns, body, place in self._records(None if topics is None else {topic.name for topic in topics}):
            try:
                one = decode(key, body)
            except WireError:
                if skip_bad:
                    continue
                raise
            yield LoggedMessage(one.topic, one.camera, one.source, one.seq, t_ns, one.message, body, place)

    def whole_bytes(self) -> int:
        """Bytes up to the tear: all whole records; of a whole file all there are."""
        size = self.path.stat().st_size
        if self.closed:
            return size
        end = min(size, len(MCAP0_MAGIC))
        with self.path.open("rb") as file:
            while True:
                file.seek(end)
                head = file.read(_RECORD.size)
                if len(head) < _RECORD.size:
                    return end
                opcode, length = _RECORD.unpack(head)
                if opcode not in _KNOWN_OPCODES or end + len(head) + length > size:
                    return end
                end += len(head) + length

    def at(self, topic: Topic, camera: str, places: Iterable[int]) -> Iterator[LoggedMessage]:
        """The messages at ``places``, all of one topic and camera, without reading what lies between.

        Raises:
            WireError: a message does not validate.
            RecordingError: there is no message at that place; the file is not the one that was indexed.
        """
        key = topic.key(camera)
        head = _RECORD.size + _MESSAGE.size
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for place in places:
                file.seek(place)
                start = file.read(head)
                opcode, length = _RECORD.unpack_from(start) if len(start) == head else (0, 0)
                if opcode != Opcode.MESSAGE or place + _RECORD.size + length > size:
                    raise RecordingError(f"{self.path}: was changed since it was indexed; open the recording again")
                t_ns = _MESSAGE.unpack_from(start, _RECORD.size)[2]
                body = file.read(length - _MESSAGE.size)
                one = decode(key, body)
                yield LoggedMessage(one.topic, one.camera, one.source, one.seq, t_ns, one.message, body, place)

    def count(self) -> int:
        """Number of whole messages."""
        return sum(1 for _ in self._records(None, bodies=False))

    def _records(self, names: set[str] | None, *, bodies: bool = True) -> Iterator[tuple[bytes, int, bytes, int]]:
        """Topic key, time, body and place of each message."""
        with self.path.open("rb") as file:
            if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC[: self.path.stat().st_size]:
                raise RecordingError(f"{self.path}: is not an MCAP file; is it the events.mcap of a recording?")
            if self.path.stat().st_size <= len(MCAP0_MAGIC):
                return
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                yield from self._scan(data, names, bodies)

    def _scan(self, data: mmap.mmap, names: set[str] | None, bodies: bool) -> Iterator[tuple[bytes, int, bytes, int]]:
        keys: dict[int, bytes] = {}
        at, size = len(MCAP0_MAGIC), len(data)
        head = _RECORD.size
        while at + head <= size:
            opcode, length = _RECORD.unpack_from(data, at)
            start, at = at + head, at + head + length
            if at > size or opcode not in _KNOWN_OPCODES:
                return
            if opcode == Opcode.MESSAGE:
                channel, _, t_ns, _ = _MESSAGE.unpack_from(data, start)
                key = keys.get(channel)
                if key is not None:
                    yield key, t_ns, data[start + _MESSAGE.size : at] if bodies else b"", start - head
            elif opcode == Opcode.CHANNEL:
                one = Channel.read(ReadDataStream(BytesIO(data[start:at])))
                if names is None or one.topic.partition("/")[0] in names:
                    keys[one.id] = one.topic.encode()
            elif opcode == Opcode.CHUNK:
                raise RecordingError(f"{self.path}: is chunked; ethostream writes event logs without chunks")
            elif opcode == Opcode.DATA_END:
                return
