"""What the streaming tests share: a small disk, a rig that drives a `Recorder` with real rings and real bytes, a link
of a time server and a client under clocks that move when told.
"""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import zmq
from ethostream.acquisition.ledger import FrameLedger
from ethostream.streaming.frames import FrameSender
from ethostream.streaming.messages import CameraStatus, ClockStatus, FrameHeader, Gap, Message
from ethostream.streaming.pose_format import PoseFormat
from ethostream.streaming.recorder import Recorder
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.time_client import TimeClient
from ethostream.streaming.time_server import TimeServer
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, GAP, Topic
from ethostream.streaming.verify import VerifyResult, verify
from ethostream.streaming.wire import decode, encode
from ethostream.sync.clock import NS_PER_MS, FakeClock
from numpy.typing import NDArray

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 16_666_667
SHAPE = (24, 32)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class RecorderRig:
    """Cameras and a recorder in one thread: real rings, real encoded messages, a clock that moves when told."""

    def __init__(
        self,
        folder: Path,
        cameras: tuple[str, ...],
        config: RecordingConfig,
        shape: tuple[int, ...],
        poses: dict[str, PoseFormat],
    ) -> None:
        self.folder = folder
        self.shape = shape
        self.clock = FakeClock(START_NS)
        self.session = uuid.uuid4().hex[:8]
        form = RecordedFormat(
            width=shape[1], height=shape[0], pixel_format="mono8" if len(shape) == 2 else "bgr8", rate_hz=60
        )
        formats = dict.fromkeys(cameras, form)
        self.writer = RecordingWriter(folder, self.session, formats, config, START_NS, poses=poses)
        self.said: list[Message] = []
        self._seqs: dict[tuple[str, bytes], int] = {}
        self.recorder = Recorder("recorder", self.writer, config, self.clock, self._publish)
        self.stack = ExitStack()
        self.cameras = {name: RigCamera(self, name) for name in cameras}
        self.closed = False

    def _next(self, source: str, key: bytes) -> int:
        seq = self._seqs.get((source, key), 0)
        self._seqs[source, key] = seq + 1
        return seq

    def _publish(self, topic: Topic, message: Message, camera: str) -> bytes:
        body = encode(topic, "recorder", self._next("recorder", topic.key(camera)), message)
        self.said.append(message)
        self.recorder.log_own(topic, camera, body)
        return body

    def deliver(self, topic: Topic, message: Message, camera: str = "", source: str = "test") -> None:
        """As if the message had come from the bus."""
        key = topic.key(camera)
        self.recorder.accept(decode(key, encode(topic, source, self._next(source, key), message)))

    def turn(self, ms: int = 300) -> None:
        """Let the encoders finish what waits, let time pass, and do what is due."""
        while self.recorder.n_waiting:
            Event().wait(0.002)
        # Written or refused now, so that this turn can say so.
        self.writer.flusher.kick()
        while not self.recorder.log_idle:
            Event().wait(0.002)
        self.clock.advance_ns(ms * NS_PER_MS)
        self.recorder.poll()

    def end_encoders(self) -> None:
        self.recorder.end_encoders()
        while not self.recorder.ended:
            Event().wait(0.002)

    def close(self) -> None:
        """Stop as the node does."""
        if not self.closed:
            self.closed = True
            self.turn()
            self.end_encoders()
            self.recorder.close()

    def end_well(self) -> VerifyResult:
        """Every camera says its last word, the recorder stops, and each frame is accounted for."""
        for camera in self.cameras.values():
            camera.status(stopped=True)
        self.close()
        result = verify(self.folder)
        assert result.ok, result.errors
        return result

    def assert_pixels(self) -> None:
        """What was recorded is what the cameras delivered."""
        recording = Recording.open(self.folder)
        for name, camera in self.cameras.items():
            for header, image in recording.frames(name):
                assert np.array_equal(image, camera.images[header.epoch, header.seq]), (header.epoch, header.seq)

    def of(self, kind: type[Message]) -> list[Message]:
        """What the recorder has said of one kind."""
        return [one for one in self.said if type(one) is kind]


