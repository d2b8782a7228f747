"""Frames per second and size of every recording codec, on one thread.

    python benchmarks/codecs.py [VIDEO] [--seconds 2] [--json codecs.json]

Without a video the frames are smooth texture with sensor noise. Each codec encodes the same grey frames, at 640x480 and
resized to 1920x1080, into a file; lossless codecs are read back and compared byte for byte. Exits 1 where one differs.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time  # noqa: TID251
from typing import Any

import cv2
import numpy as np
from ethostream.streaming.recording_config import LOSSLESS_CODECS, CodecName
from ethostream.streaming.video import VideoReader
from ethostream.streaming.video_writer import VideoWriter
from numpy.typing import NDArray

SIZES = ((640, 480), (1920, 1080))
CODECS: tuple[CodecName, ...] = ("h264", "h264_lossless", "ffv1", "mjpeg", "raw")
N_SOURCE = 60


def source_frames(video: Path | None, width: int, height: int) -> list[NDArray[np.uint8]]:
    if video is not None:
        with VideoReader(video, "mono8") as reader:
            frames = [image for (_, image), _ in zip(reader, range(N_SOURCE), strict=False)]
    else:
        rng = np.random.default_rng(0)
        still = cv2.GaussianBlur(rng.normal(120, 400, (480, 640)), (0, 0), 12)
        frames = [np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8) for _ in range(N_SOURCE)]
    return [np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8) for image in frames]


def measure(codec: CodecName, frames: list[NDArray[np.uint8]], folder: Path, seconds: float) -> dict[str, Any]:
    height, width = frames[0].shape
    path = folder / f"{codec}-{width}.mkv"
    n = 0
    with VideoWriter(path, codec, width, height, "mono8", 60.0) as video:
        begin, cpu = perf_counter(), process_time()
        while not n or perf_counter() - begin < seconds:
            video.write(frames[n % len(frames)], n * 16_666_667)
            n += 1
        wall, cpu = perf_counter() - begin, process_time() - cpu
    size = path.stat().st_size
    exact: bool | None = None
    if codec in LOSSLESS_CODECS:
        with VideoReader(path, "mono8") as reader:
            same = all(np.array_equal(image, frames[i % len(frames)]) for i, (_, image) in enumerate(reader))
            exact = same and reader.n_read == n
    path.unlink()
    return {
        "codec": codec,
        "frame": f"{width}x{height}",
        "frames": n,
        "frames_per_s": n / wall,
        "frames_per_processor_s": n / cpu,
        "kib_per_frame": size / n / 1024,
        "ratio_to_raw": width * height * n / size,
        "exact": exact,
    }


def row(one: dict[str, Any]) -> str:
    """One line of the table; ``exact`` is None for a codec that loses something by design."""
    exact = {None: "lossy", True: "exact", False: "DIFFERS"}[one["exact"]]
    rates = f"{one['frames_per_s']:8.0f} {one['frames_per_processor_s']:12.0f} {one['kib_per_frame']:9.1f}"
    return f"{one['codec']:<14} {one['frame']:<10} {rates} {one['ratio_to_raw']:7.1f}  {exact}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", help="its first frames are encoded")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each codec and size")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, source {options.video or 'synthetic'}"
    )
    print(f"{'codec':<14} {'size':<10} {'frames/s':>8} {'per CPU s':>12} {'KiB each':>9} {'ratio':>7}")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            frames = source_frames(options.video, width, height)
            for codec in CODECS:
                results.append(measure(codec, frames, Path(folder), options.seconds))
                print(row(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(any(one["exact"] is False for one in results))


if __name__ == "__main__":
    sys.exit(main())
