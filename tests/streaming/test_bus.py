"""Publisher and subscribers over real sockets: every reader, latest reader, loss, refusal, addresses."""

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.frames import FrameReceiver, FrameSender
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber, LatestSubscriber
from ethostream.streaming.wire import Received, encode
from ethostream.sync.errors import AddressError, WireError


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    one: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield one
    one.destroy(linger=0)


def alarm(number: int) -> m.Alarm:
    return m.Alarm("test", "warning", str(number), number)


def link(publisher: Publisher, subscriber: EverySubscriber) -> None:
    """Publish until the subscription is in force."""
    for _ in range(500):
        publisher.publish(t.HEARTBEAT, m.Heartbeat("x", 0, 1, "ready", 0))
        if subscriber.receive(20):
            break
    while subscriber.receive(50):
        pass
    assert publisher.source in subscriber.heard


def take(subscriber: EverySubscriber, n: int) -> list[Received]:
    received: list[Received] = []
    for _ in range(10 * n):
        received += subscriber.receive(1000)
        if len(received) >= n:
            return received
    raise AssertionError(f"{len(received)} of {n} came")


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_every_reader_gets_all_in_order(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path, transport: str
) -> None:
    endpoint = f"ipc://{tmp_path}/a" if transport == "ipc" else "tcp://127.0.0.1:*"
    with Publisher(context, "pub", endpoint) as publisher:
        with EverySubscriber(context, [publisher.endpoint], [t.ALARM, t.HEARTBEAT]) as subscriber:
            link(publisher, subscriber)
            for number in range(3000):
                publisher.publish(t.ALARM, alarm(number))
            received = take(subscriber, 3000)
            assert [one.message.t_ns for one in received] == list(range(3000))  # type: ignore[attr-defined]
            assert subscriber.n_lost == subscriber.n_refused == 0


def test_a_slow_every_reader_loses_nothing_in_silence(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    n = 60_000
    with Publisher(context, "pub", f"ipc://{tmp_path}/a") as publisher:
        with EverySubscriber(context, [publisher.endpoint], [t.ALARM, t.HEARTBEAT], high_water=100) as subscriber:
            link(publisher, subscriber)
            for number in range(n):
                publisher.publish(t.ALARM, alarm(number))
            got: list[Received] = []
            while batch := subscriber.receive(300):
                got += batch
            # The last one tells how many went missing before it.
            publisher.publish(t.ALARM, alarm(n))
            got += take(subscriber, 1)
            assert subscriber.n_lost > 0
            assert len(got) + subscriber.n_lost == n + 1
            assert sum(one.n_lost for one in got) == subscriber.n_lost


def test_the_latest_reader_gets_the_newest_and_counts_the_rest(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    with Publisher(context, "pub", f"ipc://{tmp_path}/a") as publisher:
        with (
            EverySubscriber(context, [publisher.endpoint], [t.ALARM, t.HEARTBEAT]) as every,
            LatestSubscriber(context, [publisher.endpoint], [t.ALARM, t.HEARTBEAT]) as latest,
        ):
            link(publisher, every)
            while not latest.heard:
                publisher.publish(t.HEARTBEAT, m.Heartbeat("x", 0, 1, "ready", 0))
                latest.latest(20)
            for number in range(500):
                publisher.publish(t.ALARM, alarm(number))
            take(every, 500)  # all of them have left the publisher
            newest = latest.newest(t.ALARM, 1000)
            while (one := latest.newest(t.ALARM, 100)) is not None:
                newest = one
            assert newest == alarm(499)


def test_rubbish_on_the_wire_is_counted_and_the_rest_goes_on(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    raw = context.socket(zmq.PUB)
    raw.bind(f"ipc://{tmp_path}/a")
    with EverySubscriber(context, [f"ipc://{tmp_path}/a"], [t.ALARM]) as subscriber:
        good = encode(t.ALARM, "n", 0, alarm(1))
        while not subscriber.receive(20):
            raw.send_multipart((b"alarm/", good))
        while subscriber.receive(50):
            pass
        before = subscriber.n_refused
        for parts in (
            (b"alarm/", b""),
            (b"alarm/", good[:-2]),
            (b"alarm/", b"x" * 100_000),
            (b"alarm/",),
            (b"alarm/", good, b"a", b"b"),
            (b"alarm/cam/", good),
        ):
            raw.send_multipart(parts)
        raw.send_multipart((b"alarm/", good))
        (received,) = take(subscriber, 1)
        assert received.message == alarm(1)
        assert subscriber.n_refused - before == 6
        assert "topic key" in subscriber.last_refusal
    raw.close(linger=0)


@pytest.mark.parametrize("encoding", ["ring", "raw", "jpeg"])
@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_pixels_arrive_through_memory_and_in_the_message(
    context: "zmq.Context[zmq.Socket[bytes]]",
    tmp_path: Path,
    encoding: str,
    shape: tuple[int, ...],
) -> None:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    image = np.broadcast_to((2 * x + y).reshape(*shape[:2], *(1,) * (len(shape) - 2)), shape).astype(np.uint8)
    sender = FrameSender(f"test{uuid.uuid4().hex[:8]}", "cam", 0, shape, 4, encoding)  # type: ignore[arg-type]
    receiver = FrameReceiver()
    with Publisher(context, "pub", "tcp://127.0.0.1:*") as publisher:
        with EverySubscriber(context, [publisher.endpoint], [t.FRAME, t.HEARTBEAT]) as subscriber:
            link(publisher, subscriber)
            sender.acquire()[...] = image
            ring, slot, generation, pixels = sender.commit()
            kind = "mono8" if len(shape) == 2 else "bgr8"
            header = m.FrameHeader(
                "cam", 0, 0, 1, 2, 3, "device", shape[1], shape[0], kind, ring, slot, generation, sender.encoding
            )
            publisher.publish(t.FRAME, header, "cam", pixels)
            (received,) = take(subscriber, 1)
            assert isinstance(received.message, m.FrameHeader)
            got = receiver.view(received.message, received.pixels)
            receiver.check(received.message)
            assert got.shape == image.shape
            difference = np.abs(got.astype(int) - image.astype(int)).max()
            assert difference <= (6 if encoding == "jpeg" else 0)
            if encoding == "raw":
                with pytest.raises(WireError, match="bytes, header says"):
                    receiver.view(received.message, memoryview(b"short"))
            if encoding != "ring":
                with pytest.raises(WireError, match="without its pixel part"):
                    receiver.view(received.message)
    sender.close()


def test_a_port_in_use_says_so(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"cannot bind tcp://127.0.0.1:{port}.*another address"):
            Publisher(context, "pub", f"tcp://127.0.0.1:{port}")


def test_a_path_that_is_too_long_says_what_to_shorten(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    with pytest.raises(AddressError, match="too long; set TMPDIR"):
        Publisher(context, "pub", f"ipc://{tmp_path}/{'x' * 120}")


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.0.2.1:5555", "udp://127.0.0.1:1"]
)
def test_an_address_that_others_could_reach_is_refused(
    context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str
) -> None:
    with pytest.raises(AddressError, match="only ipc and loopback"):
        Publisher(context, "pub", endpoint)
    with pytest.raises(AddressError, match="only ipc and loopback"):
        EverySubscriber(context, [endpoint], [t.ALARM])
