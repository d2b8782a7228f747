"""The model that ships: small, scored on sessions that it has not seen, and still as good here as its manifest says."""

from pathlib import Path

import numpy as np
import pytest
from ethostream.inference.bundle import Bundle
from ethostream.training.answers.of_video import answers_of
from ethostream.training.config.recordings import SimulatedData
from ethostream.training.config.training_file import TrainConfig, load_config
from ethostream.training.data.video_sources import open_sources
from ethostream.training.scores.frames import score

MAX_BYTES = 3_000_000
UNSEEN_SEED = 7


@pytest.fixture(scope="module")
def demo(repository: Path) -> Path:
    return repository / "inference" / "bundles" / "demo"


@pytest.fixture(scope="module")
def config(demo: Path) -> TrainConfig:
    return load_config(demo / "train.yaml")[0]


def test_it_is_small_and_good_enough(demo: Path) -> None:
    assert sum(path.stat().st_size for path in demo.iterdir()) < MAX_BYTES
    scores = Bundle.load(demo).manifest.scores
    assert scores.balanced_accuracy is not None
    assert scores.balanced_accuracy >= 0.90
    assert scores.n_frames >= 3000
    assert all(one["recall"] is not None for one in scores.per_class.values())


def test_its_manifest_is_that_of_its_training_file(demo: Path, config: TrainConfig) -> None:
    manifest = Bundle.load(demo).manifest
    assert (manifest.name, manifest.classes) == (config.name, config.classes)
    assert manifest.video.crop == config.crop
    assert manifest.video.n_views is None
    assert manifest.video.fusion == config.fusion
    assert manifest.stabiliser == config.stabiliser
    assert manifest.look_ahead_frames == 0
    parts = {"train": manifest.split.train, "validation": manifest.split.validation, "test": manifest.split.test}
    for part, names in parts.items():
        entries = [one for one in config.data if one.part == part]
        assert all(isinstance(one, SimulatedData) for one in entries)
        assert names == [f"{one.name}-{seed}" for one in entries for seed in one.seeds]  # type: ignore[union-attr]
    seeds = [seed for one in config.data for seed in one.seeds]  # type: ignore[union-attr]
    assert len(seeds) == len(set(seeds))
    assert min(seeds) > 1000


@pytest.mark.parametrize("views", [1, 3])
def test_any_number_of_views_on_an_unseen_session(views: int, demo: Path, config: TrainConfig) -> None:
    session = SimulatedData(kind="simulated", seeds=[UNSEEN_SEED], n_frames=450, views=views, part="test")
    changed = config.model_copy(update={"data": [session]})
    answers = answers_of(Bundle.load(demo), changed, open_sources(changed, demo)[0], "test")
    assert answers is not None
    assert set(answers.truth.tolist()) == {0, 1, 2, 3}
    found = score(answers.truth, answers.label, config.classes)
    assert found.balanced_accuracy is not None
    assert found.balanced_accuracy > 0.7
    assert np.allclose(answers.p.sum(1), 1, atol=1e-5)
