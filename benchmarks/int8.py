"""How much faster int8 is on the CPU: an embedder with random weights, float32 and quantised, in turn in one process.

    python benchmarks/int8.py [--embedder resnet18] [--side-px 224] [--views 8] [--seconds 10] [--json int8.json]

Speed only. Random weights say nothing about scores: `ethostream quantise` measures those on a trained bundle.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ethostream.acquisition.simulated_camera import render_session
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.training.export.bundle_record import this_machine
from ethostream.training.export.graphs import export_embedder
from ethostream.training.networks.embedders import Embedder, ResNet18, SmallCnn
from ethostream.training.quantisation.graph_quantiser import quantise_graph
from ethostream.training.quantisation.precision_cost import measure_speed
from numpy.typing import NDArray

CALIBRATION_SETS = 8
SEED = 31


def embedder(kind: str, side_px: int) -> Embedder:
    torch.manual_seed(SEED)
    return ResNet18(side_px) if kind == "resnet18" else SmallCnn(side_px=side_px)


def crop_sets(views: int, side_px: int, n_sets: int) -> list[NDArray[np.uint8]]:
    """The middle of simulated images, uint8 [views, side, side] per set."""
    sets: list[NDArray[np.uint8]] = []
    for images, _ in render_session(SEED, n_sets, 30.0, views, 640, 480):
        top, left = (480 - side_px) // 2, (640 - side_px) // 2
        sets.append(np.stack([image[top : top + side_px, left : left + side_px] for image in images]))
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", choices=["resnet18", "small_cnn"], default="resnet18")
    parser.add_argument("--side-px", type=int, default=224)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each case")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    sets = crop_sets(options.views, options.side_px, CALIBRATION_SETS)
    float32 = export_embedder(embedder(options.embedder, options.side_px))
    int8 = quantise_graph(float32, sets)
    clock = RigClock(ClockAnchor.take())
    speed = measure_speed(float32, int8, sets[0], clock, options.seconds)
    result: dict[str, Any] = {
        "embedder": options.embedder,
        "side_px": options.side_px,
        "machine": this_machine(),
        "float32_bytes": len(float32),
        "int8_bytes": len(int8),
        "speed": [one.model_dump() for one in speed],
    }
    print(f"{options.embedder}, {options.side_px} px, {len(float32):,} bytes became {len(int8):,}")
    print("| threads | crops | float32 ms | int8 ms | times faster | runs |\n|---|---|---|---|---|---|")
    for one in speed:
        times = f"{one.float32_ms:.3g} | {one.int8_ms:.3g} | {one.ratio:.2f}"
        print(f"| {one.threads} | {one.batch} | {times} | {one.n_runs} |")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
