"""Time server and client over real sockets under clocks that move when told: the fit, the losses, what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import zmq
from ethostream.deploy.config import load_run
from ethostream.deploy.process_table import live_table, replay_table
from ethostream.deploy.rig_run import replay_rig
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.node import NodeSpec
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.time_client import MAX_WAIT_NS, N_BURST, SILENT_NS, TimeClient, choose_server, this_host
from ethostream.streaming.time_server import HOST_NAME, MAX_HOSTS, PROTOCOL, TimeAnswer, TimeQuestion, TimeServer
from ethostream.streaming.trusted_time_node import ask, to_status
from ethostream.sync.clock import ClockAnchor, FakeClock, RigClock
from ethostream.sync.errors import AddressError, ClockError, ConfigError
from ethostream.sync.time_exchange import N_STEP
from ethostream.sync.trusted_time import CHRONYC, TrustedTime, read_chrony

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_700_000_000 * S


class DriftingClock:
    """A local clock that runs fast by ``ppm`` against the rig's."""

    def __init__(self, rig: FakeClock, ppm: float) -> None:
        self._rig = rig
        self._rate = 1 + ppm * 1e-6

    def now_ns(self) -> int:
        return round((self._rig.now_ns() - START_NS) * self._rate)

    def sleep_until_ns(self, t_ns: int) -> None:
        self._rig.set_ns(START_NS + round(t_ns / self._rate) + 1)


class Link:
    """Both ends in one thread; messages travel for real, time only when told."""

    def __init__(self, ppm: float = 50.0) -> None:
        self.stack = ExitStack()
        self.rig = FakeClock(START_NS)
        self.local = DriftingClock(self.rig, ppm)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.stack.callback(self.context.destroy, linger=0)
        self.said: list[m.ClockStatus] = []
        self.server = TimeServer(self.context, "tcp://127.0.0.1:*", self.rig, "one", on_status=self.said.append)
        self.stack.callback(self.server.close)
        self.client = TimeClient(self.context, self.server.endpoint, self.local, "camera-host")
        self.stack.callback(self.client.close)
        self.n_answers = 0

    def ask(self) -> None:
        """Move on to the next question and see it on its way."""
        sent = self.client.n_sent
        for _ in range(500):
            self.rig.advance_ns(50 * MS)
            self.client.poll(1)
            if self.client.n_sent > sent:
                return
        raise AssertionError("nothing was asked")

    def arrive(self) -> None:
        """The server takes the question, and answers."""
        n = self.server.n_answered + self.server.n_refused
        for _ in range(500):
            self.server.serve(10)
            if self.server.n_answered + self.server.n_refused > n:
                return
        raise AssertionError("the question did not come")

    def take(self) -> None:
        """The client takes the answer; it asks nothing meanwhile, since its time stands still."""
        n = self.client.n_good + self.client.n_late + self.client.n_refused
        for _ in range(500):
            self.client.poll(10)
            self.client._socket.poll(10)  # pyright: ignore[reportPrivateUsage]
            if self.client.n_good + self.client.n_late + self.client.n_refused > n:
                return
        raise AssertionError("no answer came")

    def turn(self, there_ms: int = 1, back_ms: int = 1) -> None:
        self.ask()
        self.rig.advance_ns(there_ms * MS)
        self.arrive()
        self.rig.advance_ns(back_ms * MS)
        self.take()

    def error_ns(self) -> int:
        estimate = self.client.fit.estimate
        assert estimate is not None
        return estimate.to_rig_ns(self.local.now_ns()) - self.rig.now_ns()


@pytest.fixture
def link() -> Iterator[Link]:
    one = Link()
    with one.stack:
        yield one


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


def test_nothing_is_kept_for_a_server_that_is_away() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    rig = FakeClock(START_NS)
    with TimeClient(context, "tcp://127.0.0.1:1", DriftingClock(rig, 0), "x") as client:
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


def rig_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rig.yaml"
    path.write_text(f"name: r\ncameras: {{a: {{kind: simulated, view: 0}}}}\n{text}\n")
    return path


