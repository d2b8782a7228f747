"""Eight cameras at 1080p60 through the bus on this machine, beside plain pyzmq and memcpy, in one run.

    python benchmarks/bus.py [--seconds 20] [--json bus.json]

Paced: eight camera processes write a 1920x1080 frame 60 times a second each (1 GB/s); one process reads every byte of
every frame, another every byte of the newest whole frame set. Unpaced: one writer, one reader of every byte, as fast as
they go without losing a frame. Ages are from the writer's stamp to after the last byte was read. The pyzmq peer sends
the same frames inside the message (ipc, copy=False) and its readers do the same work.
"""

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import uuid
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import perf_counter  # noqa: TID251

import numpy as np
import psutil
import zmq
from ethostream.streaming.frames import FrameReceiver, FrameSender
from ethostream.streaming.messages import CameraStatus, FrameHeader, Heartbeat
from ethostream.streaming.publisher import Publisher
from ethostream.streaming.ring import RingReader, RingWriter, ring_prefix, unlink_session_rings
from ethostream.streaming.subscriber import EverySubscriber
from ethostream.streaming.topics import CAMERA_STATUS, FRAME, HEARTBEAT
from ethostream.streaming.wire import Received
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.errors import FrameOverwrittenError
from ethostream.sync.frameset import FrameSetAssembler
from ethostream.sync.latency import LatencyHistogram
from numpy.typing import NDArray

N_CAMERAS = 8
SHAPE = (1080, 1920)
RATE_HZ = 60
N_SLOTS = 48


@dataclass
class Reading:
    """What one reader saw."""

    reader: str
    frames: int = 0
    declared: int = 0
    sets: int = 0
    skipped_sets: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    max_us: float = 0.0
    core: float = 0.0


def read_every_byte(image: NDArray[np.uint8]) -> int:
    """Touch all 2 MB once."""
    return int(image.reshape(-1).view(np.uint64).sum())


