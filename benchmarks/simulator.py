"""Cost of the simulated cameras: drawing a frame and copying it out, against a plain copy of the frame.

    python benchmarks/simulator.py [--seconds 10] [--views 8] [--sizes 640x480,1920x1080] [--json simulator.json]

One process draws all views in turn, as their camera processes would, on the session of the default seed. Time is
counted as processor time of the whole process, threads included, so that other load on the machine does not count.
"""

import argparse
import json
import os
import platform
from pathlib import Path
from time import perf_counter, process_time  # noqa: TID251

import numpy as np
from ethostream.acquisition.simulated_renderer import CAGE_VIEWS, SceneRenderer
from ethostream.acquisition.simulated_world import SimulatedWorld

RATE_HZ = 60.0
SEED = 7


def measure(width: int, height: int, seconds: float, n_views: int, noise_everywhere: bool) -> dict[str, float | str]:
    """Draw every view of ``seconds`` of the session; each has a world of its own, as in its own process."""
    n_frames = round(seconds * RATE_HZ)
    draw_s, worst_ms = 0.0, 0.0
    out = np.zeros((32, height, width), np.uint8)  # as many slots as a ring, so that the copy leaves the cache
    views = CAGE_VIEWS[:n_views]
    for view in views:
        world = SimulatedWorld(SEED)
        renderer = SceneRenderer(view, width, height, SEED, noise=2.0, noise_everywhere=noise_everywhere)
        began = process_time()
        for k in range(n_frames):
            at = perf_counter()
            np.copyto(out[k % 32], renderer.render(world.at(k / RATE_HZ), k))
            worst_ms = max(worst_ms, (perf_counter() - at) * 1e3)
        draw_s += process_time() - began
    began = process_time()
    for k in range(n_frames):
        np.copyto(out[k % 32], renderer.image)
    copy_ms = (process_time() - began) / n_frames * 1e3
    frame_ms = draw_s / (n_frames * len(views)) * 1e3
    return {
        "frame": f"{width}x{height}" + (", noise everywhere" if noise_everywhere else ""),
        "ms_per_frame": round(frame_ms, 3),
        "worst_wall_ms": round(worst_ms, 2),
        "cores_at_8x60_hz": round(frame_ms * 8 * RATE_HZ / 1e3, 3),
        "memcpy_ms": round(copy_ms, 3),
        "ratio_to_memcpy": round(frame_ms / copy_ms, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the session, for each view")
    parser.add_argument("--views", type=int, default=len(CAGE_VIEWS), help="of the cage's eight")
    parser.add_argument("--sizes", default="640x480,1920x1080", help="of a frame, px")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    sizes = [tuple(int(side) for side in size.split("x")) for size in options.sizes.split(",")]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results = [
        measure(width, height, options.seconds, options.views, everywhere)
        for width, height in sizes
        for everywhere in (False, True)
    ]
    for result in results:
        print("  ".join(f"{key} {value}" for key, value in result.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
