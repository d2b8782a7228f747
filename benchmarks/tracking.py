"""How well the animals of the simulated cage are found: error of the centroid, exchanged identities, time per set.

    python benchmarks/tracking.py --scene wall_cage --animals 2 --minutes 10 --seed 31 --json -

Error is the distance of the tracked centroid from the true centroid of the body without the tail, in millimetres. An
identity is exchanged when a track is nearer to another animal than to its own, which is the one that it was at its
first valid set, for longer than a second. Seed 7 was used to make the tracker; report others.
"""

import argparse
import json
import sys
from itertools import permutations
from pathlib import Path
from time import perf_counter  # noqa: TID251

import numpy as np
from ethostream.acquisition.simulated_cage import CAGE_MM
from ethostream.acquisition.simulated_device import InstantClock
from ethostream.acquisition.simulated_lens import simulated_view_model, view_names
from ethostream.acquisition.simulated_stage import render_scene
from ethostream.acquisition.simulated_truth import body_centroid_mm
from ethostream.inference.tracking.config import TrackingConfig
from ethostream.inference.tracking.tracker import AnimalTracker
from rich.progress import track

SWAP_S = 1.0


def measure(scene: str, animals: int, minutes: float, seed: int, width: int, height: int, rate_hz: float) -> dict:
    """One session; see the module."""
    names = view_names(scene)
    models = {name: simulated_view_model(scene, name, width, height) for name in names}
    config = TrackingConfig(
        calibration=Path("simulated.toml"),
        cage_x_mm=(0, CAGE_MM[0]),
        cage_y_mm=(0, CAGE_MM[1]),
        cage_z_mm=(0, 130),
        animals=animals,
    )
    tracker = AnimalTracker(config, models, dict.fromkeys(names, (height, width)), rate_hz)
    n = round(minutes * 60 * rate_hz)
    instants = InstantClock(10**18, rate_hz)
    tracked, truth = np.full((n, animals, 3), np.nan), np.empty((n, animals, 3))
    valid, shown, taken_s = np.zeros((n, animals), bool), np.zeros((n, animals), int), np.empty(n)
    session = render_scene(scene, seed, n, rate_hz, len(names), width, height, animals)
    for k, (images, state) in enumerate(
        track(session, total=n, description="tracking", disable=not sys.stderr.isatty())
    ):
        begun = perf_counter()
        tracks = tracker.step(dict(zip(names, images, strict=True)), instants.exposure_ns(k))
        taken_s[k] = perf_counter() - begun
        for one in tracks:
            tracked[k, one.animal], valid[k, one.animal], shown[k, one.animal] = one.xyz_mm, one.valid, one.n_views
            truth[k, one.animal] = body_centroid_mm(state, one.animal)
    first = int(np.argmax(valid.all(axis=1)))
    orders = [list(order) for order in permutations(range(animals))]
    cost = [np.linalg.norm(tracked[:, range(animals)] - truth[:, order], axis=2).sum(axis=1) for order in orders]
    own = int(np.argmin([one[first] for one in cost]))
    error = np.linalg.norm(tracked - truth[:, orders[own]], axis=2)
    exchanged = (np.argmin(cost, axis=0) != own) & valid.all(axis=1)
    exchanged[:first] = False
    longest = run = 0
    swaps = 0
    for now in exchanged:
        run = run + 1 if now else 0
        swaps += run == round(SWAP_S * rate_hz)
        longest = max(longest, run)
    apart = np.linalg.norm(truth[:, 0] - truth[:, -1], axis=1)
    seen = error[first:][valid[first:]]
    return {
        "scene": scene, "animals": animals, "minutes": minutes, "seed": seed, "size": f"{width}x{height}",
        "rate_hz": rate_hz, "first_valid_s": first / rate_hz, "valid_fraction": float(valid.mean()),
        "error_mm": {f"p{p}": round(float(np.percentile(seen, p)), 2) for p in (50, 95, 99, 100)},
        "identity_swaps": swaps, "longest_exchanged_s": longest / rate_hz,
        "nearest_animals_mm": round(float(apart.min()), 1) if animals > 1 else None,
        "views_shown_mean": round(float(shown[first:].mean()), 2),
        "ms_per_set": {f"p{p}": round(float(np.percentile(taken_s, p)) * 1e3, 2) for p in (50, 99)},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", choices=("cage", "wall_cage"), default="wall_cage")
    parser.add_argument("--animals", type=int, choices=(1, 2), default=2)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--json", metavar="FILE", default="-")
    a = parser.parse_args()
    text = json.dumps(measure(a.scene, a.animals, a.minutes, a.seed, a.width, a.height, a.rate_hz), indent=2)
    if a.json == "-":
        print(text)
    else:
        Path(a.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
