"""Eight cameras at 1080p60 through the bus on this machine, beside other ways of moving frames, in one run.

    python benchmarks/bus.py [--seconds 20] [--frames 4000] [--peers ethostream,pyzmq] [--json bus.json]

Paced: eight camera processes write a 1920x1080 frame 60 times a second each (1 GB/s); one process reads every byte of
every frame, two read every byte of the newest whole frame set. Unpaced: one writer, and the same three processes read
every byte of every frame, as fast as goes without losing one; the writer waits until the slowest reader is `WINDOW`
frames behind. Each sum of bytes is compared with what was sent. Ages are from the instant at which a frame was due,
before it is written, to after its last byte was read.

Each peer is one file in `benchmarks/bus_peers/`, behind one protocol: what happens around it is the code of this file.
A peer that is not installed (`pip install -e '.[bench]'`) is named as not measured. memcpy is the limit of one core.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep  # noqa: TID251
from typing import Any

import numpy as np
import psutil
from bus_peers.peer import PEERS, Image, Place, load_peer
from bus_table import show
from ethostream.streaming.ring import unlink_session_rings
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.latency import LatencyHistogram

SHAPE = (1080, 1920)
N_CAMERAS = 8
RATES_HZ = (60.0, 15.0)
N_SLOTS = 48
READERS = ("every", "latest", "latest")
N_SOURCES = 4
HELLO, END = -1, -2
STAMP_WORDS = 3
"""Camera, number and time stand in the first three words of each image."""
TIMEOUT_S = 30.0
WAIT_S = 5e-5


@dataclass
class Reading:
    """What one reader saw."""

    reader: str
    frames: int = 0
    overwritten: int = 0
    wrong: int = 0
    sets: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    max_us: float = 0.0
    core: float = 0.0
    cpu_s: float = 0.0
    frames_per_s: float = 0.0


class Shared:
    """A few numbers that all processes of a run see: who has heard whom, what was read, who is done."""

    def __init__(self, spawn: Any, cameras: int, readers: int) -> None:
        self.heard = spawn.Array("q", cameras * readers, lock=False)
        self.read = spawn.Array("q", readers, lock=False)
        self.done = spawn.Array("q", readers, lock=False)
        self.start_ns = spawn.Value("q", 0, lock=False)
        self.core = spawn.Array("d", cameras, lock=False)
        self.cpu_s = spawn.Array("d", cameras, lock=False)


def sources() -> list[Image]:
    """Frames to send, several, with room for the stamp."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, SHAPE, dtype=np.uint8) for _ in range(N_SOURCES)]
    for one in images:
        one.reshape(-1)[: 8 * STAMP_WORDS] = 0
    return images


def words(image: Image) -> Any:
    return image.reshape(-1).view(np.int64)


