"""Half an hour of the whole rig: do memory, handles and latency stay where they are, and is every frame accounted for?

    python benchmarks/soak.py [--minutes 30] [--codec h264] [--json soak.json] [--plot docs/images/soak.svg]

Eight simulated 640x480 cameras at 60 Hz (or --cameras, --rate) through `run_rig`, recorded and classified by the
bundled model. Every five seconds memory, open files and threads of each process are read, and what lies in /dev/shm;
latency is counted anew every ten seconds, from the messages. At the end the recording is verified. Exits 1 where a
frame was lost without a word, or something grew. The machine should have nothing else to do.
"""

import argparse
import json
import os
import platform
import stat
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import yaml
from bar_display import BarDisplay
from ethostream.deploy.config import load_run
from ethostream.deploy.report import RunReport
from ethostream.deploy.rig_run import RunResult, run_rig
from ethostream.streaming.messages import Behavior, Heartbeat
from ethostream.streaming.wire import Received
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.latency import LatencyHistogram
from rich.progress import Progress
from soak_plot import Line, Panel, draw

SAMPLE_NS, WINDOW_NS = 5 * NS_PER_S, 10 * NS_PER_S
SHM = Path("/dev/shm")
DEMO_TASK = Path(__file__).parents[1] / "deploy" / "demo" / "task.yaml"
SUPERVISOR = "supervisor"
WARM_SHARE = 0.2
"""The first part of the run, while caches and queues fill, is not compared."""
GROWTH_MB, GROWTH_SHARE = 8.0, 0.05
"""A process may end this much above, or this share above, what it had when it was warm."""
LATENCY_SHARE = 1.5
"""The last third's median p99 may be so many times that of the first third after warming up."""


class SoakWatch(BarDisplay):
    """A `Display` that shows nothing and measures."""

    def __init__(self, seconds: float) -> None:
        self._clock = RigClock(ClockAnchor.take())
        self._seconds = seconds
        self._nodes: dict[str, psutil.Process] = {SUPERVISOR: psutil.Process()}
        self._latency = LatencyHistogram()
        self._began_ns = self._next_sample_ns = self._next_window_ns = 0
        self.samples: list[dict[str, Any]] = []
        self.windows: list[dict[str, Any]] = []
        super().__init__(Progress())
        self._task = self._progress.add_task("soak", total=seconds)

    def on_message(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Behavior):
            self._latency.add(message.t_decided_ns - message.t_exposure_ns)
        elif isinstance(message, Heartbeat):
            known = self._nodes.get(message.node)
            if known is None or known.pid != message.pid:
                try:
                    self._nodes[message.node] = psutil.Process(message.pid)
                except psutil.NoSuchProcess:
                    return  # its last word

    def on_tick(self, phase: str, report: RunReport) -> None:
        now = self._clock.now_ns()
        if phase != "running":
            return
        if not self._began_ns:
            self._began_ns = now
            self._next_sample_ns, self._next_window_ns = now + SAMPLE_NS, now + WINDOW_NS
        self._progress.update(self._task, completed=min((now - self._began_ns) / NS_PER_S, self._seconds))
        if now >= self._next_sample_ns:
            self._next_sample_ns += SAMPLE_NS
            self._sample(now)
        if now >= self._next_window_ns:
            self._next_window_ns += WINDOW_NS
            one = self._latency.summary()
            self._latency = LatencyHistogram()
            self.windows.append({"minutes": self._minutes(now), "p50_ms": one.p50, "p99_ms": one.p99, "n": one.n})

    def _minutes(self, now: int) -> float:
        return round((now - self._began_ns) / NS_PER_S / 60.0, 4)

    def _sample(self, now: int) -> None:
        found: dict[str, Any] = {}
        for node, process in self._nodes.items():
            try:
                with process.oneshot():
                    memory = process.memory_info()
                    found[node] = {
                        "rss_mb": round(memory.rss / 1e6, 2),
                        # Pages of the rings count for every process that maps them: growth of its own is the rest.
                        "own_mb": round((memory.rss - getattr(memory, "shared", 0)) / 1e6, 2),
                        "fds": process.num_fds(),
                        "threads": process.num_threads(),
                    }
            except psutil.NoSuchProcess:
                continue
        self.samples.append({"minutes": self._minutes(now), "shm_mb": round(_shm_bytes() / 1e6, 2), "nodes": found})


def _shm_bytes() -> int:
    """What lies in shared memory, whoever's it is."""
    n = 0
    for path in SHM.iterdir():
        try:
            about = path.stat()
        except FileNotFoundError:
            continue  # a ring whose camera has ended meanwhile
        n += about.st_blocks * 512 if stat.S_ISREG(about.st_mode) else 0
    return n


