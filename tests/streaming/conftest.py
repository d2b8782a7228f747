"""What the streaming tests share: a small disk, and a rig that drives a `Recorder` with real rings and real bytes."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from ethostream.acquisition.ledger import FrameLedger
from ethostream.streaming.frames import FrameSender
from ethostream.streaming.messages import CameraStatus, FrameHeader, Gap, Message
from ethostream.streaming.recorder import Recorder
from ethostream.streaming.recording_config import RecordingConfig
from ethostream.streaming.recording_info import RecordedFormat
from ethostream.streaming.recording_writer import RecordingWriter
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, GAP, Topic
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

    def __init__(self, folder: Path, cameras: tuple[str, ...], config: RecordingConfig, shape: tuple[int, ...]) -> None:
        self.folder = folder
        self.shape = shape
        self.clock = FakeClock(START_NS)
        self.session = uuid.uuid4().hex[:8]
        form = RecordedFormat(
            width=shape[1], height=shape[0], pixel_format="mono8" if len(shape) == 2 else "bgr8", rate_hz=60
        )
        self.writer = RecordingWriter(folder, self.session, dict.fromkeys(cameras, form), config, START_NS)
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
            **options: object,
        ) -> RecorderRig:
            config = RecordingConfig.model_validate({"codec": "raw", "reserve_mb": 1, "queue_frames": 512, **options})
            rig = RecorderRig(folder or tmp_path / f"rec-{uuid.uuid4().hex[:8]}", cameras, config, shape)
            stack.callback(rig.stack.close)
            stack.callback(rig.writer.end_threads)
            stack.callback(rig.end_encoders)
            return rig

        yield make