def sources() -> list[NDArray[np.uint8]]:
    """Frames to send; several, so that they do not all come from the cache."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, SHAPE, dtype=np.uint8) for _ in range(4)]


def core_share(began: float) -> float:
    times = psutil.Process().cpu_times()
    return round((times.user + times.system) / max(1e-9, perf_counter() - began), 3)


def finish(reading: Reading, ages: LatencyHistogram, began: float) -> Reading:
    reading.p50_us = (ages.percentile_ns(0.5) or 0) / 1000
    reading.p99_us = (ages.percentile_ns(0.99) or 0) / 1000
    reading.max_us = ages.max_ns / 1000
    reading.core = core_share(began)
    return reading


# --- ours ---------------------------------------------------------------------------------------------------------


def ring_camera(place: int, folder: str, session: str, anchor: ClockAnchor, n_frames: int, barrier: Barrier) -> None:
    clock = RigClock(anchor)
    name = f"cam{place}"
    sender = FrameSender(session, name, 0, SHAPE, N_SLOTS)
    frames = sources()
    with zmq.Context() as context, Publisher(context, name, f"ipc://{folder}/{name}") as publisher:
        barrier.wait()
        start = link_publisher(publisher, clock, barrier)
        for seq in range(n_frames):
            due = start + seq * NS_PER_S // RATE_HZ
            image = sender.acquire()
            clock.sleep_until_ns(due)
            np.copyto(image, frames[seq % len(frames)])
            ring, slot, generation, _ = sender.commit()
            header = FrameHeader(
                name, 0, seq, due, 0, clock.now_ns(), "simulated", SHAPE[1], SHAPE[0], "mono8", ring, slot, generation
            )
            publisher.publish(FRAME, header, name)
        status = CameraStatus(name, 0, "stopped", 0, n_frames - 1, n_frames, 0, 0, RATE_HZ, clock.now_ns())
        publisher.publish(CAMERA_STATUS, status, name)
        barrier.wait()
    sender.close()


def link_publisher(publisher: Publisher, clock: RigClock, barrier: Barrier) -> int:
    """Publish heartbeats until both readers have heard every camera; returns the common start."""
    for _ in range(20):
        publisher.publish(HEARTBEAT, Heartbeat(publisher.source, 0, os.getpid(), "ready", 0))
        clock.sleep_until_ns(clock.now_ns() + 50_000_000)
    barrier.wait()
    return -(-clock.now_ns() // NS_PER_S) * NS_PER_S + NS_PER_S


def ring_reader(kind: str, folder: str, n_frames: int, anchor: ClockAnchor, barrier: Barrier, out: str) -> None:
    clock = RigClock(anchor)
    names = [f"cam{place}" for place in range(N_CAMERAS)]
    receiver, ages, reading = FrameReceiver(), LatencyHistogram(), Reading(kind)
    assembler: FrameSetAssembler[Received] = FrameSetAssembler(names, NS_PER_S // RATE_HZ)
    stopped = 0
    with zmq.Context() as context:
        endpoints = [f"ipc://{folder}/{name}" for name in names]
        barrier.wait()
        with EverySubscriber(context, endpoints, [FRAME, CAMERA_STATUS, HEARTBEAT]) as bus:
            while len(bus.heard) < N_CAMERAS:
                bus.receive(100)
            barrier.wait()
            began = perf_counter()
            while stopped < N_CAMERAS:
                closed = []
                for received in bus.receive(100):
                    message = received.message
                    reading.declared += received.n_lost if received.topic is FRAME else 0
                    if isinstance(message, CameraStatus):
                        stopped += 1
                    elif isinstance(message, FrameHeader):
                        if kind == "every":
                            read_one(receiver, message, reading, ages, clock)
                        else:
                            now = clock.now_ns()
                            closed += assembler.add(message.camera, message.seq, message.t_exposure_ns, now, received)
                closed += assembler.tick(clock.now_ns())
                if closed and kind == "latest":
                    reading.skipped_sets += len(closed) - 1
                    reading.sets += 1
                    for item in closed[-1].items:
                        if item is not None and isinstance(item.message, FrameHeader):
                            read_one(receiver, item.message, reading, ages, clock)
            reading = finish(reading, ages, began)
    Path(out).write_text(json.dumps(asdict(reading)))
    barrier.wait()


def read_one(
    receiver: FrameReceiver, header: FrameHeader, reading: Reading, ages: LatencyHistogram, clock: RigClock
) -> None:
    try:
        read_every_byte(receiver.view(header))
        receiver.check(header)
    except FrameOverwrittenError:
        reading.declared += 1
        return
    reading.frames += 1
    ages.add(clock.now_ns() - header.t_exposure_ns)


# --- plain pyzmq --------------------------------------------------------------------------------------------------


def pyzmq_camera(place: int, folder: str, session: str, anchor: ClockAnchor, n_frames: int, barrier: Barrier) -> None:
    clock = RigClock(anchor)
    frames = sources()
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.setsockopt(zmq.SNDHWM, N_SLOTS)
        socket.bind(f"ipc://{folder}/cam{place}")
        barrier.wait()
        for _ in range(20):
            socket.send_multipart((b"hello", b"", b""))
            clock.sleep_until_ns(clock.now_ns() + 50_000_000)
        barrier.wait()
        start = -(-clock.now_ns() // NS_PER_S) * NS_PER_S + NS_PER_S
        for seq in range(n_frames):
            due = start + seq * NS_PER_S // RATE_HZ
            clock.sleep_until_ns(due)
            header = f"{place} {seq} {due}".encode()
            # The camera's own buffer is written again: a message needs pixels of its own, as a ring slot does.
            socket.send_multipart((b"frame", header, frames[seq % len(frames)].copy()), copy=False)
        socket.setsockopt(zmq.SNDHWM, 0)
        clock.sleep_until_ns(clock.now_ns() + NS_PER_S)
        socket.send_multipart((b"end", b"", b""))
        barrier.wait()


def pyzmq_reader(kind: str, folder: str, n_frames: int, anchor: ClockAnchor, barrier: Barrier, out: str) -> None:
    clock = RigClock(anchor)
    ages, reading = LatencyHistogram(), Reading(kind)
    newest: dict[str, tuple[int, memoryview]] = {}
    ended = 0
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.RCVHWM, N_SLOTS)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        barrier.wait()
        for place in range(N_CAMERAS):
            socket.connect(f"ipc://{folder}/cam{place}")
        barrier.wait()
        began = perf_counter()
        while ended < N_CAMERAS:
            if not socket.poll(2000):
                break
            while True:
                try:
                    topic, header, pixels = socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                if topic.bytes == b"end":
                    ended += 1
                elif topic.bytes == b"frame":
                    camera, _, due = header.bytes.decode().split()
                    if kind == "every":
                        read_every_byte(np.frombuffer(pixels.buffer, np.uint8))
                        reading.frames += 1
                        ages.add(clock.now_ns() - int(due))
                    else:
                        newest[camera] = (int(due), pixels.buffer)
            if kind == "latest" and len(newest) == N_CAMERAS and len({due for due, _ in newest.values()}) == 1:
                for due, buffer in newest.values():
                    read_every_byte(np.frombuffer(buffer, np.uint8))
                    reading.frames += 1
                    ages.add(clock.now_ns() - due)
                reading.sets += 1
                newest.clear()
        reading = finish(reading, ages, began)
    Path(out).write_text(json.dumps(asdict(reading)))
    barrier.wait()


# --- runs ---------------------------------------------------------------------------------------------------------


def paced(peer: str, seconds: float) -> dict[str, object]:
    """Eight cameras at their rate, one reader of every frame, one of latest sets."""
    camera, reader = (ring_camera, ring_reader) if peer == "ethostream" else (pyzmq_camera, pyzmq_reader)
    spawn = multiprocessing.get_context("spawn")
    n_frames = int(seconds * RATE_HZ)
    session = f"bench{uuid.uuid4().hex[:6]}"
    anchor = ClockAnchor.take()
    with tempfile.TemporaryDirectory(prefix="ethostream-") as folder:
        barrier = spawn.Barrier(N_CAMERAS + 2)
        outs = {kind: f"{folder}/{kind}.json" for kind in ("every", "latest")}
        processes = [
            spawn.Process(target=camera, args=(place, folder, session, anchor, n_frames, barrier))
            for place in range(N_CAMERAS)
        ]
        processes += [
            spawn.Process(target=reader, args=(kind, folder, n_frames, anchor, barrier, out))
            for kind, out in outs.items()
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        unlink_session_rings(session)
        readings = {kind: json.loads(Path(out).read_text()) for kind, out in outs.items()}
    published = n_frames * N_CAMERAS
    every = readings["every"]
    # Plain pyzmq drops at its high-water mark without a word: nothing it loses is declared.
    undeclared = published - every["frames"] - every["declared"]
    return {"published": published, "undeclared": undeclared, "readers": readings}


def ring_push(folder: str, name: str, n_frames: int) -> None:
    writer = RingWriter(name, SHAPE, N_SLOTS)
    frames = sources()
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket, context.socket(zmq.PULL) as credit:
        socket.bind(f"ipc://{folder}/push")
        credit.bind(f"ipc://{folder}/credit")
        for seq in range(n_frames):
            if seq >= N_SLOTS - 2:
                credit.recv()
            np.copyto(writer.acquire(), frames[seq % len(frames)])
            slot, generation = writer.commit()
            socket.send(b"%d %d" % (slot, generation))
        for _ in range(N_SLOTS - 2):
            credit.recv()
    writer.close()


def zmq_push(folder: str, name: str, n_frames: int) -> None:
    frames = sources()
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, N_SLOTS)
        socket.bind(f"ipc://{folder}/push")
        for seq in range(n_frames):
            socket.send(frames[seq % len(frames)].copy(), copy=False)


def unpaced(peer: str, n_frames: int) -> float:
    """Frames per second from one writer to one reader of every byte, nothing lost."""
    spawn = multiprocessing.get_context("spawn")
    session = f"bench{uuid.uuid4().hex[:6]}"
    name = f"{ring_prefix(session)}push-0"
    with tempfile.TemporaryDirectory(prefix="ethostream-") as folder, zmq.Context() as context:
        target = ring_push if peer == "ethostream" else zmq_push
        process = spawn.Process(target=target, args=(folder, name, n_frames))
        process.start()
        with context.socket(zmq.PULL) as socket, context.socket(zmq.PUSH) as credit:
            socket.setsockopt(zmq.RCVHWM, N_SLOTS)
            socket.connect(f"ipc://{folder}/push")
            credit.connect(f"ipc://{folder}/credit")
            reader: RingReader | None = None
            began = 0.0
            for number in range(n_frames):
                message = socket.recv(copy=peer == "ethostream")
                if number == 0:
                    began = perf_counter()
                if peer == "ethostream":
                    reader = reader or RingReader(name)
                    slot, generation = (int(part) for part in message.split())  # type: ignore[union-attr]
                    read_every_byte(reader.view(slot, generation))
                    reader.check(slot, generation)
                    credit.send(b"")
                else:
                    read_every_byte(np.frombuffer(message.buffer, np.uint8))  # type: ignore[union-attr]
            rate = (n_frames - 1) / (perf_counter() - began)
        process.join()
        unlink_session_rings(session)
    return round(rate, 1)


def memcpy_rate(n_frames: int) -> float:
    """Copies of one frame per second in one process: the limit of any path that writes a frame once."""
    frames = sources()
    slots = np.zeros((N_SLOTS, *SHAPE), np.uint8)
    began = perf_counter()
    for seq in range(n_frames):
        np.copyto(slots[seq % N_SLOTS], frames[seq % len(frames)])
    return round(n_frames / (perf_counter() - began), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--frames", type=int, default=6000, help="of the unpaced runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, object] = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "cameras": N_CAMERAS,
        "shape": SHAPE,
        "rate_hz": RATE_HZ,
        "seconds": options.seconds,
        "paced": {peer: paced(peer, options.seconds) for peer in ("ethostream", "pyzmq")},
        "unpaced_frames_per_s": {
            "memcpy": memcpy_rate(options.frames),
            **{peer: unpaced(peer, options.frames) for peer in ("ethostream", "pyzmq")},
        },
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