def judge(watch: SoakWatch, result: RunResult) -> tuple[dict[str, Any], list[str]]:
    """Growth of each process after warming up, and what is wrong."""
    wrong: list[str] = []
    if result.outcome.reason == "failed":
        wrong += result.outcome.failures
    if result.verified is None or not result.verified.ok:
        wrong.append("the recording does not verify")
    else:
        wrong += [
            f"{name}: {one.undeclared} frames undeclared"
            for name, one in result.verified.cameras.items()
            if one.undeclared
        ]
    if result.outcome.restarts:
        wrong.append(f"processes were started again: {result.outcome.restarts}")
    growth: dict[str, Any] = {}
    warm = watch.samples[int(len(watch.samples) * WARM_SHARE) :]
    for node in warm[0]["nodes"] if warm else ():
        rows = [one["nodes"][node] for one in warm if node in one["nodes"]]
        first, last = rows[0], rows[-1]
        growth[node] = {key: round(last[key] - first[key], 2) for key in first}
        if growth[node]["own_mb"] > max(GROWTH_MB, GROWTH_SHARE * first["own_mb"]):
            wrong.append(f"{node}: its memory grew by {growth[node]['own_mb']} MB")
        if max(row["fds"] for row in rows) > first["fds"] + 4:
            wrong.append(f"{node}: open files went from {first['fds']} to {max(row['fds'] for row in rows)}")
    windows = [one["p99_ms"] for one in watch.windows if one["p99_ms"] is not None]
    windows = windows[int(len(windows) * WARM_SHARE) :]
    third = len(windows) // 3
    if third:
        early, late = sorted(windows[:third])[third // 2], sorted(windows[-third:])[third // 2]
        growth["latency_p99_ms"] = {"early": early, "late": late}
        if late > LATENCY_SHARE * early:
            wrong.append(f"latency p99 crept from {early} to {late} ms")
    return growth, wrong


def plot(path: Path, title: str, watch: SoakWatch, minutes: float) -> None:
    """Memory, handles, shared memory and latency over time; the cameras as one curve, their mean."""
    memory: dict[str, Line] = {}
    handles: dict[str, Line] = {}
    for key, lines in (("own_mb", memory), ("fds", handles)):
        rows: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        for sample in watch.samples:
            groups: dict[str, list[float]] = defaultdict(list)
            for node, one in sample["nodes"].items():
                groups["camera (mean)" if node.startswith("camera.") else node].append(one[key])
            for name, values in groups.items():
                rows[name][0].append(sample["minutes"])
                rows[name][1].append(sum(values) / len(values))
        lines.update({name: Line(name, x, y) for name, (x, y) in rows.items()})
    at = [one["minutes"] for one in watch.samples]
    when = [one["minutes"] for one in watch.windows if one["n"]]
    latency = [
        Line(name, when, [one[key] for one in watch.windows if one["n"]])
        for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"))
    ]
    panels = [
        Panel("Memory of each process, without shared pages, MB", list(memory.values())),
        Panel("Open files of each process", list(handles.values())),
        Panel("Shared memory in use, MB", [Line("/dev/shm", at, [one["shm_mb"] for one in watch.samples])]),
        Panel("Exposure to behaviour, ms, per 10 s", latency),
    ]
    draw(path, title, minutes, panels)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--rate", type=float, default=60.0, help="Hz")
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--task", type=Path, default=DEMO_TASK)
    parser.add_argument("--out", type=Path, help="where the recording is made; it is removed at the end")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    camera = {"kind": "simulated", "width": 640, "height": 480, "rate_hz": options.rate, "exposure_us": 2000}
    rig = {
        "name": "soak",
        "cameras": {f"cam{view}": {**camera, "view": view} for view in range(options.cameras)},
        "sets": {"deadline_ms": round(2000 / options.rate)},
        "recording": {"codec": options.codec},
        "monitor": {"enabled": False},
    }
    watch = SoakWatch(options.minutes * 60.0)
    with tempfile.TemporaryDirectory(dir=options.out or Path.cwd()) as folder:
        rig_path = Path(folder) / "rig.yaml"
        rig_path.write_text(yaml.safe_dump(rig), encoding="utf-8")
        run = load_run(rig_path, options.task)
        result = run_rig(run, watch, options.minutes * 60.0, Path(folder), None)
    growth, wrong = judge(watch, result)
    report = result.report
    figures = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "command": " ".join(["python", "benchmarks/soak.py", *sys.argv[1:]]),
        "minutes": options.minutes,
        "growth_after_warming_up": growth,
        "latency_ms": report["latency_ms"],
        "sets": report["sets"],
        "cameras": report["cameras"],
        "recording": report["recording"],
        "undeclared": None
        if result.verified is None
        else sum(one.undeclared for one in result.verified.cameras.values()),
        "wrong": wrong,
        "samples": watch.samples,
        "windows": watch.windows,
    }
    print(json.dumps({key: value for key, value in figures.items() if key not in ("samples", "windows")}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        cameras = f"{options.cameras} cameras, 640x480 at {options.rate:g} Hz"
        title = f"{options.minutes:g} minutes of {cameras}, recorded ({options.codec}) and classified"
        plot(options.plot, title, watch, options.minutes)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
