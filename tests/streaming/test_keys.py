"""Keys and the allow-list: files that are refused, and strangers that read and write nothing, on real sockets."""

import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import zmq
from ethostream.deploy import cli
from ethostream.deploy.process_table import ProcessRow
from ethostream.deploy.supervisor import Supervisor, new_session_id
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.address import check_address
from ethostream.streaming.keys import ALLOWED_FILE, Gatekeeper, Keys, allow_key, load_keys, make_keys
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.time_client import TimeClient
from ethostream.streaming.time_server import TimeServer
from ethostream.streaming.wire import Received
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import AddressError, KeysError
from free_ports import free_ports
from typer.testing import CliRunner
from zmq.auth import load_certificate
from zmq.utils.monitor import recv_monitor_message

Context = zmq.Context  # type: ignore[type-arg]
REFUSED = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_DISCONNECTED,
}


@pytest.fixture
def hosts(tmp_path: Path) -> dict[str, Path]:
    """A rig that lets in a friend, the friend, and a stranger who knows the rig's public key."""
    folders = {name: tmp_path / name for name in ("rig", "friend", "stranger")}
    public = {name: make_keys(folder, name) for name, folder in folders.items()}
    allow_key(folders["rig"], public["friend"])
    allow_key(folders["friend"], public["rig"])
    allow_key(folders["stranger"], public["rig"])
    return folders


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


def own_context(stack: ExitStack) -> "zmq.Context[zmq.Socket[bytes]]":
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stack.callback(context.destroy, linger=0)
    return context


def test_a_secret_is_private_and_never_shown(tmp_path: Path) -> None:
    public = make_keys(tmp_path / "rig", "rig")
    secret = tmp_path / "rig" / "rig.key_secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    keys = load_keys(tmp_path / "rig")
    assert keys.secret.decode() in secret.read_text() and keys.secret.decode() not in public.read_text()
    assert keys.secret.decode() not in repr(keys)
    assert load_certificate(public) == (keys.public, None), "other ZeroMQ programs read it"


def test_a_secret_that_others_can_read_is_refused_with_the_cure(tmp_path: Path) -> None:
    make_keys(tmp_path, "rig")
    for mode in (0o640, 0o604, 0o644):
        (tmp_path / "rig.key_secret").chmod(mode)
        with pytest.raises(KeysError, match=rf"others can read it \(mode {mode:03o}\).*chmod 600"):
            load_keys(tmp_path)


def test_a_list_that_others_can_change_is_refused(tmp_path: Path) -> None:
    make_keys(tmp_path, "rig")
    (tmp_path / ALLOWED_FILE).chmod(0o662)
    with pytest.raises(KeysError, match="others can change it"):
        load_keys(tmp_path)


