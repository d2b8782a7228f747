"""Frame to trigger on a GPU, eight views, through the rig's own code; never run on one yet.

    python benchmarks/gpu.py [--provider cuda] [--precision fp16] [--cuda-graphs] [--networks resnet18 resnet50]
        [--sets 30000] [--unpaced-sets 100000] [--views 8] [--image 1920x1080] [--weights FILE] [--json gpu.json]
    python benchmarks/gpu.py --provider cpu --networks small --sets 200 --unpaced-sets 200

Paced: sets at 60 Hz, from the instant at which all frames of a set are in memory to that at which the actuator of each
decision has been called: background model, crops, embedder, LSTM head of 64 x 3, fusion, stabiliser, rules. A set that
has to wait for the one before it counts from when it was due. Aims: p50 <= 5 ms, p99 <= 10 ms.

Unpaced: as many view-frames/s as that chain gives, against the 480 that 8 views at 60 Hz need, and against what the
same engine does on crops that stay on the device (on a CPU: on crops that stay where they are).

Weights are random unless given: the time does not depend on them. Bus, assembly and recorder are not in it: see
`benchmarks/latency.py`. Without the provider it ends with that error's status; with 1 where a target is missed on a GPU
or a set has not fired. Needs a checkout and the extras gpu (with --provider cpu: cpu) and train.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from ethostream.inference.actuation import ActuationSchedule
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import resolve_bundle
from ethostream.inference.config import TaskConfig
from ethostream.inference.cropper import make_cropper
from ethostream.inference.device_embedder import open_device_embedder
from ethostream.inference.device_graph import DeviceGraph
from ethostream.inference.gpu_config import GpuConfig
from ethostream.inference.graph_spec import EMBEDDER_FILE
from ethostream.inference.pipeline import BehaviorPipeline
from ethostream.streaming.messages import FrameSet, SourceFrame
from ethostream.streaming.process_setup import QuietCollector
from ethostream.sync.clock import NS_PER_S, ClockAnchor, RigClock
from ethostream.sync.errors import EthostreamError
from ethostream.sync.latency import LatencyHistogram
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

try:
    from random_bundle import NETWORKS, random_bundle
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is not installed; in a fresh environment, pip install -e '.[gpu,train]' brings it")

P50_AIM_MS, P99_AIM_MS = 5.0, 10.0
N_PICTURES: Final = 16
WARM_UP_SETS: Final = 60
RESIDENT_SHARE: Final = 10
"""The limit of the device is measured over a tenth as many sets."""
ANY_LABEL: Final = {"kind": "thresholds", "default": {"enter": 0.0, "exit": 0.0, "min_dwell_ms": 0.0}}
"""Random weights are never sure: whatever is most probable is the label."""
NEVER_STALE_MS: Final = 1e9
"""The made-up exposures advance by one period a set, so that a slow chain falls behind them without being late."""
STAGES = ("crop", "embed", "head", "decide", "act")


def pictures(views: list[str], shape: tuple[int, int]) -> list[dict[str, NDArray[np.uint8]]]:
    """Sets of a dark body that goes round on a noisy floor, each view another phase."""
    height, width = shape
    random = np.random.default_rng(0)
    floor = random.integers(165, 176, shape, np.uint8)
    sets: list[dict[str, NDArray[np.uint8]]] = []
    for step in range(N_PICTURES):
        one: dict[str, NDArray[np.uint8]] = {}
        for place, view in enumerate(views):
            angle = 2.0 * np.pi * step / N_PICTURES + place
            at = (round(width * (0.5 + 0.06 * np.cos(angle))), round(height * (0.5 + 0.08 * np.sin(angle))))
            one[view] = floor.copy()
            cv2.ellipse(one[view], at, (width // 16, height // 14), 20.0 * place, 0, 360, 40, -1)
        sets.append(one)
    return sets


class Chain:
    """A pipeline with its actuators, fed with pictures from memory."""

    def __init__(self, bundle: Bundle, n_views: int, shape: tuple[int, int], rate_hz: float) -> None:
        self.clock = RigClock(ClockAnchor.take())
        self.views = [f"cam{place}" for place in range(n_views)]
        self._pictures = pictures(self.views, shape)
        self._period_ns = round(NS_PER_S / rate_hz)
        # A rule of each behaviour that fires at every set: the actuator is called as often as it can be.
        rules = [
            {
                "name": one,
                "on_while": {"behavior": one, "every_ms": 1000.0 / rate_hz},
                "actuator": "none",
                "max_age_ms": NEVER_STALE_MS,
            }
            for one in bundle.manifest.classes
        ]
        task = TaskConfig.model_validate(
            {"bundle": "demo", "rules": rules, "actuators": {"none": {"kind": "null"}}, "stabiliser": ANY_LABEL}
        )
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self.views, shape)
        self.pipeline = BehaviorPipeline(bundle, task, shapes, self.clock, rate_hz, armed=True)
        actuators = make_actuators(task.actuators, self.clock)
        self._schedule = ActuationSchedule(actuators, self.clock, lambda _: None, self._alarm)
        self._schedule.arm()
        self.pipeline.rules.begin(self.clock.now_ns())
        self.n_fired = 0
        self._number = 0
        self._t_exposure_ns = self.clock.now_ns()

    @staticmethod
    def _alarm(text: str) -> None:
        raise RuntimeError(text)

    def step(self, t_received_ns: int) -> tuple[int, dict[str, int]]:
        """One set; when its last actuator had been called, and how long each stage took, ns."""
        self._number += 1
        self._t_exposure_ns += self._period_ns
        t_ns = self._t_exposure_ns
        sources = tuple(SourceFrame(view, 0, self._number, t_ns, 1000, t_received_ns) for view in self.views)
        frame_set = FrameSet(self._number, "complete", sources, (), t_ns, t_received_ns)
        answer = self.pipeline.step(frame_set, self._pictures[self._number % N_PICTURES], 0)
        assert answer is not None, "every set is a step of the model"
        behavior, decisions = answer
        for decision in decisions:
            if decision.action == "fired":
                self._schedule.add(decision)
                self.n_fired += 1
        t_end_ns = self.clock.now_ns()
        self._schedule.poll()
        self._schedule.flush()
        marks = [
            behavior.t_taken_ns,
            behavior.t_cropped_ns,
            behavior.t_embedded_ns,
            behavior.t_head_ns,
            behavior.t_decided_ns,
            t_end_ns,
        ]
        return t_end_ns, dict(zip(STAGES, np.diff(marks).tolist(), strict=True))

    def paced(self, n_sets: int, progress: Progress) -> dict[str, Any]:
        """Sets at the rate of the cameras."""
        whole, stages = LatencyHistogram(), {name: LatencyHistogram() for name in STAGES}
        collector = QuietCollector()
        bar = progress.add_task("paced", total=n_sets)
        for _ in range(WARM_UP_SETS):
            self.step(self.clock.now_ns())
        n_fired, n_late = self.n_fired, 0
        collector.begin()
        due_ns = self.clock.now_ns() + self._period_ns
        try:
            for number in range(n_sets):
                if self.clock.now_ns() > due_ns:
                    n_late += 1
                self.clock.sleep_until_ns(due_ns)
                t_end_ns, taken = self.step(due_ns)
                whole.add(t_end_ns - due_ns)
                for name, duration_ns in taken.items():
                    stages[name].add(duration_ns)
                collector.turn()
                due_ns += self._period_ns
                if number % 60 == 0:
                    progress.update(bar, completed=number)
        finally:
            collector.end()
        progress.remove_task(bar)
        n_fired = self.n_fired - n_fired
        require_every_set_fired("paced", n_sets, n_fired)
        return {
            "sets": n_sets,
            "late": n_late,
            "fired": n_fired,
            "ms": _percentiles(whole),
            "stage_ms": {name: _percentiles(one) for name, one in stages.items()},
        }

    def unpaced(self, n_sets: int) -> float:
        """View-frames/s with the next set always there."""
        n_fired = self.n_fired
        began_ns = self.clock.now_ns()
        for _ in track(range(n_sets), "unpaced", console=Console(stderr=True), transient=True):
            self.step(self.clock.now_ns())
        duration_ns = self.clock.now_ns() - began_ns
        require_every_set_fired("unpaced", n_sets, self.n_fired - n_fired)
        return n_sets * len(self.views) * NS_PER_S / duration_ns

    def limit(self, bundle: Bundle, shape: tuple[int, int], n_sets: int) -> float:
        """View-frames/s of the embedder alone, on crops that stay where it reads them."""
        crop = make_cropper(bundle.manifest.video.crop, self.views[0], shape, bundle.manifest.rate_hz).box_shape
        batch = (len(self.views), *crop)
        embedder = bundle.embedder
        began_ns = self.clock.now_ns()
        if isinstance(embedder, DeviceGraph):
            embedder.engine(batch, np.dtype(np.uint8)).run_resident(n_sets)
        else:
            crops = embedder.input_buffer("crops", batch, np.uint8)
            for _ in range(n_sets):
                embedder.run({"crops": crops})
        return n_sets * len(self.views) * NS_PER_S / (self.clock.now_ns() - began_ns)


def require_every_set_fired(part: str, n_sets: int, n_fired: int) -> None:
    """Ends the script where some sets did not: times to a trigger that was not called are no times."""
    if n_fired != n_sets:
        sys.exit(f"{part}: {n_fired:,} firings in {n_sets:,} sets, and every set has to fire once; no figure holds")


def _percentiles(one: LatencyHistogram) -> dict[str, float | None]:
    found = one.summary()
    return {"p50": found.p50, "p99": found.p99, "p999": found.p999, "max": found.max}


def measure(name: str, options: argparse.Namespace, gpu: GpuConfig | None, folder: Path) -> dict[str, Any]:
    path = random_bundle(name, options.rate, folder / name, options.weights)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"{name}: opening, comparing with the CPU", total=None)
        bundle = Bundle.load(path, provider=options.provider, threads=options.threads, gpu=gpu)
        chain = Chain(bundle, options.views, options.shape, options.rate)
        for task in progress.task_ids:
            progress.remove_task(task)
        result = chain.paced(options.sets, progress)
    needed = options.views * options.rate
    per_s = chain.unpaced(options.unpaced_sets)
    limit = chain.limit(bundle, options.shape, max(1, options.unpaced_sets // RESIDENT_SHARE))
    result |= {
        "unpaced_sets": options.unpaced_sets,
        "view_frames_per_s": round(per_s, 1),
        "needed_per_s": needed,
        "limit_per_s": round(limit, 1),
        "share_of_limit": round(per_s / limit, 3),
        "parity_errors": bundle.parity_errors,
    }
    if isinstance(bundle.embedder, DeviceGraph):
        errors = {"x".join(map(str, shape)): error for shape, error in bundle.embedder.errors.items()}
        result["engine_errors"] = errors
    ms = result["ms"]
    met = ms["p50"] <= P50_AIM_MS and ms["p99"] <= P99_AIM_MS and per_s >= needed
    result["aims_met"] = None if options.provider == "cpu" else met
    return result


def show(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    what = options.provider if options.provider == "cpu" else f"{options.provider}, {options.precision}"
    table = Table(title=f"Frames in memory to trigger, {options.views} views, {what}")
    for column in ("network", "p50 ms", "p99", "p99.9", "max", "late", "frames/s", "needed", "limit", "aims"):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for name, one in found.items():
        ms = [f"{one['ms'][key]:.2f}" for key in ("p50", "p99", "p999", "max")]
        rates = [f"{one[key]:,.0f}" for key in ("view_frames_per_s", "needed_per_s", "limit_per_s")]
        aims = {None: "-", True: "met", False: "missed"}[one["aims_met"]]
        table.add_row(name, *ms, str(one["late"]), *rates, aims)
    console = Console(width=110)
    console.print(table)
    for name, one in found.items():
        stages = ", ".join(f"{stage} {ms['p50']:.2f} / {ms['p99']:.2f}" for stage, ms in one["stage_ms"].items())
        console.print(f"{name}: p50 / p99 in ms of {stages}")
    console.print("frames/s: of views, unpaced; limit: the embedder alone on crops that stay on the device")
    console.print("weights are random" if options.weights is None else f"weights: {options.weights}")


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(height), int(width)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=("cuda", "tensorrt", "tensorrt_native", "cpu"), default="cuda")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="of a GPU")
    parser.add_argument("--cuda-graphs", action="store_true")
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["resnet18", "resnet50"])
    parser.add_argument("--weights", type=Path, help="state_dict under torchvision's names, with one ResNet only")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--image", dest="shape", type=size, default=(1080, 1920), metavar="WxH")
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--sets", type=int, default=30_000, help="paced")
    parser.add_argument("--unpaced-sets", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU's engine")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.weights is not None and (len(options.networks) != 1 or options.networks == ["small"]):
        parser.error("--weights: give --networks resnet18 or resnet50 with it")
    return options


def main() -> int:
    options = arguments()
    gpu = None
    if options.provider != "cpu":
        gpu = GpuConfig(device=options.device, precision=options.precision, cuda_graphs=options.cuda_graphs)
    found: dict[str, dict[str, Any]] = {}
    try:
        if gpu is not None:  # before a network is made in vain
            model = (resolve_bundle("demo") / EMBEDDER_FILE).read_bytes()
            open_device_embedder(model, EMBEDDER_FILE, options.provider, options.threads, gpu, allowed=0.0)
        with tempfile.TemporaryDirectory(prefix="ethostream-gpu-") as folder:
            for name in options.networks:
                found[name] = measure(name, options, gpu, Path(folder))
    except EthostreamError as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    show(found, options)
    if options.json:
        about = {"processor": platform.machine(), "python": platform.python_version(), **device(options)}
        command = " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]])
        setting = {"provider": options.provider, "views": options.views, "rate_hz": options.rate}
        setting["weights"] = "random" if options.weights is None else str(options.weights)
        if gpu is not None:
            setting |= {"precision": gpu.precision, "cuda_graphs": gpu.cuda_graphs}
        text = json.dumps({"machine": about, "command": command, "setting": setting, "networks": found}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(any(one["aims_met"] is False for one in found.values()))


def device(options: argparse.Namespace) -> dict[str, str]:
    if options.provider == "cpu":
        return {}
    from ethostream.inference.cuda_memory import CudaMemory

    return CudaMemory(options.device).identity()


if __name__ == "__main__":
    sys.exit(main())
