"""Where each animal is in each view: the projections of its own voxels, so that all boxes belong together."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ...streaming.messages import Box
from ...sync.camera_model import Array, CameraModel
from .silhouette import Rect, SilhouetteView
from .visual_hull import VoxelGrid

SHOWN: Final = 0.5
"""A view shows an animal when this part of its voxels lies in the image, in a silhouette and behind no other animal."""


class ViewBoxes:
    """Boxes of the animals in the views.

    Args:
        grid: the voxels.
        models: calibrated views.
        views: their silhouettes.
    """

    def __init__(self, grid: VoxelGrid, models: Sequence[CameraModel], views: Sequence[SilhouetteView]) -> None:
        self._grid = grid
        self._models = models
        self._views = views

    def of(
        self,
        parts: Sequence[NDArray[np.intp]],
        centres_mm: Sequence[Array],
        present: Sequence[SilhouetteView | None],
        cameras: Sequence[str],
    ) -> tuple[list[tuple[Box, ...]], list[float], list[int]]:
        """Boxes per animal and view, the median residual of each animal in pixels, and how many views show it.

        The residual is the distance between the projected centroid and the middle of the silhouette, where the animal
        has one of its own; -1 where no view gives it one.
        """
        shares = [
            [self._shown(place, number, parts, centres_mm, view) for place, view in enumerate(present)]
            for number in range(len(parts))
        ]
        boxes: list[tuple[Box, ...]] = []
        residuals: list[float] = []
        for number, part in enumerate(parts):
            row: list[Box] = []
            distances: list[float] = []
            for place, (camera, view) in enumerate(zip(cameras, self._views, strict=True)):
                rect = self._rect(place, part)
                shown = rect is not None and shares[number][place] >= SHOWN
                row.append(_box(self._models[place], camera, rect, view.stride, shown))
                if shown and rect is not None and not self._touches(place, number, parts, rect):
                    distances.append(self._distance(place, rect, centres_mm[number]))
            boxes.append(tuple(row))
            residuals.append(float(np.median(distances)) if distances else -1.0)
        return boxes, residuals, [sum(share >= SHOWN for share in row) for row in shares]

    def hidden(self, place: int, parts: Sequence[NDArray[np.intp]]) -> list[Rect]:
        """Where the animals are in one view, in samples."""
        rects = (self._rect(place, part) for part in parts)
        return [rect for rect in rects if rect is not None]

    def _pixels(self, place: int, part: NDArray[np.intp]) -> NDArray[np.int32]:
        pixels = self._grid.pixels[place, part]
        return pixels[pixels < self._views[place].mask.size]

    def _rect(self, place: int, part: NDArray[np.intp]) -> Rect | None:
        pixels = self._pixels(place, part)
        if not len(pixels):
            return None
        rows, columns = np.divmod(pixels, self._views[place].shape[1])
        return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1

    def _shown(
        self,
        place: int,
        number: int,
        parts: Sequence[NDArray[np.intp]],
        centres_mm: Sequence[Array],
        view: SilhouetteView | None,
    ) -> float:
        """Part of an animal's voxels that one view shows."""
        part = parts[number]
        if view is None or not len(part):
            return 0.0
        pixels = self._pixels(place, part)
        shown = view.flat[pixels].astype(np.bool_)
        eye = self._models[place].centre_mm
        for other, others in enumerate(parts):
            if other != number and len(others):
                nearer = np.linalg.norm(centres_mm[other] - eye) < np.linalg.norm(centres_mm[number] - eye)
                if nearer:
                    shown &= ~np.isin(pixels, self._pixels(place, others))
        return float(shown.sum()) / len(part)

    def _touches(self, place: int, number: int, parts: Sequence[NDArray[np.intp]], rect: Rect) -> bool:
        left, top, right, bottom = rect
        for other, part in enumerate(parts):
            theirs = None if other == number else self._rect(place, part)
            if theirs is not None and left < theirs[2] and theirs[0] < right and top < theirs[3] and theirs[1] < bottom:
                return True
        return False

    def _distance(self, place: int, rect: Rect, centre_mm: Array) -> float:
        left, top, right, bottom = rect
        view = self._views[place]
        moments = cv2.moments(view.mask[top:bottom, left:right], True)
        x, y = left + moments["m10"] / moments["m00"], top + moments["m01"] / moments["m00"]
        at = self._models[place].project(centre_mm[None])[0]
        return float(np.hypot(x * view.stride - at[0], y * view.stride - at[1]))


def _box(model: CameraModel, camera: str, rect: Rect | None, stride: int, shown: bool) -> Box:
    if rect is None:
        return Box(camera, 0, 0, 0, 0, False)
    left, top, right, bottom = (value * stride for value in rect)
    # The last sample of a row may hang over the edge.
    right, bottom = min(right, model.width), min(bottom, model.height)
    return Box(camera, left, top, right - left, bottom - top, shown)
