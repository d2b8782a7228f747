"""The default model of one video: small, scored on sessions that it has not seen, and as good here as it says."""

import re
from pathlib import Path

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.inference.bundled import bundled_names, resolve_bundle
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import ConfigError
from ethostream.training.answers.of_video import answers_of
from ethostream.training.answers.offline import run_offline
from ethostream.training.config.recordings import SimulatedData
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.video_sources import open_sources
from ethostream.training.scores.frames import score

NAME = "video-default"
MAX_BYTES = 2_500_000
CHANCE = 0.2
UNSEEN_SEED = 61


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "inference" / "bundles" / NAME


@pytest.fixture(scope="module")
def config(folder: Path) -> TrainConfig:
    return load_config(folder / "train.yaml")[0]


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    """Loaded, which runs its parity test: from stored frames to stored answers."""
    return Bundle.load(folder)


def test_it_ships_by_name_and_is_small(folder: Path, bundle: Bundle) -> None:
    assert NAME in bundled_names() and resolve_bundle(NAME) == folder
    assert sum(path.stat().st_size for path in folder.iterdir()) < MAX_BYTES
    assert max(bundle.parity_errors.values()) <= 1e-5
    assert {"p", "labels"} <= bundle.parity_errors.keys()


def test_its_manifest_is_that_of_its_training_file(bundle: Bundle, config: TrainConfig) -> None:
    manifest = bundle.manifest
    assert (manifest.name, manifest.task, manifest.classes) == (config.name, config.task, config.classes)
    assert manifest.video.n_views == 1 and manifest.look_ahead_frames == 0
    assert manifest.video.crop == config.crop and manifest.stabiliser == config.stabiliser
    parts = {"train": manifest.split.train, "validation": manifest.split.validation, "test": manifest.split.test}
    for part, names in parts.items():
        entries = [one for one in config.data if isinstance(one, SimulatedData) and one.part == part]
        assert names == [f"{one.name}-{seed}" for one in entries for seed in one.seeds]
    assert all(isinstance(one, SimulatedData) for one in config.data)  # never a clip of a real animal
    assert all(one.source.startswith("simulated session") for one in manifest.data)
    seeds = [seed for one in config.data if isinstance(one, SimulatedData) for seed in one.seeds]
    assert len(seeds) == len(set(seeds)) and min(seeds) > 4000


def test_its_card_says_what_its_manifest_says(folder: Path, bundle: Bundle) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    scores = bundle.manifest.scores
    assert scores.balanced_accuracy is not None and scores.n_frames > 5000
    assert f"{scores.balanced_accuracy:.3f}" in card
    assert all(name in card for name in bundle.manifest.classes)
    assert re.search(rf"\b{bundle.manifest.rate_hz:g} frames/s", card)
    assert bundle.manifest.other_rates == "subsample" and "every second" in card


@pytest.mark.parametrize(("rate_hz", "steps"), [(30.0, 9), (60.0, 5), (25.0, 0), (50.0, 0)])
def test_its_frame_rate_rule(bundle: Bundle, rate_hz: float, steps: int) -> None:
    frames = ((round(k * 1e9 / rate_hz), [np.full((120, 160), 128, np.uint8)]) for k in range(9))
    run = run_offline(bundle, {"any": (120, 160)}, rate_hz, frames, FakeClock(0))
    if steps:
        assert sum(one is not None for one in run) == steps
    else:
        with pytest.raises(ConfigError, match=r"no whole multiple of the model's 30 Hz"):
            list(run)


def test_it_knows_an_unseen_session_far_better_than_chance(bundle: Bundle, config: TrainConfig, folder: Path) -> None:
    session = config.data[0].model_copy(
        update={"seeds": [UNSEEN_SEED, UNSEEN_SEED + 1], "n_frames": 450, "part": "test"}
    )
    changed = config.model_copy(update={"data": [session]})
    found = [answers_of(bundle, changed, source, "test") for source in open_sources(changed, folder)]
    truth = np.concatenate([one.truth for one in found if one is not None])
    label = np.concatenate([one.label for one in found if one is not None])
    scores = score(truth, label, config.classes)
    assert scores.balanced_accuracy is not None and scores.balanced_accuracy > 2 * CHANCE