class RigCamera:
    """One camera process as the recorder sees it, with the real ledger and the real ring."""

    def __init__(self, rig: RecorderRig, name: str) -> None:
        self.rig = rig
        self.name = name
        self.images: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self.times: dict[tuple[int, int], int] = {}
        self.epoch = -1
        self.restart()

    def restart(self, n_slots: int = 480) -> None:
        """Begin a new epoch with a ring of its own."""
        self.epoch += 1
        self.ledger = FrameLedger()
        self.sender = FrameSender(self.rig.session, self.name, self.epoch, self.rig.shape, n_slots)
        self.rig.stack.callback(self.sender.close)

    def frame(self, seq: int, *, arrives: bool = True, t_ns: int | None = None) -> FrameHeader:
        """Deliver one frame; with ``arrives`` False its header is lost on the way."""
        # A repeat has the time of its frame.
        t = self.times.setdefault((self.epoch, seq), START_NS + seq * PERIOD_NS if t_ns is None else t_ns)
        assert self.ledger.arrive(seq, t) != "back"
        image = self.sender.acquire()
        rng = np.random.default_rng((self.epoch, seq, sum(self.name.encode())))
        image[...] = rng.integers(0, 256, image.shape, dtype=np.uint8)
        self.images[self.epoch, seq] = image.copy()
        ring, slot, generation, _ = self.sender.commit()
        form = "mono8" if image.ndim == 2 else "bgr8"
        header = FrameHeader(
            self.name, self.epoch, seq, t, 5000, t + 7_000_000, "simulated", image.shape[1], image.shape[0], form,
            ring, slot, generation,
        )  # fmt: skip
        if arrives:
            self.deliver(header)
        self.declare()
        return header

    def deliver(self, header: FrameHeader) -> None:
        self.rig.deliver(FRAME, header, self.name, f"camera.{self.name}")

    def declare(self, *, end: bool = False) -> None:
        for missing in self.ledger.declare(end=end):
            gap = Gap("device", self.name, self.epoch, missing.first_seq, missing.n, "counter jumped", START_NS)
            self.rig.deliver(GAP, gap, self.name, f"camera.{self.name}")

    def status(self, *, stopped: bool = False) -> None:
        self.declare(end=stopped)
        one = self.ledger
        status = CameraStatus(
            self.name, self.epoch, "stopped" if stopped else "running", one.first_seq, one.last_seq, one.captured,
            one.dropped, one.duplicates, 60.0, START_NS,
        )  # fmt: skip
        self.rig.deliver(CAMERA_STATUS, status, self.name, f"camera.{self.name}")


MakeRig = Callable[..., RecorderRig]


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[MakeRig]:
    """Makes a `RecorderRig`: ``make_rig(folder=..., cameras=(...), shape=..., **options of RecordingConfig)``."""
    with ExitStack() as stack:

        def make(
            folder: Path | None = None,
            cameras: tuple[str, ...] = ("cam0",),
            shape: tuple[int, ...] = SHAPE,
            poses: dict[str, PoseFormat] | None = None,
            **options: object,
        ) -> RecorderRig:
            config = RecordingConfig.model_validate({"codec": "raw", "reserve_mb": 1, "queue_frames": 512, **options})
            rig = RecorderRig(folder or tmp_path / f"rec-{uuid.uuid4().hex[:8]}", cameras, config, shape, poses or {})
            stack.callback(rig.stack.close)
            stack.callback(rig.writer.end_threads)
            stack.callback(rig.end_encoders)
            return rig

        yield make


class DriftingClock:
    """A local clock that runs fast by ``ppm`` against the rig's."""

    def __init__(self, rig: FakeClock, ppm: float) -> None:
        self._rig = rig
        self._rate = 1 + ppm * 1e-6

    def now_ns(self) -> int:
        return round((self._rig.now_ns() - START_NS) * self._rate)

    def sleep_until_ns(self, t_ns: int) -> None:
        self._rig.set_ns(START_NS + round(t_ns / self._rate) + 1)


class Link:
    """Both ends in one thread; messages travel for real, time only when told."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.rig = FakeClock(START_NS)
        self.local = DriftingClock(self.rig, 50.0)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.stack.callback(self.context.destroy, linger=0)
        self.said: list[ClockStatus] = []
        self.server = TimeServer(self.context, "tcp://127.0.0.1:*", self.rig, "one", on_status=self.said.append)
        self.stack.callback(self.server.close)
        self.client = TimeClient(self.context, self.server.endpoint, self.local, "camera-host")
        self.stack.callback(self.client.close)

    def ask(self) -> None:
        """Move on to the next question and see it on its way."""
        sent = self.client.n_sent
        for _ in range(500):
            self.rig.advance_ns(50 * NS_PER_MS)
            self.client.poll(1)
            if self.client.n_sent > sent:
                return
        raise AssertionError("nothing was asked")

    def arrive(self) -> None:
        """The server takes the question, and answers; who says goodbye may be gone before the answer."""
        server = self.server
        n = server.n_answered + server.n_refused + server.n_unsent
        for _ in range(500):
            server.serve(10)
            if server.n_answered + server.n_refused + server.n_unsent > n:
                return
        raise AssertionError("the question did not come")

    def take(self) -> None:
        """The client takes the answer; it asks nothing meanwhile, since its time stands still."""
        n = self.client.n_good + self.client.n_late + self.client.n_refused
        for _ in range(500):
            self.client.poll(10)
            self.client._socket.poll(10)  # pyright: ignore[reportPrivateUsage]
            if self.client.n_good + self.client.n_late + self.client.n_refused > n:
                return
        raise AssertionError("no answer came")

    def turn(self, there_ms: int = 1, back_ms: int = 1) -> None:
        self.ask()
        self.rig.advance_ns(there_ms * NS_PER_MS)
        self.arrive()
        self.rig.advance_ns(back_ms * NS_PER_MS)
        self.take()

    def error_ns(self) -> int:
        estimate = self.client.fit.estimate
        assert estimate is not None
        return estimate.to_rig_ns(self.local.now_ns()) - self.rig.now_ns()


@pytest.fixture
def link() -> Iterator[Link]:
    one = Link()
    with one.stack:
        yield one
