"""One way to quit: whatever happens, no process, socket or shared-memory segment of the session is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from ethostream.deploy import supervisor as supervisor_module
from ethostream.deploy.attach import remove_dead_sessions
from ethostream.deploy.process_table import ProcessRow
from ethostream.deploy.supervisor import Outcome, Supervisor, new_session_id
from ethostream.streaming.messages import Alarm, Heartbeat
from ethostream.streaming.ring import SHM, ring_prefix
from ethostream.streaming.wire import Received
from ethostream.sync.clock import ClockAnchor, RigClock

NODES = Path(__file__).parent / "nodes"


class Watcher:
    """Collects, and ends the run when ``until`` holds."""

    def __init__(self, until: Callable[["Watcher"], bool]) -> None:
        self.states: dict[tuple[str, int], str] = {}
        self.alarms: list[str] = []
        self.phases: list[str] = []
        self._until = until

    def on_message(self, received: Received) -> None:
        if isinstance(received.message, Heartbeat):
            self.states[received.message.node, received.message.epoch] = received.message.state
        if isinstance(received.message, Alarm):
            self.alarms.append(received.message.text)

    def on_tick(self, phase: str) -> bool:
        if phase not in self.phases:
            self.phases.append(phase)
        return self._until(self)


def row(node: str, entry: str, **options: object) -> ProcessRow:
    values = {"stop_order": 0, "restart": "backoff", "source": True, **options}
    return ProcessRow(node, f"rig_nodes:{entry}", **values)  # type: ignore[arg-type]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Outcome, Watcher, str]]:
    monkeypatch.setenv("PYTHONPATH", str(NODES))

    def start(*rows: ProcessRow, until: Callable[[Watcher], bool]) -> tuple[Outcome, Watcher, str]:
        session = new_session_id()
        watcher = Watcher(until)
        clock = RigClock(ClockAnchor.take())
        outcome = Supervisor(rows, clock, session, watcher, log_folder=tmp_path / "logs").run()
        assert not list(SHM.glob(f"{ring_prefix(session)}*")), "a ring is left"
        assert not psutil.Process().children(recursive=True), "a process is left"
        return outcome, watcher, session

    return start


Run = Callable[..., tuple[Outcome, Watcher, str]]


def running(*nodes: str) -> Callable[[Watcher], bool]:
    return lambda watcher: all(watcher.states.get((node, 0)) == "running" for node in nodes)


def test_processes_start_together_and_stop_in_their_order(run: Run, tmp_path: Path) -> None:
    note = tmp_path / "note"
    outcome, watcher, _ = run(
        row("last", "listener", stop_order=2, source=False, upstream=("one", "two"), config={"note": str(note)}),
        row("one", "steady", config={"note": str(note)}),
        row("two", "steady", config={"note": str(note)}),
        until=running("one", "two"),
    )
    assert (outcome.reason, outcome.failures) == ("done", [])
    lines = note.read_text().splitlines()
    assert lines[-1] == "last" and len(lines) == 3
    assert all("armed=True" in line for line in lines[:2])
    assert watcher.phases == ["starting", "running", "stopping"]


def test_the_run_ends_with_its_sources(run: Run) -> None:
    outcome, _, _ = run(row("one", "short"), row("two", "short"), until=lambda _: False)
    assert (outcome.reason, outcome.failures) == ("sources ended", [])


def test_a_source_that_cannot_open_ends_the_run_in_its_own_words(run: Run) -> None:
    outcome, _, _ = run(row("one", "steady"), row("two", "refuses"), until=lambda _: False)
    assert outcome.reason == "failed"
    assert outcome.failures == ["two: camera two: serial 4711 is not there; plug it in"]


def test_a_killed_source_is_started_again_and_never_armed(run: Run) -> None:
    outcome, watcher, _ = run(
        row("one", "crashes_once"),
        row("two", "steady"),
        until=lambda watcher: watcher.states.get(("one", 1)) == "running",
    )
    assert (outcome.reason, outcome.failures, outcome.restarts) == ("done", [], {"one": 1})
    assert any("killed by SIGKILL" in text and "started again" in text for text in watcher.alarms)


def test_a_node_that_may_not_fail_ends_the_run(run: Run) -> None:
    outcome, _, _ = run(row("one", "crashes_once", restart="never"), row("two", "steady"), until=lambda _: False)
    assert outcome.reason == "failed"
    assert "killed by SIGKILL" in outcome.failures[0]


def test_a_node_that_does_not_listen_is_killed_and_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_TIMEOUT_S", (0.5, 0.5, 0.5, 0.5))
    outcome, _, _ = run(row("one", "deaf"), until=running("one"))
    assert outcome.failures == ["one: did not stop within 0.5 s and was killed"]


@pytest.mark.parametrize("phase", ["starting", "running"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_any_phase_stops_all(run: Run, phase: str, number: signal.Signals) -> None:
    def interrupt(watcher: Watcher) -> bool:
        if phase in watcher.phases and not watcher.alarms:
            watcher.alarms.append("sent")
            os.kill(os.getpid(), number)
        return False

    before = signal.getsignal(number)
    outcome, _, _ = run(row("one", "steady"), row("two", "listener", source=False), until=interrupt)
    assert (outcome.reason, outcome.failures) == ("interrupted", [])
    assert signal.getsignal(number) is before


ORPHAN = """
import sys
from ethostream.deploy.process_table import ProcessRow
from ethostream.deploy.supervisor import Supervisor
from ethostream.sync.clock import ClockAnchor, RigClock
class Watcher:
    def on_message(self, received): pass
    def on_tick(self, phase):
        if phase == "running": print("running", flush=True)
        return False
rows = [ProcessRow("one", "rig_nodes:steady", 0, "backoff", source=True)]
Supervisor(rows, RigClock(ClockAnchor.take()), sys.argv[1], Watcher()).run()
"""


def test_nodes_quit_when_their_supervisor_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NODES))
    session = new_session_id()
    with subprocess.Popen([sys.executable, "-c", ORPHAN, session], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "running\n"
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(children) == 1
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not list(SHM.glob(f"{ring_prefix(session)}*")), "a node unlinks its own ring on an orderly stop"
    assert session in remove_dead_sessions(), "the next run clears away the folder of the killed one"
    assert session not in remove_dead_sessions()
