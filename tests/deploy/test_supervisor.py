"""One way to quit: whatever happens, no process, socket or shared-memory segment of the session is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from ethostream.deploy import child as child_module
from ethostream.deploy import supervisor as supervisor_module
from ethostream.deploy.attach import remove_dead_sessions
from ethostream.deploy.child import Backoff
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
        self.session = ""
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
        watcher.session = session
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


@pytest.mark.parametrize(("node", "what"), [("camera.left", "camera"), ("pose.left", "pose source")])
def test_what_a_failed_process_brought_is_named_in_its_gap(run: Run, tmp_path: Path, node: str, what: str) -> None:
    note = tmp_path / "note"
    note.touch()
    outcome, _, _ = run(
        row(node, "crashes_once", config={"name": "left"}),
        row("ears", "hears_gaps", source=False, stop_order=2, config={"note": str(note)}),
        until=lambda _: bool(note.read_text()),
    )
    assert outcome.restarts == {node: 1}
    assert note.read_text().startswith(f"left: {what} process failed: {node}: killed by SIGKILL")


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


def test_a_camera_that_stays_away_is_tried_until_it_comes_back(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.01, 0.02))
    note = tmp_path / "note"
    outcome, watcher, _ = run(
        row("one", "lost_for_a_while", config={"name": "one"}),
        row("two", "steady", config={"note": str(note)}),
        until=lambda watcher: watcher.states.get(("one", 4)) == "running",
    )
    assert (outcome.reason, outcome.failures, outcome.restarts) == ("done", [], {"one": 4})
    assert watcher.alarms == [
        "one: camera one: no frame for 5 s; check its cable; started again in 0.01 s",
        "one: camera one: serial 4711 is not there; plug it in; started again in 0.02 s",
    ]
    assert note.read_text().splitlines() == ["two armed=True epoch=0"], "the other camera went on"


def test_a_node_that_hangs_when_started_again_is_killed_and_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "READY_TIMEOUT_S", 2.0)
    outcome, watcher, _ = run(
        row("one", "hangs_when_started_again"),
        row("two", "steady"),
        until=lambda watcher: any(
            state == "running" for (node, epoch), state in watcher.states.items() if node == "one" and epoch > 1
        ),
    )
    assert (outcome.reason, outcome.failures) == ("done", [])
    assert any("not ready 2 s after it was started again" in text for text in watcher.alarms)


def test_long_last_words_are_cut_and_belong_to_their_own_epoch(run: Run, tmp_path: Path) -> None:
    outcome, watcher, _ = run(
        row("one", "verbose", config={"name": "one"}),
        until=lambda watcher: watcher.states.get(("one", 2)) == "running",
    )
    assert (outcome.reason, outcome.failures, outcome.restarts) == ("done", [], {"one": 2})
    first, second = watcher.alarms
    assert first.startswith("one: driver line 0: ") and "..." in first and len(first) < 400
    assert "killed by SIGKILL" in second and "driver line" not in second
    assert "driver line 199" in (tmp_path / "logs" / "one.log").read_text(), "the log holds it all"


def test_the_ring_of_a_dead_epoch_goes_when_its_failure_is_noticed(run: Run) -> None:
    left: list[list[str]] = []

    def until(watcher: Watcher) -> bool:
        if watcher.states.get(("one", 1)) != "running":
            return False
        left.append(sorted(path.name for path in SHM.glob(f"{ring_prefix(watcher.session)}*")))
        return True

    outcome, _, _ = run(row("one", "crashes_once", config={"name": "one"}), until=until)
    assert outcome.failures == []
    assert left and not any(left)


def test_a_second_interrupt_does_not_wait(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_TIMEOUT_S", (1e6, 1e6, 1e6, 1e6))
    sent: list[str] = []

    def interrupt(watcher: Watcher) -> bool:
        phase = watcher.phases[-1]
        if phase != "starting" and watcher.states.get(("one", 0)) == "running" and phase not in sent:
            sent.append(phase)
            os.kill(os.getpid(), signal.SIGINT)
        return False

    outcome, _, _ = run(row("one", "deaf"), row("two", "deaf", source=False, stop_order=2), until=interrupt)
    assert sent == ["running", "stopping"]
    assert outcome.reason == "failed"
    assert outcome.failures == [
        f"{node}: was killed by the second Ctrl-C before it had stopped" for node in ("one", "two")
    ]


def test_a_supervisor_that_was_held_up_kills_nobody(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(child_module, "WATCHDOG_S", 0.5)
    clock = RigClock(ClockAnchor.take())
    said = tmp_path / "said"

    def block_once(watcher: Watcher) -> bool:
        if said.exists() and "blocked" not in watcher.phases:
            watcher.phases.append("blocked")
            clock.sleep_until_ns(clock.now_ns() + 1_500_000_000)
        return "4999" in watcher.alarms

    outcome, watcher, _ = run(row("one", "chatty", config={"n": 5000, "note": str(said)}), until=block_once)
    assert "blocked" in watcher.phases
    assert (outcome.reason, outcome.failures, outcome.restarts, outcome.messages_lost) == ("done", [], {}, 0)


def test_what_the_supervisor_itself_missed_is_counted(run: Run, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def block(watcher: Watcher) -> bool:
        while watcher.alarms and not said.exists():
            os.sched_yield()
        return "still here" in watcher.alarms

    config = {"n": 100_000, "note": str(said), "goes_on": True}
    outcome, watcher, _ = run(row("one", "chatty", config=config), until=block)
    assert outcome.failures == []
    n_heard = sum(text.isdigit() for text in watcher.alarms)
    assert n_heard < 100_000 and outcome.messages_lost >= 100_000 - n_heard


def test_a_watcher_that_breaks_does_not_keep_the_nodes_from_stopping(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NODES))
    note = tmp_path / "note"

    def broken(watcher: Watcher) -> bool:
        if watcher.states.get(("one", 0)) == "running":
            raise BrokenPipeError("the terminal has gone")
        return False

    rows = [row("one", "steady", config={"note": str(note)})]
    with pytest.raises(BrokenPipeError):
        Supervisor(rows, RigClock(ClockAnchor.take()), new_session_id(), Watcher(broken)).run()
    assert note.read_text().splitlines() == ["one armed=True epoch=0"], "it stopped in order"
    assert not psutil.Process().children(recursive=True)


def test_a_node_with_rules_that_comes_back_is_said_to_be_disarmed(run: Run) -> None:
    _, watcher, _ = run(
        row("eye", "steady"),
        row("brain", "crashes_once", source=False, stop_order=1, config={"task": {"rules": [{"name": "light"}]}}),
        until=lambda watcher: watcher.states.get(("brain", 1)) == "ready",
    )
    assert [text.partition("; started again")[2] for text in watcher.alarms] == [
        " in 0.5 s, disarmed: its rules will not fire until `ethostream arm --yes`"
    ]


def test_back_off_grows_repeats_itself_quietly_and_begins_anew() -> None:
    back_off = Backoff()
    steps = [back_off.after_failure("not there", 0.0) for _ in range(8)]
    assert [step.wait_s for step in steps] == [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0]
    assert [step.tell for step in steps] == [True] * 6 + [False] * 2
    assert back_off.after_failure("other words", 59.0) == (30.0, True)
    assert back_off.after_failure("other words", 59.0) == (30.0, False)
    assert back_off.after_failure("other words", 60.0) == (0.5, True)


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
