"""How long `ethostream predict` takes over 100,000 frames of keypoints of two animals, and where the time goes.

    python benchmarks/pose_speed.py --json speed.json
    python benchmarks/pose_speed.py --frames 2000                                            # a short form

The bundle is that of the preset `pose-tcn`, fitted for one epoch to drawn animals unless --bundle names another: what
a model says is of no matter here. The file is a DeepLabCut CSV, 40 MB at 100,000 frames. ``command`` is the whole
command in a process of its own, from the start of Python to the last row written; the parts are measured apart, in this
process, one after the other. One thread; the best of --rounds, the mean of the command's processor time. Last, frames
are given to the model one at a time, as a rig does: ``step_ms`` is from points to stabilised label.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter  # noqa: TID251
from typing import Any

import numpy as np
from ethostream.acquisition.pose.pose_files import read_pose
from ethostream.inference.bundle import Bundle
from ethostream.inference.pose.pose_blocks import exposure_times, run_front_blocks, run_head_blocks
from ethostream.inference.pose.pose_model import PoseModel
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.training.answers.pose_bundle import load_pose_bundle
from ethostream.training.data.layouts import FolderOptions, find_dataset
from ethostream.training.data.read_points import points_of
from ethostream.training.presets.reading import configure, read_preset
from ethostream.training.runs.predict_pose import predict_pose
from ethostream.training.runs.train_pose import train_pose
from numpy.typing import NDArray
from rich.console import Console

KEYPOINTS = ("top", "body", "tail", "tail-m", "tail-e")
ANIMALS = ("individual1", "individual2")
LABELS = ("social", "nonsocial", "aggression")
RATE_HZ = 30.0
QUICK = [
    "split={by: time_block, pattern: [train, test]}",
    "fit.head_epochs=1",
    "fit.temperature=false",
    "choose=null",
    "stabiliser={kind: cusum}",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--bundle", type=Path, help="of keypoints as the drawn animals have them; default: one is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000, help="frames given one at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, `-` to stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(options, Path(scratch))
    console = Console(stderr=True, highlight=False)
    console.print(f"{result['frames']:,} frames, {result['megabytes']:.0f} MB")
    command = {"command": result["command_s"], "its processor time": result["command_cpu_s"]}
    for name, seconds in (command | result["parts_s"]).items():
        console.print(f"{name:>22} {seconds:7.2f} s")
    console.print("one frame at a time: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in result["step_ms"].items()))
    if options.json is not None:
        text = json.dumps(result, indent=2) + "\n"
        sys.stdout.write(text) if str(options.json) == "-" else options.json.write_text(text)
    return 0


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The command, and its parts."""
    bundle_path: Path = options.bundle or make_bundle(scratch)
    pose = scratch / "1DLC.csv"
    write_points(pose, options.frames)
    out, code = scratch / "out.csv", "from ethostream.deploy.entry import main; main()"
    command = [sys.executable, "-c", code, "predict", str(bundle_path), str(pose), "--fps", f"{RATE_HZ:g}"]
    rounds = options.rounds
    command_s, _ = timed(lambda: subprocess.run([*command, "--out", str(out)], check=True, capture_output=True), rounds)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    parts: dict[str, float] = {}
    parts["opening the bundle"], bundle = timed(lambda: load_pose_bundle(bundle_path), rounds)
    parts["reading the file"], table = timed(lambda: read_pose(pose), rounds)
    points = points_of(table, bundle.manifest.pose)
    parts["features"], blocks = timed(lambda: list(run_front_blocks(bundle.manifest, points)), rounds)
    parts["head"], p = timed(lambda: run_head_blocks(bundle.manifest, bundle.head_sequence, iter(blocks)), rounds)
    times_ns = exposure_times(len(p), RATE_HZ)
    manifest = bundle.manifest
    parts["stabiliser"], _ = timed(lambda: Stabiliser(manifest.classes, manifest.stabiliser).run(p, times_ns), rounds)
    parts["all of it, in process"], found = timed(lambda: predict_pose(bundle_path, pose, out, RATE_HZ), rounds)
    return {
        "frames": found["n_frames"],
        "megabytes": pose.stat().st_size / 1e6,
        "features": blocks[0].shape[1],
        "command_s": command_s,
        "command_cpu_s": (children.ru_utime + children.ru_stime) / rounds,
        "parts_s": parts,
        "step_ms": stepped(bundle, points[: options.steps]),
    }


