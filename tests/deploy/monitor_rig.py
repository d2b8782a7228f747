"""A monitor process under test, beside a publisher that plays a whole rig on real sockets and shared memory."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from ethostream.streaming import messages as m
from ethostream.streaming import topics as t
from ethostream.streaming.frames import FrameSender
from ethostream.streaming.node import NodeSpec
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, ClockAnchor, RigClock
from numpy.typing import NDArray

CLASSES = ("locomote", "rear", "groom", "still")
PATIENCE_S = 60
Painter = Callable[[int, int], NDArray[np.uint8]]


def moving_square(view: int, i: int) -> NDArray[np.uint8]:
    """A bright square that wanders: every frame differs."""
    image = np.full((240, 320), 40 + 10 * view, np.uint8)
    x = 20 + (7 * i + 40 * view) % 240
    image[80:140, x : x + 60] = 230
    return image


class FakeRig:
    """Publishes frames, sets, behaviours and a recording's account from one thread, as the nodes of a rig do."""

    def __init__(
        self, folder: Path, cameras: tuple[str, ...], *, source: str = "rig", rate_hz: float = 30.0,
        paint: Painter = moving_square,
    ) -> None:  # fmt: skip
        self.cameras = cameras
        self.source = source
        self.rate_hz = rate_hz
        self.paint = paint
        self.anchor = ClockAnchor.take()
        self.clock = RigClock(self.anchor)
        self.session = os.urandom(4).hex()
        self.endpoints = {source: f"ipc://{folder}/source", "monitor": f"ipc://{folder}/monitor"}
        self.folder = folder
        self.n_sets = 0
        self.silent = threading.Event()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fake rig")

    def label(self, i: int) -> str:
        return CLASSES[i // round(2.5 * self.rate_hz) % len(CLASSES)]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            with Publisher(context, self.source, self.endpoints[self.source]) as bus:
                self._publish(bus)
        except BaseException as error:  # noqa: BLE001 - shown by the test that owns this thread
            self._failure = error
        finally:
            context.term()

    def _publish(self, bus: Publisher) -> None:
        shape = self.paint(0, 0).shape
        senders = [FrameSender(self.session, name, 0, shape, 16) for name in self.cameras]
        t0, i = self.clock.now_ns(), 0
        try:
            while not self._stop.is_set():
                due = t0 + round(i * NS_PER_S / self.rate_hz)
                self.clock.sleep_until_ns(due + 2 * NS_PER_MS)
                if not self.silent.is_set():
                    self._one_set(bus, senders, i, due)
                if i % round(self.rate_hz / 5) == 0:
                    now = self.clock.now_ns()
                    bus.publish(t.HEARTBEAT, m.Heartbeat(self.source, 0, os.getpid(), "running", now))
                i += 1
        finally:
            for sender in senders:
                sender.close()

    def _one_set(self, bus: Publisher, senders: list[FrameSender], i: int, due: int) -> None:
        sources: list[m.SourceFrame] = []
        label = self.label(i)
        for view, (name, sender) in enumerate(zip(self.cameras, senders, strict=True)):
            image = self.paint(view, i)
            sender.acquire()[...] = image
            ring, slot, generation, _ = sender.commit()
            now = self.clock.now_ns()
            height, width = image.shape[:2]
            kind = "mono8" if image.ndim == 2 else "bgr8"
            header = m.FrameHeader(name, 0, i, due, 2000, now, "simulated", width, height, kind, ring, slot, generation)
            bus.publish(t.FRAME, header, name)
            bus.publish(t.TRUTH, m.FrameTruth(name, 0, i, i, due, self.label(i + 3)), name)
            sources.append(m.SourceFrame(name, 0, i, due, 2000, now))
            if i % round(self.rate_hz / 2) == 0:
                status = m.CameraStatus(name, 0, "running", 0, i, i + 1, 0, 0, self.rate_hz, now)
                bus.publish(t.CAMERA_STATUS, status, name)
        now = self.clock.now_ns()
        bus.publish(t.FRAME_SET, m.FrameSet(i, "complete", tuple(sources), (), due + NS_PER_MS, now))
        height, width = self.paint(0, i).shape[:2]
        p = 0.86 + 0.1 * np.sin(i / 9)
        boxes = tuple(
            m.Box(name, round(width * 0.3), round(height * 0.3), width // 3, height // 3, True) for name in self.cameras
        )
        since = due - round(i % round(2.5 * self.rate_hz) * NS_PER_S / self.rate_hz)
        probabilities = tuple(float(p if name == label else (1 - p) / 3) for name in CLASSES)
        done = self.clock.now_ns() + (4 + i % 7) * NS_PER_MS
        behavior = m.Behavior(
            i, "complete", tuple(sources), (), "fake", probabilities, label, label, since, 0, 0, True, boxes,
            due, now, now, now, now, now, done, classes=CLASSES,
        )  # fmt: skip
        bus.publish(t.BEHAVIOR, behavior)
        if label != self.label(i - 1) and label in ("rear", "groom"):
            fired = label == "rear"
            bus.publish(t.DECISION, m.Decision(
                "rear_light", i, "fired" if fired else "withheld", "" if fired else "refractory", label, 0.9, "log",
                tuple(sources[:1]), due, now, now, now if fired else 0,
            ))  # fmt: skip
        if i % round(self.rate_hz) == 0:
            bus.publish(t.ARMING, m.Arming(True, "start", now))
            written = {f"{name}/0": i + 1 for name in self.cameras}
            free = int((231 - 0.02 * i / self.rate_hz) * 2**30)
            bus.publish(t.RECORDING, m.RecordingStatus("r", "/data/r", "running", {}, written, {}, free, now))
        self.n_sets += 1


@contextmanager
def fake_rig(folder: Path, cameras: tuple[str, ...], **options: Any) -> Iterator[FakeRig]:
    """A running `FakeRig`."""
    rig = FakeRig(folder, cameras, **options)
    rig.start()
    try:
        yield rig
    finally:
        rig.stop()


@contextmanager
def monitor_process(rig: FakeRig, **monitor: Any) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """The real monitor node of a rig in a process of its own; yields it and the port of its page."""
    spec = NodeSpec(
        node="monitor",
        entry="ethostream.deploy.monitor.monitor_node:main",
        session=rig.session,
        anchor_utc_ns=rig.anchor.utc_ns,
        anchor_monotonic_ns=rig.anchor.monotonic_ns,
        endpoints=rig.endpoints,
        parent_pid=os.getpid(),
        config={
            "monitor": {"port": 0, **monitor},
            "rig": "four_wall_cage",
            "cameras": list(rig.cameras),
            "rate_hz": rig.rate_hz,
        },
    )
    path = rig.folder / "monitor.json"
    path.write_text(spec.model_dump_json())
    with (rig.folder / "monitor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ethostream.streaming.node", str(path)], stdout=log, stderr=log
        )
    try:
        yield process, _port(rig, process)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)


def _port(rig: FakeRig, process: "subprocess.Popen[bytes]") -> int:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    give_up = rig.clock.now_ns() + PATIENCE_S * NS_PER_S
    try:
        with EverySubscriber(context, [rig.endpoints["monitor"]], [t.HEARTBEAT]) as bus:
            while rig.clock.now_ns() < give_up and process.poll() is None:
                for received in bus.receive(100):
                    if isinstance(received.message, m.Heartbeat) and "port" in received.message.counters:
                        return received.message.counters["port"]
    finally:
        context.term()
    log = (rig.folder / "monitor.log").read_text()
    raise AssertionError(f"the monitor did not come up (exit {process.poll()}):\n{log}")


def read_status(text: str) -> dict[str, Any]:
    """A status text of the WebSocket as plain values."""
    value: dict[str, Any] = json.loads(text)
    return value