def test_processes_are_in_the_table_only_when_the_rig_file_asks(tmp_path: Path) -> None:
    def nodes(text: str) -> dict[str, str]:
        run = load_run(rig_file(tmp_path, text))
        return {row.node: row.entry for row in live_table(run, {}, 60.0, None)}

    plain = nodes("")
    assert not {"time_server", "time_follower", "trusted_time", "lsl_inlet", "lsl_outlet"} & set(plain)
    asked = nodes(
        "time: {source: chrony, serve: 'tcp://127.0.0.1:17700', follow: 'tcp://127.0.0.1:17701'}\n"
        "lsl: {outlet: true, inlets: {eeg: {type: EEG}}}"
    )
    assert set(asked) - set(plain) == {"time_server", "time_follower", "trusted_time", "lsl_inlet", "lsl_outlet"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time: {serve: 'tcp://192.0.2.1:17700'}", "time.serve.*only ipc and loopback.*keys"),
        ("time: {follow: 'tcp://192.0.2.1:17700'}", "time.follow.*keys"),
        ("bus: {transport: tcp, bind: 192.0.2.1}", "bus.bind.*keys"),
        ("bus: {bind: 0.0.0.0, keys: k}", "all of them at once"),
        ("bus: {bind: 192.0.2.1, keys: k}", "no effect with transport ipc"),
        ("bus: {bind: localhost}", "one IPv4 address"),
        ("time: {serve: here}", "time.serve"),
        ("lsl: {inlets: {eeg: {}}}", "give name, type or source_id"),
        ("lsl: {inlets: {eeg: {name: \"a' or 'b\"}}}", "lsl.inlets.eeg.name"),
    ],
)
def test_what_others_could_reach_is_refused_without_keys(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_run(rig_file(tmp_path, text))


def test_a_replay_speaks_to_nobody_outside(tmp_path: Path) -> None:
    text = (
        "bus: {transport: tcp, bind: 192.0.2.1, keys: k}\n"
        "time: {source: chrony, serve: 'tcp://192.0.2.1:17700', follow: 'tcp://192.0.2.2:17700'}\n"
        "lsl: {outlet: true, inlets: {eeg: {type: EEG}}}"
    )
    run = load_run(rig_file(tmp_path, text))
    replayed = run.model_copy(update={"rig": replay_rig(run.rig, monitor=False)})
    plain = load_run(rig_file(tmp_path, "bus: {transport: tcp}\nmonitor: {enabled: false}"))
    assert type(replayed).model_validate(replayed.model_dump()) == plain
    assert [row.node for row in replay_table(replayed, {}, 60.0, {})] == ["replay", "inference"]


def test_a_folder_of_keys_is_looked_for_beside_the_rig_file(tmp_path: Path) -> None:
    run = load_run(rig_file(tmp_path, "bus: {transport: tcp, bind: 192.0.2.1, keys: k}"))
    assert run.rig.bus.keys == tmp_path / "k"


def test_chrony_is_asked_by_its_own_tool(tmp_path: Path) -> None:
    line = "C0A80105,ntp,3,1700000000.1,0.000001,0,0.000002,0,0,0,0.001,0.0003,64.2,Normal"
    trusted = ask([sys.executable, "-c", f"print({line!r})"], read_chrony)
    assert trusted.offset_ns == 1000
    status = to_status(trusted, "host.x", 0, START_NS)
    assert (status.state, status.offset_ns, status.n_used, status.delay_ns) == ("trusted", 1000, 0, -1)
    with pytest.raises(ClockError, match=r"506 Cannot talk.*is its daemon running"):
        ask([sys.executable, "-c", "print('506 Cannot talk to daemon'); raise SystemExit(1)"], read_chrony)
    with pytest.raises(ClockError, match=r"not installed.*time.source: exchange"):
        ask([str(tmp_path / "none")], lambda _: TrustedTime("", 0, 0, 0))
    assert CHRONYC[0] == "chronyc"


def test_the_server_is_a_process_that_publishes_how_hosts_follow(tmp_path: Path) -> None:
    """And the client's process on another rig does the same for its own."""
    anchor = ClockAnchor.take()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    ends = {name: f"ipc://{tmp_path}/{name}" for name in ("supervisor", "time_server", "time_follower")}
    address = f"tcp://127.0.0.1:{_free_port(context)}"
    configs = {"time_server": {"serve": address}, "time_follower": {"follow": address, "rate_hz": 4.0}}
    entries = {"time_server": "time_server:main", "time_follower": "time_client:main"}
    with ExitStack() as stack:
        stack.callback(context.term)
        bus = stack.enter_context(
            EverySubscriber(context, [ends["time_server"], ends["time_follower"]], [t.CLOCK, t.HEARTBEAT, t.ALARM])
        )
        processes: list[subprocess.Popen[bytes]] = []
        for name, config in configs.items():
            spec = NodeSpec(
                node=name,
                entry=f"ethostream.streaming.{entries[name]}",
                session="test",
                anchor_utc_ns=anchor.utc_ns,
                anchor_monotonic_ns=anchor.monotonic_ns,
                endpoints=ends,
                parent_pid=os.getpid(),
                config=config,
            )
            path = tmp_path / f"{name}.json"
            path.write_text(spec.model_dump_json())
            process = subprocess.Popen([sys.executable, "-m", "ethostream.streaming.node", str(path)])
            stack.callback(process.wait)
            stack.callback(process.terminate)
            processes.append(process)
        heard: dict[str, m.ClockStatus] = {}
        for _ in range(400):
            for one in bus.receive(100):
                if isinstance(one.message, m.ClockStatus):
                    heard[one.source] = one.message
            if len(heard) == 2:
                break
        assert set(heard) == {"time_server", "time_follower"}
        for status in heard.values():
            assert status.clock == f"host.{this_host()}" and status.state == "settling"
            # Both processes have the same anchor, so the truth is zero, and half the round trip is the bound.
            assert abs(status.offset_ns) <= status.delay_ns // 2 + 1000
            assert abs(status.t_ns - RigClock(anchor).now_ns()) < 60 * S
        for process in processes:
            process.terminate()
            assert process.wait(20) == 0


def _free_port(context: "zmq.Context[zmq.Socket[bytes]]") -> int:
    with context.socket(zmq.REP) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


def test_following_nobody_says_what_to_check(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    code = "from ethostream.deploy.cli import main; main()"
    words = ["time", "follow", "tcp://127.0.0.1:1", "--seconds", "0.3", "--json", str(out)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "no answer" in done.stderr and "allow-list" in done.stderr
    assert json.loads(out.read_text())["state"] == "silent"