def test_a_folder_in_which_others_can_replace_the_list_is_refused(tmp_path: Path) -> None:
    """The list itself may be private: another one can be put in its place."""
    folder = tmp_path / "rig"
    make_keys(folder, "rig")
    for mode in (0o770, 0o707, 0o1777):
        folder.chmod(mode)
        with pytest.raises(KeysError, match=rf"others can change it.*chmod 700 {folder}"):
            load_keys(folder)
    other = tmp_path / "open"
    other.mkdir()
    other.chmod(0o775)
    with pytest.raises(KeysError, match="others can change it"):
        make_keys(other, "rig")
    assert list(other.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", [".", "rig.key_secret", ALLOWED_FILE])
def test_what_belongs_to_another_user_is_refused(what: str, tmp_path: Path) -> None:
    make_keys(tmp_path, "rig")
    os.chown(tmp_path / what, 65534, -1)
    with pytest.raises(KeysError, match=r"belongs to another user \(number 65534\).*chown"):
        load_keys(tmp_path)


def test_a_list_that_was_edited_or_removed_by_hand_takes_another_host(hosts: dict[str, Path]) -> None:
    listed = hosts["rig"] / ALLOWED_FILE
    listed.write_text(f"{load_keys(hosts['friend']).public.decode()} friend\n# no end of line")
    allow_key(hosts["rig"], hosts["stranger"] / "stranger.key")
    assert load_keys(hosts["rig"]).others == ["friend", "stranger"]
    listed.unlink()
    before = os.umask(0o002)
    try:
        allow_key(hosts["rig"], hosts["friend"] / "friend.key")
    finally:
        os.umask(before)
    assert load_keys(hosts["rig"]).others == ["friend"]


def test_keys_are_never_written_over(tmp_path: Path) -> None:
    make_keys(tmp_path, "rig")
    before = (tmp_path / "rig.key_secret").read_bytes()
    for name in ("rig", "other"):
        with pytest.raises(KeysError, match="has keys already"):
            make_keys(tmp_path, name)
    assert (tmp_path / "rig.key_secret").read_bytes() == before


def test_files_that_are_no_keys_are_named(tmp_path: Path, hosts: dict[str, Path]) -> None:
    rig = hosts["rig"]
    with pytest.raises(KeysError, match=r"no secret key.*keys make"):
        load_keys(tmp_path / "nowhere")
    with pytest.raises(KeysError, match="must never leave its host"):
        allow_key(rig, hosts["stranger"] / "stranger.key_secret")
    (tmp_path / "bad.key").write_text('curve\n    public-key = "short"\n')
    with pytest.raises(KeysError, match="no key of 40 characters"):
        allow_key(rig, tmp_path / "bad.key")
    (tmp_path / "picture.key").write_bytes(b"\x89PNG\xff")
    with pytest.raises(KeysError, match="plain characters"):
        allow_key(rig, tmp_path / "picture.key")
    with pytest.raises(KeysError, match="letters, digits"):
        make_keys(tmp_path / "new", "../evil")
    other = make_keys(tmp_path / "again", "friend")
    with pytest.raises(KeysError, match="another key has that name"):
        allow_key(rig, other)
    with (rig / ALLOWED_FILE).open("a") as file:
        file.write("one two three\n")
    with pytest.raises(KeysError, match=r"line \d+: expected"):
        load_keys(rig)


def test_a_pair_that_does_not_belong_together_is_refused(hosts: dict[str, Path]) -> None:
    path = hosts["rig"] / "rig.key_secret"
    mine, other = load_keys(hosts["rig"]), load_keys(hosts["friend"])
    path.write_text(path.read_text().replace(mine.public.decode(), other.public.decode()))
    with pytest.raises(KeysError, match="do not belong together"):
        load_keys(hosts["rig"])


def test_letting_in_twice_is_once(hosts: dict[str, Path]) -> None:
    assert allow_key(hosts["rig"], hosts["friend"] / "friend.key") == "friend"
    assert load_keys(hosts["rig"]).others == ["friend"]


def test_only_with_keys_may_an_address_be_reached_by_others(hosts: dict[str, Path]) -> None:
    keys = load_keys(hosts["rig"])
    with pytest.raises(AddressError, match=r"only ipc and loopback.*keys make"):
        check_address("tcp://192.0.2.1:5555")
    check_address("tcp://192.0.2.1:5555", keys)
    with pytest.raises(AddressError, match="not an address"):
        check_address("udp://192.0.2.1:5555", keys)


def stranger_socket(
    kind: int, case: str, hosts: dict[str, Path], endpoint: str, stack: ExitStack
) -> "zmq.Socket[bytes]":
    """A socket of somebody who should not be there, connected in a way of its own."""
    context = own_context(stack)
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    rig, stranger = load_keys(hosts["rig"]), load_keys(hosts["stranger"])
    if case == "not allowed":
        stranger.connect(socket, "rig")
    elif case == "wrong server key":
        friend = load_keys(hosts["friend"])
        Keys("friend", friend.public, friend.secret, {"x": stranger.public}).connect(socket, "x")
    elif case == "claims another's public key":
        friend = load_keys(hosts["friend"])
        Keys("x", friend.public, stranger.secret, {"rig": rig.public}).connect(socket, "rig")
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
    monitor = socket.get_monitor_socket()
    socket.connect(endpoint)
    for _ in range(50):
        assert monitor.poll(5000), "the handshake neither failed nor ended"
        event = recv_monitor_message(monitor)["event"]
        assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED, f"{case}: let in"
        if event in REFUSED:
            break
    else:
        raise AssertionError("never refused")
    socket.disable_monitor()
    return socket


CASES = ["no keys", "not allowed", "wrong server key", "claims another's public key"]


@pytest.mark.parametrize("case", CASES)
def test_a_stranger_reads_nothing_of_the_bus(case: str, hosts: dict[str, Path], stack: ExitStack) -> None:
    keys, friend = load_keys(hosts["rig"]), load_keys(hosts["friend"])
    context = own_context(stack)
    gate = stack.enter_context(Gatekeeper(context, keys))
    publisher = stack.enter_context(Publisher(context, "rig", "tcp://127.0.0.1:*", keys=keys))
    stranger = stranger_socket(zmq.SUB, case, hosts, publisher.endpoint, stack)
    reader = own_context(stack).socket(zmq.SUB)
    friend.connect(reader, "rig")
    reader.setsockopt(zmq.SUBSCRIBE, b"")
    reader.connect(publisher.endpoint)
    own = stack.enter_context(EverySubscriber(context, [publisher.endpoint], [t.ALARM], keys=keys))
    heard = {"friend": False, "own": False}
    for _ in range(500):
        publisher.publish(t.ALARM, m.Alarm("rig", "warning", "secret", 1))
        heard["friend"] |= bool(reader.poll(10))
        heard["own"] |= bool(own.receive(10))
        if all(heard.values()):
            break
    assert all(heard.values()), "whom the list names is let in"
    assert not stranger.poll(100)
    assert gate.n_allowed >= 2
    if case == "not allowed":
        assert gate.n_refused >= 1


def time_server(hosts: dict[str, Path], stack: ExitStack) -> TimeServer:
    """That of the rig, which answers whom its list names."""
    keys = load_keys(hosts["rig"])
    context = own_context(stack)
    stack.enter_context(Gatekeeper(context, keys))
    return stack.enter_context(TimeServer(context, "tcp://127.0.0.1:*", RigClock(ClockAnchor.take()), "s", keys))


def friend_asks(server: TimeServer, name: str, hosts: dict[str, Path], stack: ExitStack) -> TimeClient:
    """With the keys of the friend, in the name of whomever."""
    clock, keys = RigClock(ClockAnchor.take()), load_keys(hosts["friend"])
    return TimeClient(own_context(stack), server.endpoint, clock, name, keys=keys, server="rig")


@pytest.mark.parametrize("case", CASES)
def test_a_stranger_gets_no_time_and_cannot_speak(case: str, hosts: dict[str, Path], stack: ExitStack) -> None:
    server = time_server(hosts, stack)
    stranger = stranger_socket(zmq.DEALER, case, hosts, server.endpoint, stack)
    with suppress(zmq.Again):  # ZeroMQ may have let go of the connection already
        stranger.send(b"\x95\x01\xa6friend\x01\x00\xc0", zmq.NOBLOCK)
    with friend_asks(server, "friend", hosts, stack) as client:
        for _ in range(2000):
            client.poll(1)
            server.serve(1)
            if client.n_good >= 10:
                break
        assert client.n_good >= 10, "whom the list names is answered"
        assert server.n_answered >= 10 and server.n_refused == 0, "nothing of the stranger came through"
        assert not stranger.poll(100)


def test_a_host_cannot_speak_in_the_name_of_another(hosts: dict[str, Path], stack: ExitStack) -> None:
    server = time_server(hosts, stack)
    with friend_asks(server, "rig", hosts, stack) as client:
        for _ in range(2000):
            client.poll(1)
            server.serve(1)
            if server.n_refused:
                break
    assert (server.n_answered, server.last_refusal) == (0, "friend asked in the name of rig")


def test_an_impostor_at_the_rigs_address_is_not_heard(hosts: dict[str, Path], stack: ExitStack) -> None:
    """A subscriber believes only who has the rig's secret."""
    impostor = load_keys(hosts["stranger"])
    context = own_context(stack)
    stack.enter_context(Gatekeeper(context, impostor))
    publisher = stack.enter_context(Publisher(context, "rig", "tcp://127.0.0.1:*", keys=impostor))
    reader = stranger_socket(zmq.SUB, "no keys", hosts, publisher.endpoint, stack)
    for _ in range(20):
        publisher.publish(t.ALARM, m.Alarm("rig", "error", "believe me", 1))
    assert not reader.poll(50)
    rig = load_keys(hosts["rig"])
    bus = stack.enter_context(EverySubscriber(own_context(stack), [publisher.endpoint], [t.ALARM], keys=rig))
    for _ in range(20):
        publisher.publish(t.ALARM, m.Alarm("rig", "error", "believe me", 1))
        assert bus.receive(10) == []


def test_without_its_gatekeeper_a_socket_lets_nobody_in(hosts: dict[str, Path], stack: ExitStack) -> None:
    keys = load_keys(hosts["rig"])
    publisher = stack.enter_context(Publisher(own_context(stack), "rig", "tcp://127.0.0.1:*", keys=keys))
    stranger_socket(zmq.SUB, "not allowed", hosts, publisher.endpoint, stack)


@pytest.mark.parametrize("what", ["bus", "time server"])
def test_a_stranger_cannot_fill_the_memory(what: str, hosts: dict[str, Path], stack: ExitStack) -> None:
    """Who is not let in, and not even asked yet, announces 4 GiB and begins to send them."""
    keys = load_keys(hosts["rig"])
    context = own_context(stack)
    stack.enter_context(Gatekeeper(context, keys))
    if what == "bus":
        endpoint = stack.enter_context(Publisher(context, "rig", "tcp://127.0.0.1:*", keys=keys)).endpoint
    else:
        clock = RigClock(ClockAnchor.take())
        endpoint = stack.enter_context(TimeServer(context, "tcp://127.0.0.1:*", clock, "s", keys)).endpoint
    stranger = stack.enter_context(socket.create_connection(("127.0.0.1", int(endpoint.rsplit(":", 1)[1])), 30))
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    stranger.sendall(greeting)
    answer = b""
    while len(answer) < len(greeting):
        answer += stranger.recv(len(greeting) - len(answer))
    with pytest.raises(ConnectionError):
        stranger.sendall(b"\x06" + struct.pack(">Q", 1 << 32))  # a command with a length of eight bytes
        for _ in range(64):
            stranger.sendall(bytes(1 << 20))


def test_one_gatekeeper_is_enough(hosts: dict[str, Path], stack: ExitStack) -> None:
    keys = load_keys(hosts["rig"])
    context = own_context(stack)
    stack.enter_context(Gatekeeper(context, keys))
    with pytest.raises(KeysError, match="one is enough"):
        Gatekeeper(context, keys)


def test_the_commands_make_allow_and_show(tmp_path: Path) -> None:
    def call(*words: str) -> str:
        done = CliRunner().invoke(cli.app, ["keys", *words])
        assert done.exit_code == 0, done.output
        return done.output

    assert "never leaves this host" in call("make", str(tmp_path / "a"), "--name", "a")
    call("make", str(tmp_path / "b"), "--name", "b")
    assert "b is let in" in call("allow", str(tmp_path / "a"), str(tmp_path / "b" / "b.key"))
    shown = call("show", str(tmp_path / "a"))
    keys = load_keys(tmp_path / "a")
    assert keys.public.decode() in shown and keys.allowed["b"].decode() in shown
    assert keys.secret.decode() not in shown
    as_json = call("show", str(tmp_path / "a"), "--json", "-")
    b_key = keys.allowed["b"].decode()
    assert json.loads(as_json) == {"name": "a", "public_key": keys.public.decode(), "allowed": {"b": b_key}}
    again = call("allow", str(tmp_path / "a"), str(tmp_path / "b" / "b.key"), "--json", "-")
    assert json.loads(again) == {"name": "b", "public_key": b_key}
    made = json.loads(call("make", str(tmp_path / "c"), "--name", "c", "--json", "-"))
    assert made["public_file"] == str(tmp_path / "c" / "c.key")
    assert made["public_key"] == load_keys(tmp_path / "c").public.decode()


class Watcher:
    """Ends the run when its node runs."""

    def __init__(self) -> None:
        self.running = False

    def on_message(self, received: Received) -> None:
        message = received.message
        self.running |= isinstance(message, m.Heartbeat) and message.node == "last" and message.state == "ready"

    def on_tick(self, phase: str) -> bool:
        return self.running and phase == "running"


def test_a_rig_runs_on_ports_with_keys(hosts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node hears the others, and the supervisor all of them."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "deploy" / "nodes"))
    rows = [
        ProcessRow("one", "rig_nodes:steady", 0, "never", source=True, config={"note": str(tmp_path / "note")}),
        ProcessRow(
            "last", "rig_nodes:listener", 2, "never", upstream=("one",), config={"note": str(tmp_path / "note")}
        ),
    ]
    watcher = Watcher()
    outcome = Supervisor(
        rows, RigClock(ClockAnchor.take()), new_session_id(), watcher, first_port=free_ports(3)[0], keys=hosts["rig"]
    ).run()
    assert (outcome.reason, outcome.failures) == ("done", [])


def test_a_rig_without_its_keys_says_so_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="no secret key"):
        Supervisor([], RigClock(ClockAnchor.take()), "s", Watcher(), keys=tmp_path)
