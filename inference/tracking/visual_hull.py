"""The volume that is consistent with the silhouettes of all views (Laurentini 1994, IEEE TPAMI 16:150), in voxels."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ...sync.camera_model import Array, CameraModel
from ...sync.errors import CalibrationError
from .config import TrackingConfig
from .silhouette import SilhouetteView

FORGIVING_VIEWS: Final = 4
"""From this many views on, one of them may miss a part of the animal: an ear before a dark wall, a reflection."""


class VoxelGrid:
    """The cage in voxels, and the sample of each view that each of them falls on.

    Attributes:
        centres_mm: (n, 3) float64.
        pixels: (v, n) int32, index into a view's flat silhouette; its last entry where the view does not show it.

    Args:
        config: space and voxel size.
        models: calibrated views.
        views: their silhouettes, in the same order.

    Raises:
        CalibrationError: the views do not overlap in the cage.
    """

    def __init__(self, config: TrackingConfig, models: Sequence[CameraModel], views: Sequence[SilhouetteView]) -> None:
        size = config.voxel_mm
        axes = [
            np.arange(low + size / 2, high, size)
            for low, high in (config.cage_x_mm, config.cage_y_mm, config.cage_z_mm)
        ]
        self.shape = (len(axes[0]), len(axes[1]), len(axes[2]))
        self.voxel_mm3 = size**3
        centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        pixels = np.stack([_samples(model, view, centres) for model, view in zip(models, views, strict=True)])
        outside = np.array([view.mask.size for view in views], np.int32)[:, None]
        shown = pixels != outside
        n_shown = shown.sum(axis=0)
        # What fewer than two views show is no place where anything could be measured.
        self._where = np.flatnonzero(n_shown >= 2).astype(np.int32)
        if not len(self._where):
            raise CalibrationError(
                "no two views show the same part of the cage; do cage_x_mm, cage_y_mm and cage_z_mm fit the world of "
                "the calibration?"
            )
        self.centres_mm: Array = centres[self._where]
        self.pixels: NDArray[np.int32] = np.ascontiguousarray(pixels[:, self._where])
        self._n_shown = n_shown[self._where].astype(np.int8)
        self._shown: NDArray[np.bool_] = np.ascontiguousarray(shown[:, self._where])
        self._order = np.argsort(-shown.sum(axis=1), kind="stable")
        self._dense: NDArray[np.bool_] = np.zeros(len(centres), np.bool_)

    def carve(self, views: Sequence[SilhouetteView | None]) -> NDArray[np.intp]:
        """Indices of the voxels that the silhouettes allow; a view that is missing (None) says nothing."""
        present = [int(place) for place in self._order if views[place] is not None]
        absent = [place for place, view in enumerate(views) if view is None]
        if len(present) < 2:
            return np.zeros(0, np.intp)
        # With one miss forgiven a voxel is in at least one of the first two silhouettes: most of the cage ends there.
        first, second = (self._flat(views, place)[self.pixels[place]] for place in present[:2])
        alive = np.flatnonzero(first | second)
        hits = first[alive].astype(np.int8) + second[alive].astype(np.int8)
        for place in present[2:]:
            hits += self._flat(views, place)[self.pixels[place, alive]].astype(np.int8)
        # A voxel outside a view counts there as a hit, so misses are told by the views that show it.
        misses = len(present) - hits
        shown = self._n_shown[alive]
        for place in absent:
            shown -= self._shown[place, alive]
        return alive[(misses <= (shown >= FORGIVING_VIEWS)) & (shown - misses >= 2)]

    @staticmethod
    def _flat(views: Sequence[SilhouetteView | None], place: int) -> NDArray[np.uint8]:
        view = views[place]
        assert view is not None
        return view.flat

    def components(self, voxels: NDArray[np.intp]) -> NDArray[np.int32]:
        """(len(voxels),) int32, from 1 on: which connected volume (26 neighbours) each voxel belongs to."""
        places = self._where[voxels]
        self._dense[places] = True
        grid = self._dense.reshape(self.shape)
        corner = np.unravel_index(places, self.shape)
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in corner)
        labels = np.zeros(grid[box].shape, np.int32)
        ndimage.label(grid[box], np.ones((3, 3, 3), np.bool_), output=labels)
        self._dense[places] = False
        return labels[tuple(axis - part.start for axis, part in zip(corner, box, strict=True))]


def _samples(model: CameraModel, view: SilhouetteView, centres_mm: Array) -> NDArray[np.int32]:
    rows, columns = view.shape
    pixels = model.project(centres_mm) / view.stride
    with np.errstate(invalid="ignore"):
        at = np.where(np.isfinite(pixels), np.rint(pixels), -1.0)
    inside = (at[:, 0] >= 0) & (at[:, 0] < columns) & (at[:, 1] >= 0) & (at[:, 1] < rows)
    return np.where(inside, at[:, 1] * columns + at[:, 0], rows * columns).astype(np.int32)
