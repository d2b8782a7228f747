"""Options of a process are in force in a process of its own, or refused in words; the collector runs when told."""

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ethostream.streaming.process_config import NodeProcess, ProcessConfig
from ethostream.streaming.process_setup import QuietCollector, set_up_process
from ethostream.sync.errors import ConfigError
from ethostream.sync.strict import validate


def in_a_process(code: str, *, rlimits: str = "") -> str:
    """What ``code`` prints, in a process without privileges where ``rlimits`` asks for it."""
    head = """
        import os, resource, sys
        from ethostream.streaming.process_config import NodeProcess
        from ethostream.streaming.process_setup import set_up_process
    """
    source = textwrap.dedent(head) + rlimits + "\n" + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout


UNPRIVILEGED = """
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
"""


def test_the_first_name_that_fits_gives_a_node_its_options() -> None:
    config = validate(
        ProcessConfig,
        {"cores": {"camera.left": [1], "camera.*": [0]}, "realtime": {"inference": 50}, "spin": True},
        "rig",
    )
    assert config.of("camera.left").cores == [1]
    assert config.of("camera.right").cores == [0]
    assert config.of("recorder").cores is None
    assert (config.of("inference").priority, config.of("camera.left").priority) == (50, None)
    assert config.of("recorder").spin


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"cores": {"a": []}}, "cores.a"),
        ({"cores": {"a": [0, 0]}}, "a core stands twice"),
        ({"cores": {"a": [-1]}}, "cores.a"),
        ({"realtime": {"a": 99}}, "realtime.a"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        validate(ProcessConfig, given, "rig")


def test_a_process_runs_on_its_cores() -> None:
    core = max(os.sched_getaffinity(0))
    said = in_a_process(f"""
        print(set_up_process(NodeProcess(cores=[{core}]), "n"), os.sched_getaffinity(0))
    """)
    assert said.strip() == f"[] {{{core}}}"


def test_what_is_refused_names_the_thing_the_reason_and_the_cure() -> None:
    said = in_a_process(
        """
        for line in set_up_process(NodeProcess(cores=[4095], priority=50, lock_memory=True), "inference"):
            print(line)
        print(os.sched_getscheduler(0) == os.SCHED_OTHER)
        """,
        rlimits=UNPRIVILEGED,
    ).splitlines()
    cores, priority, memory, usual = said
    assert "inference is not pinned to cores [4095]" in cores and "process.cores" in cores
    assert "real-time priority 50" in priority and "rtprio" in priority and "process.realtime" in priority
    assert "memory is not locked" in memory and "memlock" in memory and "process.lock_memory" in memory
    assert usual == "True"


def test_without_options_nothing_is_touched() -> None:
    before = os.sched_getaffinity(0), os.sched_getscheduler(0)
    assert set_up_process(NodeProcess(), "n") == []
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == before


def test_the_collector_runs_when_told_and_only_then() -> None:
    asked: list[int] = []
    collector = QuietCollector(lambda generation: asked.append(generation) or 0)
    collector.turn()
    assert asked == []
    collector.begin()
    try:
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        for _ in range(200):
            collector.turn()
    finally:
        collector.end()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert asked[0] == 2 and asked[1:].count(0) == 180 and asked[1:].count(1) == 18 and asked[1:].count(2) == 2


def test_rings_of_references_do_not_pile_up_while_the_collector_is_kept_out() -> None:
    class Ring:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Ring.alive += 1

        def __del__(self) -> None:
            Ring.alive -= 1

    collector = QuietCollector()
    collector.begin()
    try:
        most = 0
        for _ in range(50):
            for _ in range(100):
                Ring()
            collector.turn()
            most = max(most, Ring.alive)
    finally:
        collector.end()
    assert most <= 200


def test_a_node_says_what_was_refused(tmp_path: Path) -> None:
    """A node over a real socket, with a core that no machine has."""
    from ethostream.streaming.context import open_context
    from ethostream.streaming.messages import Alarm
    from ethostream.streaming.node import NodeContext, NodeSpec
    from ethostream.streaming.subscriber import EverySubscriber
    from ethostream.streaming.topics import ALARM
    from ethostream.sync.clock import ClockAnchor

    anchor = ClockAnchor.take()
    options = NodeProcess(cores=[4095])
    spec = NodeSpec(
        node="n", entry="x:y", session="s", anchor_utc_ns=anchor.utc_ns, anchor_monotonic_ns=anchor.monotonic_ns,
        endpoints={"n": f"ipc://{tmp_path}/n"}, parent_pid=os.getppid(), process=options,
    )  # fmt: skip
    context = NodeContext(spec, set_up_process(options, "n"))
    reader_context = open_context()
    try:
        with EverySubscriber(reader_context, [spec.endpoints["n"]], [ALARM]) as bus:
            while "n" not in bus.heard:
                context.publish(ALARM, Alarm("n", "warning", "hello", 0))
                bus.receive(20)
            context.set_state("ready")
            context.close()
            texts: list[str] = []
            while not any("not pinned" in text for text in texts):  # pytest's timeout bounds it
                texts += [one.message.text for one in bus.receive(100) if isinstance(one.message, Alarm)]
    finally:
        reader_context.term()
    assert [text for text in texts if "not pinned to cores [4095]" in text]


@pytest.mark.parametrize(("loop", "turn_ms"), [("no set ever comes", 20), ("always late", 5000), ("busy", 1)])
def test_garbage_is_bounded_in_a_node_whatever_its_loop_does(tmp_path: Path, loop: str, turn_ms: int) -> None:
    """It is collected after heartbeats, and these need no set. What is held for a while ages, and is found later."""
    from collections import deque

    from ethostream.streaming.node import NodeContext, NodeSpec
    from ethostream.sync.clock import ClockAnchor, FakeClock

    class Ring:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Ring.alive += 1

        def __del__(self) -> None:
            Ring.alive -= 1

    anchor = ClockAnchor.take()
    spec = NodeSpec(
        node="n", entry="x:y", session="s", anchor_utc_ns=anchor.utc_ns, anchor_monotonic_ns=anchor.monotonic_ns,
        endpoints={"n": f"ipc://{tmp_path}/n"}, parent_pid=os.getppid(), process=NodeProcess(collect_between_sets=True),
    )  # fmt: skip
    context = NodeContext(spec)
    clock = FakeClock(anchor.utc_ns)
    context.clock = clock
    held: deque[Ring] = deque(maxlen=30)  # as what waits somewhere
    alive: list[int] = []
    try:
        context.set_state("ready")
        assert not gc.isenabled()
        # All generations are looked at within a hundred heartbeats, of 200 ms or of one turn where that is longer.
        turns_per_beat = max(1, 200 // turn_ms)
        n_turns = 12 * 100 * turns_per_beat
        for k in range(n_turns):
            clock.advance_ns(turn_ms * 1_000_000)
            Ring()
            if k % 3 == 0:
                held.append(Ring())
            context.beat()
            alive.append(Ring.alive)
    finally:
        context.close()
    assert gc.isenabled()
    assert max(alive) <= 60 + 2 * 100 * turns_per_beat
    assert max(alive[n_turns // 2 :]) <= 1.2 * max(alive[: n_turns // 2]) + 60, "it goes on growing"
