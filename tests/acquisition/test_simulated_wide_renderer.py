"""The wall cage: cameras with known lenses, and pictures that agree with them."""

import cv2
import numpy as np
import pytest
from ethostream.acquisition.simulated_body import ellipsoids
from ethostream.acquisition.simulated_camera import SimulatedCamera, SimulatedCameraConfig
from ethostream.acquisition.simulated_lens import Lens, simulated_view_model, view_names
from ethostream.acquisition.simulated_motion import CAGE_MM
from ethostream.acquisition.simulated_noise import SensorNoise
from ethostream.acquisition.simulated_renderer import CAGE_VIEWS
from ethostream.acquisition.simulated_scene import SimulatedScene
from ethostream.acquisition.simulated_stage import render_scene
from ethostream.acquisition.simulated_wide_renderer import WideRenderer
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import CameraOpenError

START_NS = 1_700_000_000_000_000_000
INSIDE = np.random.default_rng(1).uniform((20, 20, 5), (CAGE_MM[0] - 20, CAGE_MM[1] - 20, 90), (200, 3))


@pytest.fixture(scope="module")
def scene():
    return SimulatedScene(7, 2, "extended")


def test_four_stereo_pairs_of_120_degrees():
    models = [simulated_view_model("wall_cage", k, 1920, 1080) for k in range(8)]
    assert [model.name for model in models] == [view.name for view in CAGE_VIEWS] == list(view_names("wall_cage"))
    for left, right in zip(models[::2], models[1::2], strict=True):
        assert np.linalg.norm(right.centre_mm - left.centre_mm) == pytest.approx(60.0, abs=1.0)
        assert (left.rotation @ (right.centre_mm - left.centre_mm))[0] > 58.0
    for model in models:
        ends = model.rays(np.array([[0.0, model.matrix[1, 2]], [1919.0, model.matrix[1, 2]]]))
        assert np.rad2deg(np.arccos(ends[0] @ ends[1])) == pytest.approx(120.0, abs=1.5)


def test_an_animal_is_seen_by_at_least_three_cameras():
    seen = np.zeros(len(INSIDE), int)
    for k in range(8):
        pixels = simulated_view_model("wall_cage", k, 1920, 1080).project(INSIDE)
        with np.errstate(invalid="ignore"):
            seen += ((pixels >= 0) & (pixels < (1920, 1080))).all(axis=1)
    assert seen.min() >= 3


@pytest.mark.parametrize("name", ["cage", "wall_cage"])
def test_what_is_drawn_goes_through_the_model(name):
    for k in range(8):
        model = simulated_view_model(name, k, 640, 480)
        camera = model.to_camera(INSIDE)
        front = camera[:, 2] > 1.0
        drawn = Lens(model).to_pixels(camera[front, :2] / camera[front, 2:])
        assert np.abs(drawn - model.project(INSIDE[front])).max() < 1e-6
        if name == "cage":
            assert np.allclose(model.project(INSIDE), CAGE_VIEWS[k].project(INSIDE, 640, 480), atol=1e-6)


def test_an_image_point_is_where_its_ray_goes():
    model = simulated_view_model("wall_cage", 3, 1920, 1080)
    pixels = model.project(INSIDE)
    known = np.isfinite(pixels).all(axis=1) & (np.abs(pixels - (960, 540)) < (960, 540)).all(axis=1)
    away = INSIDE[known] - model.centre_mm
    cosine = np.einsum("ij,ij->i", model.rays(pixels[known]), away) / np.linalg.norm(away, axis=1)
    assert known.sum() > 50
    assert cosine.min() > 1 - 1e-9


