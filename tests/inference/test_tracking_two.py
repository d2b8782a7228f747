"""Two drawn animals in the four-wall cage: each keeps its number. `benchmarks/tracking.py` is the ten minutes of it."""

from pathlib import Path

import numpy as np
from ethostream.acquisition.simulated_cage import CAGE_MM
from ethostream.acquisition.simulated_device import InstantClock
from ethostream.acquisition.simulated_lens import simulated_view_model, view_names
from ethostream.acquisition.simulated_stage import render_scene
from ethostream.acquisition.simulated_truth import body_centroid_mm
from ethostream.inference.tracking.config import TrackingConfig
from ethostream.inference.tracking.tracker import AnimalTracker

SCENE, WIDTH, HEIGHT, RATE_HZ, N = "wall_cage", 320, 180, 15.0, 100


def test_two_animals_keep_their_numbers_and_their_places() -> None:
    names = view_names(SCENE)[::2]
    models = {name: simulated_view_model(SCENE, name, WIDTH, HEIGHT) for name in names}
    config = TrackingConfig(
        calibration=Path("cage.toml"),
        cage_x_mm=(0, CAGE_MM[0]),
        cage_y_mm=(0, CAGE_MM[1]),
        cage_z_mm=(0, 130),
        animals=2,
    )
    tracker = AnimalTracker(config, models, dict.fromkeys(names, (HEIGHT, WIDTH)), RATE_HZ)
    instants = InstantClock(10**18, RATE_HZ)
    tracked, truth, valid = [], [], []
    for k, (images, state) in enumerate(render_scene(SCENE, 31, N, RATE_HZ, list(names), WIDTH, HEIGHT, animals=2)):
        tracks = tracker.step(dict(zip(names, images, strict=True)), instants.exposure_ns(k))
        tracked.append([one.xyz_mm for one in tracks])
        valid.append(all(one.valid for one in tracks))
        truth.append([body_centroid_mm(state, animal) for animal in range(2)])
    seen = np.array(valid)
    at, true = np.array(tracked)[seen], np.array(truth)[seen]
    assert seen.mean() > 0.9
    straight = np.linalg.norm(at - true, axis=2)
    crossed = np.linalg.norm(at - true[:, ::-1], axis=2)
    own, other = (straight, crossed) if straight[0].sum() < crossed[0].sum() else (crossed, straight)
    assert (own.sum(axis=1) < other.sum(axis=1)).all(), "the two were exchanged"
    assert np.percentile(own, 95) < 12.0  # four views of 320 pixels; the benchmark has eight of 640
