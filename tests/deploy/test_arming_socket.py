"""A person arms and disarms a rig that runs: who is heard, who answers, and what happens to a model that does not."""

import json
import os
import signal
import socket
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from ethostream.deploy import cli
from ethostream.deploy import supervisor as supervisor_module
from ethostream.deploy.arming_socket import SOCKET, ArmingSocket, Asked, ask
from ethostream.deploy.process_table import ProcessRow
from ethostream.deploy.supervisor import Outcome, Supervisor, new_session_id
from ethostream.streaming.messages import Arming, Heartbeat
from ethostream.streaming.wire import Received
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import ConfigError, EthostreamError, NodeError
from typer.testing import CliRunner

NODES = Path(__file__).parent / "nodes"
pytestmark = pytest.mark.timeout(120)


def serve(server: ArmingSocket, answer: Callable[[Asked], None]) -> None:
    """Take until one has asked."""
    while not (asked := server.take()):
        pass
    for one in asked:
        answer(one)


def test_one_line_each_way_and_only_words_that_are_known(tmp_path: Path) -> None:
    with ArmingSocket(tmp_path) as server:
        assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as stranger, socket.socket(socket.AF_UNIX) as slow:
            for one in (stranger, slow):
                one.connect(str(tmp_path / SOCKET))
            slow.sendall(b'{"command": "dis')
            for nonsense in (b"arm\n", b'{"command": "fire"}\n', b"[]\n"):
                assert server.take() == []
                stranger.sendall(nonsense)
                while stranger.fileno() >= 0 and not closed_by(server, stranger):
                    pass
                stranger.close()
                stranger = socket.socket(socket.AF_UNIX)  # noqa: PLW2901
                stranger.connect(str(tmp_path / SOCKET))
            stranger.close()
            slow.sendall(b'arm"}\n')
            serve(server, lambda one: one.answer(armed=False, words=one.command))
            assert slow.recv(999) == b'{"ok": true, "armed": false, "words": "disarm"}\n'
    assert not (tmp_path / SOCKET).exists()
    with pytest.raises(NodeError, match=r"does not answer .*end it with Ctrl-C"):
        ask(tmp_path, "disarm")


def closed_by(server: ArmingSocket, one: socket.socket) -> bool:
    """Whether the server has hung up on nonsense, and heard no command in it."""
    assert server.take() == []
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False


class Person:
    """Says one command in a thread of its own, once a node runs; ends the run when it is answered."""

    def __init__(self, words: list[str], node: str) -> None:
        self.error: BaseException | None = None
        self.output = ""
        self.states: list[tuple[str, int, str]] = []
        self._words = words
        self._node = node
        self._thread = threading.Thread(target=self._say)

    def _say(self) -> None:
        result = CliRunner().invoke(cli.app, self._words)
        self.output, self.error = result.output, result.exception

    def on_message(self, received: Received) -> None:
        beat = received.message
        if isinstance(beat, Heartbeat):
            self.states.append((beat.node, beat.epoch, beat.state))
            if beat.node == self._node and beat.state == "running" and self._thread.ident is None:
                self._thread.start()

    def on_tick(self, phase: str) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive() and self._is_over()

    def _is_over(self) -> bool:
        return not self.killed or (self._node, 1, "ready") in self.states

    @property
    def killed(self) -> bool:
        """The model was ended, so that its next start is awaited."""
        return "was ended" in self.output


class LatePerson(Person):
    """Says it once the run is stopping, and ends a stop that would take long when it is answered."""

    def on_message(self, received: Received) -> None:
        beat = received.message
        if isinstance(beat, Heartbeat):
            self.states.append((beat.node, beat.epoch, beat.state))

    def on_tick(self, phase: str) -> bool:
        if phase == "stopping" and self._thread.ident is None:
            self._thread.start()
        elif phase == "stopping" and not self._thread.is_alive():
            os.kill(os.getpid(), signal.SIGINT)
        return all((node, 0, "running") in self.states for node in ("eye", self._node))