def test_silhouettes_lie_where_the_truth_says():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(1500, 3))
    ball /= np.linalg.norm(ball, axis=1)[:, None]
    n_seen = 0
    for images, state in render_scene("wall_cage", 7, 6, 0.2, noise=0.0, reflection=0.0):
        one = state.animals[0]
        centre, axis, half, radius = ellipsoids(one.pose, one.breath)
        surface = centre[:, None] + radius[:, None, None] * ball
        surface += ((half - radius)[:, None] * (axis @ ball.T))[:, :, None] * axis[:, None, :]
        for k, image in enumerate(images):
            pixels = simulated_view_model("wall_cage", k, 640, 480).project(surface.reshape(-1, 3))
            if not (np.isfinite(pixels).all() and (pixels > 6).all() and (pixels < (634, 474)).all()):
                continue
            n_seen += 1
            body = np.zeros(image.shape, np.uint8)
            x, y = np.rint(pixels).astype(int).T
            body[y, x] = 1
            body = cv2.morphologyEx(body, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
            assert (image[cv2.erode(body, np.ones((3, 3), np.uint8)) > 0] < 140).mean() > 0.98
            # The body is darker than all else but what lies outside the walls and the cameras.
            x0, y0, x1, y1 = x.min() - 6, y.min() - 6, x.max() + 7, y.max() + 7
            dark = image[y0:y1, x0:x1] < 76
            assert (cv2.dilate(body, np.ones((5, 5), np.uint8))[y0:y1, x0:x1][dark] > 0).mean() > 0.93
            assert dark.sum() > 0.6 * body.sum()
    assert n_seen > 15


@pytest.mark.parametrize(
    "options",
    [{}, {"noise": 2.0, "shot_noise": 0.05, "reflection": 0.4}, {"noise": 3.0, "noise_everywhere": True},
     {"light_drift": 0.2, "noise": 1.0}],
)  # fmt: skip
def test_a_frame_does_not_depend_on_the_frames_before_it(options, scene):
    busy = WideRenderer("wall_cage", 5, 240, 160, 7, **options)
    for k in (0, 200, 10, 44, 900):
        fresh = WideRenderer("wall_cage", 5, 240, 160, 7, **options)
        assert np.array_equal(busy.render(scene.at(k / 30), k), fresh.render(scene.at(k / 30), k))


def test_reflections_are_in_walls_only(scene):
    n_mirrored = 0
    for t in (1.0, 4.0, 9.0, 12.0):
        plain = WideRenderer("wall_cage", 6, 480, 270, 7)
        mirror = WideRenderer("wall_cage", 6, 480, 270, 7, reflection=0.5)
        changed = plain.render(scene.at(t), 0) != mirror.render(scene.at(t), 0)
        assert not changed[plain._walls == 0].any()
        n_mirrored += changed.sum()
    assert n_mirrored > 200


def test_shot_noise_grows_with_the_light():
    noise = SensorNoise(400, 300, 7, 0, 2.0, 0.05)
    for grey in (20, 100, 200):
        patch = np.full((300, 400), grey, np.uint8)
        noise.add(patch, 0, 0, 3)
        assert patch.astype(float).var() == pytest.approx(4.0 + 0.05 * grey, rel=0.12)
        assert patch.mean() == pytest.approx(grey, abs=0.2)


def test_live_cameras_deliver_the_scene_and_its_truth(read_all):
    options = {
        "scene": "wall_cage", "view": 3, "width": 160, "height": 90, "rate_hz": 50, "seed": 3, "animals": 2,
        "behaviors": "extended", "shot_noise": 0.05, "truth_pose": True,
    }  # fmt: skip
    camera = SimulatedCamera("cam", SimulatedCameraConfig.model_validate(options), FakeClock(START_NS))
    camera.open()
    camera.start(START_NS)
    session = render_scene("wall_cage", 3, 20, 50.0, [3], 160, 90, animals=2, shot_noise=0.05)
    for (grab, image), (images, state) in zip(read_all(camera, (90, 160), 20), session, strict=True):
        assert np.array_equal(image, images[0])
        assert grab.truth.behavior == state.animals[0].behavior
        assert np.array_equal(np.array(grab.truth.pose), state.animals[0].pose)
        assert np.array_equal(np.array(grab.truth.poses_others), [state.animals[1].pose])


def test_a_view_that_does_not_exist_is_named():
    with pytest.raises(CameraOpenError, match="view 'north': there is none; choose 0 to 7 or one of north_left"):
        simulated_view_model("wall_cage", "north", 640, 480)
    with pytest.raises(CameraOpenError, match="no camera model"):
        simulated_view_model("face", 0, 640, 480)
