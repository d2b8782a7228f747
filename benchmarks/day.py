"""A day of a rig in minutes: 24 hours of frame headers from eight cameras at 60 Hz, under a clock that is only counted.

    python benchmarks/day.py [--hours 24] [--seed 1] [--json day.json]

Every header takes the way of the rig: device ticks to rig time (`FrameClock`, as in the camera node), the account of
the frame counter (`FrameLedger`), the recorder's account (`FrameAccount`), the frame-set assembler and the latency
histogram. The cameras drift, drop single frames and bursts, are held up in queues; one clock jumps, one camera is
unplugged for a while and returns. Exits 1 where a frame was lost without a word, a set was mixed, or memory grew.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time  # noqa: TID251
from typing import Any

import numpy as np
import psutil
from ethostream.acquisition.camera import CameraFormat, Grab
from ethostream.acquisition.frame_clock import FrameClock
from ethostream.acquisition.ledger import FrameLedger
from ethostream.streaming.frame_account import FrameAccount
from ethostream.streaming.messages import CameraStatus, FrameHeader, Gap
from ethostream.sync.clock import NS_PER_S
from ethostream.sync.frameset import ClosedSet, FrameSetAssembler
from ethostream.sync.latency import LatencyHistogram
from rich.progress import Progress

N_CAMERAS, RATE_HZ = 8, 60.0
PERIOD_NS = round(NS_PER_S / RATE_HZ)
T0_NS = 1_700_000_000_000_000_000
EXPOSURE_US, TRANSPORT_NS = 2000, 6_000_000
CHUNK = 1800
"""Instants that are drawn together: half a minute."""
DROP_P, BURST_P = 1e-4, 1e-6
STAMP_NOISE_NS, QUEUE_NS = 20_000.0, 700_000.0
STEP_TICKS = 10 * NS_PER_S
SETTLED_CHUNKS = 6
"""Memory is compared with what it was after these: buffers and histories are full by then."""
MEMORY_MB = 24.0
"""What may be added in a day: runs of frame numbers, two integers per gap."""


@dataclass
class CameraRun:
    """One camera: its device, and what the rig keeps of it."""

    name: str
    drift: float
    boot_ns: int
    epoch: int = 0
    first_instant: int = 0
    delivered: int = 0
    n_steps: int = 0
    n_host: int = 0
    clock: FrameClock = field(init=False)
    ledger: FrameLedger = field(init=False)
    account: FrameAccount = field(init=False)

    def __post_init__(self) -> None:
        self.account = FrameAccount(self.name)
        self.begin(0, 0)

    def begin(self, epoch: int, first_instant: int) -> None:
        """A camera process starts: new clock, new account of the frame counter, which begins at 0."""
        self.epoch, self.first_instant = epoch, first_instant
        form = CameraFormat(640, 480, "mono8", RATE_HZ, "device", 1e9, TRANSPORT_NS)
        self.clock, self.ledger = FrameClock(self.name, form), FrameLedger()

    def status(self, state: Any, t_ns: int) -> None:
        """Say what the camera node says twice a second, and account it as the recorder does."""
        for missing in self.ledger.declare(end=state != "running"):
            self.account.add_gap(Gap("device", self.name, self.epoch, missing.first_seq, missing.n, "jump", t_ns))
        one = self.ledger
        status = CameraStatus(
            self.name, self.epoch, state, one.first_seq, one.last_seq, one.captured, one.dropped, one.duplicates,
            RATE_HZ, t_ns,
        )  # fmt: skip
        for gap in self.account.add_status(status, t_ns):
            raise AssertionError(f"{gap}: a frame was lost without a word")


class Day:
    """The rig and its day."""

    def __init__(self, hours: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.n_instants = round(hours * 3600 * RATE_HZ)
        self.cameras = [
            CameraRun(f"cam{place}", float(self.rng.uniform(-100e-6, 100e-6)), int(self.rng.integers(0, 10**14)))
            for place in range(N_CAMERAS)
        ]
        self.assembler: FrameSetAssembler[tuple[int, int]] = FrameSetAssembler(
            [c.name for c in self.cameras], PERIOD_NS
        )
        self.latency, self.error = LatencyHistogram(), LatencyHistogram()
        self.mispaired = 0
        n = self.n_instants
        self.unplug = (n * 3 // 10, n * 3 // 10 + min(90 * 60, n // 10))
        self.step_at = n * 6 // 10
        self.memory: list[float] = []

    def run(self) -> None:
        with Progress() as progress:
            task = progress.add_task("headers of a day", total=self.n_instants)
            for first in range(0, self.n_instants, CHUNK):
                n = min(CHUNK, self.n_instants - first)
                self._chunk(first, n)
                self.memory.append(psutil.Process().memory_info().rss / 1e6)
                progress.advance(task, n)
        self._count(self.assembler.flush())
        for camera in self.cameras:
            camera.status("stopped", T0_NS + self.n_instants * PERIOD_NS)

    def _chunk(self, first: int, n: int) -> None:
        """Draw the deliveries of some instants, and give each the way of the rig in the order of arrival."""
        ticks, arrivals, instants, places = [], [], [], []
        for place in range(N_CAMERAS):
            kept = self._kept(place, first, n)
            at_ns = kept * PERIOD_NS
            camera = self.cameras[place]
            true = at_ns + np.rint(at_ns * camera.drift).astype(np.int64) + camera.boot_ns
            if place == 5:
                true = true + (kept >= self.step_at) * STEP_TICKS
            ticks.append(true + np.rint(self.rng.normal(0.0, STAMP_NOISE_NS, len(kept))).astype(np.int64))
            queue = np.minimum(self.rng.exponential(QUEUE_NS, len(kept)), PERIOD_NS / 3)
            arrivals.append(T0_NS + at_ns + EXPOSURE_US * 1000 + TRANSPORT_NS + queue.astype(np.int64))
            instants.append(kept)
            places.append(np.full(len(kept), place))
        order = np.argsort(np.concatenate(arrivals), kind="stable")
        rows = [np.concatenate(one)[order].tolist() for one in (places, instants, ticks, arrivals)]
        self._deliver(*rows)

    def _kept(self, place: int, first: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        dropped = self.rng.random(n) < DROP_P
        for begins in np.flatnonzero(self.rng.random(n) < BURST_P):
            dropped[begins : begins + 50] = True
        instants = np.arange(first, first + n)
        camera = self.cameras[place]
        there = np.ones(n, bool)
        if place == 3:
            there = (instants < self.unplug[0]) | (instants >= self.unplug[1])
        kept = instants[there & ~dropped]
        camera.delivered += len(kept)
        return kept

    def _deliver(self, places: list[int], instants: list[int], ticks: list[int], arrivals: list[int]) -> None:
        assembler, latency, error, cameras = self.assembler, self.latency, self.error, self.cameras
        next_status_ns = arrivals[0] + NS_PER_S // 2 if arrivals else 0
        back = self.unplug[1]
        for place, instant, tick, now in zip(places, instants, ticks, arrivals, strict=True):
            camera = cameras[place]
            if place == 3 and instant >= back and not camera.epoch:
                camera.status("lost", now)
                camera.begin(1, instant)
                assembler.set_lost(camera.name, False)
            seq = instant - camera.first_instant
            stamp = camera.clock.stamp(Grab(seq, -1, EXPOSURE_US, -1, None, tick), now)
            camera.n_steps += stamp.stepped
            camera.n_host += stamp.time_source == "host"
            t_ns = stamp.t_exposure_ns
            if camera.ledger.arrive(seq, t_ns) != "new":
                raise AssertionError(f"{camera.name}: frame {seq} was taken for a repeat or a counter that went back")
            header = FrameHeader(
                camera.name, camera.epoch, seq, t_ns, EXPOSURE_US, now, stamp.time_source, 640, 480, "mono8", "", 0, 0,
                "ring", -1, tick,
            )  # fmt: skip
            if not camera.account.add_header(header):
                raise AssertionError(f"{camera.name}: header {seq} was taken for a duplicate")
            camera.account.add_written(header.epoch, seq)
            latency.add(now - t_ns)
            if stamp.time_source == "device":
                error.add(abs(t_ns - T0_NS - instant * PERIOD_NS))
            closed = assembler.add(
                camera.name, (header.epoch, seq, t_ns), t_ns + 1000 * EXPOSURE_US // 2, now, (place, instant)
            )
            if closed:
                self._count(closed)
            if now >= next_status_ns:
                next_status_ns = now + NS_PER_S // 2
                for one in cameras:
                    if one.ledger.first_seq >= 0:
                        one.status("running", now)
                if cameras[3].epoch == 0 and self.unplug[0] < instant < back:
                    self._count(assembler.set_lost("cam3", True))

    def _count(self, closed: list[ClosedSet[tuple[int, int]]]) -> None:
        for one in closed:
            instant = -1
            for place, item in enumerate(one.items):
                if item is None:
                    continue
                if instant < 0:
                    instant = item[1]
                if item != (place, instant):
                    self.mispaired += 1
                    break

    def result(self) -> dict[str, Any]:
        """The figures, and what fails of what was promised."""
        counts = self.assembler.counts
        n_frames = sum(one.delivered for one in self.cameras)
        in_sets = counts.frames_complete + counts.frames_partial
        undeclared = 0
        declared = 0
        for one in self.cameras:
            n_device = self.n_instants if one.epoch == 0 else self.unplug[0] + self.n_instants - one.first_instant
            declared += one.account.n_declared
            # Frames dropped before an epoch's first or after its last frame are not seen by anybody.
            undeclared += abs(one.delivered - one.account.n_written)
            seen = sum(len(epoch.device) + epoch.n_written for epoch in one.account.epochs.values())
            undeclared += max(0, abs(n_device - seen) - 2 * 51)
        containers = {
            "open_sets": len(self.assembler._open),
            "remembered_frames": max(len(one.recent) for one in self.assembler._history),
            "window_frames": max(one.clock._fit.n_used for one in self.cameras if one.clock._fit),
            "runs_of_frame_numbers": sum(
                len(list(found.runs())) for one in self.cameras for found in one.account.headers.received.values()
            ),
        }
        settled = self.memory[min(SETTLED_CHUNKS, len(self.memory) - 1)]
        fits = [one.clock.status(0, 0) for one in self.cameras]
        result: dict[str, Any] = {
            "hours": round(self.n_instants / RATE_HZ / 3600, 3),
            "headers": n_frames,
            "declared_drops": declared,
            "undeclared": undeclared + abs(n_frames - in_sets - counts.frames_duplicate - counts.frames_late),
            "sets_complete": counts.complete,
            "sets_partial": counts.partial,
            "frames_late": counts.frames_late,
            "mispaired": self.mispaired,
            "clock_steps": [one.n_steps for one in self.cameras],
            "frames_stamped_by_the_host": sum(one.n_host for one in self.cameras),
            "drift_error_ppm_max": round(
                max(abs(fit.drift_ppm - one.drift * 1e6) for one, fit in zip(self.cameras, fits, strict=True) if fit), 3
            ),
            "exposure_to_received_ms": vars_of(self.latency),
            "error_of_device_times_ms": vars_of(self.error),
            "memory_mb": {
                "settled": round(settled, 1),
                "end": round(self.memory[-1], 1),
                "max": round(max(self.memory), 1),
            },
            "containers": containers,
        }
        wrong: list[str] = []
        if result["undeclared"] or self.mispaired:
            wrong.append("a frame was lost without a word, or a set was mixed")
        if self.memory[-1] - settled > MEMORY_MB:
            wrong.append(f"memory grew by {self.memory[-1] - settled:.1f} MB")
        if result["clock_steps"] != [0, 0, 0, 0, 0, 1, 0, 0]:
            wrong.append("not exactly the step that was made was declared")
        result["wrong"] = wrong
        return result


def vars_of(latency: LatencyHistogram) -> dict[str, Any]:
    one = latency.summary()
    return {"p50": one.p50, "p99": one.p99, "p999": one.p999, "max": one.max}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    began = process_time()
    day = Day(options.hours, options.seed)
    day.run()
    result = day.result()
    result["processor_s"] = round(process_time() - began, 1)
    result["us_per_header"] = round(result["processor_s"] / result["headers"] * 1e6, 2)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(bool(result["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
