"""The silhouettes of the animals in one view, tails taken off, by an adaptive background on a point-sampled image."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..background_bootstrap import bootstrap_background
from ..crop_rule import BackgroundCrop
from ..cropper import State
from ..grey import grey_view
from .config import TrackingConfig

PHASES: Final = 16
"""Rows of the background are learnt in turn, every 16th in one step."""
SHIFT_STRIDE: Final = 8
"""The common shift of the light is the median over every eighth sample in both directions."""
FLOOD: Final = 0.3
"""When more of the image than this is foreground the light has changed ..."""
FLOOD_S: Final = 0.5
"""... and after this long the background is found anew."""
HIDDEN_MARGIN: Final = 8
"""Samples around an animal's box where nothing is learnt."""
MIN_CONTRAST: Final = 12
"""Grey levels: whatever the background, less than this is noise."""
CERTAIN: Final = 2.0
"""Pixels with this many times the least contrast are the animal's own, not a shadow; they say how bright its fur is."""
MIN_CERTAIN: Final = 24
"""Fewer such samples say nothing."""
FUR_QUANTILE: Final = 0.95
FUR_MARGIN: Final = 10.0
"""Grey levels beyond the quantile that still belong to the animal: a shadow on a bright floor is farther away."""
FUR_GAIN: Final = 0.1
"""How much of a new measurement of the fur is taken over in a set."""

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom in samples, the latter two exclusive."""


class SilhouetteView:
    """One view. One thread steps it; nothing is allocated per frame but a few small arrays.

    Args:
        config: contrast, polarity, sampling and times.
        image_shape: (h, w) or (h, w, 3) of its frames.
        rate_hz: of the frame sets.
        px_per_mm: of the full frame, in the middle of the cage; scales ``tail_mm``.
    """

    def __init__(self, config: TrackingConfig, image_shape: tuple[int, ...], rate_hz: float, px_per_mm: float) -> None:
        height, width = image_shape[:2]
        self.stride = max(1, -(-width // config.sample_width_px))
        self.shape = (-(-height // self.stride), -(-width // self.stride))
        self._config = config
        self._dark = config.polarity == "dark"
        self._learn = np.float32(1.0 - np.exp(-PHASES / rate_hz / config.learn_s))
        self._flood_steps = max(1, round(FLOOD_S * rate_hz))
        side = round(config.tail_mm * px_per_mm / self.stride) | 1
        self._opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) if side > 1 else None
        self._closing = np.ones((3, 3), np.uint8)
        self._now: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        self._background: NDArray[np.float32] = np.zeros(self.shape, np.float32)
        self._limit: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        self._certain: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        self._of_fur: NDArray[np.uint8] = np.zeros(self.shape, np.uint8)
        # One sample more than the image, always 1: a voxel outside the view points there, and nothing is said of it.
        self._flat: NDArray[np.uint8] = np.zeros(self.shape[0] * self.shape[1] + 1, np.uint8)
        self._flat[-1] = 1
        self.mask: NDArray[np.uint8] = self._flat[:-1].reshape(self.shape)
        self.reset()

    @property
    def flat(self) -> NDArray[np.uint8]:
        """(h * w + 1,) uint8, 0 or 1: `mask` in one row, and a last 1."""
        return self._flat

    def reset(self) -> None:
        self.mask[:] = 0
        self._begun = False
        self._fur = -1.0
        self._phase = 0
        self._n_flooded = 0

    def step(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Find the silhouettes in the next frame; returns `mask`, (h, w) uint8 of 0 and 1 in samples."""
        np.copyto(self._now, grey_view(image)[:: self.stride, :: self.stride])
        if not self._begun:
            self._begin()
        else:
            self._compensate_light()
        self._learn_fur()
        beyond = cv2.CMP_LT if self._dark else cv2.CMP_GT
        limit = self._limit
        if self._fur >= 0:
            fur = np.uint8(np.clip(self._fur + (FUR_MARGIN if self._dark else -FUR_MARGIN), 0.0, 255.0))
            limit = (np.minimum if self._dark else np.maximum)(self._limit, fur, out=self._of_fur)
        cv2.compare(self._now, limit, beyond, dst=self.mask)
        n = cv2.countNonZero(self.mask)
        self._n_flooded = self._n_flooded + 1 if n > FLOOD * self.mask.size else 0
        if self._n_flooded >= self._flood_steps:
            self._begin()
            self._n_flooded = 0
        self._clean(n)
        return self.mask

    def _begin(self) -> None:
        rule = BackgroundCrop(polarity=self._config.polarity, sample_width_px=self._config.sample_width_px)
        self._background[:] = bootstrap_background(self._now, rule)
        self._begun = True
        self._derive(slice(None))

    def _derive(self, rows: slice) -> None:
        """The grey at which a pixel begins to be foreground."""
        background = self._background[rows]
        room = background if self._dark else np.float32(255.0) - background
        least = np.maximum(room * np.float32(self._config.contrast), np.float32(MIN_CONTRAST))
        for times, out in ((1.0, self._limit), (CERTAIN, self._certain)):
            step = least * np.float32(times)
            limit = background - step if self._dark else background + step
            np.copyto(out[rows], np.clip(limit, 0.0, 255.0), casting="unsafe")

    def _learn_fur(self) -> None:
        """How bright the animal is, so that a shadow, which is not so dark as fur, stays out of the silhouette."""
        cv2.compare(self._now, self._certain, cv2.CMP_LT if self._dark else cv2.CMP_GT, dst=self._of_fur)
        n = cv2.countNonZero(self._of_fur)
        if not MIN_CERTAIN <= n <= FLOOD * self._of_fur.size:
            return
        greys = np.cumsum(cv2.calcHist([self._now], [0], self._of_fur, [256], [0, 256]).ravel())
        share = FUR_QUANTILE if self._dark else 1.0 - FUR_QUANTILE
        measured = float(np.searchsorted(greys, share * n))
        self._fur = measured if self._fur < 0 else self._fur + FUR_GAIN * (measured - self._fur)

    def _compensate_light(self) -> None:
        every = slice(None, None, SHIFT_STRIDE)
        shift = (self._now[every, every] - self._background[every, every]).ravel()
        middle = shift.size // 2
        shift.partition(middle)
        common = float(np.rint(shift[middle]))
        if common:
            np.clip(self._background + np.float32(common), 0.0, 255.0, out=self._background)
            self._derive(slice(None))

    def _clean(self, n: int) -> None:
        """Close pinholes, take off what is thin; only where there is something."""
        if not n:
            return
        left, top, width, height = cv2.boundingRect(self.mask)
        margin = 2 if self._opening is None else self._opening.shape[0]
        rows = slice(max(top - margin, 0), min(top + height + margin, self.shape[0]))
        columns = slice(max(left - margin, 0), min(left + width + margin, self.shape[1]))
        patch: NDArray[Any] = cv2.morphologyEx(self.mask[rows, columns], cv2.MORPH_CLOSE, self._closing)
        if self._opening is not None:
            patch = cv2.morphologyEx(patch, cv2.MORPH_OPEN, self._opening)
        np.minimum(patch, 1, out=self.mask[rows, columns])

    def learn(self, animals: list[Rect]) -> None:
        """Take one part of the rows into the background, but for where the animals are."""
        rows = slice(self._phase, None, PHASES)
        self._phase = (self._phase + 1) % PHASES
        change = self._learn * (self._now[rows] - self._background[rows])
        numbers = np.arange(self.shape[0])[rows]
        for left, top, right, bottom in animals:
            hidden = (numbers >= top - HIDDEN_MARGIN) & (numbers < bottom + HIDDEN_MARGIN)
            change[hidden, max(left - HIDDEN_MARGIN, 0) : right + HIDDEN_MARGIN] = 0.0
        self._background[rows] += change
        self._derive(rows)

    def snapshot(self) -> State:
        """Everything that it remembers."""
        return {
            "background": self._background.copy(),
            "fur": np.array(self._fur),
            "numbers": np.array([self._begun, self._phase, self._n_flooded], np.int64),
        }

    def restore(self, state: State) -> None:
        """Continue from a snapshot of a view of the same shape, bit for bit."""
        self._background[:] = state["background"]
        self._fur = float(state["fur"])
        begun, self._phase, self._n_flooded = (int(value) for value in state["numbers"])
        self._begun = bool(begun)
        self._derive(slice(None))
