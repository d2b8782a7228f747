"""Draws the simulated mouse into one view. Only what changed since the last frame is drawn."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from .simulated_body import GROUP_ELLIPSES, GROUPS, N_OUTLINE, outlines
from .simulated_cage import CAGE_VIEWS, ViewGeometry, draw_cage
from .simulated_extras import N_EYE, TAIL_GREYS, Extras
from .simulated_world import WorldState

__all__ = ["CAGE_VIEWS", "SceneRenderer", "ViewGeometry"]

SHIFT = 4  # cv2's fixed-point bits: outlines move by sixteenths of a pixel
FIXED = 1 << SHIFT
SHADOW = 0.72  # brightness of the floor in the animal's shadow
NOISE_SPAN = (61, 67)  # prime, so that the noise repeats only after 4087 frames
DRIFT_PERIOD_S = 90.0
MARGIN_PX = 3
EYE_GREYS = (10, 190)
_TRUNK, _HEAD = GROUPS.index("trunk"), GROUPS.index("head")


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
        self._empty = draw_cage(view, width, height, seed)
        self._noise = noise > 0
        self._noise_everywhere = noise_everywhere and noise > 0
        self._light_drift = light_drift
        if self._noise:
            rng = np.random.default_rng([seed, 4, index])
            shape = (height + NOISE_SPAN[0], width + NOISE_SPAN[1])
            # Two unsigned tiles, since adding and subtracting with saturation is what cv2 does fastest.
            tile = np.rint(rng.standard_normal(shape, np.float32) * noise)
            self._brighter = np.clip(tile, 0, 255).astype(np.uint8)
            self._darker = np.clip(-tile, 0, 255).astype(np.uint8)
        self._gain_step = -1
        self._box = (0, 0, 0, 0)
        self._mask = np.zeros((height, width), np.uint8)
        self.image: NDArray[np.uint8] = np.empty((height, width), np.uint8)
        self._clean = self._background = self._dimmed = self.image
        self._light(0.0, 1.0)

    def render(self, state: WorldState, instant: int, gain: float = 1.0) -> NDArray[np.uint8]:
        """Draw ``state``; ``instant`` picks the noise, ``gain`` is the brightness.

        Returns:
            ``image`` (height, width) uint8, valid until the next call.
        """
        self._light(state.t_s, gain)
        x0, y0, x1, y1 = self._box
        if self._noise_everywhere:
            np.copyto(self.image, self._background)
        else:
            self.image[y0:y1, x0:x1] = self._background[y0:y1, x0:x1]
        ellipses, depth = outlines(self._projection, state.pose, state.breath)
        extras = self._extras.at(state.pose)
        vertices = np.concatenate(
            [
                ellipses.reshape(-1, 2),
                extras.tail.reshape(-1, 2),
                extras.eyes.reshape(-1, 2),
                extras.shadow.reshape(-1, 2),
            ]
        )
        vertices *= FIXED
        fixed = np.rint(vertices).astype(np.int32)
        left, top, wide, high = cv2.boundingRect(fixed)
        x0, y0 = max(left // FIXED - MARGIN_PX, 0), max(top // FIXED - MARGIN_PX, 0)
        x1 = max(min((left + wide) // FIXED + MARGIN_PX + 1, self.width), x0)
        y1 = max(min((top + high) // FIXED + MARGIN_PX + 1, self.height), y0)
        self._box = (x0, y0, x1, y1)
        patch = self.image[y0:y1, x0:x1]
        if patch.size:
            if self._noise and not self._noise_everywhere:
                patch[...] = self._clean[y0:y1, x0:x1]  # without the frozen noise, since fresh noise follows
            fixed -= (x0 * FIXED, y0 * FIXED)
            n, m = ellipses.size // 2, extras.tail.size // 2
            k = n + m + extras.eyes.size // 2
            self._draw_shadow(patch, fixed[k:].reshape(extras.shadow.shape), x0, y0)
            order = np.argsort(-depth, kind="stable").tolist()
            tail = fixed[n : n + m].reshape(extras.tail.shape)
            tail_first = extras.tail_depth > depth[_TRUNK]
            if tail_first:
                self._fill_tail(patch, tail)
            outline = fixed[:n].reshape(-1, N_OUTLINE, 2)
            for g in order:
                for i, grey in GROUP_ELLIPSES[GROUPS[g]]:
                    cv2.fillConvexPoly(patch, outline[i], self._grey[grey], cv2.LINE_AA, SHIFT)
                if g == _HEAD:
                    for i, eye in enumerate(fixed[n + m : k].reshape(-1, N_EYE, 2)):
                        cv2.fillConvexPoly(patch, eye, self._grey[EYE_GREYS[i % 2]], cv2.LINE_AA, SHIFT)
            if not tail_first:
                self._fill_tail(patch, tail)
        if self._noise_everywhere:
            self._add_noise(self.image, 0, 0, instant)
        elif self._noise and patch.size:
            self._add_noise(patch, x0, y0, instant)
        return self.image

    def _light(self, t_s: float, brightness: float) -> None:
        """Follow the light in steps of 1/256, since most frames then need no new background."""
        gain = brightness * (1.0 + self._light_drift * np.sin(2 * np.pi * t_s / DRIFT_PERIOD_S))
        step = round(gain * 256)
        if step == self._gain_step:
            return
        self._gain_step = step
        table = np.clip(np.rint(np.arange(256) * (step / 256)), 0, 255).astype(np.uint8)
        self._grey = [(value,) for value in table.tolist()]
        self._clean = self._background = np.asarray(cv2.LUT(self._empty, table), np.uint8)
        self._dimmed = cv2.convertScaleAbs(self._background, alpha=SHADOW)
        if self._noise and not self._noise_everywhere:
            self._background = self._clean.copy()
            self._add_noise(self._background, 0, 0, 0)
        np.copyto(self.image, self._background)

    def _add_noise(self, patch: NDArray[np.uint8], x0: int, y0: int, instant: int) -> None:
        dy, dx = instant * 37 % NOISE_SPAN[0], instant * 41 % NOISE_SPAN[1]
        rows = slice(y0 + dy, y0 + dy + patch.shape[0])
        columns = slice(x0 + dx, x0 + dx + patch.shape[1])
        cv2.add(patch, self._brighter[rows, columns], dst=patch)
        cv2.subtract(patch, self._darker[rows, columns], dst=patch)

    def _draw_shadow(self, patch: NDArray[np.uint8], shadow: NDArray[np.int32], x0: int, y0: int) -> None:
        height, width = patch.shape
        mask = self._mask[:height, :width]
        mask[...] = 0
        for before, after in pairwise(shadow):
            hull = cv2.convexHull(np.concatenate([before, after]))
            cv2.fillConvexPoly(mask, hull, (255,), cv2.LINE_8, SHIFT)
        cv2.copyTo(self._dimmed[y0 : y0 + height, x0 : x0 + width], mask, patch)

    def _fill_tail(self, patch: NDArray[np.uint8], tail: NDArray[np.int32]) -> None:
        for layer, grey in zip(tail, TAIL_GREYS, strict=True):
            for piece in layer:
                cv2.fillConvexPoly(patch, piece, self._grey[grey], cv2.LINE_AA, SHIFT)
