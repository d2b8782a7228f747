"""How long `ethostream predict` takes for a minute of video, with which embedder, and where the time goes.

    python benchmarks/predict.py [--seconds 60] [--bundles NAMES] [--embedders small,resnet18,resnet50|none]
        [--rounds 3] [--stage-frames 300] [--video FILE] [--json predict.json]

The whole command is timed as a user starts it: a process of its own, from its first import to the closed CSV. The
bundles that ship have learnt something; those of ``--embedders`` have random weights, at 224 px and with an LSTM head
of 64 x 3: their speed is that of trained ones, their answers mean nothing. Stages are timed apart, one after the
other, and overlap in the command: decoding runs in a thread of its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter  # noqa: TID251
from typing import Any, TypeVar

import av
import numpy as np
from ethostream.acquisition.simulated_camera import render_session
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import bundled_names, resolve_bundle
from ethostream.inference.manifest_file import read_manifest
from ethostream.inference.model import EMBED_CROPS, BehaviorModel
from ethostream.inference.set_cropper import SetCropper
from ethostream.streaming.video import VideoReader
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.training.answers.offline import run_offline
from ethostream.training.export.bundle_record import this_machine
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

RATE_HZ, WIDTH, HEIGHT = 30, 640, 480
SEED, CRF = 77, 18
VIEW = "video"
BLOCK_FRAMES = 64
MODEL_SIZES = ("small", "resnet18", "resnet50")
ResultT = TypeVar("ResultT")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the video that is made")
    parser.add_argument("--bundles", help="shipped names or folders, by commas; default: what ships and takes a video")
    parser.add_argument("--embedders", default=",".join(MODEL_SIZES), help="networks with random weights, or none")
    parser.add_argument("--rounds", type=int, default=3, help="how often each command runs")
    parser.add_argument("--stage-frames", type=int, default=300, help="frames on which the stages are timed")
    parser.add_argument("--video", type=Path, help="a video instead of one that is made")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or make_video(Path(folder) / "minute.mp4", round(options.seconds * RATE_HZ))
        models = {name: resolve_bundle(name) for name in (options.bundles.split(",") if options.bundles else shipped())}
        trained = set(models)
        if options.embedders != "none":
            from random_bundle import random_bundle  # needs torch

            for name in options.embedders.split(","):
                models[f"{name}, random"] = random_bundle(name, RATE_HZ, Path(folder) / name)
        result: dict[str, Any] = {
            "command": " ".join(sys.argv),
            "machine": this_machine(),
            "cores": len(os.sched_getaffinity(0)),
            "video": described(video),
            "models": {},
        }
        for name, path in models.items():
            result["models"][name] = {
                "weights": "trained" if name in trained else "random",
                **timed_command(path, video, Path(folder) / "out.csv", options.rounds),
                **stages(path, video, options.stage_frames),
            }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def shipped() -> list[str]:
    """Shipped bundles that a single video is enough for."""
    found: list[str] = []
    for name in bundled_names():
        manifest = read_manifest((resolve_bundle(name) / "manifest.json").read_bytes(), name)
        if not manifest.takes_pose and manifest.video.n_views in (None, 1):
            found.append(name)
    return found


def make_video(path: Path, n_frames: int) -> Path:
    """A simulated session as H.264 with noise in the whole image, as a camera would have it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE_HZ, options={"crf": str(CRF), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for images, _ in render_session(SEED, n_frames, RATE_HZ, [0], WIDTH, HEIGHT, noise_everywhere=True):
            frame = av.VideoFrame.from_ndarray(images[0], format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def described(video: Path) -> dict[str, Any]:
    with VideoReader(video, "mono8") as reader:
        n_frames = reader.n_frames if reader.n_frames is not None else sum(1 for _ in reader)
        return {
            "width": reader.width,
            "height": reader.height,
            "rate_hz": reader.rate_hz,
            "n_frames": n_frames,
            "seconds": n_frames / reader.rate_hz,
            "megabytes": video.stat().st_size / 1e6,
        }


def timed_command(bundle: Path, video: Path, out: Path, rounds: int) -> dict[str, Any]:
    """The whole command, several times: seconds on the clock and of the processors."""
    program = "from ethostream.deploy.entry import main; main()"
    command = [sys.executable, "-c", program, "predict", str(bundle), str(video), "--out", str(out)]
    wall_s: list[float] = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(rounds):
        began = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall_s.append(perf_counter() - began)
        if done.returncode:
            raise SystemExit(f"{bundle}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_s": statistics.median(wall_s),
        "wall_s_min": min(wall_s),
        "wall_s_max": max(wall_s),
        "processor_s": processor_s / rounds,
        "n_rows": len(out.read_text().splitlines()) - 1,
    }


def stages(path: Path, video: Path, n_frames: int) -> dict[str, Any]:
    """Milliseconds per frame of each stage, one after the other, and blocks beside one frame at a time."""
    load_s, bundle = clocked(
        lambda: Bundle.load(path, threads=len(os.sched_getaffinity(0)), max_look_ahead_frames=None)
    )
    manifest = bundle.manifest
    decode_s, frames = clocked(lambda: decoded(video, n_frames))
    images = [image for _, image in frames]
    views = {VIEW: images[0].shape}
    clock = RigClock(ClockAnchor.take())
    cropper = SetCropper(manifest, views)
    crop_s, crops = clocked(lambda: [cropper.step({VIEW: image}).batches[0][1][0].copy() for image in images])
    embed_s, _ = clocked(
        lambda: [
            bundle.embedder.run({"crops": np.stack(crops[first : first + EMBED_CROPS])})
            for first in range(0, len(crops), EMBED_CROPS)
        ]
    )
    with VideoReader(video, "mono8") as reader:
        rate_hz = reader.rate_hz
    model = BehaviorModel(manifest, bundle.embedder, bundle.head_step, views, rate_hz, clock)
    sets = [({VIEW: image}, t_ns) for t_ns, image in frames]
    blocks_s, together = clocked(
        lambda: [
            one
            for first in range(0, len(sets), BLOCK_FRAMES)
            for one in model.steps(sets[first : first + BLOCK_FRAMES])
        ]
    )
    feed = ((t_ns, [image]) for t_ns, image in frames)
    singly_s, single = clocked(lambda: list(run_offline(bundle, views, rate_hz, feed, clock)))
    pairs = [(a, b) for a, b in zip(together, single, strict=True) if a is not None and b is not None]
    n = len(frames)
    return {
        "load_s": load_s,
        "stages_ms": {
            "decode": 1e3 * decode_s / n,
            "crop": 1e3 * crop_s / n,
            "embed": 1e3 * embed_s / n,
            "features, head, stabiliser": 1e3 * max(blocks_s - crop_s - embed_s, 0.0) / n,
        },
        "in_blocks_ms": 1e3 * blocks_s / n,
        "one_by_one_ms": 1e3 * singly_s / n,
        "same_labels": sum(a.label == b.label for a, b in pairs) / len(pairs),
        "largest_difference_of_p": max(float(np.abs(a.p - np.array(b.p, np.float32)).max()) for a, b in pairs),
        "stage_frames": n,
    }


def decoded(video: Path, n_frames: int) -> list[tuple[int, NDArray[np.uint8]]]:
    def some() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        with VideoReader(video, "mono8") as reader:
            for place, one in enumerate(reader):
                if place == n_frames:
                    return
                yield one

    return list(some())


def clocked(work: Callable[[], ResultT]) -> tuple[float, ResultT]:
    began = perf_counter()
    result = work()
    return perf_counter() - began, result


def show(result: dict[str, Any]) -> None:
    video = result["video"]
    table = Table(
        title=f"{video['seconds']:.0f} s of {video['width']}x{video['height']} at {video['rate_hz']:g} Hz, "
        f"{result['cores']} cores"
    )
    for name in ("model", "weights", "command, s", "min to max", "processor, s", "decode, ms", "crop", "embed", "rest"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for name, one in result["models"].items():
        table.add_row(
            name,
            one["weights"],
            f"{one['wall_s']:.2f}",
            f"{one['wall_s_min']:.2f} to {one['wall_s_max']:.2f}",
            f"{one['processor_s']:.2f}",
            *(f"{value:.3f}" for value in one["stages_ms"].values()),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