def run_with(
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: str = "rig_nodes:steady",
    camera: str = "rig_nodes:steady",
    **config: object,
) -> Outcome:
    """A rig of one camera and a model that says nothing about its arming."""
    monkeypatch.setenv("PYTHONPATH", str(NODES))
    monkeypatch.setattr(supervisor_module, "ANSWER_S", 0.3)
    rows = [
        ProcessRow("eye", camera, 0, "backoff", source=True),
        ProcessRow("brain", model, 1, "backoff", config={"task": {"rules": [{"name": "light"}]}, **config}),
    ]
    about = {"rig": "bench"}
    clock = RigClock(ClockAnchor.take())
    outcome = Supervisor(rows, clock, new_session_id(), person, tmp_path / "logs", about=about).run()
    assert not psutil.Process().children(recursive=True)
    return outcome


def test_a_model_that_does_not_answer_a_disarm_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    person = Person(["disarm"], "brain")
    outcome = run_with(person, monkeypatch, tmp_path)
    assert person.error is None
    assert "brain did not answer and was ended; it comes back disarmed" in person.output
    assert outcome.failures == []
    assert outcome.restarts == {"brain": 1}


def test_one_that_does_not_answer_an_arm_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    person = Person(["arm", "--yes"], "brain")
    outcome = run_with(person, monkeypatch, tmp_path)
    assert isinstance(person.error, NodeError)
    assert "did not answer" in str(person.error)
    assert outcome.restarts == {}


def test_an_arm_expires_before_it_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    note = tmp_path / "note"
    person = Person(["arm", "--yes"], "brain")
    run_with(person, monkeypatch, tmp_path, "rig_nodes:hears_commands", note=str(note))
    assert "did not answer" in str(person.error)
    command, left_s = note.read_text().splitlines()[0].split()
    # However long it was on its way: less is left of it than the person waits.
    assert command == "arm" and float(left_s) <= 0.3 / 2


def test_a_run_that_is_stopping_disarms_and_still_hears_a_person(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    person = LatePerson(["disarm"], "brain")
    run_with(person, monkeypatch, tmp_path, "rig_nodes:hears_commands", "rig_nodes:deaf", note=str(note))
    assert "brain did not answer and was ended; the run is stopping" in person.output
    # Once as the stop begins, without anybody's asking, and once for the person.
    assert [line.split()[0] for line in note.read_text().splitlines()] == ["stop", "disarm"]


def test_nobody_arms_a_run_that_is_stopping(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    person = LatePerson(["arm", "--yes"], "brain")
    run_with(person, monkeypatch, tmp_path, camera="rig_nodes:deaf")
    assert isinstance(person.error, NodeError)
    assert "the run is stopping" in str(person.error)


def test_only_the_answer_to_a_command_answers_who_gave_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clock = RigClock(ClockAnchor.take())
    supervisor = Supervisor([], clock, new_session_id(), Person([], ""))

    def pending() -> list[str]:
        return [one.command for one in supervisor._asked]

    pairs = [socket.socketpair() for _ in range(3)]
    # A window that closes or opens says nothing of whether the model has heard of the disarm.
    supervisor._asked = [Asked("disarm", pairs[0][0])]
    supervisor._answer(Arming(False, "schedule", 1))
    supervisor._answer(Arming(True, "line in0", 2))
    assert pending() == ["disarm"]
    # Both wait: each is answered by its own.
    supervisor._asked.append(Asked("arm", pairs[1][0]))
    supervisor._answer(Arming(False, "person", 3))
    assert pending() == ["arm"]
    supervisor._answer(Arming(True, "person", 4))
    assert pending() == []
    # One that the schedule holds back is answered by it.
    supervisor._asked = [Asked("arm", pairs[2][0])]
    supervisor._answer(Arming(False, "schedule", 5))
    said = [json.loads(theirs.recv(999)) for _, theirs in pairs]
    assert [one["words"] for one in said] == [
        "disarmed",
        "armed",
        "armed, but for now the rules stay disarmed: by schedule",
    ]
    assert [one["armed"] for one in said] == [False, True, False]
    for _, theirs in pairs:
        theirs.close()


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["arm"], ConfigError, "say so with --yes"),
        (["arm", "--yes", "--session", "nobody"], ConfigError, "no such rig runs"),
        (["disarm", "--session", "nobody"], ConfigError, "nothing to disarm"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], error: type[EthostreamError], said: str) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert isinstance(result.exception, error)
    assert said in str(result.exception)
