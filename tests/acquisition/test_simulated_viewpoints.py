"""The cage from anywhere: one camera per seed, the same bytes for the same seed, the animal in the picture."""

import numpy as np
import pytest
from ethostream.acquisition.simulated_path import CAGE_MM
from ethostream.acquisition.simulated_scene import Animal
from ethostream.acquisition.simulated_viewpoints import draw_viewpoint, render_viewpoint, world_of
from ethostream.acquisition.simulated_world import SimulatedWorld

WIDTH, HEIGHT = 160, 120
SEEDS = range(40)


def test_the_same_seed_gives_the_same_bytes_and_another_another_view() -> None:
    first, again, other = (list(render_viewpoint(seed, 3, 30.0, WIDTH, HEIGHT)) for seed in (4, 4, 5))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[0], first[2])
    assert first[0].shape == (HEIGHT, WIDTH) and first[0].dtype == np.uint8


def test_cameras_are_beside_and_above_and_look_at_the_cage() -> None:
    views = [draw_viewpoint(seed) for seed in SEEDS]
    down = np.array([-view.rotation()[2, 2] for view in views])  # how far the camera looks down, 1: straight
    assert down.min() < 0.6 and down.max() > 0.95
    middle = np.array([[CAGE_MM[0] / 2, CAGE_MM[1] / 2, 20.0]])
    for view in views:
        x, y = view.project(middle, WIDTH, HEIGHT)[0]
        assert 0.35 * WIDTH < x < 0.65 * WIDTH and 0.35 * HEIGHT < y < 0.65 * HEIGHT


@pytest.mark.parametrize("behaviors", ["basic", "extended"])
def test_the_animal_is_mostly_in_the_picture(behaviors: str) -> None:
    inside = []
    for seed in SEEDS:
        world = world_of(seed, "basic" if behaviors == "basic" else "extended")
        assert isinstance(world, SimulatedWorld if behaviors == "basic" else Animal)
        pixels = np.concatenate(
            [draw_viewpoint(seed).project(world.at(t).pose[:8], 640, 480) for t in (1.0, 6.0, 12.0)]
        )
        inside.append(((pixels > 0) & (pixels < (640, 480))).all(axis=1).mean())
    assert np.mean(inside) > 0.97 and min(inside) > 0.5


def test_light_and_its_turning_round() -> None:
    plain = next(render_viewpoint(6, 1, 30.0, WIDTH, HEIGHT, noise=0))
    negative = next(render_viewpoint(6, 1, 30.0, WIDTH, HEIGHT, noise=0, negative=True))
    dim = next(render_viewpoint(6, 1, 30.0, WIDTH, HEIGHT, noise=0, brightness=0.5))
    assert np.array_equal(negative, 255 - plain)
    assert dim.mean() == pytest.approx(plain.mean() / 2, rel=0.02)