def stepped(bundle: Bundle, points: NDArray[np.float32]) -> dict[str, float]:
    """Percentiles of a live step, after a second of them."""
    model = PoseModel(bundle.manifest, bundle.head_step, RATE_HZ, RigClock(ClockAnchor.take()))
    ms: list[float] = []
    for frame, t_ns in zip(points, exposure_times(len(points), RATE_HZ).tolist(), strict=True):
        began = perf_counter()
        model.step(frame, t_ns)
        ms.append((perf_counter() - began) * 1e3)
    p50, p99 = np.percentile(ms[min(round(RATE_HZ), len(ms) - 1) :], [50, 99]).tolist()
    return {"p50": p50, "p99": p99}


def timed(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """The least seconds of some rounds, and what came out of the last one."""
    best, found = float("inf"), None
    for _ in range(rounds):
        began = perf_counter()
        found = work()
        best = min(best, perf_counter() - began)
    return best, found


def make_bundle(scratch: Path) -> Path:
    """A bundle of the preset, fitted for an epoch to a minute of drawn animals."""
    folder, n_frames = scratch / "data", 1800
    (folder / "annotations").mkdir(parents=True)
    (folder / "dlc_csv").mkdir()
    write_points(folder / "dlc_csv" / "1DLC.csv", n_frames)
    lines = ["Caltech Behavior Annotator - Annotation File", "", "S1:\tstart\tend\ttype", "-" * 29]
    starts = range(0, n_frames, 60)
    lines += [f"   \t{start + 1}\t{start + 60}\t{LABELS[place % 3]}" for place, start in enumerate(starts)]
    (folder / "annotations" / "1_annot.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dataset = find_dataset(folder, FolderOptions(stream="S1"))
    train_pose(configure(read_preset("pose-tcn"), dataset, QUICK), folder, scratch / "bundle", True)
    return scratch / "bundle"


def write_points(path: Path, n_frames: int) -> None:
    """A multi-animal DeepLabCut CSV of two animals that wander, with a tenth of the points missing."""
    rng = np.random.default_rng(0)
    centers = 500.0 + np.cumsum(rng.normal(0.0, 3.0, (n_frames, 2, 1, 2)), axis=0) % 400.0
    body = np.arange(5)[:, None] * [40.0, 8.0]
    points: NDArray[np.float64] = centers + body + rng.normal(0.0, 1.0, (n_frames, 2, 5, 2))
    gone = (rng.random((n_frames, 10)) < 0.1).tolist()
    columns = [(animal, point, what) for animal in ANIMALS for point in KEYPOINTS for what in ("x", "y", "likelihood")]
    head = [["scorer", *["net"] * 30], *([name, *of] for name, of in zip(
        ("individuals", "bodyparts", "coords"), zip(*columns, strict=True), strict=True
    ))]  # fmt: skip
    with path.open("w", encoding="utf-8") as file:
        file.writelines(",".join(row) + "\n" for row in head)
        for frame, (of_frame, lost) in enumerate(zip(points.reshape(n_frames, 10, 2).tolist(), gone, strict=True)):
            both = zip(of_frame, lost, strict=True)
            cells = [",," if no else f"{x:.10f},{y:.10f},0.9876543210" for (x, y), no in both]
            file.write(f"{frame},{','.join(cells)}\n")


if __name__ == "__main__":
    raise SystemExit(main())
