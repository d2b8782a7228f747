"""The whole simulated cage on two cores: how many Hz does it hold without a frame lost, and where does the time go?

    python benchmarks/cage.py [--seconds 60] [--rates 60,50,40,30,20] [--json cage.json]

Eight simulated 1920x1080 cameras (or --width, --height), each in its process, through `run_rig` with the bundled model
and a rule that fires: acquired, cropped, embedded, classified, triggered. Events are recorded, video is not. A rate is
held where every frame that was due was delivered (none overwritten in the device, none undeclared), no set is partial
and the model stepped on every set that its own rate asks for. The bundled model is of 30 Hz: of 60 Hz sets it takes
every other one; --every-set gives it a copy of its bundle that calls itself one of the set rate, so that every set is
cropped, embedded and classified. The simulator's drawing runs on the same two cores: what it takes is stated apart.
The rates are tried from the highest; the first that is held ends the search.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import yaml
from bar_display import BarDisplay
from bundle_at_rate import bundle_at
from ethostream.deploy.config import load_run
from ethostream.deploy.report import RunReport
from ethostream.deploy.rig_run import run_rig
from ethostream.streaming.messages import Heartbeat
from ethostream.streaming.wire import Received
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

CLASSES = ("locomote", "rear", "groom", "still")
N_VIEWS = 8
DEADLINE_PERIODS = 2
"""A set waits so long for a frame that is late; that delays no complete set."""


class CageWatch(BarDisplay):
    """A `Display` that measures the processor time of each node while the rig runs."""

    def __init__(self, what: str) -> None:
        super().__init__(Progress(console=Console(stderr=True)))
        self._progress.add_task(what, total=None)
        self._nodes: dict[str, psutil.Process] = {}
        self._first: dict[str, tuple[float, float]] = {}
        self.cores: dict[str, float] = {}

    def on_message(self, received: Received) -> None:
        message = received.message
        if not isinstance(message, Heartbeat) or (message.state != "running" and message.node != "inference"):
            return
        try:
            process = self._nodes.setdefault(message.node, psutil.Process(message.pid))
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            return
        now, used = message.t_ns / 1e9, times.user + times.system
        began, before = self._first.setdefault(message.node, (now, used))
        if now > began:
            self.cores[message.node] = (used - before) / (now - began)

    def on_tick(self, phase: str, report: RunReport) -> None:
        pass


def try_rate(rate_hz: float, options: argparse.Namespace) -> dict[str, Any]:
    """One run at one rate."""
    camera = {
        "kind": "simulated",
        "width": options.width,
        "height": options.height,
        "rate_hz": rate_hz,
        "exposure_us": 2000,
        "noise": options.noise,
    }
    rig = {
        "name": "cage",
        "cameras": {f"cam{view}": {**camera, "view": view} for view in range(N_VIEWS)},
        "bus": {"ring_slots": options.ring_slots},
        "sets": {"deadline_ms": 1000.0 * DEADLINE_PERIODS / rate_hz},
        "recording": {"video": False},
        "monitor": {"enabled": False},
        **({"process": yaml.safe_load(options.process)} if options.process else {}),
    }
    rules = [{"name": name, "on_enter": name, "actuator": "none"} for name in CLASSES]
    watch = CageWatch(f"8 x {options.width}x{options.height} at {rate_hz:g} Hz")
    with tempfile.TemporaryDirectory(dir=options.out) as name:
        folder = Path(name)
        bundle = bundle_at(rate_hz, folder) if options.every_set else "demo"
        task = {"bundle": bundle, "rules": rules, "actuators": {"none": {"kind": "null"}}}
        for file, value in (("rig", rig), ("task", task)):
            (folder / f"{file}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
        run = load_run(folder / "rig.yaml", folder / "task.yaml")
        result = run_rig(run, watch, options.seconds, folder, None)
    report, verified = result.report, result.verified
    cameras = report["cameras"].values()
    undeclared = None if verified is None else sum(one.undeclared for one in verified.cameras.values())
    overwritten = report["nodes"].get("inference", {}).get("counters", {}).get("overwritten", 0)
    lost = sum(one["dropped_device"] + one["dropped_declared"] for one in cameras)
    sets, inference = report["sets"], report["inference"]
    due = (sets["complete"] + sets["partial"]) / (1.0 if options.every_set else max(1.0, rate_hz / 30.0))
    held = {
        "nothing_failed": not result.outcome.failures,
        "no_frame_undeclared": undeclared == 0,
        "no_frame_lost": lost == 0 and overwritten == 0,
        "sets_complete": sets["partial"] == 0 and sets["complete"] > 0,
        "no_set_passed_over": inference["steps"] >= 0.995 * due,
    }
    return {
        "rate_hz": rate_hz,
        "held": all(held.values()),
        "conditions": held,
        "no_undeclared_loss": undeclared == 0,
        "undeclared": undeclared,
        "lost_declared": lost,
        "late": sets["late"],
        "sets": {"complete": sets["complete"], "partial": sets["partial"], "due_steps": round(due)},
        "steps": inference["steps"],
        "steps_hz": round(inference["steps"] / max(report["seconds"], 1e-9), 2),
        "latency_ms": report["latency_ms"],
        "stage_ms": report["stage_ms"],
        "cores": {name: round(value, 3) for name, value in sorted(watch.cores.items())},
        "failures": result.outcome.failures,
    }


def show(tries: list[dict[str, Any]]) -> None:
    table = Table(title="The whole cage on two cores")
    for name in ("Hz", "held", "undecl.", "lost", "partial", "steps/s", "p50 ms", "p99 ms", "cameras", "model"):
        table.add_column(name, justify="right")
    for one in tries:
        latency = one["latency_ms"]["exposure_to_behavior"]
        cameras = sum(value for name, value in one["cores"].items() if name.startswith("camera."))
        table.add_row(
            f"{one['rate_hz']:g}",
            "yes" if one["held"] else "no",
            str(one["undeclared"]),
            str(one["lost_declared"]),
            str(one["sets"]["partial"]),
            f"{one['steps_hz']:.1f}",
            *("" if latency[key] is None else f"{latency[key]:.1f}" for key in ("p50", "p99")),
            f"{cameras:.2f}",
            f"{one['cores'].get('inference', 0.0):.2f}",
        )
    console = Console()
    console.print(table)
    stages = Table(title=f"Where the time goes at {tries[-1]['rate_hz']:g} Hz, ms per step")
    for name in ("stage", "p50", "p99"):
        stages.add_column(name, justify="left" if name == "stage" else "right")
    for name, one in tries[-1]["stage_ms"].items():
        stages.add_row(name, *("" if one[key] is None else f"{one[key]:.2f}" for key in ("p50", "p99")))
    console.print(stages)
    console.print("lost: declared frames; cameras, model: cores taken, the simulator's drawing among them")
    for one in tries:
        missed = [name.replace("_", " ") for name, ok in one["conditions"].items() if not ok]
        if missed:
            console.print(f"{one['rate_hz']:g} Hz is not held, since this does not hold: {', '.join(missed)}")
        for failure in one["failures"]:
            console.print(f"{one['rate_hz']:g} Hz: {failure}", markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--rates", default="60,50,40,30,25,20,15,10")
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--noise", type=float, default=0.0, help="of the simulated sensors, grey levels")
    parser.add_argument("--ring-slots", type=int, default=24)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--every-set", action="store_true")
    parser.add_argument("--process", help="the rig file's process section, as YAML")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    tries: list[dict[str, Any]] = []
    for rate in options.rates.split(","):
        tries.append(try_rate(float(rate), options))
        if tries[-1]["held"]:
            break
    show(tries)
    held = [one["rate_hz"] for one in tries if one["held"]]
    without_loss = [one["rate_hz"] for one in tries if one["no_undeclared_loss"] and not one["failures"]]
    print(f"held: {held[-1]:g} Hz" if held else "held: none of these rates")
    print(f"no frame lost without a word: up to {max(without_loss):g} Hz" if without_loss else "frames were lost")
    if options.json:
        result = {
            "machine": {"processor": platform.machine(), "cores": options.cores, "python": platform.python_version()},
            "command": " ".join(["python", "benchmarks/cage.py", *sys.argv[1:]]),
            "held_hz": held[-1] if held else None,
            "no_undeclared_loss_hz": max(without_loss, default=None),
            "tries": tries,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any(one["undeclared"] for one in tries) or not held)


if __name__ == "__main__":
    sys.exit(main())
