"""Actuators that reach others: slow, broken, refusing or absent receivers."""

import fcntl
import http.client
import resource
import socket
from typing import Any

import pytest
from actuator_bench import CONFIG, decision
from actuator_benches import bench
from ethostream.inference.actuators.actuator import Actuator, Report
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import ActuatorError
from pydantic import ValidationError

__all__ = ["bench"]


def make(**options: Any) -> Actuator:
    return make_actuators({"line": CONFIG.validate_python(options)}, RigClock(ClockAnchor.take()))["line"]


def failures(reports: list[Report]) -> list[str]:
    return [one.reason for one in reports if one.state == "failed"]


@pytest.mark.parametrize("kind", ["http"])
def test_a_slow_receiver_holds_up_nothing_and_what_does_not_fit_is_refused(bench: Any) -> None:
    bench.gate.clear()
    actuator = bench.open(most_waiting=2, timeout_ms=60_000)
    actuator.arm()
    taken = [actuator.fire(decision(set_id)) for set_id in range(8)]
    reports = actuator.poll()
    refused = [one.decision.set_id for one in reports if one.state == "refused"]
    # One is being sent, or waits as well where its thread has not begun yet.
    assert taken.count(True) in (2, 3) and refused == [set_id for set_id, one in enumerate(taken) if not one]
    assert {one.reason for one in reports} == {"2 firings wait to be sent"}
    bench.until(actuator, lambda _: actuator.inner._worker.n_waiting < 2 or taken.count(True) == 3)
    actuator.release()
    bench.gate.set()
    reports = bench.until(actuator, lambda new: len(new) == taken.count(True))
    assert sorted(one.state for one in reports) == ["acknowledged"] + ["cancelled"] * (taken.count(True) - 1)


@pytest.mark.parametrize("kind", ["http"])
@pytest.mark.parametrize(("status", "words"), [(500, "answered 500"), (302, "answered 302")])
def test_an_answer_that_is_no_success_has_failed(bench: Any, status: int, words: str) -> None:
    """A redirection is not followed: it could lead elsewhere than the task file says."""
    bench.status = status
    actuator = bench.open()
    actuator.arm()
    assert actuator.fire(decision(1))
    (report,) = bench.until(actuator, bool)
    assert report.state == "failed" and words in report.reason
    assert actuator.armed


@pytest.mark.parametrize("kind", ["tcp"])
def test_a_connection_that_ends_is_made_anew(bench: Any) -> None:
    actuator = bench.open()
    actuator.arm()
    assert actuator.fire(decision(1))
    bench.wait(actuator, 1)
    bench.hang_up()
    assert actuator.fire(decision(2))
    assert bench.wait(actuator, 2) == []
    assert bench.acted == [1, 2] and bench.n_connections == 2
    bench.server.close()
    bench.hang_up()
    assert actuator.fire(decision(3))
    (report,) = bench.until(actuator, bool)
    assert report.state == "failed" and "takes no connection" in report.reason


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_nothing_is_sent_that_was_released_while_the_connection_was_made(
    bench: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release comes in the moment in which the connection stands and nothing is written yet."""
    actuator = bench.open()
    actuator.arm()
    connect = socket.create_connection

    def connect_and_release(*words: Any, **options: Any) -> socket.socket:
        made = connect(*words, **options)
        actuator.release()
        return made

    if kind == "tcp":
        bench.until(actuator, lambda _: bench.n_connections == 1)
        bench.hang_up()
    monkeypatch.setattr(socket, "create_connection", connect_and_release)
    if kind == "http":
        monkeypatch.setattr(http.client.HTTPConnection, "connect", connecting(connect_and_release))
    assert actuator.fire(decision(1))
    (report,) = bench.until(actuator, bool)
    assert (report.state, report.reason) == ("cancelled", "released before it was sent")
    monkeypatch.undo()
    actuator.arm()
    assert actuator.fire(decision(2))
    bench.wait(actuator, 1)
    assert bench.acted == [2]


def connecting(connect: Any) -> Any:
    """How an HTTPConnection connects, by way of ``connect``."""

    def of(self: Any) -> None:
        self.sock = connect((self.host, self.port), self.timeout)

    return of


@pytest.mark.parametrize("kind", ["http"])
def test_a_sending_that_breaks_in_an_unknown_way_has_failed_and_the_next_is_sent(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    actuator = bench.open()
    actuator.arm()

    def broken(self: Any) -> None:
        raise UnicodeError("label too long")

    monkeypatch.setattr(http.client.HTTPConnection, "connect", broken)
    assert actuator.fire(decision(1))
    (report,) = bench.until(actuator, bool)
    assert (report.state, report.reason) == ("failed", "UnicodeError: label too long")
    monkeypatch.undo()
    assert actuator.fire(decision(2))
    bench.wait(actuator, 1)
    assert bench.acted == [2]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://host/räume", r"cannot hold 'ä'; write it as %C3%A4"),
        ("http://host/a?b=c d", r"cannot hold ' '; write it as %20"),
        (f"http://{'a' * 64}.example/", "cannot be the name of a host"),
        ("http://a..b/", "cannot be the name of a host"),
    ],
)
def test_a_url_that_cannot_be_sent_to_is_refused_in_the_task_file(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CONFIG.validate_python({"kind": "http", "url": url})


def test_a_host_that_can_be_no_name_is_said_so_before_the_run() -> None:
    with pytest.raises(ActuatorError, match="takes no connection"):
        make(kind="tcp", host="a" * 64 + ".example", port=9)


@pytest.mark.parametrize("kind", ["tcp"])
def test_a_connection_with_a_high_descriptor_is_looked_at(bench: Any) -> None:
    """Above 1023, where ``select`` ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2048)), hard))
    actuator = bench.open()
    connection = actuator.inner._connection
    high = fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD, 1500)
    actuator.inner._connection = socket.socket(fileno=high)
    connection.close()
    actuator.arm()
    assert actuator.fire(decision(1))
    bench.wait(actuator, 1)
    assert bench.n_connections == 1
    actuator.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["zmq"])
def test_a_message_that_nobody_takes_is_refused(bench: Any) -> None:
    actuator = bench.open()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lonely = make(kind="zmq", endpoint=f"tcp://127.0.0.1:{port}")
    lonely.arm()
    assert not lonely.fire(decision(1))
    assert [(one.state, "takes it" in one.reason) for one in lonely.poll()] == [("refused", True)]
    lonely.close()
    assert not actuator.armed
