"""A host that follows a time server over real sockets: the fit, what is lost, late, silent or lies."""

from typing import Any

import msgspec
import pytest
import zmq
from ethostream.streaming.time_client import MAX_WAIT_NS, N_BURST, SILENT_NS, TimeClient, choose_server, this_host
from ethostream.streaming.time_server import HOST_NAME, PROTOCOL, TimeAnswer, TimeQuestion, TimeServer
from ethostream.sync.clock import NS_PER_MS as MS
from ethostream.sync.clock import NS_PER_S as S
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import AddressError, ClockError
from ethostream.sync.time_exchange import N_STEP

Link = Any
START_NS = 1_700_000_000 * S


def test_a_host_finds_rig_time_and_drift(link: Link) -> None:
    while not link.client.fit.locked:
        link.turn()
    assert abs(link.error_ns()) < 20_000
    status = link.client.status()
    assert status is not None and (status.clock, status.state) == ("host.camera-host", "locked")
    assert status.drift_ppm == pytest.approx(50.0, abs=5.0) and status.delay_ns == pytest.approx(2 * MS, abs=1000)
    assert status.offset_ns == pytest.approx(START_NS, abs=2 * MS) and status.n_used == link.client.n_good
    assert abs(link.client.clock.now_ns() - link.rig.now_ns()) < 20_000
    assert link.client.n_sent == link.client.n_good > N_BURST
    told = [one for one in link.said if one.state == "locked"] or link.said
    assert told[-1].clock == "host.camera-host", "the rig publishes what the host says of itself"


def test_a_late_answer_is_recognised_and_not_used(link: Link) -> None:
    for _ in range(N_BURST):
        link.turn()
    before = link.client.fit.estimate
    link.ask()
    link.rig.advance_ns(MAX_WAIT_NS + 200 * MS)
    link.client.poll(0)  # asks anew, and gives the first one up
    assert link.client.n_lost == 1
    for _ in range(500):
        link.server.serve(1)
        link.client.poll(1)
        if link.client.n_late + link.client.n_good == N_BURST + 2:
            break
    assert (link.client.n_late, link.client.n_good, link.client.n_lost) == (1, N_BURST + 1, 1)
    assert before is not None
    for _ in range(5):
        link.turn()
    estimate = link.client.fit.estimate
    assert estimate is not None and abs(link.error_ns()) <= estimate.error_bound_ns + 1000


def test_a_silent_server_is_lost_carried_on_and_found_again(link: Link) -> None:
    while not link.client.fit.locked:
        link.turn()
    link.rig.advance_ns(SILENT_NS + S)
    assert link.client.lost and link.client.state == "lost"
    status = link.client.status()
    assert status is not None and status.state == "lost"
    link.rig.advance_ns(60 * S)
    assert abs(link.client.clock.now_ns() - link.rig.now_ns()) < 400_000, "a minute at 50 ppm would be 3 ms"
    link.turn()
    assert link.client.state == "locked" and link.client.fit.n_steps == 0


def test_another_start_of_the_server_with_another_time_is_a_step_and_told(link: Link) -> None:
    while not link.client.fit.locked:
        link.turn()
    shifted = FakeClock(link.rig.now_ns() + 3 * S)
    link.server._clock = shifted  # pyright: ignore[reportPrivateUsage]
    link.server._session = "two"  # pyright: ignore[reportPrivateUsage]
    for _ in range(N_STEP):
        assert link.client.fit.n_steps == 0
        before = link.rig.now_ns()
        link.ask()
        shifted.advance_ns(link.rig.now_ns() - before)
        link.arrive()
        link.take()
    assert (link.client.fit.n_steps, link.client.n_sessions, link.client.state) == (1, 1, "stepped")
    # The steered clock does not step with it: it bends.
    first = link.client.clock.now_ns()
    link.rig.advance_ns(S)
    assert link.client.clock.now_ns() - first == pytest.approx(S, rel=1.2e-3)


def test_an_answer_to_no_question_of_ours_is_refused(link: Link) -> None:
    """By a server that answers twice, with another number, with another time sent, and in other words."""
    server = link.context.socket(zmq.ROUTER)
    server.setsockopt(zmq.LINGER, 0)
    link.stack.callback(server.close, 0)
    server.bind("tcp://127.0.0.1:*")
    endpoint = server.getsockopt_string(zmq.LAST_ENDPOINT)
    with TimeClient(link.context, endpoint, link.local, "x") as client:
        link.client = client
        link.ask()
        who, body = server.recv_multipart()
        asked = msgspec.msgpack.decode(body, type=TimeQuestion)
        right = TimeAnswer(PROTOCOL, "s", asked.number, asked.t_sent_ns, START_NS, START_NS)
        wrong = [
            msgspec.structs.replace(right, number=99),
            msgspec.structs.replace(right, protocol=2),
            msgspec.structs.replace(right, t_sent_ns=asked.t_sent_ns + 1),
        ]
        for n, answer in enumerate(wrong[:2], 1):
            server.send_multipart([who, msgspec.msgpack.encode(answer)])
            link.take()
            assert (client.n_refused, client.n_good) == (n, 0)
        server.send_multipart([who, b"\xc1\x00"])
        link.take()
        server.send_multipart([who, msgspec.msgpack.encode(right)])
        link.take()
        assert (client.n_refused, client.n_good) == (3, 1)
        server.send_multipart([who, msgspec.msgpack.encode(right)])
        link.take()
        assert (client.n_refused, client.n_good) == (4, 1), "an answer counts once"
        link.ask()
        who, body = server.recv_multipart()
        asked = msgspec.msgpack.decode(body, type=TimeQuestion)
        lies = TimeAnswer(PROTOCOL, "s", asked.number, asked.t_sent_ns + 1, START_NS, START_NS)
        server.send_multipart([who, msgspec.msgpack.encode(lies)])
        link.take()
        assert (client.n_refused, client.n_good) == (5, 1)


def test_nothing_is_kept_for_a_server_that_is_away() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    rig = FakeClock(START_NS)
    with TimeClient(context, "tcp://127.0.0.1:1", rig, "x") as client:
        for _ in range(100):
            rig.advance_ns(S)
            client.poll(0)
        assert (client.n_sent, client.heard, client.lost, client.status()) == (0, False, False, None)
        with pytest.raises(ClockError, match="1 to 4"):
            TimeClient(context, "tcp://127.0.0.1:1", rig, "x", rate_hz=100)
    with pytest.raises(AddressError, match="cannot bind"), TimeServer(context, "tcp://127.0.0.1:*", rig, "s") as one:
        TimeServer(context, one.endpoint, rig, "s")
    context.term()


def test_names_of_hosts() -> None:
    assert HOST_NAME.match(this_host())
    assert choose_server(None, None) is None
