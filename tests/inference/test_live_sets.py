"""The inference process as the authority on frame sets, without a model: real process, real sockets."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from ethostream.streaming import topics as t
from ethostream.streaming.messages import Alarm, CameraStatus, FrameHeader, FrameSet, Gap, Heartbeat
from ethostream.streaming.node import SUPERVISOR, NodeSpec
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.wire import Received
from ethostream.sync.clock import NS_PER_MS, ClockAnchor, RigClock

PERIOD_NS = 20 * NS_PER_MS
CAMERAS = ("a", "b")
AHEAD_NS = 600_000 * NS_PER_MS


class Rig:
    """Two cameras played by the test, and the node under test.

    Frames are stamped far ahead of the clock: how quickly this process sends, and the node reads, does not matter. Only
    a test of deadlines in real time sets ``t0_ns`` back to now.
    """

    def __init__(self, folder: Path, epoch: int = 0, deadline_ms: int = 30) -> None:
        self.clock = RigClock(ClockAnchor.take())
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        names = ["inference", SUPERVISOR, *(f"camera.{name}" for name in CAMERAS)]
        endpoints = {name: f"ipc://{folder}/{place}" for place, name in enumerate(names)}
        self.publishers = {
            name: Publisher(self.context, f"camera.{name}", endpoints[f"camera.{name}"]) for name in CAMERAS
        }
        spec = NodeSpec(
            node="inference",
            entry="ethostream.inference.inference_node:main",
            epoch=epoch,
            session="test",
            anchor_utc_ns=self.clock.anchor.utc_ns,
            anchor_monotonic_ns=self.clock.anchor.monotonic_ns,
            endpoints=endpoints,
            upstream=[f"camera.{name}" for name in CAMERAS],
            parent_pid=os.getpid(),
            config={"task": {}, "views": {name: [8, 8] for name in CAMERAS}, "rate_hz": 50, "deadline_ms": deadline_ms},
        )
        path = folder / "spec.json"
        path.write_text(spec.model_dump_json())
        self.process = subprocess.Popen([sys.executable, "-m", "ethostream.streaming.node", str(path)])
        self.bus = EverySubscriber(self.context, [endpoints["inference"]], [t.FRAME_SET, t.GAP, t.ALARM, t.HEARTBEAT])
        self.t0_ns = 0
        self._got: list[Received] = []
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        for _ in range(600):
            for name, publisher in self.publishers.items():
                publisher.publish(t.HEARTBEAT, Heartbeat(f"camera.{name}", 0, 1, "ready", 0))
            for received in self.bus.receive(50):
                if isinstance(received.message, Heartbeat) and received.message.state == "ready":
                    self.t0_ns = self.clock.now_ns() + AHEAD_NS
                    return
        raise AssertionError("the node did not become ready")

    def frame(
        self, camera: str, seq: int, shift_ns: int = 0, settled: bool = True, trigger_id: int = -1, width: int = 8
    ) -> None:
        """One frame that arrived a millisecond after its exposure began, whenever the node reads it."""
        t_ns = self.t0_ns + seq * PERIOD_NS
        header = FrameHeader(
            camera, 0, seq, t_ns + shift_ns, 0, t_ns + NS_PER_MS, "device" if settled else "host", width, 8, "mono8",
            "", 0, 0, "raw", trigger_id, ticks=seq,
        )  # fmt: skip
        self.publishers[camera].publish(t.FRAME, header, camera, b"\0" * 8 * width)

    def take(self, n_sets: int) -> list[Received]:
        """Every message so far, up to the ``n_sets``-th set at least."""
        return self._read_until(lambda: len(sets_of(self._got)) >= n_sets)

    def settle(self, n_complete: int) -> list[Received]:
        """Every message so far, up to the ``n_complete``-th complete set at least.

        Two publishers have two sockets: sent on without waiting, one camera's frames may be read before the other's,
        and by their arrival, which lies ahead of the clock, close the sets of those.
        """
        return self._read_until(lambda: sum(one.status == "complete" for one in sets_of(self._got)) >= n_complete)

    def _read_until(self, done: Callable[[], bool]) -> list[Received]:
        for _ in range(400):
            if done():
                return self._got
            self._got += self.bus.receive(50)
        raise AssertionError(f"only these sets came: {sets_of(self._got)}")

    def end_cameras(self) -> None:
        """Their last word, after which nothing of them is awaited."""
        for name, publisher in self.publishers.items():
            publisher.publish(
                t.CAMERA_STATUS, CameraStatus(name, 0, "stopped", 0, 0, 1, 0, 0, 50.0, 2 * self.t0_ns), name
            )

    def close(self) -> None:
        self.end_cameras()
        self.process.terminate()
        assert self.process.wait(timeout=20) == 0
        self.bus.close()
        for publisher in self.publishers.values():
            publisher.close()
        self.context.term()


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    one = Rig(tmp_path_factory.mktemp("r"), **getattr(request, "param", {}))
    yield one
    one.close()


def sets_of(received: list[Received]) -> list[FrameSet]:
    return [one.message for one in received if isinstance(one.message, FrameSet)]


def test_a_stamp_from_the_future_costs_one_frame_and_not_the_rest(rig: Rig) -> None:
    hour_ns = 3_600_000 * NS_PER_MS
    for seq in range(40):
        rig.frame("a", seq, shift_ns=hour_ns if seq == 5 else 0)
        rig.frame("b", seq)
        rig.settle(seq + 1 if seq < 5 else seq)
    got = rig.take(40)
    assert [one.status for one in sets_of(got)].count("complete") == 39
    (partial,) = [one for one in sets_of(got) if one.status == "partial"]
    assert partial.missing == ("a",)
    gaps = [one.message for one in got if isinstance(one.message, Gap)]
    assert [(gap.camera, gap.first_seq, gap.reason) for gap in gaps] == [
        ("a", 5, "its exposure time lies after its arrival")
    ]
    assert sum(isinstance(one.message, Alarm) for one in got) == 1


def test_frames_that_were_in_time_are_complete_however_late_they_are_read(rig: Rig) -> None:
    """A node that stood still for longer than the deadline: what arrived in time meanwhile is judged by its arrival."""
    rig.t0_ns = rig.clock.now_ns()
    rig.process.send_signal(signal.SIGSTOP)
    for seq in range(40):
        rig.frame("a", seq)
    # Sockets are read in turn: behind these, the second camera's frames are read after all of the first one's.
    for _ in range(100):
        rig.publishers["b"].publish(t.HEARTBEAT, Heartbeat("camera.b", 0, 1, "running", 0))
    for seq in range(40):
        rig.frame("b", seq)
    rig.clock.sleep_until_ns(rig.clock.now_ns() + 5 * PERIOD_NS)
    rig.process.send_signal(signal.SIGCONT)
    got = rig.take(40)
    assert [one.status for one in sets_of(got)] == ["complete"] * 40


@pytest.mark.parametrize("rig", [{"epoch": 1}], indirect=True)
def test_sets_of_a_restarted_process_have_ids_of_their_own(rig: Rig) -> None:
    for seq in range(3):
        for camera in CAMERAS:
            rig.frame(camera, seq)
        rig.settle(seq + 1)
    assert [one.set_id for one in sets_of(rig.take(3))] == [1_000_000_000, 1_000_000_001, 1_000_000_002]


@pytest.mark.parametrize("rig", [{"deadline_ms": 500}], indirect=True)
def test_the_end_of_a_run_leaves_no_frame_without_a_set(rig: Rig) -> None:
    """It is told to stop while all of them wait to be read."""
    rig.process.send_signal(signal.SIGSTOP)
    for seq in range(200):
        rig.frame("a", seq)
        rig.frame("b", seq)
    rig.frame("a", 200)
    rig.end_cameras()
    rig.process.send_signal(signal.SIGTERM)
    rig.process.send_signal(signal.SIGCONT)
    got = rig.take(201)
    assert sum(len(one.sources) for one in sets_of(got)) == 401
    assert rig.process.wait(timeout=20) == 0


def test_times_of_a_clock_that_has_not_settled_pair_nothing(rig: Rig) -> None:
    """Until then a frame is stamped by its arrival, which a busy machine shifts by more than a period."""
    for seq in range(60):
        rig.frame("a", seq, shift_ns=-PERIOD_NS if seq < 30 else 0, settled=seq >= 30)
        rig.frame("b", seq)
        rig.settle(max(0, seq - 29))
    got = rig.take(60)
    pairs = [{one.camera: one.seq for one in found.sources} for found in sets_of(got)]
    assert all(pair.get("a", pair["b"]) == pair["b"] for pair in pairs)
    assert sum(len(pair) == 2 for pair in pairs) == 30
    gaps = [one.message for one in got if isinstance(one.message, Gap)]
    assert [(gap.camera, gap.first_seq, gap.n) for gap in gaps] == [("a", 0, 30)]
    assert "had not settled" in gaps[0].reason


def test_a_trigger_id_pairs_frames_whose_clock_has_not_settled(rig: Rig) -> None:
    for seq in range(30):
        rig.frame("a", seq, settled=seq >= 10, trigger_id=seq)
        rig.frame("b", seq, settled=False, trigger_id=seq)
        rig.settle(seq + 1)
    sets = sets_of(rig.take(30))
    assert [one.status for one in sets] == ["complete"] * 30
    believed = [{frame.camera: frame.believed for frame in one.sources} for one in sets]
    assert believed == [{"a": seq >= 10, "b": False} for seq in range(30)]


def test_a_camera_that_came_back_with_another_size_is_in_no_set(rig: Rig) -> None:
    for seq in range(20):
        rig.frame("a", seq, width=16 if seq >= 10 else 8)
        rig.frame("b", seq)
        rig.settle(min(seq + 1, 10))
    for camera in CAMERAS:
        rig.frame(camera, 30)  # by its arrival the deadlines of all before it have passed
    got = rig.take(21)
    assert [one.missing for one in sets_of(got)] == [()] * 10 + [("a",)] * 10 + [()]
    gaps = [one.message for one in got if isinstance(one.message, Gap)]
    assert [gap.first_seq for gap in gaps if "size or pixel format" in gap.reason] == list(range(10, 20))
    (alarm,) = [one.message for one in got if isinstance(one.message, Alarm)]
    assert "camera a delivers 16x8 mono8" in alarm.text


def begin(rig: Rig, b_missed: set[int], triggered: bool = True) -> tuple[list[tuple[str, ...]], list[str]]:
    """20 instants, of which camera b misses some: what each set lacks in the order of time, and the alarms.

    Each set that can be complete is waited for: how quickly the node reads its sockets does not matter.
    """
    n_complete = 0
    for seq in range(20):
        rig.frame("a", seq, trigger_id=seq if triggered else -1)
        if seq not in b_missed:
            rig.frame("b", seq, trigger_id=seq if triggered else -1)
            n_complete += 1
            rig.settle(n_complete)
    got = rig.take(20)
    sets = sorted(sets_of(got), key=lambda one: one.t_mid_ns)
    return [one.missing for one in sets], [one.message.text for one in got if isinstance(one.message, Alarm)]


@pytest.mark.parametrize("n_missed", [1, 3])
def test_a_camera_that_gave_no_frame_of_the_first_pulse_is_named_once(rig: Rig, n_missed: int) -> None:
    missing, alarms = begin(rig, set(range(n_missed)))
    assert missing == [("b",)] * n_missed + [()] * (20 - n_missed)
    assert len(alarms) == 1
    assert alarms[0].startswith("camera b: not in the first frame set of the run")


def test_a_pulse_that_was_missed_later_is_no_late_start(rig: Rig) -> None:
    missing, alarms = begin(rig, {1, 9})
    assert missing.count(("b",)) == 2
    assert alarms == []


def test_cameras_that_run_on_their_own_may_begin_one_after_the_other(rig: Rig) -> None:
    missing, alarms = begin(rig, {0, 1, 2}, triggered=False)
    assert missing.count(("b",)) == 3
    assert alarms == []


@pytest.mark.parametrize("rig", [{"epoch": 1}], indirect=True)
def test_the_first_set_of_a_restarted_process_is_not_the_start_of_the_run(rig: Rig) -> None:
    missing, alarms = begin(rig, {0})
    assert missing.count(("b",)) == 1
    assert alarms == []


def test_a_camera_whose_count_began_a_pulse_apart_is_named(rig: Rig) -> None:
    """Of two, nobody can tell which it is: both are named. Its frame comes in time for the wrong set."""
    for k in range(24):
        rig.frame("a", k, trigger_id=k)
        rig.frame("b", k + 1, trigger_id=k)
        rig.settle(k + 1)
    alarms = [one.message.text for one in rig.take(24) if isinstance(one.message, Alarm)]
    assert [text.split(" the other")[0] for text in alarms] == [
        "camera a: its frames lie 20.0 ms before",
        "camera b: its frames lie 20.0 ms after",
    ]
