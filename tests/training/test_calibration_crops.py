"""What int8 is calibrated on: crops of the training part as the rig cuts them, and of nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from demo_sessions import VIEWS, training_file, write_video
from ethostream.inference.bundle import Bundle
from ethostream.inference.crop_rule import FullCrop
from ethostream.training.answers.of_video import answers_of
from ethostream.training.config.training_file import load_config
from ethostream.training.data.video_sources import open_sources
from ethostream.training.quantisation.calibration_crops import plan_calibration, stream_crops
from numpy.typing import NDArray


@pytest.fixture
def demo(repository: Path) -> Bundle:
    return Bundle.load(repository / "inference/bundles/demo")


def test_calibration_opens_training_recordings_only(demo: Bundle, tmp_path: Path) -> None:
    config, root = load_config(training_file(tmp_path / "train.yaml"))

    def forbidden() -> Iterator[list[NDArray[np.uint8]]]:
        raise AssertionError("opened")

    sources = [
        one if one.part == "train" else replace(one, open_frames=forbidden) for one in open_sources(config, root)
    ]
    plan = plan_calibration(config, sources, 7)
    assert [frames.tolist() for _, frames in plan.chosen] == [[0, 75, 150, 224, 299, 374, 449]]
    assert sum(len(batch) for batch in stream_crops(demo, plan)) == 7 * VIEWS
    assert (plan.n_frames, plan.n_crops) == (7, 7 * VIEWS)
    with pytest.raises(AssertionError, match="opened"):
        answers_of(demo, config, sources[2], "test")


def test_calibration_crops_of_time_blocks_show_no_test_frame(demo: Bundle, tmp_path: Path) -> None:
    write_video(tmp_path, list(range(240)))  # the grey level of a frame is its number
    config, root = load_config(
        training_file(
            tmp_path / "train.yaml",
            data=[{"kind": "video", "path": "flat.mkv", "labels": "flat.csv"}],
            split={
                "by": "time_block",
                "pattern": ["test", "train", "validation", "train", "test", "train"],
                "guard_s": 0.1,
            },
        )
    )
    video = demo.manifest.video.model_copy(update={"crop": FullCrop(kind="full")})
    whole = replace(demo, manifest=demo.manifest.model_copy(update={"inputs": [video]}))
    plan = plan_calibration(config, open_sources(config, root), 1000)
    seen = [int(level) for batch in stream_crops(whole, plan) for level in np.unique(batch)]
    assert seen == [*range(43, 77), *range(123, 157), *range(203, 240)]
    assert plan.members == ["flat[43:77]", "flat[123:157]", "flat[203:240]"]


def test_a_frame_that_the_rate_leaves_out_gives_its_turn_to_the_next(demo: Bundle, tmp_path: Path) -> None:
    """Recorded at twice the rate of the model, which takes every second frame."""
    write_video(tmp_path, list(range(240)))  # the grey level of a frame is its number
    config, root = load_config(
        training_file(
            tmp_path / "train.yaml",
            data=[{"kind": "video", "path": "flat.mkv", "labels": "flat.csv"}],
            split={"by": "time_block", "pattern": ["train", "test", "train"], "guard_s": 0.1},
        )
    )
    video = demo.manifest.video.model_copy(update={"crop": FullCrop(kind="full")})
    manifest = demo.manifest.model_copy(update={"inputs": [video], "rate_hz": 15.0})
    halved = replace(demo, manifest=manifest)
    plan = plan_calibration(config, open_sources(config, root), 12)
    (planned,) = [frames.tolist() for _, frames in plan.chosen]
    assert planned == [0, 14, 28, 42, 56, 70, 169, 183, 197, 211, 225, 239]
    seen = [int(batch.max()) for batch in stream_crops(halved, plan)]
    assert seen == [0, 14, 28, 42, 56, 70, 170, 184, 198, 212, 226]  # after 239 nothing comes
    assert plan.n_frames == len(seen)
    odd = plan_calibration(config, open_sources(config, root), 12)
    odd.chosen = [(source, np.array([75, 183, 185, 187])) for source, _ in odd.chosen]
    assert [int(batch.max()) for batch in stream_crops(halved, odd)] == [76, 184, 186, 188]
    close = plan_calibration(config, open_sources(config, root), 12)
    close.chosen = [(source, np.array([73, 75, 76])) for source, _ in close.chosen]
    seen = [int(batch.max()) for batch in stream_crops(halved, close)]
    assert seen == [74, 76, 164], "never a frame of the guard or of the test part"
