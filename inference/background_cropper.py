"""A box that follows the animal, by an adaptive background model on a point-sampled image.

Per step: sample, compare with the background pixel by pixel, count foreground in blocks of 4 x 4 samples, take the blob
that is wide (by its largest inscribed circle: a tail, a rim or a cable is not), stands out, is near the last box and
has moved lately. The background follows slow changes everywhere but under the animal, so that an animal that sleeps
does not fade; foreground that is not the animal is learnt within ``stuck_s``. Only every 16th row is learnt in a step,
which spreads the cost. A shift of the light that is common to all pixels is taken out at once.
"""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .background_bootstrap import bootstrap_background, inscribed_radius
from .crop_rule import BackgroundCrop
from .cropper import Crop, Sampler, State, side_px

BLOCK: Final = 4
"""Foreground is counted in blocks of this many samples squared: single noisy pixels do not form a block."""
FULL_BLOCK: Final = 96
"""A block is foreground from 96/255 of its samples on."""
PHASES: Final = 16
"""Rows are learnt in turn, every 16th in one step."""
SHIFT_STRIDE: Final = 8
"""The common shift of the light is the median over every eighth sample in both directions."""
ACTIVITY_S: Final = 120.0
"""How long a place is remembered where something moved."""
ACTIVITY_FLOOR: Final = 0.05
"""Weight of a blob that has never moved, against 1 for one that moves now."""
ACTIVE_CHANGE: Final = 64
"""A block is active when its foreground changes by 64/255."""
FLOOD_S: Final = 0.5
"""When more than ``max_area`` is foreground for this long the light has changed: the background is found anew."""
N_CANDIDATES: Final = 4


