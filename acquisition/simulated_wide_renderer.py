"""Draws one or two simulated mice into a calibrated view, lens and reflections included. Only what changed is drawn."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_bedding import EmptyCage, draw_wall_cage
from .simulated_body import outlines_in_front
from .simulated_cage import CAGE_VIEWS, draw_cage
from .simulated_extras import Extras, ExtraShapes
from .simulated_figure import TRUNK, Box, Figure, Image, box_around, shapes_of, to_fixed
from .simulated_lens import Lens, SceneName, simulated_view_model
from .simulated_light import SceneLight
from .simulated_noise import SensorNoise
from .simulated_path import CAGE_MM
from .simulated_scene import SceneState
from .simulated_world import WorldState

REFLECTION_REACH_MM = 75.0  # a body further from the wall than this is not mirrored visibly
FAR_OFF = 40_000.0  # pixels; nothing so far outside is handed to the rasteriser


@dataclass(frozen=True, slots=True)
class _Placed(Figure):
    """One body, how far away it is, and the rectangle that it fills."""

    depth: float
    box: Box


class WideRenderer:
    """One camera's picture of a cage. One thread uses it. The same state and instant give the same bytes.

    Args:
        scene: ``cage`` or ``wall_cage``.
        view: number of the camera.
        width: pixels.
        height: pixels.
        seed: of bedding and noise.
        noise: standard deviation of the read-out noise, grey levels.
        shot_noise: variance of the noise of the light per grey level.
        noise_everywhere: fresh noise in the whole image, and not only around the animals.
        light_drift: relative amplitude of a slow change of the light.
        reflection: how much of an animal at a wall the wall mirrors, 0 to 1.
    """

    def __init__(
        self,
        scene: SceneName,
        view: int,
        width: int,
        height: int,
        seed: int,
        noise: float = 0.0,
        shot_noise: float = 0.0,
        noise_everywhere: bool = False,
        light_drift: float = 0.0,
        reflection: float = 0.0,
    ) -> None:
        self.model = simulated_view_model(scene, view, width, height)
        self.width, self.height = width, height
        self._lens = Lens(self.model)
        self._extras = Extras(self.model.projection, 1.0, self.model.centre_mm)
        empty = (
            draw_wall_cage(self.model, seed)
            if scene == "wall_cage"
            else EmptyCage(draw_cage(CAGE_VIEWS[view], width, height, seed), np.zeros((height, width), np.uint8))
        )
        self._light, self._walls = SceneLight(empty.image, light_drift), empty.walls
        self._seen_walls = [k for k in range(1, 5) if (empty.walls == k).any()] if reflection > 0 else []
        self._noise = SensorNoise(width, height, seed, view, noise, shot_noise)
        self._noise_everywhere = noise_everywhere and self._noise.enabled
        self._reflection = reflection
        self._boxes: list[Box] = []
        self._mask = np.zeros((height, width), np.uint8)
        self.image: Image = np.empty((height, width), np.uint8)
        self._mirror: Image = np.empty((height, width), np.uint8)
        self._background = self.image
        self._follow_light(0.0, 1.0)

    def render(self, state: SceneState, instant: int, gain: float = 1.0) -> Image:
        """Draw ``state``; ``instant`` picks the noise, ``gain`` is the brightness.

        Returns:
            ``image`` (height, width) uint8, valid until the next call.
        """
        self._follow_light(state.t_s, gain)
        image = self.image
        if self._noise_everywhere:
            np.copyto(image, self._light.scene)
        else:
            for x0, y0, x1, y1 in self._boxes:
                image[y0:y1, x0:x1] = self._background[y0:y1, x0:x1]
        figures = [figure for one in state.animals if (figure := self._figure(one.pose, one.breath)) is not None]
        mirrored = [found for one in state.animals for found in self._mirrored(one)]
        self._boxes = _merged([figure.box for figure in figures] + [figure.box for _, _, figure in mirrored])
        if not self._noise_everywhere:
            for x0, y0, x1, y1 in self._boxes:
                # Without the frozen noise, since fresh noise follows.
                image[y0:y1, x0:x1] = self._light.scene[y0:y1, x0:x1]
        for wall, share, figure in mirrored:
            self._draw_mirrored(wall, share, figure)
        for figure in figures:
            self._draw_shadow(figure)
        for figure in sorted(figures, key=lambda one: -one.depth):
            figure.draw(image, self._light.greys)
        if self._noise_everywhere:
            self._noise.add(image, 0, 0, instant)
        else:
            for x0, y0, x1, y1 in self._boxes:
                self._noise.add(image[y0:y1, x0:x1], x0, y0, instant)
        return image

    def _follow_light(self, t_s: float, brightness: float) -> None:
        if not self._light.follow(t_s, brightness):
            return
        self._background = self._light.scene
        if self._noise.enabled and not self._noise_everywhere:
            self._background = self._light.scene.copy()
            self._noise.add(self._background, 0, 0, 0)
        np.copyto(self.image, self._background)

    def _figure(self, pose: NDArray[np.float64], breath: float) -> _Placed | None:
        """None where no part of the body lies in the image."""
        outline, depth, seen = outlines_in_front(self.model.projection, pose, breath)
        if not seen.any():
            return None
        extras = self._extras.at(pose)
        parts = (outline, extras.tail, extras.eyes, extras.shadow)
        pixels = self._lens.to_pixels(np.concatenate([part.reshape(-1, 2) for part in parts]))
        np.clip(pixels, -FAR_OFF, FAR_OFF, out=pixels)
        body, tail, eyes, shadow = shapes_of(to_fixed(pixels), parts)
        tail, shadow = self._before(pose, extras, tail, shadow)
        drawn = np.concatenate([body[seen].reshape(-1, 2), tail.reshape(-1, 2), shadow.reshape(-1, 2)])
        box = box_around(drawn, self.width, self.height)
        if box[0] == box[2] or box[1] == box[3]:
            return None
        return _Placed(
            body,
            seen.tolist(),
            np.argsort(-depth, kind="stable").tolist(),
            tail,
            bool(extras.tail_depth > depth[TRUNK]),
            eyes,
            shadow,
            float(depth[TRUNK]),
            box,
        )

    def _before(
        self, pose: NDArray[np.float64], extras: ExtraShapes, tail: NDArray[np.int32], shadow: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tail and shadow, none of them where a part of it lies behind the camera."""
        z = self.model.to_camera(pose)[:, 2]
        if z.min() > 30.0:
            return tail, shadow
        return (tail if extras.tail_depth > 60.0 else tail[:, :0]), shadow[:0]

    def _mirrored(self, one: WorldState) -> list[tuple[int, float, _Placed]]:
        """(wall, strength, figure) of every wall that mirrors this animal visibly."""
        found: list[tuple[int, float, _Placed]] = []
        for wall in self._seen_walls:
            axis, far = divmod(wall - 1, 2)
            level = CAGE_MM[axis] if far else 0.0
            share = self._reflection * (1.0 - float(np.abs(one.pose[:8, axis] - level).min()) / REFLECTION_REACH_MM)
            if share < 0.02:
                continue
            pose = one.pose.copy()
            pose[:, axis] = 2 * level - pose[:, axis]
            figure = self._figure(pose, one.breath)
            if figure is not None:
                found.append((wall, share, figure))
        return found

    def _draw_mirrored(self, wall: int, share: float, figure: _Placed) -> None:
        x0, y0, x1, y1 = figure.box
        mirror, patch = self._mirror[y0:y1, x0:x1], self.image[y0:y1, x0:x1]
        mirror[...] = patch
        figure.draw(self._mirror, self._light.greys, eyes=False)
        cv2.addWeighted(mirror, share, patch, 1.0 - share, 0.0, dst=mirror)
        cv2.copyTo(mirror, (self._walls[y0:y1, x0:x1] == wall).astype(np.uint8), patch)

    def _draw_shadow(self, figure: _Placed) -> None:
        x0, y0, x1, y1 = figure.box
        mask = self._mask[y0:y1, x0:x1]
        figure.fill_shadow(mask, x0, y0)
        # A shadow lies on the floor: what is wall there keeps its light.
        mask[self._walls[y0:y1, x0:x1] > 0] = 0
        cv2.copyTo(self._light.shadow[y0:y1, x0:x1], mask, self.image[y0:y1, x0:x1])


def _merged(boxes: list[Box]) -> list[Box]:
    """Rectangles that do not overlap and cover all of ``boxes``."""
    merged: list[Box] = []
    for box in boxes:
        grown = box
        while True:
            touching = [one for one in merged if _overlap(one, grown)]
            if not touching:
                break
            merged = [one for one in merged if one not in touching]
            every = [*touching, grown]
            grown = (
                min(one[0] for one in every),
                min(one[1] for one in every),
                max(one[2] for one in every),
                max(one[3] for one in every),
            )
        merged.append(grown)
    return merged


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