class Used:
    """Processor time of this process since now."""

    def __init__(self) -> None:
        self._cpu, self._began = self._now(), perf_counter()

    @staticmethod
    def _now() -> float:
        times = psutil.Process().cpu_times()
        return times.user + times.system

    def seconds(self) -> float:
        return self._now() - self._cpu

    def cores(self) -> float:
        return round(self.seconds() / max(1e-9, perf_counter() - self._began), 3)


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Until ``true``; a peer that never gets there must not hang the run."""
    began = perf_counter()
    while not true():
        if perf_counter() - began > TIMEOUT_S:
            raise TimeoutError(f"{what}: not within {TIMEOUT_S:g} s")
        sleep(0.005)


def camera(peer: str, place: Place, number: int, anchor: ClockAnchor, shared: Shared, n: int, rate_hz: float) -> None:
    """One writer: says hello until every reader has heard it, then ``n`` frames, then the end."""
    clock, module, images = RigClock(anchor), load_peer(peer), sources()
    sender = module.sender(place, number)

    def put(seq: int, due_ns: int) -> None:
        target = sender.image()
        np.copyto(target, images[seq % N_SOURCES] if seq >= 0 else images[0])
        words(target)[:STAMP_WORDS] = number, seq, due_ns
        sender.send()

    def heard() -> bool:
        put(HELLO, clock.now_ns())
        return all(shared.heard[number * place.readers : (number + 1) * place.readers])

    wait_for(heard, f"{peer}: camera {number} is not heard by all readers")
    wait_for(lambda: shared.start_ns.value > 0, "the common start")
    start = shared.start_ns.value
    clock.sleep_until_ns(start)
    began, used = perf_counter(), Used()
    for seq in range(n):
        if rate_hz:
            due_ns = start + round(seq * NS_PER_S / rate_hz)
            clock.sleep_until_ns(due_ns)
        else:
            while seq - min(shared.read) >= module.WINDOW:
                if perf_counter() - began > TIMEOUT_S + n / 50:
                    sys.exit(f"{peer}: a frame was lost, the readers have {list(shared.read)} of {seq}")
                sleep(WAIT_S)
            due_ns = clock.now_ns()
        put(seq, due_ns)
    shared.core[number], shared.cpu_s[number] = used.cores(), used.seconds()
    until_ns = clock.now_ns() + NS_PER_S
    while min(shared.read) < n and clock.now_ns() < until_ns:
        sleep(0.005)  # the end would be written into buffers that are still being sent

    def ended() -> bool:
        put(END, 0)
        return all(shared.done)

    wait_for(ended, f"{peer}: the readers do not end")
    sender.close()


class ReaderLoop:
    """One reader: every byte of every frame, or of the newest whole set."""

    def __init__(self, kind: str, place: Place, number: int, anchor: ClockAnchor, shared: Shared, paced: bool) -> None:
        self._kind, self._place, self._number, self._shared, self._paced = kind, place, number, shared, paced
        self._clock = RigClock(anchor)
        self._expected = [int(words(one).sum()) for one in sources()]
        self._ages = LatencyHistogram()
        self._sets: dict[int, dict[int, tuple[Image, Any, int]]] = defaultdict(dict)
        self._ended: set[int] = set()
        self.reading = Reading(kind)

    def run(self, module: Any) -> Reading:
        reader = module.reader(self._place, self._number)
        used = Used()
        first = last = perf_counter()
        heard: set[int] = set()
        quiet_since = perf_counter()
        while len(self._ended) < self._place.cameras:
            arrived = reader.poll(100)
            if arrived:
                quiet_since = perf_counter()
            elif perf_counter() - quiet_since > TIMEOUT_S:
                sys.exit(f"reader {self._number}: nothing for {TIMEOUT_S:g} s")
            for image, token in arrived:
                number, seq, due_ns = (int(word) for word in words(image)[:STAMP_WORDS])
                if number not in heard and reader.whole(token):
                    heard.add(number)
                    self._shared.heard[number * self._place.readers + self._number] = 1
                    used = Used()
                if seq == END:
                    self._ended.add(number)
                elif seq >= 0:
                    first = first if self.reading.frames else perf_counter()
                    if self._kind == "every" or not self._paced:
                        self._read(reader, image, token, seq, due_ns, number)
                    else:
                        self._sets[seq][number] = image, token, due_ns
                    last = perf_counter()
            del arrived
            self._newest(reader)
        self._shared.done[self._number] = 1
        one = self.reading
        one.p50_us = (self._ages.percentile_ns(0.5) or 0) / 1000
        one.p99_us = (self._ages.percentile_ns(0.99) or 0) / 1000
        one.max_us = self._ages.max_ns / 1000
        one.core, one.cpu_s = used.cores(), used.seconds()
        one.frames_per_s = round((one.frames - 1) / max(1e-9, last - first), 1)
        reader.close()
        return one

    def _newest(self, reader: Any) -> None:
        whole = [seq for seq, items in self._sets.items() if len(items) == self._place.cameras]
        if not whole:
            for seq in sorted(self._sets)[: -N_SLOTS // 8]:
                del self._sets[seq]  # a set that lacks a frame for so long never becomes whole
            return
        newest = max(whole)
        for number, (image, token, due_ns) in self._sets[newest].items():
            self._read(reader, image, token, newest, due_ns, number)
        self.reading.sets += 1
        for seq in [seq for seq in self._sets if seq <= newest]:
            del self._sets[seq]

    def _read(self, reader: Any, image: Image, token: Any, seq: int, due_ns: int, number: int) -> None:
        total = int(words(image).sum())
        if not reader.whole(token):
            self.reading.overwritten += 1
        else:
            self._ages.add(self._clock.now_ns() - due_ns)
            off = (total - self._expected[seq % N_SOURCES] - number - seq - due_ns) % 2**64
            self.reading.wrong += off != 0
            self.reading.frames += 1
        self._shared.read[self._number] = seq + 1


def reader(
    peer: str, kind: str, place: Place, number: int, anchor: ClockAnchor, shared: Shared, paced: bool, out: str
) -> None:
    loop = ReaderLoop(kind, place, number, anchor, shared, paced)
    Path(out).write_text(json.dumps(asdict(loop.run(load_peer(peer)))))


def measure(peer: str, cameras: int, n_frames: int, rate_hz: float) -> dict[str, Any]:
    """One run of one peer; rate 0: unpaced."""
    spawn = multiprocessing.get_context("spawn")
    session = f"bench{uuid.uuid4().hex[:6]}"
    anchor, shared = ClockAnchor.take(), Shared(spawn, cameras, len(READERS))
    clock = RigClock(anchor)
    n_slots = N_SLOTS if rate_hz else 2 * load_peer(peer).WINDOW + 4
    with tempfile.TemporaryDirectory(prefix="etho-") as folder:
        place = Place(folder, session, SHAPE, n_slots, cameras, len(READERS))
        outs = [f"{folder}/{number}.json" for number in range(len(READERS))]
        processes = [
            spawn.Process(target=camera, args=(peer, place, number, anchor, shared, n_frames, rate_hz))
            for number in range(cameras)
        ] + [
            spawn.Process(target=reader, args=(peer, kind, place, number, anchor, shared, rate_hz > 0, outs[number]))
            for number, kind in enumerate(READERS)
        ]
        try:
            for process in processes:
                process.start()
            wait_for(lambda: all(shared.heard) or any(one.exitcode for one in processes), f"{peer}: bring-up")
            shared.start_ns.value = clock.now_ns() + NS_PER_S // 2
            end_s = perf_counter() + 4 * TIMEOUT_S + (n_frames / rate_hz if rate_hz else 0.0)
            for process in processes:
                process.join(max(0.0, end_s - perf_counter()))
            if any(process.is_alive() for process in processes):
                raise TimeoutError(f"{peer}: the run does not end")
        except TimeoutError as error:
            return {"failed": str(error)}
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                    process.join()
            unlink_session_rings(session)
        if any(process.exitcode for process in processes):
            n_failed = sum(bool(process.exitcode) for process in processes)
            return {"failed": f"{n_failed} of {len(processes)} processes failed"}
        readings = [json.loads(Path(out).read_text()) for out in outs]
    sent = n_frames * cameras
    every = readings[0]
    # What the ring overwrote is declared; what any other peer did not deliver, nobody says.
    lost = sent - every["frames"] - every["overwritten"]
    return {
        "sent": sent,
        "read_by_every": every["frames"],
        "declared": every["overwritten"],
        "undeclared": lost,
        "wrong": sum(one["wrong"] for one in readings),
        "frames_per_s": min(one["frames_per_s"] for one in readings),
        "cpu_ms_per_frame": round(1000 * (sum(one["cpu_s"] for one in readings) + sum(shared.cpu_s)) / sent, 4),
        "cores": round(sum(one["core"] for one in readings) + sum(shared.core), 3),
        "readers": readings,
    }


def memcpy_rate(n_frames: int) -> float:
    """Copies of one frame per second in one process: the limit of any path that writes a frame once."""
    images = sources()
    slots = np.zeros((10, *SHAPE), np.uint8)
    began = perf_counter()
    for seq in range(n_frames):
        np.copyto(slots[seq % len(slots)], images[seq % N_SOURCES])
    return round(n_frames / (perf_counter() - began), 1)


def best_of(result: dict[str, Any], key: str) -> float | None:
    rates = [one[key] for name, one in result.items() if one.get(key) and name in result and _is_zeromq(name)]
    return max(rates, default=None)


def _is_zeromq(name: str) -> bool:
    return bool(load_peer(name).ZEROMQ)


def two_cores(n: int) -> AbstractContextManager[None]:
    """Everything that is started from here on runs on ``n`` cores."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, mine[:n])
    return nullcontext()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each paced run; 0: none")
    parser.add_argument("--frames", type=int, default=4000, help="of each unpaced run; 0: none")
    parser.add_argument("--cameras", type=int, default=N_CAMERAS, help="of the paced runs")
    parser.add_argument("--rates", default=",".join(f"{one:g}" for one in RATES_HZ), help="of the paced runs, Hz")
    parser.add_argument("--rounds", type=int, default=3, help="unpaced runs of each peer in turn; the median counts")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = options.peers.split(",")
    if unknown := set(chosen) - set(PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    two_cores(options.cores)
    peers: list[str] = []
    result: dict[str, Any] = {
        "machine": {"processor": platform.machine(), "cores": options.cores, "python": platform.python_version()},
        "command": " ".join(["python", "benchmarks/bus.py", *sys.argv[1:]]),
        "cameras": options.cameras,
        "shape": SHAPE,
        "not_measured": {},
        "unpaced": {},
        "paced": {},
    }
    for name in chosen:
        try:
            load_peer(name)
            peers.append(name)
        except ImportError as error:
            result["not_measured"][name] = str(error)
    result["memcpy_frames_per_s"] = memcpy_rate(max(200, options.frames))
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(options.rounds if options.frames else 0):
        for name in peers:
            runs[name].append(measure(name, 1, options.frames, 0.0))
    for name, tries in runs.items():
        good = sorted((one for one in tries if "failed" not in one), key=lambda one: one["frames_per_s"])
        result["unpaced"][name] = good[len(good) // 2] if good else tries[0]
    for rate in options.rates.split(",") if options.seconds else ():
        result["paced"][rate] = {
            name: measure(name, options.cameras, round(options.seconds * float(rate)), float(rate)) for name in peers
        }
    if "ethostream" in peers and options.frames and (best := best_of(result["unpaced"], "frames_per_s")):
        result["times_the_best_zeromq_peer"] = round(result["unpaced"]["ethostream"]["frames_per_s"] / best, 3)
    show(result)
    if "times_the_best_zeromq_peer" in result:
        print(f"ethostream: {result['times_the_best_zeromq_peer']} times the best ZeroMQ peer, unpaced")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