class BackgroundCropper:
    """Follows one animal in one view. Deterministic; state is about 0.4 MB at 320 samples width."""

    def __init__(self, rule: BackgroundCrop, image_shape: tuple[int, ...], rate_hz: float) -> None:
        self._rule = rule
        self._image_shape = image_shape
        self._side = side_px(rule.side, image_shape)
        self._sampler = Sampler(image_shape, rule.sample_width_px, BLOCK)
        rows, columns = self._sampler.shape
        self._grid = (rows // BLOCK, columns // BLOCK)
        per_row = PHASES / rate_hz
        self._learn = np.float32(1.0 - np.exp(-per_row / rule.learn_s))
        self._stuck = np.float32(1.0 - np.exp(-per_row / rule.stuck_s))
        self._decay = np.float32(np.exp(-1.0 / (ACTIVITY_S * rate_hz)))
        self._smooth = 1.0 - float(np.exp(-1.0 / (rule.smooth_s * rate_hz))) if rule.smooth_s > 0.0 else 1.0
        self._flood_steps = max(1, round(FLOOD_S * rate_hz))
        n_blocks = self._grid[0] * self._grid[1]
        self._min_blocks = rule.min_area * n_blocks
        self._max_blocks = rule.max_area * n_blocks
        self._jump = rule.max_jump * self._grid[1]

        self._background: NDArray[np.float32] = np.zeros((rows, columns), np.float32)
        self._deviation: NDArray[np.float32] = np.zeros((rows, columns), np.float32)
        self._activity: NDArray[np.float32] = np.zeros(self._grid, np.float32)
        self._blocks: NDArray[np.uint8] = np.zeros(self._grid, np.uint8)
        self._blocks_before: NDArray[np.uint8] = np.zeros(self._grid, np.uint8)
        # What follows is derived from the above, or scratch.
        self._background8: NDArray[np.uint8] = np.zeros((rows, columns), np.uint8)
        self._threshold8: NDArray[np.uint8] = np.zeros((rows, columns), np.uint8)
        self._foreground: NDArray[np.uint8] = np.zeros((rows, columns), np.uint8)
        self._distance: NDArray[np.uint8] = np.zeros((rows, columns), np.uint8)
        self._half: NDArray[np.uint8] = np.zeros((rows // 2, columns // 2), np.uint8)
        self._frozen: NDArray[np.bool_] = np.zeros(self._grid, np.bool_)
        self.reset()

    @property
    def box_shape(self) -> tuple[int, int]:
        return self._side, self._side

    def reset(self) -> None:
        height, width = self._image_shape[0], self._image_shape[1]
        self._sampler.reset()
        self._activity[:] = 0.0
        self._blocks[:] = 0
        self._blocks_before[:] = 0
        self._settled = True
        self._ever_seen = False
        self._n_flooded = 0
        self._phase = 0
        self._animal = (width / 2, height / 2, 0.0, 1.0)
        self._center = (width / 2, height / 2)

    def step(self, image: NDArray[np.uint8]) -> Crop:
        """Find the animal in the next frame.

        Args:
            image: (h, w) or (h, w, 3) uint8.
        """
        self.settle()
        self._sampler.step(image)
        if self._sampler.n_seen == 1:
            self._begin()
        self._subtract_background()
        if self._sampler.n_seen > 1 and self._compensate_light():
            self._subtract_background()
        self._count_blocks()
        seen = self._find_animal()
        self._settled = False
        return self._box(seen)

    def settle(self) -> None:
        """Learn the background from the last frame: a sixth of a step's work, which its answer does not need."""
        if not self._settled:
            self._settled = True
            self._learn_rows()

    def _begin(self) -> None:
        self._background[:] = bootstrap_background(self._sampler.now, self._rule)
        self._deviation[:] = self._rule.threshold / max(self._rule.noise_factor, 1.0) / 2.0
        self._derive()
        self._n_flooded = 0

    def _derive(self) -> None:
        """Make the 8-bit background and threshold from the state."""
        np.copyto(self._background8, np.rint(self._background), casting="unsafe")
        np.copyto(self._threshold8, self._threshold_of(self._deviation), casting="unsafe")

    def _threshold_of(self, deviation: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(deviation * np.float32(self._rule.noise_factor), self._rule.threshold, 255.0)

    def _compensate_light(self) -> bool:
        """Move the background by what is common to all pixels; after it was read in order, since this skips about."""
        every = slice(None, None, SHIFT_STRIDE)
        shift = np.subtract(self._sampler.now[every, every], self._background8[every, every], dtype=np.int16).ravel()
        middle = shift.size // 2
        shift.partition(middle)
        common = int(shift[middle])
        if common:
            self._background += np.float32(common)
            np.clip(self._background, 0.0, 255.0, out=self._background)
            np.copyto(self._background8, np.rint(self._background), casting="unsafe")
        return common != 0

    def _subtract_background(self) -> None:
        now, background = self._sampler.now, self._background8
        if self._rule.polarity == "dark":
            cv2.subtract(background, now, dst=self._distance)
        elif self._rule.polarity == "light":
            cv2.subtract(now, background, dst=self._distance)
        else:
            cv2.absdiff(now, background, dst=self._distance)

    def _count_blocks(self) -> None:
        cv2.compare(self._distance, self._threshold8, cv2.CMP_GT, dst=self._foreground)
        self._blocks, self._blocks_before = self._blocks_before, self._blocks
        cv2.resize(self._foreground, (self._half.shape[1], self._half.shape[0]), self._half, 0, 0, cv2.INTER_AREA)
        cv2.resize(self._half, (self._grid[1], self._grid[0]), self._blocks, 0, 0, cv2.INTER_AREA)

    def _find_animal(self) -> bool:
        """Choose the blob; sets the animal and what is frozen. False when nothing is seen."""
        self._frozen[:] = False
        np.multiply(self._activity, self._decay, out=self._activity)
        if self._sampler.n_seen > 1:
            self._activity[cv2.absdiff(self._blocks, self._blocks_before) > ACTIVE_CHANGE] = 1.0
        full = (self._blocks > FULL_BLOCK).view(np.uint8)
        n_full = cv2.countNonZero(full)
        if n_full > self._max_blocks:
            self._n_flooded += 1
            if self._n_flooded >= self._flood_steps:
                self._begin()
            return False
        self._n_flooded = 0
        if n_full < self._min_blocks:
            return False
        _, labels, stats, centers = cv2.connectedComponentsWithStats(full, connectivity=8, ltype=cv2.CV_16U)
        areas = stats[1:, cv2.CC_STAT_AREA].astype(np.float64)
        large = np.flatnonzero(areas >= self._min_blocks)
        best = int(large[0]) + 1 if len(large) == 1 else self._choose(full, labels, stats, centers, areas)
        if not best:
            return False
        self._measure(labels, stats[best], best)
        return True

    def _choose(
        self,
        full: NDArray[Any],
        labels: NDArray[Any],
        stats: NDArray[Any],
        centers: NDArray[Any],
        areas: NDArray[np.float64],
    ) -> int:
        """The label of the blob that is most like the animal; 0 where none is large enough."""
        radius = inscribed_radius(full)
        scores = areas
        if self._ever_seen:
            stride = self._sampler.stride * BLOCK
            here = np.array([self._animal[0] / stride - 0.5, self._animal[1] / stride - 0.5])
            far = np.hypot(*(centers[1:] - here).T) / self._jump
            scores = areas / (1.0 + far * far) ** 2
        scores = np.where(areas >= self._min_blocks, scores, 0.0)
        best, best_score = 0, 0.0
        for index in np.argsort(-scores, kind="stable")[:N_CANDIDATES]:
            x, y, width, height = stats[index + 1, :4]
            patch = (slice(y, y + height), slice(x, x + width))
            own = (labels[patch] == index + 1).view(np.uint8)
            recent = cv2.minMaxLoc(self._activity[patch], own)[1]
            _, wide, _, (column, row) = cv2.minMaxLoc(radius[patch], own)
            # How it stands out is judged at its widest place, the body.
            core = (
                slice((y + row) * BLOCK, (y + row + 1) * BLOCK),
                slice((x + column) * BLOCK, (x + column + 1) * BLOCK),
            )
            contrast = cv2.mean(self._distance[core])[0]
            near = float(scores[index] / areas[index])
            score = wide * wide * near * contrast * contrast * (ACTIVITY_FLOOR + recent)
            if score > best_score:
                best, best_score = int(index) + 1, score
        return best

    def _measure(self, labels: NDArray[Any], stats: NDArray[np.int32], label: int) -> None:
        """Centre, area and elongation of a blob from the counts of its blocks and those that touch them."""
        rows, columns = self._grid
        top, bottom = max(int(stats[1]) - 1, 0), min(int(stats[1] + stats[3]) + 1, rows)
        left, right = max(int(stats[0]) - 1, 0), min(int(stats[0] + stats[2]) + 1, columns)
        own = (labels[top:bottom, left:right] == label).view(np.uint8)
        grown = cv2.dilate(own, np.ones((3, 3), np.uint8)).view(np.bool_)
        self._frozen[top:bottom, left:right] = grown
        counts = self._blocks[top:bottom, left:right] * grown
        # A thin tail must not pull the centre away from the body: blocks count by how full they and their like are.
        weights = cv2.blur(counts.astype(np.float32), (3, 3)) ** 2 * grown
        moments = cv2.moments(weights)
        mass = moments["m00"]
        block_px = self._sampler.stride * BLOCK
        x = (left + moments["m10"] / mass + 0.5) * block_px
        y = (top + moments["m01"] / mass + 0.5) * block_px
        area_px = float(cv2.sumElems(counts)[0]) / 255.0 * block_px * block_px
        spread, skew = (moments["mu20"] + moments["mu02"]) / mass, moments["mu11"] / mass
        apart = float(np.hypot((moments["mu20"] - moments["mu02"]) / mass, 2.0 * skew))
        smallest = 1.0 / 12.0
        long, short = max(spread + apart, smallest), max(spread - apart, smallest)
        self._animal = (x, y, area_px, float(np.sqrt(long / short)))

    def _learn_rows(self) -> None:
        rows = slice(self._phase, None, PHASES)
        self._phase = (self._phase + 1) % PHASES
        now, background, deviation = self._sampler.now[rows], self._background[rows], self._deviation[rows]
        difference = now - background
        rate = np.where(self._foreground[rows], self._stuck, self._learn)
        block_rows = np.arange(rows.start, self._sampler.shape[0], PHASES) // BLOCK
        rate[np.repeat(self._frozen[block_rows], BLOCK, axis=1)] = 0.0
        background += difference * rate
        np.abs(difference, out=difference)
        difference -= deviation
        difference *= np.where(self._foreground[rows], np.float32(0.0), rate)
        deviation += difference
        np.copyto(self._background8[rows], np.rint(background), casting="unsafe")
        np.copyto(self._threshold8[rows], self._threshold_of(deviation), casting="unsafe")

    def _box(self, seen: bool) -> Crop:
        height, width = self._image_shape[0], self._image_shape[1]
        x, y, area, elongation = self._animal
        if seen:
            last_x, last_y = self._center
            if not self._ever_seen or max(abs(x - last_x), abs(y - last_y)) > self._side / 2:
                self._center = (x, y)
            else:
                self._center = (last_x + self._smooth * (x - last_x), last_y + self._smooth * (y - last_y))
            self._ever_seen = True
        left = min(max(round(self._center[0]) - self._side // 2, 0), width - self._side)
        top = min(max(round(self._center[1]) - self._side // 2, 0), height - self._side)
        return Crop(
            x_px=left,
            y_px=top,
            width_px=self._side,
            height_px=self._side,
            valid=seen,
            center_x_px=x,
            center_y_px=y,
            area_px=area if seen else 0.0,
            elongation=elongation if seen else 1.0,
            motion=self._sampler.motion(left, top, self._side, self._side),
        )

    def snapshot(self) -> State:
        self.settle()
        state = {f"sampler_{name}": value for name, value in self._sampler.snapshot().items()}
        return state | {
            "background": self._background.copy(),
            "deviation": self._deviation.copy(),
            "activity": self._activity.copy(),
            "blocks": self._blocks.copy(),
            "counts": np.array([self._ever_seen, self._n_flooded, self._phase], np.int64),
            "places": np.array([*self._animal, *self._center], np.float64),
        }

    def restore(self, state: State) -> None:
        self._settled = True
        self._sampler.restore({"now": state["sampler_now"], "n_seen": state["sampler_n_seen"]})
        np.copyto(self._background, state["background"])
        np.copyto(self._deviation, state["deviation"])
        np.copyto(self._activity, state["activity"])
        np.copyto(self._blocks, state["blocks"])
        self._ever_seen = bool(state["counts"][0])
        self._n_flooded, self._phase = int(state["counts"][1]), int(state["counts"][2])
        x, y, area, elongation, center_x, center_y = (float(value) for value in state["places"])
        self._animal, self._center = (x, y, area, elongation), (center_x, center_y)
        self._derive()
