"""LSL both ways with real streams between real processes on loopback; and the parts that need no network."""

import json
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.lsl_clock import Relation, StreamClock, measure_relation
from ethostream.streaming.lsl_config import LslInletConfig
from ethostream.streaming.node import NodeSpec
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.sync.clock import ClockAnchor, FakeClock, RigClock

S = 1_000_000_000
HERE = Path(__file__).parent
SOURCE = m.SourceFrame("cam", 0, 7, 0, 1000, 0)


class Lab:
    """A node under test with its supervisor and recorder played by this process, and programs beside it."""

    def __init__(self, tmp_path: Path, stack: ExitStack) -> None:
        self.folder = tmp_path
        self.stack = stack
        self.session = uuid.uuid4().hex[:8]
        config = tmp_path / "lsl_api.cfg"
        # A session id of its own keeps other streams of this machine out; peers by address: multicast may not work.
        config.write_text(
            "[multicast]\nResolveScope = machine\n[log]\nlevel = -3\n"
            f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = {self.session}\n"
        )
        self.environment = {**os.environ, "LSLAPICFG": str(config)}
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(self.context.term)
        names = ("supervisor", "inference", "lsl")
        self.ends = {name: f"ipc://{tmp_path}/{name}" for name in names}
        self.clock = RigClock(ClockAnchor.take())
        self.supervisor = stack.enter_context(Publisher(self.context, "supervisor", self.ends["supervisor"]))
        self.inference = stack.enter_context(Publisher(self.context, "inference", self.ends["inference"]))
        everything = [one for one in t.TOPICS.values() if one is not t.PIPELINE_STATE]
        self.bus = stack.enter_context(EverySubscriber(self.context, [self.ends["lsl"]], everything))
        self.heard: list[m.Message] = []

    def program(self, *words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment
        )
        assert process.stdin is not None and process.stdout is not None
        self.stack.callback(process.stdout.close)
        self.stack.callback(process.stdin.close)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def sender(self, name: str) -> tuple["subprocess.Popen[str]", float, float]:
        """A sender, its LSL clock and the monotonic clock at the same instant, seconds."""
        process = self.program(str(HERE / "lsl_sender.py"), name)
        assert process.stdout is not None
        lsl_s, monotonic_s = map(float, process.stdout.readline().split())
        return process, lsl_s, monotonic_s

    def node(self, entry: str, config: dict[str, Any]) -> "subprocess.Popen[str]":
        anchor = self.clock.anchor
        spec = NodeSpec(
            node="lsl",
            entry=f"ethostream.streaming.{entry}:main",
            session=self.session,
            anchor_utc_ns=anchor.utc_ns,
            anchor_monotonic_ns=anchor.monotonic_ns,
            endpoints=self.ends,
            upstream=["inference"] if "outlet" in entry else [],
            parent_pid=os.getpid(),
            config=config,
        )
        path = self.folder / "lsl.json"
        path.write_text(spec.model_dump_json())
        return self.program("-m", "ethostream.streaming.node", str(path))

    def until(self, holds: Callable[[], bool], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Listen until it holds; a minute of silence is a failure."""
        for _ in range(1200):
            meanwhile()
            self.supervisor.publish(t.CONTROL, m.Control("start", 0))
            self.heard += [one.message for one in self.bus.receive(50)]
            if holds():
                return
        alarms = [one.text for one in self.heard if isinstance(one, m.Alarm)]
        raise AssertionError(f"never came; alarms: {alarms}; {len(self.heard)} messages")

    def of(self, kind: type[m.Message], stream: str = "") -> list[Any]:
        return [
            one
            for one in self.heard
            if isinstance(one, kind) and stream in (getattr(one, "stream", ""), getattr(one, "clock", ""), "")
        ]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    pytest.importorskip("pylsl", reason="the extra lsl is not installed", exc_type=ImportError)
    with ExitStack() as stack:
        yield Lab(tmp_path, stack)


def test_streams_are_recorded_in_rig_time_lost_and_found_again(lab: Lab) -> None:
    sender, lsl_s, monotonic_s = lab.sender(lab.session)
    node = lab.node(
        "lsl_inlet_node",
        {
            "inlets": {
                "eeg": {"name": f"{lab.session}.numbers", "type": "EEG"},
                "words": {"source_id": f"{lab.session}-2"},
            }
        },
    )
    lab.until(lambda: len(lab.of(m.LslSamples, "eeg")) > 5 and len(lab.of(m.LslSamples, "words")) > 2)

    count, times = lab.of(m.LslSamples, "eeg")[0].first_sample, []
    for chunk in lab.of(m.LslSamples, "eeg"):
        assert chunk.channels == ("Fz", "Cz") and chunk.texts == ()
        assert chunk.first_sample == count and len(chunk.values) == len(chunk.t_ns) == len(chunk.lsl_s)
        count += len(chunk.values)
        for (n, sent_s), lsl, t_ns in zip(chunk.values, chunk.lsl_s, chunk.t_ns, strict=True):
            # What the sender says of the same instant in the machine's monotonic clock, which rig time stands on.
            truth_ns = lab.clock.anchor.utc_ns - lab.clock.anchor.monotonic_ns + round((monotonic_s + sent_s) * S)
            assert abs(t_ns - truth_ns) < 20_000_000
            assert abs((lsl - lsl_s) - sent_s) < 0.02, n
            times.append(t_ns - truth_ns)
    assert abs(sorted(times)[len(times) // 2]) < 2_000_000
    first = lab.of(m.LslSamples, "words")[0]
    assert first.values == () and first.texts[0][0].startswith("grüße ")
    clock = lab.of(m.ClockStatus, "lsl.eeg")[-1]
    assert clock.state == "locked" and clock.n_used >= 1 and clock.n_steps == 0
    # The sender's LSL clock is this machine's own.
    truth = lab.clock.anchor.utc_ns - lab.clock.anchor.monotonic_ns + round((monotonic_s - lsl_s) * S)
    assert abs(clock.offset_ns - truth) < 5_000_000

    sender.kill()
    lab.until(
        lambda: (
            any(one.state == "lost" for one in lab.of(m.ClockStatus, "lsl.eeg"))
            and any("eeg: lost" in one.text and one.severity == "error" for one in lab.of(m.Alarm))
        )
    )
    n_before = lab.of(m.LslSamples, "eeg")[-1].first_sample
    lab.sender(lab.session)
    lab.until(lambda: lab.of(m.LslSamples, "eeg")[-1].first_sample > n_before + 20)
    back = [one for one in lab.of(m.ClockStatus, "lsl.eeg") if one.state == "locked"][-1]
    assert back.n_steps == 1
    count = lab.of(m.LslSamples, "eeg")[0].first_sample
    for chunk in lab.of(m.LslSamples, "eeg"):
        assert chunk.first_sample == count, "samples are counted on: (epoch, number) names one sample"
        count += len(chunk.values)
    lab.until(lambda: any(one.counters.get("lost", 0) == 2 for one in lab.of(m.Heartbeat)))
    assert not any(one.counters.get("dropped", 0) for one in lab.of(m.Heartbeat))
    node.terminate()
    assert node.wait(20) == 0


def test_what_comes_before_the_rig_starts_is_let_go(lab: Lab) -> None:
    """A bring-up may take minutes: its samples must not fill the queue, whose overflow would be told as a loss."""
    lab.sender("early")
    lab.node("lsl_inlet_node", {"inlets": {"eeg": {"name": "early.numbers"}}})

    def n_counted() -> int:
        beats = [one for one in lab.of(m.Heartbeat) if one.state == "ready"]
        return max((one.counters.get("samples", 0) for one in beats), default=0)

    before = 0
    for _ in range(1200):
        lab.heard += [one.message for one in lab.bus.receive(50)]
        if before and n_counted() > before:
            break
        before = before or n_counted()
    assert n_counted() > before > 0, "they are counted before the start"
    assert lab.of(m.LslSamples) == []
    lab.until(lambda: bool(lab.of(m.LslSamples)) and bool(lab.of(m.ClockStatus)))
    assert lab.of(m.LslSamples)[0].first_sample >= before, "the first of them are gone"


@pytest.mark.long
def test_two_streams_that_fit_are_not_chosen_between(lab: Lab) -> None:
    senders = [lab.sender(f"{lab.session}{which}") for which in "ab"]
    node = lab.node("lsl_inlet_node", {"inlets": {"eeg": {"type": "EEG"}}})

    def told() -> bool:
        return any("2 streams fit type='EEG'" in one.text for one in lab.of(m.Alarm))

    lab.until(told)
    assert not lab.of(m.LslSamples)
    senders[0][0].kill()
    lab.until(lambda: bool(lab.of(m.LslSamples)))
    node.terminate()
    assert node.wait(20) == 0


def test_the_rig_sends_behaviour_decisions_and_frame_times(lab: Lab) -> None:
    node = lab.node("lsl_outlet_node", {"rig": lab.session, "cameras": ["cam", "other"]})
    receiver = lab.program(str(HERE / "lsl_receiver.py"), lab.session, "label", "probabilities", "decisions", "frames")
    base = lab.clock.now_ns()

    def publish(n: int, label: str) -> None:
        at = base + n * 10_000_000
        frames = m.FrameSet(n, "partial", (SOURCE,), ("other",), at + 500_000, at)
        behavior = m.Behavior(
            n, "complete", (SOURCE,), (), "demo", (0.25, 0.75), "rear", label, at, 0, 0, True, (),
            at, at, at, at, at, at, at, classes=("walk", "rear"),
        )  # fmt: skip
        lab.inference.publish(t.FRAME_SET, frames)
        lab.inference.publish(t.BEHAVIOR, behavior)
        decision = m.Decision("rule", n, "fired", "", "rear", 0.75, "log", (SOURCE,), at, at, at, at + 1_000_000)
        lab.inference.publish(t.DECISION, decision)

    got: dict[str, list[Any]] = {}
    labels: dict[str, list[str]] = {}
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in receiver.stdout or ()])
    reader.start()
    lab.stack.callback(reader.join)
    lab.stack.callback(receiver.kill)
    n = 0

    def turn() -> None:
        nonlocal n
        lab.inference.publish(t.HEARTBEAT, m.Heartbeat("inference", 0, 1, "ready", 0))
        publish(n, "rear" if n // 10 % 2 else "walk")
        n += 1
        assert receiver.poll() is None, "the receiver has ended"
        while not lines.empty():
            said = json.loads(lines.get())
            if "labels" in said:
                labels[said["stream"]] = said["labels"]
            else:
                got.setdefault(said["stream"], []).append((said["row"], said["lsl_s"]))

    lab.until(lambda: len(got) == 4 and min(map(len, got.values())) >= 2, turn)
    assert labels == {
        "label": ["label"],
        "probabilities": ["walk", "rear"],
        "decisions": ["decision"],
        "frames": ["set_id", "cam", "other"],
    }
    assert {row[0] for row, _ in got["label"]} == {"walk", "rear"}
    (walk, rear), _ = got["probabilities"][0]
    assert (walk, rear) == (0.25, 0.75)
    (set_id, seq, missing), lsl_s = got["frames"][-1]
    assert (seq, missing) == (7.0, -1.0)
    decision = json.loads(got["decisions"][0][0][0])
    assert (decision["rule"], decision["action"], decision["behavior"]) == ("rule", "fired", "rear")
    # LSL's clock is the monotonic one here: the time stamp is that of mid-exposure.
    truth_s = (base + set_id * 10_000_000 + 500_000 - lab.clock.anchor.utc_ns + lab.clock.anchor.monotonic_ns) / S
    assert abs(lsl_s - truth_s) < 0.005
    # Of one set, the decision stands half a millisecond after mid-exposure.
    at = {json.loads(row[0])["set_id"]: when for row, when in got["decisions"]}
    both = [(at[row[0]], when) for row, when in got["frames"] if row[0] in at]
    assert both and all(abs(fired - mid - 0.0005) < 1e-6 for fired, mid in both)
    node.terminate()
    assert node.wait(20) == 0


def test_lsl_is_read_between_two_readings_of_rig_time() -> None:
    clock = FakeClock(100 * S)
    widths = iter([900_000, 10_000, 500_000])

    def lsl_clock() -> float:
        width = next(widths)
        clock.advance_ns(width)
        return (clock.now_ns() - width // 2) / S - 60

    relation = measure_relation(clock, lsl_clock, n_tries=3)
    assert relation.uncertainty_ns == 5_000, "the narrowest of three"
    assert abs(relation.offset_ns - 60 * S) <= 1


def test_drift_of_a_sender_is_found_and_a_loss_begins_anew() -> None:
    clock = StreamClock()
    assert clock.status("x", 0, 0).state == "settling"
    for n in range(40):
        # The sender's clock runs 30 ppm fast, so the correction falls.
        clock.add(5.0 - 30e-6 * 2 * n, Relation(60 * S, 100), n * 2 * S)
    status = clock.status("x", 1, 80 * S)
    assert (status.clock, status.state, status.n_used) == ("lsl.x", "locked", 40)
    assert status.drift_ppm == pytest.approx(30.0, abs=0.1) and status.residual_max_us < 1
    assert status.offset_ns == pytest.approx(65 * S - 30e-6 * 78 * S, abs=10)
    assert clock.to_rig_ns(10.0) == pytest.approx(75 * S - 30e-6 * 78 * S, abs=10)
    clock.restart()
    lost = clock.status("x", 1, 81 * S, lost=True)
    assert (lost.state, lost.n_steps, lost.n_used) == ("lost", 1, 0)


def test_a_question_to_lsl_names_all_that_was_given() -> None:
    config = LslInletConfig(name="a", type="b", source_id="c")
    assert config.predicate == "name='a' and type='b' and source_id='c'"
