"""Animals in a cage over time: carve the silhouettes, tell the animals apart, keep who is who. Pure.

A set's silhouettes are carved into voxels. One animal takes the volume nearest to where it was expected. Of several,
each voxel goes to the animal under whose Gaussian (mean, covariance, moved on with its velocity) it is most likely, and
the Gaussians are fitted again (classification EM, Celeux and Govaert 1992): silhouettes that merge in one view, or
animals that touch, are so divided as they were before. Who is who can only be kept while the animals are seen: two
that look the same and are lost together may come back exchanged, and their tracks say that they were not valid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ...streaming.messages import AnimalTrack
from ...sync.camera_model import Array, CameraModel
from ...sync.clock import NS_PER_S
from ...sync.errors import CalibrationError, ConfigError
from ..cropper import State
from .config import TrackingConfig
from .silhouette import SilhouetteView
from .view_boxes import ViewBoxes
from .visual_hull import VoxelGrid

N_EM: Final = 4
"""Rounds per set; animals move a few millimetres between two, so that the division settles at once."""
SPREAD_MM: Final = 8.0
"""No Gaussian is narrower: a curled animal and the voxel itself."""
VELOCITY_S: Final = 0.12
"""Time constant of the velocity."""
POSITION_GAIN: Final = 0.6
"""How far the estimate goes from where the animal was expected to where it is seen: the rest is noise of the edges."""
VOLUME_SETS: Final = 60.0
"""Sets over which the usual volume of an animal is learnt."""
MISSING_VOLUME: Final = 0.55
"""Less volume than this part of what all animals usually fill: one of them is not seen."""


@dataclass(slots=True)
class _Animal:
    xyz: Array = field(default_factory=lambda: np.zeros(3))
    velocity: Array = field(default_factory=lambda: np.zeros(3))
    covariance: Array = field(default_factory=lambda: np.eye(3) * SPREAD_MM**2)
    seen_ns: int = -1
    valid: bool = False


class AnimalTracker:
    """Tracks of all animals, one step per frame set. Deterministic; one thread.

    Args:
        config: space, silhouettes and number of animals.
        models: calibrated cameras by name; may hold more than the views.
        views: camera → (h, w) or (h, w, 3), shape of its frames.
        rate_hz: of the frame sets.

    Raises:
        ConfigError: fewer than two views, or one that is not in the calibration or has another size there.
        CalibrationError: the views do not overlap in the cage.
    """

    def __init__(
        self,
        config: TrackingConfig,
        models: Mapping[str, CameraModel],
        views: Mapping[str, tuple[int, ...]],
        rate_hz: float,
    ) -> None:
        self.cameras = tuple(views)
        if len(self.cameras) < 2:
            raise ConfigError(f"tracking: {len(self.cameras)} view(s); positions in mm need at least two")
        self._config = config
        self._models = [_model_of(camera, models, views[camera], config) for camera in self.cameras]
        spans = (config.cage_x_mm, config.cage_y_mm, config.cage_z_mm)
        middle = np.array([(low + high) / 2 for low, high in spans], np.float64)
        self._views = [
            SilhouetteView(config, tuple(views[camera]), rate_hz, _px_per_mm(model, middle))
            for camera, model in zip(self.cameras, self._models, strict=True)
        ]
        self._grid = VoxelGrid(config, self._models, self._views)
        self._boxes = ViewBoxes(self._grid, self._models, self._views)
        self._lost_ns = round(config.lost_s * NS_PER_S)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        for view in self._views:
            view.reset()
        self._animals = [_Animal() for _ in range(self._config.animals)]
        self._begun = False
        self._volume_mm3 = 0.0
        self._t_ns = 0
        # Of this set only: volumes that are animals, before it is known which.
        self._unnamed: list[NDArray[np.intp]] = []

    def forget_pixels(self) -> None:
        """Find every background anew, and keep who is who and where: for pixels that were torn while they were read."""
        for view in self._views:
            view.reset()
        for animal in self._animals:
            animal.velocity = np.zeros(3)

    def step(self, images: Mapping[str, NDArray[np.uint8]], t_ns: int) -> tuple[AnimalTrack, ...]:
        """One frame set.

        Args:
            images: camera → frame, for the views that are there; they may lie in shared memory.
            t_ns: exposure time of the set.

        Returns:
            One track per animal, by number. Before all animals were seen apart once, none is valid.
        """
        dt_s = (t_ns - self._t_ns) / NS_PER_S if self._t_ns else 0.0
        self._t_ns = t_ns
        present: list[SilhouetteView | None] = []
        for camera, view in zip(self.cameras, self._views, strict=True):
            image = images.get(camera)
            if image is not None:
                view.step(image)
            present.append(None if image is None else view)
        voxels = self._grid.carve(present)
        self._unnamed = []
        parts = self._divide(voxels, max(dt_s, 0.0))
        for animal, part in zip(self._animals, parts, strict=True):
            self._follow(animal, part, t_ns, dt_s)
        boxes, residuals, n_views = self._boxes.of(parts, [one.xyz for one in self._animals], present, self.cameras)
        # What one view shows alone cannot be told from an animal: nothing is learnt then.
        alone = sum(view is not None for view in present) < 2
        for place, view in enumerate(present):
            if view is not None and not alone:
                view.learn(self._boxes.hidden(place, [*parts, *self._unnamed]))
        return tuple(
            AnimalTrack(
                number,
                _triple(animal.xyz),
                _triple(animal.velocity),
                n_views[number],
                residuals[number],
                boxes[number],
                animal.valid,
            )
            for number, animal in enumerate(self._animals)
        )

    def _divide(self, voxels: NDArray[np.intp], dt_s: float) -> list[NDArray[np.intp]]:
        """The voxels of each animal; empty for one that is not seen."""
        nothing = [np.zeros(0, np.intp) for _ in self._animals]
        if not len(voxels):
            return nothing
        labels = self._grid.components(voxels)
        volumes = np.bincount(labels)[1:] * self._grid.voxel_mm3
        large = np.flatnonzero(volumes >= self._config.min_volume_mm3) + 1
        if not len(large):
            return nothing
        if not self._begun:
            return self._begin(voxels, labels, large[np.argsort(-volumes[large - 1], kind="stable")])
        expected = np.stack([one.xyz + one.velocity * self._reach_s(one, dt_s) for one in self._animals])
        seen = voxels[np.isin(labels, large)]
        full = len(self._animals) * self._volume_mm3
        if len(self._animals) == 1 or (self._volume_mm3 and len(seen) * self._grid.voxel_mm3 < MISSING_VOLUME * full):
            return self._nearest(voxels, labels, large, expected)
        return self._share(seen, expected)

    def _reach_s(self, animal: _Animal, dt_s: float) -> float:
        """How far into the future the animal's velocity is believed."""
        return dt_s if self._t_ns - animal.seen_ns <= self._lost_ns else 0.0

    def _begin(
        self, voxels: NDArray[np.intp], labels: NDArray[np.int32], large: NDArray[np.intp]
    ) -> list[NDArray[np.intp]]:
        """Every animal for itself once: from then on they are told apart by where they were."""
        n = len(self._animals)
        if len(large) < n:
            self._unnamed = [voxels[labels == label] for label in large]
            return [np.zeros(0, np.intp) for _ in range(n)]
        self._begun = True
        parts = [voxels[labels == label] for label in large[:n]]
        parts.sort(key=lambda part: float(self._grid.centres_mm[part, 0].mean()))
        return parts

    def _nearest(
        self, voxels: NDArray[np.intp], labels: NDArray[np.int32], large: NDArray[np.intp], expected: Array
    ) -> list[NDArray[np.intp]]:
        """Whole volumes to the animals that are expected nearest; some animals may get none."""
        parts = [voxels[labels == label] for label in large]
        centres = np.stack([self._grid.centres_mm[part].mean(axis=0) for part in parts])
        distance = np.linalg.norm(expected[:, None] - centres[None], axis=2)
        if len(expected) == 1:  # a large volume far away is rather a ghost than a small one here is none
            size = np.array([len(part) for part in parts], float)
            best = int(np.argmin(distance[0] - 40.0 * np.log(size / size.max())))
            return [parts[best]]
        out = [np.zeros(0, np.intp) for _ in expected]
        for animal, part in zip(*linear_sum_assignment(distance), strict=True):
            out[int(animal)] = parts[int(part)]
        return out

    def _share(self, seen: NDArray[np.intp], expected: Array) -> list[NDArray[np.intp]]:
        points = self._grid.centres_mm[seen]
        means, covariances = expected.copy(), np.stack([one.covariance for one in self._animals])
        owner = np.zeros(len(points), np.intp)
        for _ in range(N_EM):
            away = points[:, None] - means[None]
            distance = np.einsum("nki,kij,nkj->nk", away, np.linalg.inv(covariances), away)
            owner = np.argmin(distance + np.log(np.linalg.det(covariances)), axis=1)
            for k in range(len(means)):
                own = points[owner == k]
                if len(own) > 3:
                    means[k] = own.mean(axis=0)
                    covariances[k] = np.cov(own.T, bias=True) + np.eye(3) * SPREAD_MM**2
        return [seen[owner == k] for k in range(len(means))]

    def _follow(self, animal: _Animal, part: NDArray[np.intp], t_ns: int, dt_s: float) -> None:
        volume = len(part) * self._grid.voxel_mm3
        animal.valid = volume >= self._config.min_volume_mm3
        if not animal.valid:
            if animal.seen_ns >= 0 and t_ns - animal.seen_ns <= self._lost_ns:
                animal.xyz = animal.xyz + animal.velocity * dt_s
            else:
                animal.velocity = np.zeros(3)
            return
        points = self._grid.centres_mm[part]
        measured = points.mean(axis=0)
        if animal.seen_ns < 0 or t_ns - animal.seen_ns > self._lost_ns or dt_s <= 0.0:
            animal.xyz, animal.velocity = measured, np.zeros(3)
        else:
            expected = animal.xyz + animal.velocity * dt_s
            off = measured - expected
            animal.xyz = expected + POSITION_GAIN * off
            animal.velocity = animal.velocity + (1.0 - np.exp(-dt_s / VELOCITY_S)) * off / dt_s
        animal.covariance = np.cov(points.T, bias=True) + np.eye(3) * SPREAD_MM**2
        animal.seen_ns = t_ns
        gain = 1.0 / VOLUME_SETS if self._volume_mm3 else 1.0
        self._volume_mm3 += gain * (volume - self._volume_mm3)

    def snapshot(self) -> State:
        """Everything that it remembers, as plain arrays."""
        state: State = {
            "animals": np.array([[*one.xyz, *one.velocity, *one.covariance.ravel()] for one in self._animals]),
            "seen_ns": np.array([one.seen_ns for one in self._animals], np.int64),
            "flags": np.array([[one.valid, self._begun] for one in self._animals]),
            "t_ns": np.array(self._t_ns, np.int64),
            "volume": np.array(self._volume_mm3),
        }
        for camera, view in zip(self.cameras, self._views, strict=True):
            state |= {f"{camera}.{key}": value for key, value in view.snapshot().items()}
        return state

    def restore(self, state: State) -> None:
        """Continue from a snapshot of a tracker of the same rig, bit for bit."""
        for row, seen_ns, flags, one in zip(
            state["animals"], state["seen_ns"], state["flags"], self._animals, strict=True
        ):
            one.xyz, one.velocity, one.covariance = row[:3].copy(), row[3:6].copy(), row[6:].reshape(3, 3).copy()
            one.seen_ns, one.valid, self._begun = int(seen_ns), bool(flags[0]), bool(flags[1])
        self._t_ns, self._volume_mm3 = int(state["t_ns"]), float(state["volume"])
        for camera, view in zip(self.cameras, self._views, strict=True):
            view.restore({key: state[f"{camera}.{key}"] for key in ("background", "fur", "numbers")})


def _model_of(
    camera: str, models: Mapping[str, CameraModel], shape: Sequence[int], config: TrackingConfig
) -> CameraModel:
    model = models.get(camera)
    if model is None:
        raise ConfigError(
            f"tracking: camera {camera} is not in {config.calibration} (there are: {', '.join(models) or 'none'}); "
            "calibrate it, or leave it out of task.tracking.views"
        )
    if (model.height, model.width) != tuple(shape[:2]):
        raise ConfigError(
            f"tracking: camera {camera} delivers {shape[1]}x{shape[0]}, it was calibrated at "
            f"{model.width}x{model.height}: set the camera back, or calibrate again"
        )
    return model


def _px_per_mm(model: CameraModel, point_mm: Array) -> float:
    depth = float(model.to_camera(point_mm[None])[0, 2])
    if depth <= 0:
        raise CalibrationError(f"camera {model.name}: the middle of the cage lies behind it; check the calibration")
    return float(np.sqrt(abs(model.matrix[0, 0] * model.matrix[1, 1]))) / depth


def _triple(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
