"""The camera process around a camera that does what it is told: what it publishes, and its last word."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.camera import CameraFormat, EndOfStream, Grab
from ethostream.acquisition.camera_node import CameraLoop, CameraNodeConfig
from ethostream.streaming.frames import FrameSender
from ethostream.streaming.messages import Alarm, CameraStatus, ClockStatus, FrameHeader, Gap, Message
from ethostream.streaming.node import NodeContext, NodeSpec
from ethostream.streaming.topics import Topic
from ethostream.streaming.wire import decode
from ethostream.sync.clock import ClockAnchor, FakeClock
from ethostream.sync.errors import CameraLostError, SharedMemoryError
from numpy.typing import NDArray

FORMAT = CameraFormat(8, 4, "mono8", 50.0, "device")
PERIOD_NS = 20_000_000


class ScriptedCamera:
    """Delivers these (seq, exposure time in periods), then does what ``end`` does."""

    def __init__(self, frames: list[tuple[int, int]], end: Callable[[], None], n_lost: int = 0) -> None:
        self._n_lost = n_lost
        self._frames = iter(frames)
        self._end = end
        self._t_start_ns = 0

    def open(self) -> CameraFormat:
        return FORMAT

    def start(self, t_start_ns: int) -> None:
        self._t_start_ns = t_start_ns

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        frame = next(self._frames, None)
        if frame is None:
            self._end()
            return None
        out[...] = frame[0] % 256
        return Grab(frame[0], self._t_start_ns + frame[1] * PERIOD_NS, 1000)

    def lost_at_end(self) -> int:
        return self._n_lost

    def close(self) -> None:
        pass


class Bench:
    """A real node context; what the node publishes is kept."""

    def __init__(self, folder: Path) -> None:
        anchor = ClockAnchor.take()
        spec = NodeSpec(
            node="camera.a", entry="-", session=uuid.uuid4().hex[:8], anchor_utc_ns=anchor.utc_ns,
            anchor_monotonic_ns=anchor.monotonic_ns, endpoints={"camera.a": f"ipc://{folder}/a"},
            parent_pid=os.getppid(),
        )  # fmt: skip
        self.context = NodeContext(spec)
        self.said: list[Message] = []
        self.context.on_publish = self._keep
        self.config = CameraNodeConfig.model_validate({"name": "a", "camera": {"kind": "simulated", "view": 0}})

    def _keep(self, topic: Topic, camera: str, body: bytes) -> None:
        self.said.append(decode(topic.key(camera), body).message)

    def run(self, frames: list[tuple[int, int]], end: Callable[[], None], n_lost: int = 0) -> None:
        self.drive(ScriptedCamera(frames, end, n_lost))

    def drive(self, camera: ScriptedCamera) -> None:
        form = camera.open()
        sender = FrameSender(self.context.spec.session, "a", 0, form.shape, 8)
        try:
            now = self.context.clock.now_ns()
            camera.start(now)
            CameraLoop(self.context, self.config, camera, form, sender).run(now)
        finally:
            sender.close()

    @property
    def seqs(self) -> list[int]:
        return [one.seq for one in self.said if isinstance(one, FrameHeader)]

    @property
    def last_word(self) -> CameraStatus:
        return [one for one in self.said if isinstance(one, CameraStatus)][-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.context.close()


def raising(error: Exception) -> Callable[[], None]:
    def end() -> None:
        raise error

    return end


def in_order(*seqs: int) -> list[tuple[int, int]]:
    """Each frame at the time that its number says."""
    return [(seq, seq) for seq in seqs]


def test_end_of_stream_is_an_orderly_end(bench: Bench) -> None:
    bench.run(in_order(0, 1, 3), raising(EndOfStream("end")))
    assert (bench.last_word.state, bench.last_word.captured, bench.last_word.dropped_device) == ("stopped", 3, 1)
    assert [(one.first_seq, one.n) for one in bench.said if isinstance(one, Gap)] == [(2, 1)]


def test_frames_that_only_the_driver_knows_to_be_lost_are_declared_at_the_end(bench: Bench) -> None:
    bench.run(in_order(0, 1, 3), bench.context.request_stop, n_lost=2)
    gaps = [one for one in bench.said if isinstance(one, Gap)]
    assert [(one.source, one.first_seq, one.n) for one in gaps] == [("device", 2, 1), ("device", 4, 2)]
    assert "driver's statistics" in gaps[1].reason
    last = bench.last_word
    assert (last.state, last.first_seq, last.last_seq, last.captured, last.dropped_device) == ("stopped", 0, 5, 3, 3)
    assert last.rate_hz == pytest.approx(50.0 * 2 / 3, abs=1e-3)


def test_a_camera_that_lost_every_frame_says_so(bench: Bench) -> None:
    bench.run([], bench.context.request_stop, n_lost=2)
    (alarm,) = [one for one in bench.said if isinstance(one, Alarm)]
    assert alarm.severity == "error" and "delivered no frame, and its driver knows of 2" in alarm.text
    assert bench.last_word.first_seq == -1


def test_a_stop_request_is_an_orderly_end(bench: Bench) -> None:
    bench.run(in_order(0, 1), bench.context.request_stop)
    assert bench.last_word.state == "stopped"


@pytest.mark.parametrize("error", [CameraLostError("gone"), SharedMemoryError("no room"), ValueError("a bug")])
def test_any_crash_is_a_lost_camera(bench: Bench, error: Exception) -> None:
    with pytest.raises(type(error)):
        bench.run(in_order(0, 1), raising(error))
    assert (bench.last_word.state, bench.last_word.captured) == ("lost", 2)


@pytest.mark.parametrize(
    "frames",
    [
        [*in_order(*range(65_500, 65_536)), *[(k, 65_536 + k) for k in range(50)]],
        [*in_order(*range(100)), *[(k, 130 + k) for k in range(50)]],
        [*in_order(*range(1000)), *in_order(*range(50))],
    ],
    ids=["16-bit counter", "connected again", "device clock began again too"],
)
def test_a_counter_that_goes_back_is_a_lost_camera(bench: Bench, frames: list[tuple[int, int]]) -> None:
    n_good = len(frames) - 50
    with pytest.raises(CameraLostError, match=rf"camera a: .*went back from {frames[n_good - 1][0]} to 0"):
        bench.run(frames, raising(EndOfStream("end")))
    assert bench.seqs == [seq for seq, _ in frames[:n_good]]
    assert (bench.last_word.state, bench.last_word.captured, bench.last_word.duplicates) == ("lost", n_good, 0)


def test_first_frames_out_of_order_are_frames(bench: Bench) -> None:
    bench.run(in_order(3, 1, 4, 0, 3, 5), raising(EndOfStream("end")))
    last = bench.last_word
    assert (last.first_seq, last.last_seq, last.captured, last.dropped_device, last.duplicates) == (0, 5, 5, 1, 1)
    assert last.rate_hz == pytest.approx(40.0)  # four frames in the five periods after the first


TICKING = CameraFormat(8, 4, "mono8", 50.0, "device", tick_hz=1e9)


class TickingCamera(ScriptedCamera):
    """Delivers a frame per period of a clock that it moves itself, with ticks that drift and jump as they are told."""

    def __init__(self, clock: FakeClock, n: int, jump_at: int, drift: float, end: Callable[[], None]) -> None:
        super().__init__(in_order(*range(n)), end)
        self._clock = clock
        self._jump_at, self._drift = jump_at, drift

    def open(self) -> CameraFormat:
        return TICKING

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        grab = super().read_into(out, timeout_s)
        if grab is None:
            return None
        elapsed_ns = grab.seq * PERIOD_NS
        self._clock.set_ns(self._t_start_ns + elapsed_ns + grab.seq % 5 * 50_000)
        ticks = 10**12 + round(elapsed_ns * (1.0 + self._drift))
        return Grab(grab.seq, -1, 0, 17, None, ticks + (10**9 if grab.seq >= self._jump_at else 0), 5)


def clock_bench(bench: Bench, n: int, jump_at: int, drift: float) -> None:
    clock = FakeClock(bench.context.clock.now_ns())
    bench.context.clock = clock
    bench.drive(TickingCamera(clock, n, jump_at, drift, raising(EndOfStream("end"))))


def test_a_jump_of_the_device_clock_is_published_at_once_and_alarmed(bench: Bench) -> None:
    clock_bench(bench, 100, 60, 0.0)
    headers = [one for one in bench.said if isinstance(one, FrameHeader)]
    assert [one.seq for one in headers] == list(range(100))
    assert {one.time_source for one in headers} == {"host"}  # too short to settle
    assert [one.ticks >= 10**12 for one in headers] == [True] * 100
    assert {(one.trigger_id, one.line_status) for one in headers} == {(17, 5)}
    times = [one.t_exposure_ns for one in headers]
    assert times == sorted(set(times))
    clocks = [one for one in bench.said if isinstance(one, ClockStatus)]
    stepped = next(one for one in clocks if one.n_steps)
    assert (stepped.clock, stepped.state) == ("camera.a", "stepped")
    assert [one.n_steps for one in clocks] == sorted(one.n_steps for one in clocks)
    assert 3 <= len(clocks) <= 6  # two seconds: one each, one at the step, one at the end
    (alarm,) = [one for one in bench.said if isinstance(one, Alarm)]
    assert alarm.severity == "error" and "camera a: its clock jumped" in alarm.text
    place = bench.said.index(stepped)
    last = [one for one in bench.said[:place] if isinstance(one, FrameHeader)][-1]
    assert 60 <= last.seq < 70


def test_a_clock_that_drifts_too_much_is_alarmed(bench: Bench) -> None:
    clock_bench(bench, 500, 10**9, 400e-6)
    alarms = [one.text for one in bench.said if isinstance(one, Alarm)]
    assert len(alarms) == 1 and "max_drift_ppm=200" in alarms[0]
    last = [one for one in bench.said if isinstance(one, ClockStatus)][-1]
    assert last.state == "locked"
    assert [one.time_source for one in bench.said if isinstance(one, FrameHeader)][-1] == "device"
