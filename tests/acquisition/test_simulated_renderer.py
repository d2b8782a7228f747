import cv2
import numpy as np
import pytest
from ethostream.acquisition.simulated_body import ellipsoids, outlines
from ethostream.acquisition.simulated_camera import render_session
from ethostream.acquisition.simulated_renderer import CAGE_VIEWS, SceneRenderer
from ethostream.acquisition.simulated_world import BEHAVIORS, CAGE_MM, KEYPOINTS, SimulatedWorld
from ethostream.sync.errors import CameraOpenError

SPINE = KEYPOINTS.index("spine")


def test_eight_views_on_four_walls_look_in():
    assert len(CAGE_VIEWS) == len({view.name for view in CAGE_VIEWS}) == 8
    for left, right in zip(CAGE_VIEWS[::2], CAGE_VIEWS[1::2], strict=True):
        wall = left.name.removesuffix("_left")
        assert right.name == f"{wall}_right"
        apart = np.subtract(right.position_mm, left.position_mm)
        assert np.linalg.norm(apart) == pytest.approx(110.0)
        # The right camera stands to the right of the left one, as its image sees it.
        assert left.rotation()[0] @ apart > 100.0
    corners = np.array([[x, y, 0.0] for x in (60, CAGE_MM[0] - 60) for y in (60, CAGE_MM[1] - 60)])
    for view in CAGE_VIEWS:
        for width, height in ((640, 480), (1920, 1080)):
            pixels = view.project(corners, width, height)
            assert np.all(pixels > 0)
            assert np.all(pixels < (width, height))


def test_projection_is_the_one_of_opencv():
    view = CAGE_VIEWS[5]
    points = np.array([[100.0, 80.0, 10.0], [210.0, 160.0, 28.0], [300.0, 250.0, 60.0]])
    rotation, _ = cv2.Rodrigues(view.rotation())
    translation = -view.rotation() @ np.array(view.position_mm)
    expected, _ = cv2.projectPoints(points, rotation, translation, view.intrinsics(640, 480), None)
    assert np.allclose(view.project(points, 640, 480), expected[:, 0], atol=1e-6)


def test_outline_of_an_ellipsoid_is_its_silhouette():
    state = SimulatedWorld(7).at(3.0)
    projection = CAGE_VIEWS[0].projection(640, 480)
    points, _ = outlines(projection, state.pose, 0.0)
    center, axis, half, radius = ellipsoids(state.pose, 0.0)
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(40_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    along = sphere @ axis[0]
    surface = center[0] + radius[0] * sphere + ((half[0] - radius[0]) * along)[:, None] * axis[0]
    seen = CAGE_VIEWS[0].project(surface, 640, 480)
    assert np.allclose(seen.min(axis=0), points[0].min(axis=0), atol=0.15)
    assert np.allclose(seen.max(axis=0), points[0].max(axis=0), atol=0.15)


@pytest.mark.parametrize(
    "options", [{}, {"noise": 3.0}, {"noise": 3.0, "noise_everywhere": True}, {"light_drift": 0.2}]
)
def test_a_frame_does_not_depend_on_the_frames_before_it(options):
    world = SimulatedWorld(7)
    busy = SceneRenderer(CAGE_VIEWS[2], 320, 240, 7, **options)
    for k in (0, 200, 10, 500, 44, 900):
        fresh = SceneRenderer(CAGE_VIEWS[2], 320, 240, 7, **options)
        assert np.array_equal(busy.render(world.at(k / 30), k), fresh.render(world.at(k / 30), k))


def test_only_the_animal_changes():
    world = SimulatedWorld(7)
    renderer = SceneRenderer(CAGE_VIEWS[0], 640, 480, 7, noise=2.0)
    frames = np.array([renderer.render(world.at(k / 10), k).copy() for k in range(60)])
    changed = (frames != frames[0]).any(axis=0)
    assert 0.005 < changed.mean() < 0.5


def test_the_mouse_is_dark_and_where_its_pose_says():
    world = SimulatedWorld(7)
    for view in CAGE_VIEWS:
        renderer = SceneRenderer(view, 640, 480, 7)
        for t in (0.5, 3.0, 5.0, 8.0):
            state = world.at(t)
            image = renderer.render(state, 0)
            x, y = np.rint(view.project(state.pose[SPINE : SPINE + 1], 640, 480)[0]).astype(int)
            assert image[y - 1 : y + 2, x - 1 : x + 2].mean() < 100
            assert np.median(image) > 120


def test_noise_has_the_strength_asked_for():
    state = SimulatedWorld(7).at(1.0)
    clean = SceneRenderer(CAGE_VIEWS[0], 320, 240, 7).render(state, 5).astype(int)
    noisy = SceneRenderer(CAGE_VIEWS[0], 320, 240, 7, noise=4.0, noise_everywhere=True).render(state, 5)
    assert (noisy - clean).std() == pytest.approx(4.0, rel=0.05)


def test_noise_is_as_strong_around_the_animal_as_elsewhere():
    state = SimulatedWorld(7).at(1.0)
    clean = SceneRenderer(CAGE_VIEWS[0], 640, 480, 7).render(state, 5).astype(int)
    difference = SceneRenderer(CAGE_VIEWS[0], 640, 480, 7, noise=4.0).render(state, 5) - clean
    x, y = CAGE_VIEWS[0].project(state.pose[SPINE : SPINE + 1], 640, 480)[0].astype(int)
    assert difference[y - 15 : y + 15, x - 15 : x + 15].std() == pytest.approx(4.0, rel=0.12)
    assert difference[:40].std() == pytest.approx(4.0, rel=0.05)


def test_light_drifts_slowly():
    world = SimulatedWorld(7)
    renderer = SceneRenderer(CAGE_VIEWS[0], 320, 240, 7, light_drift=0.2)
    means = [renderer.render(world.at(t), 0)[:40].mean() for t in np.arange(0, 90, 1.0)]
    assert max(means) / min(means) > 1.3
    assert np.abs(np.diff(means)).max() < 4.0


def test_a_session_is_what_its_renderers_draw():
    session = list(render_session(7, 40, 10.0, ["north_left", 3], 160, 120, noise=2.0))
    world, renderer = SimulatedWorld(7), SceneRenderer(CAGE_VIEWS[3], 160, 120, 7, noise=2.0)
    for k, (images, behavior) in enumerate(session):
        state = world.at(k / 10)
        assert behavior == state.behavior
        assert behavior in BEHAVIORS
        assert [image.shape for image in images] == [(120, 160)] * 2
        assert np.array_equal(images[1], renderer.render(state, k))
    assert len(next(render_session(1, 1, 30.0, 8, 64, 64))[0]) == 8


def test_a_view_that_is_not_there_is_named():
    with pytest.raises(CameraOpenError, match=r"'top'.*north_left"):
        next(render_session(7, 1, 30.0, ["top"]))
