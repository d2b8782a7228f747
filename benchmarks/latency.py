"""Exposure to trigger call through the whole rig, over many frame sets, in the manner of Strand-Braid's harness.

    python benchmarks/latency.py [--sets 100000] [--views 8] [--rate 60] [--json FILE] [--plot FILE.svg]

Simulated cameras, each in its process, the bundled model (made one of --rate), and a rule that fires an actuator of
kind null at every set with a label. The cameras have their picture ready before its exposure; exposure (--exposure-us)
and transfer (1 us) are in what is measured. Beside it stand embedder and head, and what is left without those two and
without the exposure: bus, frame set, crops, stabiliser, rules.

Drift compares the median of the last minutes with that of the first ones. Exits 1 where a frame was lost without a
word. The machine should have nothing else to do.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from bar_display import BarDisplay
from bundle_at_rate import bundle_at
from ethostream.deploy.config import load_run
from ethostream.deploy.report import RunReport
from ethostream.deploy.rig_run import run_rig
from ethostream.streaming.messages import Behavior, Decision
from ethostream.streaming.wire import Received
from ethostream.sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from ethostream.sync.latency import LatencyHistogram
from histogram_plot import draw_histograms
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

CLASSES = ("locomote", "rear", "groom", "still")
WARM_UP_S = 5.0
"""While caches fill and frequencies settle nothing is counted."""
FIGURES = ("exposure_to_trigger", "embedder", "head", "overhead")
TARGETS_MS = {"p50": 1.0, "p99": 4.0}
DRIFT_SHARE = 0.05


class LatencyWatch(BarDisplay):
    """A `Display` that shows a bar and counts."""

    def __init__(self, n_sets: int, exposure_us: int) -> None:
        self._n_sets = n_sets
        self._exposure_ns = exposure_us * NS_PER_US
        self._stages: dict[int, Behavior] = {}
        self._fired: dict[int, Decision] = {}
        self._first_ns = 0
        self.histograms = {name: LatencyHistogram() for name in FIGURES}
        self.minutes: list[LatencyHistogram] = []
        super().__init__(Progress(console=Console(stderr=True)))
        self._task = self._progress.add_task("sets", total=n_sets)

    def on_message(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Behavior):
            self._stages[message.set_id] = message
        elif isinstance(message, Decision) and message.t_fired_ns:
            self._fired[message.set_id] = message
        else:
            return
        behavior, decision = self._stages.get(message.set_id), self._fired.get(message.set_id)
        if behavior is not None and decision is not None:
            self._count(behavior, decision)
            del self._stages[message.set_id], self._fired[message.set_id]
        for waiting in (self._stages, self._fired):
            while len(waiting) > 64:
                del waiting[next(iter(waiting))]

    def _count(self, behavior: Behavior, decision: Decision) -> None:
        self._first_ns = self._first_ns or decision.t_exposure_ns
        since_ns = decision.t_exposure_ns - self._first_ns - round(WARM_UP_S * NS_PER_S)
        total = self.histograms["exposure_to_trigger"]
        if since_ns < 0 or total.n >= self._n_sets:
            return
        whole = decision.t_fired_ns - decision.t_exposure_ns
        embedder, head = behavior.t_embedded_ns - behavior.t_cropped_ns, behavior.t_head_ns - behavior.t_embedded_ns
        overhead = whole - embedder - head - self._exposure_ns
        for name, value in zip(FIGURES, (whole, embedder, head, overhead), strict=True):
            self.histograms[name].add(value)
        minute = since_ns // (60 * NS_PER_S)
        while len(self.minutes) <= minute:
            self.minutes.append(LatencyHistogram())
        self.minutes[minute].add(whole)

    def on_tick(self, phase: str, report: RunReport) -> None:
        self._progress.update(self._task, completed=self.histograms["exposure_to_trigger"].n)


def drift(minutes: list[LatencyHistogram], span: int) -> dict[str, float] | None:
    """Median of the last ``span`` minutes against that of the first; None where the run was too short."""
    whole = [one for one in minutes if one.n]
    if len(whole) < 2 * span:
        return None
    medians = [float(one.percentile_ns(0.5) or 0) / NS_PER_MS for one in whole]
    first, last = sum(medians[:span]) / span, sum(medians[-span:]) / span
    return {"first_ms": round(first, 4), "last_ms": round(last, 4), "change": round(last / first - 1.0, 4)}


def measure(views: int, sets: int, options: argparse.Namespace) -> tuple[dict[str, Any], LatencyWatch]:
    """One rig with so many views."""
    camera = {
        "kind": "simulated",
        "width": options.width,
        "height": options.height,
        "rate_hz": options.rate,
        "exposure_us": options.exposure_us,
        "transfer_us": 1 + options.exposure_us,
    }
    rig = {
        "name": "latency",
        "cameras": {f"cam{view}": {**camera, "view": view} for view in range(views)},
        "sets": {"deadline_ms": 2000.0 / options.rate},
        "recording": {"video": False},
        "monitor": {"enabled": False},
        **({"process": yaml.safe_load(options.process)} if options.process else {}),
    }
    rules = [
        {"name": name, "on_while": {"behavior": name, "every_ms": 0.1}, "actuator": "none", "require_complete": False}
        for name in CLASSES
    ]
    watch = LatencyWatch(sets, options.exposure_us)
    seconds = WARM_UP_S + 2.0 + sets / options.rate
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        bundle = bundle_at(options.rate, Path(folder))
        task = {"bundle": bundle, "rules": rules, "actuators": {"none": {"kind": "null"}}}
        for name, value in (("rig", rig), ("task", task)):
            (Path(folder) / f"{name}.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
        run = load_run(Path(folder) / "rig.yaml", Path(folder) / "task.yaml")
        result = run_rig(run, watch, seconds, Path(folder), None)
    verified = result.verified
    found: dict[str, Any] = {
        "views": views,
        "sets": watch.histograms["exposure_to_trigger"].n,
        "undeclared": None if verified is None else sum(one.undeclared for one in verified.cameras.values()),
        "failures": result.outcome.failures,
        "partial_sets": result.report["sets"]["partial"],
        "skipped": result.report["inference"]["skipped"],
        "stage_ms": result.report["stage_ms"],
        "drift": drift(watch.minutes, options.drift_minutes),
        "per_minute_p50_ms": [round((one.percentile_ns(0.5) or 0) / NS_PER_MS, 4) for one in watch.minutes],
    }
    for name, histogram in watch.histograms.items():
        one = histogram.summary()
        found[name] = {"p50": one.p50, "p99": one.p99, "p999": one.p999, "max": one.max, "n": one.n}
        found[name]["buckets"] = histogram.buckets()
    return found, watch


def show(runs: list[dict[str, Any]]) -> None:
    table = Table(title="Exposure to trigger call, ms")
    for name in ("views", "", "p50", "p99", "p99.9", "max", "sets"):
        table.add_column(name, justify="left" if not name else "right")
    for run in runs:
        for place, name in enumerate(FIGURES):
            one = run[name]
            values = [f"{one[key]:.3f}" if one[key] is not None else "" for key in ("p50", "p99", "p999", "max")]
            table.add_row("" if place else str(run["views"]), name.replace("_", " "), *values, str(one["n"]))
        table.add_section()
    Console().print(table)
    for run in runs:
        if run["drift"]:
            print(f"{run['views']} views: median {run['drift']['change']:+.1%} from the first minutes to the last")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", default="20000", help="sets per number of views, as 20000 or 20000,20000,20000,100000"
    )
    parser.add_argument("--views", default="1,2,4,8")
    parser.add_argument("--rate", type=float, default=60.0, help="Hz; the model steps on every set")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--exposure-us", type=int, default=100)
    parser.add_argument("--drift-minutes", type=int, default=2)
    parser.add_argument("--process", help="the rig file's process section, as YAML")
    parser.add_argument("--out", type=Path, help="where the recordings are made; they are removed at the end")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    views = [int(one) for one in options.views.split(",")]
    sets = [int(one) for one in options.sets.split(",")]
    sets = sets * len(views) if len(sets) == 1 else sets
    if len(sets) != len(views):
        parser.error("--sets: one number, or one for each of --views")
    runs: list[dict[str, Any]] = []
    shapes: dict[str, LatencyHistogram] = {}
    for n_views, n_sets in zip(views, sets, strict=True):
        run, watch = measure(n_views, n_sets, options)
        runs.append(run)
        shapes[f"{n_views} view{'s' if n_views > 1 else ''}"] = watch.histograms["exposure_to_trigger"]
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "command": " ".join(["python", "benchmarks/latency.py", *sys.argv[1:]]),
        "rate_hz": options.rate,
        "targets_ms_overhead_at_1_and_2_views": TARGETS_MS,
        "runs": runs,
    }
    show(runs)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        title = f"Exposure to trigger call, {options.width}x{options.height} at {options.rate:g} Hz"
        draw_histograms(options.plot, title, shapes)
    return int(any(run["undeclared"] or run["failures"] for run in runs))


if __name__ == "__main__":
    sys.exit(main())
