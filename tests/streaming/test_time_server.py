"""The time server over real sockets: what it refuses, and what it says of the hosts that follow."""

from typing import Any

import msgspec
import zmq
from ethostream.streaming import messages as m
from ethostream.streaming.time_server import MAX_HOSTS, PROTOCOL, TimeAnswer, TimeQuestion
from ethostream.sync.clock import NS_PER_S as S

Link = Any


def test_what_is_no_question_is_refused_and_the_server_goes_on(link: Link) -> None:
    socket = link.context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    link.stack.callback(socket.close, 0)
    socket.connect(link.server.endpoint)
    encode = msgspec.msgpack.encode
    status = m.ClockStatus("host.other", 0, "locked", 0, 0.0, 0.0, 0.0, 0.0, 1, 0, 0, 0)
    good = TimeQuestion(PROTOCOL, "x", 1, 0)
    bad: list[list[bytes]] = [
        [b""],
        [b"\xc1"],
        [b"not a question"],
        [encode([PROTOCOL, "x", 1])],
        [encode([PROTOCOL, "x", "1", 0, None, False])],
        [encode([PROTOCOL, "x", 1, 0, None, False, "more"])],
        [encode(good), encode(good)],
        [encode(msgspec.structs.replace(good, protocol=PROTOCOL + 1))],
        [encode(msgspec.structs.replace(good, host="../x"))],
        [encode(msgspec.structs.replace(good, status=status))],
    ]
    for n, parts in enumerate(bad, 1):
        socket.send_multipart(parts)
        link.arrive()
        assert (link.server.n_refused, link.server.n_answered) == (n, 0), parts
    assert not socket.poll(20), "none was answered"
    assert link.said == [] and link.server.hosts == {}
    socket.send(encode(good))
    link.arrive()
    answer = msgspec.msgpack.decode(socket.recv(), type=TimeAnswer)
    assert (answer.number, answer.t_sent_ns) == (1, 0)


def test_a_question_that_is_too_long_ends_its_connection_and_no_other(link: Link) -> None:
    socket = link.context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    link.stack.callback(socket.close, 0)
    socket.connect(link.server.endpoint)
    socket.send(b"x" * 2000)
    for _ in range(3):
        link.turn()
    assert link.client.n_good == 3 and link.server.n_refused == 0


def test_the_number_of_hosts_is_bounded(link: Link) -> None:
    socket = link.context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    link.stack.callback(socket.close, 0)
    socket.connect(link.server.endpoint)
    for n in range(MAX_HOSTS + 1):
        socket.send(msgspec.msgpack.encode(TimeQuestion(PROTOCOL, f"h{n}", 1, 0)))
        link.arrive()
    assert len(link.server.hosts) == MAX_HOSTS and link.server.n_refused == 1
    socket.send(msgspec.msgpack.encode(TimeQuestion(PROTOCOL, "h0", 2, 0, None, True)))
    link.arrive()
    assert "h0" not in link.server.hosts, "who says goodbye makes room"


def test_a_host_that_falls_silent_is_told_lost_and_one_that_leaves_is_not(link: Link) -> None:
    while not link.said:
        link.turn()
    link.rig.advance_ns(11 * S)
    link.server.serve(0)
    assert [one.state for one in link.said][-1] == "lost"
    n = len(link.said)
    link.server.serve(0)
    assert len(link.said) == n, "once"
    while link.said[-1].state == "lost":
        link.turn()
    assert not link.server.hosts["camera-host"].lost
    link.client.close()
    link.arrive()
    link.rig.advance_ns(60 * S)
    link.server.serve(0)
    assert link.said[-1].state != "lost" and link.server.hosts == {}


def test_a_goodbye_counts_though_its_sender_is_gone_before_the_answer(link: Link) -> None:
    socket = link.context.socket(zmq.DEALER)
    socket.connect(link.server.endpoint)
    socket.send(msgspec.msgpack.encode(TimeQuestion(PROTOCOL, "x", 1, 0)))
    link.arrive()
    assert list(link.server.hosts) == ["x"] and socket.poll(5000)
    served = link.server._socket  # pyright: ignore[reportPrivateUsage]
    link.stack.callback(served.disable_monitor)
    gone = served.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    socket.send(msgspec.msgpack.encode(TimeQuestion(PROTOCOL, "x", 2, 0, None, True)))
    socket.close(linger=5000)
    assert gone.poll(5000)
    link.arrive()
    assert link.server.hosts == {}
