"""What a simulated camera looks at, whichever scene it is: a picture of it at a time, and the truth beside it."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .simulated_clock import InstantClock
from .simulated_face import FaceWorld
from .simulated_face_renderer import FaceRenderer
from .simulated_lens import SceneName, view_names, view_number
from .simulated_renderer import CAGE_VIEWS, SceneRenderer
from .simulated_scene import BehaviorSet, SceneState, SimulatedScene
from .simulated_wide_renderer import WideRenderer
from .simulated_world import SimulatedWorld

Image = NDArray[np.uint8]
Pose = NDArray[np.float64]


class Stage(Protocol):
    """One scene seen by one camera."""

    @property
    def behavior(self) -> str:
        """Of the first animal, in what was drawn last."""
        ...

    @property
    def poses(self) -> list[Pose]:
        """(n_keypoints, 3) of each animal, in what was drawn last."""
        ...

    def draw(self, t_s: float, instant: int, gain: float) -> Image:
        """The picture ``t_s`` after the start, valid until the next call; ``instant`` picks the noise."""
        ...


class MouseStage:
    """The mouse of the shipped model: one animal, four behaviours, pinhole cameras."""

    def __init__(self, world: SimulatedWorld, renderer: SceneRenderer) -> None:
        self._world, self._renderer = world, renderer
        self._state = world.at(0.0)

    @property
    def behavior(self) -> str:
        return self._state.behavior

    @property
    def poses(self) -> list[Pose]:
        return [self._state.pose]

    def draw(self, t_s: float, instant: int, gain: float) -> Image:
        self._state = self._world.at(t_s)
        return self._renderer.render(self._state, instant, gain)


class CageStage:
    """A cage with one or two animals, through calibrated lenses."""

    def __init__(self, scene: SimulatedScene, renderer: WideRenderer) -> None:
        self._scene, self._renderer = scene, renderer
        self.state = scene.at(0.0)

    @property
    def behavior(self) -> str:
        return self.state.animals[0].behavior

    @property
    def poses(self) -> list[Pose]:
        return [one.pose for one in self.state.animals]

    def draw(self, t_s: float, instant: int, gain: float) -> Image:
        self.state = self._scene.at(t_s)
        return self._renderer.render(self.state, instant, gain)


class FaceStage:
    """A head-fixed face."""

    def __init__(self, world: FaceWorld, renderer: FaceRenderer) -> None:
        self._world, self._renderer = world, renderer
        self.state = world.at(0.0)

    @property
    def behavior(self) -> str:
        return self.state.behavior

    @property
    def poses(self) -> list[Pose]:
        return [self.state.pose]

    def draw(self, t_s: float, instant: int, gain: float) -> Image:
        self.state = self._world.at(t_s)
        return self._renderer.render(self.state, instant, gain)


def make_stage(
    scene: SceneName,
    view: int,
    width: int,
    height: int,
    seed: int,
    animals: int = 1,
    behaviors: BehaviorSet = "basic",
    noise: float = 2.0,
    shot_noise: float = 0.0,
    noise_everywhere: bool = False,
    light_drift: float = 0.0,
    reflection: float = 0.0,
) -> Stage:
    """The stage of one camera; arguments as in `SimulatedCameraConfig`."""
    if scene == "face":
        return FaceStage(FaceWorld(seed), FaceRenderer(view, width, height, seed, noise, shot_noise, light_drift))
    if scene == "cage" and animals == 1 and behaviors == "basic" and shot_noise == 0.0:
        renderer = SceneRenderer(CAGE_VIEWS[view], width, height, seed, noise, noise_everywhere, light_drift)
        return MouseStage(SimulatedWorld(seed), renderer)
    wide = WideRenderer(scene, view, width, height, seed, noise, shot_noise, noise_everywhere, light_drift, reflection)
    return CageStage(SimulatedScene(seed, animals, behaviors), wide)


def render_scene(
    scene: SceneName,
    seed: int,
    n_frames: int,
    rate_hz: float,
    views: int | Sequence[int | str] = 8,
    width: int = 640,
    height: int = 480,
    animals: int = 1,
    behaviors: BehaviorSet = "extended",
    noise: float = 2.0,
    shot_noise: float = 0.0,
    noise_everywhere: bool = False,
    light_drift: float = 0.0,
    reflection: float = 0.3,
    first_frame: int = 0,
) -> Iterator[tuple[list[Image], SceneState]]:
    """The frames that live cameras of the same options deliver, as fast as they are drawn, with all animals' state.

    Args:
        scene: ``cage`` or ``wall_cage``.
        seed: of the session.
        n_frames: instants.
        rate_hz: exposures per second.
        views: how many of the scene's views, or which, by number or name.
        width: pixels.
        height: pixels.
        animals: 1 or 2.
        behaviors: ``basic`` or ``extended``.
        noise: and the rest as in `SimulatedCameraConfig`.
        shot_noise: as there.
        noise_everywhere: as there.
        light_drift: as there.
        reflection: as there.
        first_frame: number of the first instant.

    Yields:
        One new (height, width) uint8 image per view, and the state; `simulated_truth.body_centroid_mm` and
        `simulated_lens.simulated_view_model` say where its animals are, and where the cameras stand.

    Raises:
        CameraOpenError: a view that does not exist.
    """
    wanted = range(min(views, len(view_names(scene)))) if isinstance(views, int) else views
    renderers = [
        WideRenderer(
            scene,
            view_number(scene, view),
            width,
            height,
            seed,
            noise,
            shot_noise,
            noise_everywhere,
            light_drift,
            reflection,
        )
        for view in wanted
    ]
    world, instants = SimulatedScene(seed, animals, behaviors), InstantClock(0, rate_hz)
    for k in range(first_frame, first_frame + n_frames):
        state = world.at(instants.elapsed_s(k))
        yield [renderer.render(state, k).copy() for renderer in renderers], state
