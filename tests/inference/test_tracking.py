"""Where the animals are: against the simulator's truth, through lost views, merged silhouettes and a saved state."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from ethostream.acquisition.simulated_cage import CAGE_MM, CAGE_VIEWS, draw_cage
from ethostream.acquisition.simulated_camera import InstantClock, render_session
from ethostream.acquisition.simulated_lens import simulated_view_model, view_names
from ethostream.acquisition.simulated_truth import body_centroid_mm
from ethostream.acquisition.simulated_world import SimulatedWorld
from ethostream.inference.tracking.config import TrackingConfig
from ethostream.inference.tracking.tracker import AnimalTracker
from ethostream.sync.errors import CalibrationError, ConfigError
from pydantic import ValidationError

WIDTH, HEIGHT, RATE_HZ, SEED = 480, 360, 30, 21
START_NS = 1_700_000_000_000_000_000
MODELS = {name: simulated_view_model("cage", name, WIDTH, HEIGHT) for name in view_names("cage")}
SHAPES = {name: (HEIGHT, WIDTH) for name in MODELS}
EMPTY = {view.name: draw_cage(view, WIDTH, HEIGHT, SEED) for view in CAGE_VIEWS}
INSTANTS = InstantClock(START_NS, RATE_HZ)


def config(**changes) -> TrackingConfig:
    options = {
        "calibration": Path("cage.toml"),
        "cage_x_mm": (0, CAGE_MM[0]),
        "cage_y_mm": (0, CAGE_MM[1]),
        "cage_z_mm": (0, 130),
    }
    return TrackingConfig(**{**options, **changes})


@pytest.fixture(scope="module")
def session():
    """120 sets of eight views (camera → image), and the true centroid of each."""
    world = SimulatedWorld(SEED)
    sets = [
        dict(zip(MODELS, images, strict=True)) for images, _ in render_session(SEED, 120, RATE_HZ, 8, WIDTH, HEIGHT)
    ]
    truth = np.stack([body_centroid_mm(world.at(INSTANTS.elapsed_s(k))) for k in range(len(sets))])
    return sets, truth


def run(tracker: AnimalTracker, sets, first: int = 0):
    return [tracker.step(images, INSTANTS.exposure_ns(first + k)) for k, images in enumerate(sets)]


def test_the_centroid_is_that_of_the_body_without_the_tail(session):
    sets, truth = session
    tracks = run(AnimalTracker(config(), MODELS, SHAPES, RATE_HZ), sets)
    assert all(track.valid and track.n_views == 8 for (track,) in tracks)
    error_mm = np.linalg.norm([track.xyz_mm for (track,) in tracks] - truth, axis=1)
    assert np.percentile(error_mm, 95) <= 5.0
    velocity = np.array([track.velocity_mm_s for (track,) in tracks])[30:]
    true_velocity = (np.gradient(truth, axis=0) * RATE_HZ)[30:]
    moving = np.linalg.norm(true_velocity, axis=1) > 60
    assert moving.sum() > 5
    along = (velocity * true_velocity).sum(axis=1)
    direction = along / np.linalg.norm(velocity, axis=1) / np.linalg.norm(true_velocity, axis=1)
    assert np.median(direction[moving]) > 0.9


def test_the_boxes_hold_the_animal_in_every_view(session):
    sets, truth = session
    tracks = run(AnimalTracker(config(), MODELS, SHAPES, RATE_HZ), sets)
    for (track,), at in zip(tracks[10:], truth[10:], strict=True):
        assert [box.camera for box in track.boxes] == list(MODELS)
        for box in track.boxes:
            x, y = MODELS[box.camera].project(at[None])[0]
            assert box.valid
            assert box.x_px - 4 <= x <= box.x_px + box.width_px + 4
            assert box.y_px - 4 <= y <= box.y_px + box.height_px + 4
            assert box.width_px < WIDTH / 2
        assert 0 <= track.residual_px < 8


def test_views_that_are_missing_or_blind_are_named_and_do_no_harm(session):
    sets, truth = session
    tracker = AnimalTracker(config(), MODELS, SHAPES, RATE_HZ)
    run(tracker, sets[:60])
    blind, missing = "north_left", "east_right"
    errors = []
    for k, images in enumerate(sets[60:], 60):
        left = {name: image for name, image in images.items() if name != missing}
        left[blind] = EMPTY[blind]  # a lens cap would be seen; an animal that does not show is the harder case
        (track,) = tracker.step(left, INSTANTS.exposure_ns(k))
        shown = {box.camera: box.valid for box in track.boxes}
        assert not shown[missing]
        assert not shown[blind]
        assert track.valid
        assert track.n_views == 6
        errors.append(np.linalg.norm(np.array(track.xyz_mm) - truth[k]))
    assert np.percentile(errors, 95) <= 8.0


def test_an_animal_that_no_view_shows_is_not_made_up(session):
    sets, _ = session
    tracker = AnimalTracker(config(lost_s=0.2), MODELS, SHAPES, RATE_HZ)
    run(tracker, sets[:60])
    tracks = [tracker.step(EMPTY, INSTANTS.exposure_ns(60 + k))[0] for k in range(30)]
    assert not any(track.valid for track in tracks)
    assert tracks[-1].velocity_mm_s == (0.0, 0.0, 0.0)
    assert tracks[-1].xyz_mm == tracks[-2].xyz_mm
    assert tracks[-1].n_views == 0


def test_a_saved_state_goes_on_bit_for_bit(session):
    sets, _ = session
    first = AnimalTracker(config(), MODELS, SHAPES, RATE_HZ)
    run(first, sets[:50])
    state = first.snapshot()
    second = AnimalTracker(config(), MODELS, SHAPES, RATE_HZ)
    second.restore(state)
    assert run(first, sets[50:90], 50) == run(second, sets[50:90], 50)
    first.reset()
    assert run(first, sets[:20]) == run(AnimalTracker(config(), MODELS, SHAPES, RATE_HZ), sets[:20])


def test_two_views_are_enough_and_one_is_refused(session):
    sets, truth = session
    pair = {name: SHAPES[name] for name in ("north_left", "east_left")}
    tracker = AnimalTracker(config(), MODELS, pair, RATE_HZ)
    tracks = run(tracker, sets)
    error_mm = np.linalg.norm(np.array([track.xyz_mm for (track,) in tracks]) - truth, axis=1)
    assert all(track.valid for (track,) in tracks)
    assert np.percentile(error_mm, 95) <= 40.0  # the hull of two views is far larger than the body
    with pytest.raises(ConfigError, match="at least two"):
        AnimalTracker(config(), MODELS, {"north_left": (HEIGHT, WIDTH)}, RATE_HZ)


def balls(*centres_mm, views=tuple(MODELS)):
    """The empty cage with dark balls of 50 mm, as the views see them."""
    images = {}
    for name in views:
        image = EMPTY[name].copy()
        for centre in centres_mm:
            x, y = MODELS[name].project(np.array([centre], float))[0]
            edge = np.array([centre], float) + MODELS[name].rotation[0] * 25.0
            radius = np.linalg.norm(MODELS[name].project(edge)[0] - (x, y))
            cv2.circle(image, (round(x), round(y)), round(radius), 20, cv2.FILLED)
        images[name] = image
    return images


LEFT, BESIDE, RIGHT = (150.0, 150.0, 30.0), (190.0, 150.0, 30.0), (300.0, 150.0, 30.0)


def test_animals_that_sleep_together_before_they_were_seen_apart_do_not_fade():
    tracker = AnimalTracker(config(animals=2, learn_s=0.25), MODELS, SHAPES, RATE_HZ)
    together = run(tracker, [balls(LEFT, BESIDE)] * 60)
    assert not any(track.valid for tracks in together for track in tracks)
    tracks = run(tracker, [balls(LEFT, RIGHT)] * 3, 60)[-1]
    assert all(track.valid for track in tracks)
    assert np.allclose([track.xyz_mm for track in tracks], [LEFT, RIGHT], atol=8)


def test_an_animal_does_not_fade_in_the_only_view_that_is_left():
    pair = ("north_left", "east_left")
    tracker = AnimalTracker(config(learn_s=0.25), MODELS, {name: SHAPES[name] for name in pair}, RATE_HZ)
    assert run(tracker, [balls(LEFT, views=pair)] * 10)[-1][0].valid
    assert not any(track.valid for (track,) in run(tracker, [balls(LEFT, views=pair[:1])] * 60, 10))
    assert run(tracker, [balls(LEFT, views=pair)], 70)[0][0].valid


def test_a_missing_camera_that_looks_elsewhere_hides_nothing():
    pair = ("north_left", "east_left")
    aside = MODELS["west_left"].matrix.copy()
    aside[0, 2] += 1.2 * WIDTH
    models = {**MODELS, "west_left": replace(MODELS["west_left"], matrix=aside)}
    tracker = AnimalTracker(config(), models, {name: SHAPES[name] for name in (*pair, "west_left")}, RATE_HZ)
    whole = run(tracker, [balls(LEFT, views=pair) | {"west_left": EMPTY["west_left"]}] * 10)[-1][0]
    (left,) = run(tracker, [balls(LEFT, views=pair)], 10)[0]
    assert whole.valid
    assert whole.n_views == 2
    assert left.valid
    assert np.allclose(left.xyz_mm, whole.xyz_mm, atol=1)


def test_torn_pixels_cost_the_background_and_not_who_is_who():
    tracker = AnimalTracker(config(animals=2), MODELS, SHAPES, RATE_HZ)
    run(tracker, [balls(LEFT, RIGHT)] * 3)
    # They change sides: numbered anew they would be exchanged, since numbers begin on the left.
    y_mm = np.linspace(0, 60, 15)
    for k, away in enumerate([*y_mm, *y_mm[::-1]], 3):
        x = (k - 3) / 29
        first, second = (150 + 150 * x, 150 + away, 30), (300 - 150 * x, 150 - away, 30)
        tracks = tracker.step(balls(first, second), INSTANTS.exposure_ns(k))
    assert np.allclose([track.xyz_mm for track in tracks], [RIGHT, LEFT], atol=12)
    tracker.forget_pixels()
    tracks = run(tracker, [balls(RIGHT, LEFT)] * 2, 33)[-1]
    assert all(track.valid for track in tracks)
    assert np.allclose([track.xyz_mm for track in tracks], [RIGHT, LEFT], atol=12)


def test_no_box_reaches_beyond_the_image():
    # 480 px in samples of 7: the last one hangs over the edge.
    tracker = AnimalTracker(config(sample_width_px=69), MODELS, SHAPES, RATE_HZ)
    corners = [(x, y, 30.0) for x in (30.0, CAGE_MM[0] - 30) for y in (30.0, CAGE_MM[1] - 30)]
    boxes = [box for at in corners for box in run(tracker, [balls(at)] * 2)[-1][0].boxes if box.width_px]
    assert any(box.x_px + box.width_px == WIDTH for box in boxes)
    assert all(box.x_px + box.width_px <= WIDTH and box.y_px + box.height_px <= HEIGHT for box in boxes)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="west_left is not in"):
        AnimalTracker(config(), {"north_left": MODELS["north_left"]}, {"west_left": (HEIGHT, WIDTH), **SHAPES}, RATE_HZ)
    with pytest.raises(ConfigError, match="calibrated at 480x360"):
        AnimalTracker(config(), MODELS, {**SHAPES, "west_left": (480, 640)}, RATE_HZ)
    with pytest.raises(CalibrationError):
        AnimalTracker(config(cage_x_mm=(9000, 9100)), MODELS, SHAPES, RATE_HZ)
    with pytest.raises(ValidationError, match="two voxels"):
        config(cage_z_mm=(0, 5))
    with pytest.raises(ValidationError, match="stands twice"):
        config(views=["north_left", "north_left"])
    with pytest.raises(ValidationError, match="2,000,000"):
        config(voxel_mm=1.0)
