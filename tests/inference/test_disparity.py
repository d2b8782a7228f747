"""Disparity of stereo pairs as views: right depths, known to the model by how they are made, the same in training."""

from pathlib import Path

import numpy as np
import pytest
from ethostream.acquisition.simulated_camera import InstantClock, render_session
from ethostream.acquisition.simulated_lens import simulated_view_model
from ethostream.acquisition.simulated_truth import body_centroid_mm
from ethostream.acquisition.simulated_world import SimulatedWorld
from ethostream.inference.config import TaskConfig
from ethostream.inference.disparity import DisparityViews, StereoDisparity
from ethostream.inference.disparity_config import DisparityConfig, DisparityOptions, DisparityView
from ethostream.sync.calibration_file import Calibration, read_calibration, write_calibration
from ethostream.sync.errors import CalibrationError, ConfigError, DataError
from ethostream.training.config.training_file import TrainConfig
from ethostream.training.data.video_sources import open_sources
from pydantic import ValidationError

WIDTH, HEIGHT, SEED = 640, 480, 5
NAMES = ("north_left", "north_right")
CALIBRATION = Calibration(tuple(simulated_view_model("cage", name, WIDTH, HEIGHT) for name in NAMES))
SHAPES = {name: (HEIGHT, WIDTH) for name in NAMES}
OPTIONS = DisparityOptions(nearest_mm=220, farthest_mm=900)
PAIR = DisparityView(left=NAMES[0], right=NAMES[1], options=OPTIONS)


def test_the_animal_is_as_far_as_it_is():
    stereo = StereoDisparity("depth", PAIR, CALIBRATION)
    world, instants = SimulatedWorld(SEED), InstantClock(0, 10)
    errors = []
    for k, ((left, right), _) in enumerate(render_session(SEED, 40, 10, NAMES, WIDTH, HEIGHT)):
        image = stereo.step(left, right)
        assert image.shape == stereo.shape == (240, 320)
        at = body_centroid_mm(world.at(instants.elapsed_s(k)))
        pixel = stereo.rectifier.rectify_points(CALIBRATION.model(NAMES[0]).project(at[None]), 0)[0]
        x, y = (round(float(value)) for value in pixel)
        patch = stereo.depth_mm(image)[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5]
        true_mm = float(np.linalg.norm(at - CALIBRATION.model(NAMES[0]).centre_mm))
        if np.isfinite(patch).sum() > 20:
            errors.append(float(np.nanmedian(patch)) - true_mm)
    assert len(errors) >= 20  # a body without texture is not matched everywhere
    # Depth lies along the axis of the pair and the truth along the ray to the middle of the body: 15 mm at most.
    assert np.median(np.abs(errors)) < 25


def test_pairs_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="name of a camera"):
        DisparityViews(DisparityConfig(calibration=Path("x"), views={"north_left": PAIR}), CALIBRATION, SHAPES)
    with pytest.raises(ConfigError, match="is not a camera here"):
        other = DisparityView(left="north_left", right="north_far")
        DisparityViews(DisparityConfig(calibration=Path("x"), views={"depth": other}), CALIBRATION, SHAPES)
    with pytest.raises(ConfigError, match="calibrated at 640x480"):
        views = {**SHAPES, "north_left": (240, 320)}
        DisparityViews(DisparityConfig(calibration=Path("x"), views={"depth": PAIR}), CALIBRATION, views)
    with pytest.raises(CalibrationError, match="exchange the two"):
        StereoDisparity("depth", DisparityView(left=NAMES[1], right=NAMES[0]), CALIBRATION)
    with pytest.raises(ConfigError, match="raise nearest_mm"):
        StereoDisparity("depth", PAIR.model_copy(update={"options": DisparityOptions(nearest_mm=10)}), CALIBRATION)
    with pytest.raises(ValidationError, match="not nearer"):
        DisparityOptions(nearest_mm=500, farthest_mm=400)
    with pytest.raises(ValidationError, match="odd"):
        DisparityOptions(block_px=4)


def test_only_pairs_of_which_both_cameras_are_there_are_computed():
    views = DisparityViews(DisparityConfig(calibration=Path("x"), views={"depth": PAIR}), CALIBRATION, SHAPES)
    images = {name: np.full((HEIGHT, WIDTH), 90, np.uint8) for name in NAMES}
    assert set(views.step(images, {"depth"})) == {"depth"}
    assert views.step(images, {"north_left"}) == {}
    assert views.step({"north_left": images["north_left"]}, {"depth"}) == {}


def train_config(folder: Path, **changes) -> TrainConfig:
    write_calibration(folder / "cage.toml", CALIBRATION.models, {})
    data = [{"kind": "simulated", "seeds": [SEED], "n_frames": 6, "views": list(NAMES)}]
    disparity = {"calibration": "cage.toml", "views": {"depth": PAIR.model_dump()}}
    return TrainConfig.model_validate(
        {
            "name": "m", "classes": ["locomote", "rear", "groom", "still"], "data": data, "disparity": disparity,
            "split": {"by": "time_block", "pattern": ["train", "validation", "test"]}, **changes,
        }
    )  # fmt: skip


def test_a_view_stands_once_in_training(tmp_path):
    with pytest.raises(ValidationError, match="views: one stands twice"):
        train_config(tmp_path, views=["depth", "depth"])


def test_training_sees_the_same_views(tmp_path):
    (source,) = open_sources(train_config(tmp_path), tmp_path)
    assert list(source.views) == [*NAMES, "depth"]
    stereo = StereoDisparity("depth", PAIR, read_calibration(tmp_path / "cage.toml"))
    frames = [[image.copy() for image in images] for images in source.open_frames()]
    assert len(frames) == 6
    for left, right, depth in frames:
        np.testing.assert_array_equal(depth, stereo.step(left, right))
    (plain,) = open_sources(train_config(tmp_path, disparity=None), tmp_path)
    (chosen,) = open_sources(train_config(tmp_path, views=["depth", "north_right"]), tmp_path)
    assert list(chosen.views) == ["depth", "north_right"]
    assert next(chosen.open_frames())[0].shape == stereo.shape
    assert len({plain.data.sha256, source.data.sha256, chosen.data.sha256}) == 3
    with pytest.raises(DataError, match="is not there"):
        open_sources(train_config(tmp_path, views=["south_left"]), tmp_path)
    with pytest.raises(ValidationError, match="fixed views"):
        train_config(tmp_path, any_views=True)


def test_disparity_that_no_model_would_see_is_refused():
    options = {"calibration": "rig.toml", "views": {"depth": {"left": NAMES[0], "right": NAMES[1]}}}
    with pytest.raises(ValidationError, match="for a model only"):
        TaskConfig.model_validate({"disparity": options})
    assert TaskConfig.model_validate({"bundle": "demo", "disparity": options}).disparity is not None
