"""The running model hears the rig's start, a person and a board, and says of each change whether rules may fire."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from ethostream.streaming import topics as t
from ethostream.streaming.messages import Alarm, Arming, Control, Heartbeat, SyncPulse
from ethostream.streaming.node import SUPERVISOR, NodeSpec
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.sync.clock import NS_PER_MS, ClockAnchor, RigClock

pytestmark = pytest.mark.timeout(120)
SILENT_S = 0.4


class Rig:
    """A supervisor and a board played by the test, and the node under test; no camera ever gives a frame."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.clock = RigClock(ClockAnchor.take())
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        names = ["inference", SUPERVISOR, "trigger"]
        endpoints = {name: f"ipc://{folder}/{place}" for place, name in enumerate(names)}
        self.supervisor, self.board = (
            Publisher(self.context, name, endpoints[name]) for name in (SUPERVISOR, "trigger")
        )
        task = {
            "bundle": str(bundle),
            "rules": [{"name": "r", "on_enter": "move", "actuator": "line"}],
            "actuators": {"line": {"kind": "log"}},
            "arming": {"line": {"kind": "level", "line": "in0", "silent_after_s": SILENT_S}},
        }
        spec = NodeSpec(
            node="inference",
            entry="ethostream.inference.inference_node:main",
            session="test",
            anchor_utc_ns=self.clock.anchor.utc_ns,
            anchor_monotonic_ns=self.clock.anchor.monotonic_ns,
            endpoints=endpoints,
            upstream=["trigger"],
            parent_pid=os.getpid(),
            armed=True,
            config={"task": task, "views": {"cam0": [48, 64]}, "rate_hz": 30},
        )
        path = folder / "spec.json"
        path.write_text(spec.model_dump_json())
        self.process = subprocess.Popen([sys.executable, "-m", "ethostream.streaming.node", str(path)])
        self.bus = EverySubscriber(self.context, [endpoints["inference"]], [t.ARMING, t.HEARTBEAT, t.ALARM])
        self.said: list[Arming] = []
        self.alarms: list[str] = []
        self.ready = False

    def until(self, done: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
        """Do something again and again until something holds; a message may be sent before anybody listens."""
        for _ in range(600):
            if done():
                return
            meanwhile()
            for received in self.bus.receive(50):
                if isinstance(received.message, Arming):
                    self.said.append(received.message)
                elif isinstance(received.message, Alarm):
                    self.alarms.append(received.message.text)
                elif isinstance(received.message, Heartbeat):
                    self.ready |= received.message.state == "ready"
        raise AssertionError(f"never came; said: {self.said}")

    def beat(self) -> None:
        self.board.publish(t.HEARTBEAT, Heartbeat("trigger", 0, 1, "ready", 0))

    def pulse(self, line: str, *, rising: bool = True, ahead_ns: int = 0) -> None:
        self.board.publish(t.SYNC_PULSE, SyncPulse("board", 0, line, 0, 0, self.clock.now_ns() + ahead_ns, rising))

    def lose(self, n: int) -> None:
        """So many pulses were sent, and none of them came."""
        self.board._sequences[t.SYNC_PULSE.key()] += n

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=20) == 0
        for one in (self.bus, self.supervisor, self.board):
            one.close()
        self.context.term()


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory, write_tiny_bundle: Callable[..., Path]) -> Iterator[Rig]:
    one = Rig(tmp_path_factory.mktemp("r"), write_tiny_bundle())
    yield one
    one.close()


def test_start_line_silence_and_person(rig: Rig) -> None:
    rig.until(lambda: rig.ready, rig.beat)
    start_ns = rig.clock.now_ns() + 500 * NS_PER_MS
    rig.until(lambda: bool(rig.said), lambda: rig.supervisor.publish(t.CONTROL, Control("start", start_ns)))
    assert rig.said == [Arming(False, "start", start_ns)]  # it says when session times begin, and once

    rig.until(lambda: len(rig.said) > 1, lambda: rig.pulse("in0"))
    assert (rig.said[1].armed, rig.said[1].by) == (True, "line in0")

    # Nothing more comes of the board, and no set either: the rules are disarmed all the same.
    rig.until(lambda: len(rig.said) > 2, lambda: None)
    assert (rig.said[2].armed, rig.said[2].by) == (False, "line in0")
    # Not before it had been silent for so long; how much later is this machine's affair.
    assert rig.said[2].t_ns - rig.said[1].t_ns > SILENT_S * 1e9 * 0.99

    # Its other pulses say that it lives, and nothing of the line.
    for _ in range(20):
        rig.pulse("trigger")
    rig.supervisor.publish(t.CONTROL, Control("disarm"))
    rig.until(lambda: len(rig.said) > 3, lambda: None)
    assert (rig.said[3].armed, rig.said[3].by) == (False, "person")
    # Nobody but the supervisor speaks for a person; the board's pulse, which arms, is read after its commands.
    for _ in range(3):
        rig.board.publish(t.CONTROL, Control("arm"))
    rig.supervisor.publish(t.CONTROL, Control("arm"))
    rig.until(lambda: rig.said[-1].armed, lambda: rig.pulse("in0"))
    assert {one.by for one in rig.said[4:]} <= {"person", "line in0"}
    # A line is heard of where it changes something, a person always.
    pairs = zip(rig.said[3:], rig.said[4:], strict=False)
    assert sum(now.by == "person" or now.armed == before.armed for before, now in pairs) == 1

    # An edge that was lost on the bus may have been the line's.
    n_said = len(rig.said)
    rig.lose(1)
    rig.until(lambda: len(rig.said) > n_said, lambda: rig.pulse("trigger"))
    assert (rig.said[n_said].armed, rig.said[n_said].by) == (False, "line in0")
    rig.until(lambda: bool(rig.alarms), lambda: None)
    assert "edges of trigger board board were lost" in rig.alarms[0]
    # A board whose clock leaps ahead is silent no later than any other.
    rig.until(lambda: rig.said[-1].armed, lambda: rig.pulse("in0", ahead_ns=3_600_000 * NS_PER_MS))
    rig.until(lambda: not rig.said[-1].armed, lambda: None)
