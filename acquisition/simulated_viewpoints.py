"""The cage from anywhere: one camera placed at random, for models that are to know the animal from any side.

Nearer and further, from beside the cage to straight above it, in brighter and darker light, and, where asked for, with
the grey levels turned round: a light animal on dark ground. Everything follows from the seed.
"""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_cage import ViewGeometry
from .simulated_clock import InstantClock
from .simulated_path import CAGE_MM
from .simulated_renderer import SceneRenderer
from .simulated_scene import Animal, BehaviorSet
from .simulated_world import SimulatedWorld

VIEWPOINT: Final = "anywhere"
"""Name of such a view."""
ELEVATION_DEG: Final = (28.0, 87.0)
"""Above the horizon; a camera that looks straight down would have no right and left."""
SEEN_MM: Final = (360.0, 620.0)
"""Height of the picture, measured in the cage: the floor is 320 by 420 mm, and a mouse 90 mm long."""
DISTANCE_MM: Final = (420.0, 900.0)
OFF_CENTER_MM: Final = 25.0
SEED_OF_PLACE: Final = 20


def draw_viewpoint(seed: int) -> ViewGeometry:
    """The camera of a session."""
    rng = np.random.default_rng([seed, SEED_OF_PLACE])
    elevation = np.deg2rad(rng.uniform(*ELEVATION_DEG))
    azimuth = rng.uniform(-np.pi, np.pi)
    distance = rng.uniform(*DISTANCE_MM)
    target = (
        CAGE_MM[0] / 2 + rng.uniform(-OFF_CENTER_MM, OFF_CENTER_MM),
        CAGE_MM[1] / 2 + rng.uniform(-OFF_CENTER_MM, OFF_CENTER_MM),
        20.0,
    )
    out = distance * np.cos(elevation)
    position = (
        float(target[0] + out * np.cos(azimuth)),
        float(target[1] + out * np.sin(azimuth)),
        float(target[2] + distance * np.sin(elevation)),
    )
    return ViewGeometry(VIEWPOINT, position, target, float(distance / rng.uniform(*SEEN_MM)))


def render_viewpoint(
    seed: int,
    n_frames: int,
    rate_hz: float,
    width: int = 640,
    height: int = 480,
    noise: float = 2.0,
    noise_everywhere: bool = False,
    light_drift: float = 0.0,
    brightness: float = 1.0,
    negative: bool = False,
    behaviors: BehaviorSet = "basic",
) -> Iterator[NDArray[np.uint8]]:
    """The frames of the camera of `draw_viewpoint`, as fast as they are drawn.

    Args:
        seed: of the session, and of the camera's place.
        n_frames: instants.
        rate_hz: exposures per second.
        width: pixels.
        height: pixels.
        noise: and the next two as in `SimulatedCameraConfig`.
        noise_everywhere: as there.
        light_drift: as there.
        brightness: of the light, 1 as elsewhere.
        negative: a light animal on dark ground.
        behaviors: what it does.

    Yields:
        A new (height, width) uint8 image.
    """
    renderer = SceneRenderer(draw_viewpoint(seed), width, height, seed, noise, noise_everywhere, light_drift)
    world, instants = world_of(seed, behaviors), InstantClock(0, rate_hz)
    for k in range(n_frames):
        image = renderer.render(world.at(instants.elapsed_s(k)), k, brightness)
        yield np.asarray(cv2.bitwise_not(image), np.uint8) if negative else image.copy()


def world_of(seed: int, behaviors: BehaviorSet) -> SimulatedWorld | Animal:
    """The one animal of a session: that of the shipped model, or one that does more."""
    return SimulatedWorld(seed) if behaviors == "basic" else Animal(seed, behaviors)
