"""The recorder as its own process, over real sockets and rings; closed in order, and killed."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from ethostream.acquisition.ledger import FrameLedger
from ethostream.streaming.frames import FrameSender
from ethostream.streaming.messages import CameraStatus, FrameHeader, Gap, Heartbeat, RecordingStatus
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, GAP, HEARTBEAT, RECORDING
from ethostream.streaming.verify import verify
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from numpy.typing import NDArray

SHAPE = (48, 64)
RATE_HZ = 100


def image(camera: str, seq: int) -> NDArray[np.uint8]:
    return np.random.default_rng((seq, sum(camera.encode()))).integers(0, 256, SHAPE, dtype=np.uint8)


class Bench:
    """A recorder process, and in this process two cameras that it hears."""

    def __init__(self, folder: Path, codec: str, pixels: str, drain_s: float = 20.0) -> None:
        self.folder = folder / "rec"
        self.session = uuid.uuid4().hex[:8]
        self.anchor = ClockAnchor.take()
        self.clock = RigClock(self.anchor)
        self.zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        names = ("camera.a", "camera.b", "recorder")
        endpoints = {name: f"ipc://{folder}/{name}" for name in names}
        self.publishers = {name[-1]: Publisher(self.zmq, name, endpoints[name]) for name in names[:2]}
        self.senders = {
            name: FrameSender(self.session, name, 0, SHAPE, 64, pixels)  # pyright: ignore[reportArgumentType]
            for name in self.publishers
        }
        self.ledgers = {name: FrameLedger() for name in self.publishers}
        self.ear = EverySubscriber(self.zmq, [endpoints["recorder"]], [HEARTBEAT, RECORDING])
        self.last_status: RecordingStatus | None = None
        form = {"width": SHAPE[1], "height": SHAPE[0], "pixel_format": "mono8", "rate_hz": RATE_HZ}
        spec = {
            "node": "recorder",
            "entry": "ethostream.streaming.recorder_node:main",
            "session": self.session,
            "anchor_utc_ns": self.anchor.utc_ns,
            "anchor_monotonic_ns": self.anchor.monotonic_ns,
            "endpoints": endpoints,
            "upstream": list(names[:2]),
            "parent_pid": os.getpid(),
            "config": {
                "folder": str(self.folder),
                "cameras": dict.fromkeys(self.publishers, form),
                "recording": {"codec": codec, "reserve_mb": 1, "drain_s": drain_s},
                "run": {"rig": {"name": "bench"}},
            },
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ethostream.streaming.node", str(folder / "spec.json")],
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_ready(self) -> None:
        while True:
            for name, publisher in self.publishers.items():
                beat = Heartbeat(f"camera.{name}", 0, os.getpid(), "ready", self.clock.now_ns())
                publisher.publish(HEARTBEAT, beat)
            for one in self.ear.receive(50):
                if isinstance(one.message, Heartbeat) and one.message.state == "ready":
                    return
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()

    def frame(self, camera: str, seq: int, t_ns: int) -> None:
        sender, ledger, publisher = self.senders[camera], self.ledgers[camera], self.publishers[camera]
        sender.acquire()[...] = image(camera, seq)
        ring, slot, generation, pixels = sender.commit()
        ledger.arrive(seq, t_ns)
        header = FrameHeader(
            camera, 0, seq, t_ns, 1000, self.clock.now_ns(), "simulated", SHAPE[1], SHAPE[0], "mono8",
            ring, slot, generation, sender.encoding,
        )  # fmt: skip
        publisher.publish(FRAME, header, camera, pixels)
        self.declare(camera)

    def declare(self, camera: str, *, end: bool = False) -> None:
        for missing in self.ledgers[camera].declare(end=end):
            gap = Gap("device", camera, 0, missing.first_seq, missing.n, "counter jumped", self.clock.now_ns())
            self.publishers[camera].publish(GAP, gap, camera)

    def status(self, camera: str, state: str) -> None:
        one = self.ledgers[camera]
        status = CameraStatus(
            camera, 0, state, one.first_seq, one.last_seq, one.captured, one.dropped, one.duplicates, RATE_HZ,  # pyright: ignore[reportArgumentType]
            self.clock.now_ns(),
        )  # fmt: skip
        self.publishers[camera].publish(CAMERA_STATUS, status, camera)

    def play(self, seqs: range, drop: frozenset[int] = frozenset()) -> None:
        """Deliver at the nominal rate."""
        begin = self.clock.now_ns()
        for seq in seqs:
            t_ns = begin + (seq - seqs.start) * NS_PER_S // RATE_HZ
            self.clock.sleep_until_ns(t_ns)
            for camera in self.senders:
                if seq not in drop:
                    self.frame(camera, seq, t_ns)
                if seq % 50 == 49:
                    self.status(camera, "running")
            self.listen(0)

    def listen(self, timeout_ms: int) -> None:
        for one in self.ear.receive(timeout_ms):
            if isinstance(one.message, RecordingStatus):
                self.last_status = one.message

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.ear.close()
        for publisher in self.publishers.values():
            publisher.close()
        for sender in self.senders.values():
            sender.close()
        self.zmq.term()


@pytest.fixture(params=["ring", "raw"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path, "ffv1", request.param)
    yield one
    one.end()


def test_recorder_process_writes_all_and_closes(bench: Bench) -> None:
    bench.until_ready()
    bench.play(range(120), drop=frozenset({30, 31, 77}))
    for camera in bench.senders:
        bench.declare(camera, end=True)
        bench.status(camera, "stopped")
        bench.senders[camera].close()
    bench.process.send_signal(signal.SIGTERM)
    while bench.process.poll() is None:
        bench.listen(50)
    bench.listen(50)
    assert bench.process.returncode == 0, bench.process.stderr and bench.process.stderr.read()
    assert bench.last_status is not None
    assert bench.last_status.state == "stopped"
    assert bench.last_status.first_seq == {"a/0": 0, "b/0": 0}
    result = verify(bench.folder, decode=True)
    assert result.ok, result.errors
    for camera in ("a", "b"):
        cam = result.cameras[camera]
        assert cam.n_device == 120
        assert cam.declared["device"] == 3
        assert cam.written + sum(cam.declared.values()) == 120
        assert cam.written > 0
    recording = Recording.open(bench.folder)
    assert recording.info.config == {"rig": {"name": "bench"}}
    n = 0
    for camera in ("a", "b"):
        for header, pixels in recording.frames(camera):
            assert np.array_equal(pixels, image(camera, header.seq))
            n += 1
    assert n == sum(recording.info.written.values())
    assert {one.source for one in recording.messages()} == {"camera.a", "camera.b", "recorder"}
    beats = [one for one in recording.messages([HEARTBEAT]) if one.source == "recorder"]
    assert beats


def test_killed_recorder_leaves_all_but_the_last_second(bench: Bench) -> None:
    bench.until_ready()
    bench.play(range(150))
    seq = 150
    while bench.last_status is None or min(bench.last_status.written.values(), default=0) < 100:
        bench.play(range(seq, seq + 10))
        seq += 10
    said = bench.last_status
    bench.process.send_signal(signal.SIGKILL)
    bench.process.wait()
    # Against what the recorder itself had said a moment before, so that a busy machine changes nothing.
    recording = Recording.open(bench.folder)
    assert not recording.closed
    for camera in ("a", "b"):
        n = 0
        for header, pixels in recording.frames(camera):
            assert np.array_equal(pixels, image(camera, header.seq))
            n += 1
        assert n >= said.written[camera] - RATE_HZ
    assert max(one.log_time_ns for one in recording.messages()) >= said.t_ns - NS_PER_S
    result = verify(bench.folder)
    assert not result.ok
    assert not result.closed
    assert "torn" in result.errors[0]
    for cam in result.cameras.values():
        assert cam.n_device == cam.written + sum(cam.declared.values()) + cam.undeclared
        assert cam.written >= 100 - RATE_HZ


def test_folder_in_use_ends_the_process_with_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "recording.json").write_text("{}")
    bench = Bench(tmp_path, "ffv1", "ring")
    try:
        assert bench.process.stderr is not None
        text = bench.process.stderr.read()
        assert bench.process.wait() == 8
        assert "holds a recording already" in text
    finally:
        bench.end()


def test_heartbeats_of_other_nodes_do_not_keep_it_from_stopping(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "ffv1", "ring", drain_s=120.0)
    try:
        bench.until_ready()
        bench.play(range(20))
        bench.process.send_signal(signal.SIGTERM)
        late = range(20, 30)
        bench.play(late)  # on their way when it was told to stop
        for camera in bench.senders:
            bench.status(camera, "stopped")
        # More beats than a recorder that waits for silence would outlive, fewer than its drain_s lasts.
        for _ in range(600):
            if bench.process.poll() is not None:
                break
            for name, publisher in bench.publishers.items():
                publisher.publish(HEARTBEAT, Heartbeat(f"camera.{name}", 0, 1, "stopping", bench.clock.now_ns()))
            bench.listen(50)
        assert bench.process.poll() == 0
        result = verify(bench.folder)
        assert result.ok, result.errors
        assert {name: one.n_device for name, one in result.cameras.items()} == {"a": 30, "b": 30}
    finally:
        bench.end()
