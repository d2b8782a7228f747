"""Draws the simulated mouse into one view. Only what changed since the last frame is drawn."""

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_body import outlines
from .simulated_cage import CAGE_VIEWS, ViewGeometry, draw_cage
from .simulated_extras import Extras
from .simulated_figure import FIXED, TRUNK, Figure, box_around, shapes_of, to_fixed
from .simulated_light import SceneLight
from .simulated_world import WorldState

__all__ = ["CAGE_VIEWS", "SceneRenderer", "ViewGeometry"]

NOISE_SPAN = (61, 67)  # prime, so that the noise repeats only after 4087 frames


class SceneRenderer:
    """One camera's picture of the cage. One thread uses it.

    The same state and instant give the same bytes, whatever was drawn before.

    Args:
        view: the camera.
        width: pixels.
        height: pixels.
        seed: of bedding and noise.
        noise: standard deviation of the sensor noise, grey levels. It changes from frame to frame inside the
            rectangle that is drawn anew, and is frozen elsewhere.
        noise_everywhere: new noise in the whole image every frame, as a real sensor has it; costs two passes over it.
        light_drift: relative amplitude of a slow change of the light.
    """

    def __init__(
        self,
        view: ViewGeometry,
        width: int,
        height: int,
        seed: int,
        noise: float = 0.0,
        noise_everywhere: bool = False,
        light_drift: float = 0.0,
    ) -> None:
        self.view, self.width, self.height = view, width, height
        self._projection = view.projection(width, height)
        self._extras = Extras(self._projection, view.focal_rel * height, view.position_mm)
        index = [v.name for v in CAGE_VIEWS].index(view.name) if view in CAGE_VIEWS else len(CAGE_VIEWS)
        self._light = SceneLight(draw_cage(view, width, height, seed), light_drift)
        self._noise = noise > 0
        self._noise_everywhere = noise_everywhere and noise > 0
        if self._noise:
            rng = np.random.default_rng([seed, 4, index])
            shape = (height + NOISE_SPAN[0], width + NOISE_SPAN[1])
            # Two unsigned tiles, since adding and subtracting with saturation is what cv2 does fastest.
            tile = np.rint(rng.standard_normal(shape, np.float32) * noise)
            self._brighter = np.clip(tile, 0, 255).astype(np.uint8)
            self._darker = np.clip(-tile, 0, 255).astype(np.uint8)
        self._box = (0, 0, 0, 0)
        self._mask = np.zeros((height, width), np.uint8)
        self.image: NDArray[np.uint8] = np.empty((height, width), np.uint8)
        self._background = self.image
        self._follow_light(0.0, 1.0)

    def render(self, state: WorldState, instant: int, gain: float = 1.0) -> NDArray[np.uint8]:
        """Draw ``state``; ``instant`` picks the noise, ``gain`` is the brightness.

        Returns:
            ``image`` (height, width) uint8, valid until the next call.
        """
        self._follow_light(state.t_s, gain)
        x0, y0, x1, y1 = self._box
        if self._noise_everywhere:
            np.copyto(self.image, self._background)
        else:
            self.image[y0:y1, x0:x1] = self._background[y0:y1, x0:x1]
        outline, depth = outlines(self._projection, state.pose, state.breath)
        extras = self._extras.at(state.pose)
        parts = (outline, extras.tail, extras.eyes, extras.shadow)
        fixed = to_fixed(np.concatenate([part.reshape(-1, 2) for part in parts]))
        self._box = x0, y0, x1, y1 = box_around(fixed, self.width, self.height)
        patch = self.image[y0:y1, x0:x1]
        if patch.size:
            if self._noise and not self._noise_everywhere:
                patch[...] = self._light.scene[y0:y1, x0:x1]  # without the frozen noise, since fresh noise follows
            fixed -= (x0 * FIXED, y0 * FIXED)
            body, tail, eyes, shadow = shapes_of(fixed, parts)
            order = np.argsort(-depth, kind="stable").tolist()
            tail_first = bool(extras.tail_depth > depth[TRUNK])
            figure = Figure(body, [True] * len(body), order, tail, tail_first, eyes, shadow)
            mask = self._mask[: y1 - y0, : x1 - x0]
            figure.fill_shadow(mask)
            cv2.copyTo(self._light.shadow[y0:y1, x0:x1], mask, patch)
            figure.draw(patch, self._light.greys)
        if self._noise_everywhere:
            self._add_noise(self.image, 0, 0, instant)
        elif self._noise and patch.size:
            self._add_noise(patch, x0, y0, instant)
        return self.image

    def _follow_light(self, t_s: float, brightness: float) -> None:
        if not self._light.follow(t_s, brightness):
            return
        self._background = self._light.scene
        if self._noise and not self._noise_everywhere:
            self._background = self._light.scene.copy()
            self._add_noise(self._background, 0, 0, 0)
        np.copyto(self.image, self._background)

    def _add_noise(self, patch: NDArray[np.uint8], x0: int, y0: int, instant: int) -> None:
        dy, dx = instant * 37 % NOISE_SPAN[0], instant * 41 % NOISE_SPAN[1]
        rows = slice(y0 + dy, y0 + dy + patch.shape[0])
        columns = slice(x0 + dx, x0 + dx + patch.shape[1])
        cv2.add(patch, self._brighter[rows, columns], dst=patch)
        cv2.subtract(patch, self._darker[rows, columns], dst=patch)
