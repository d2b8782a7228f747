"""Options of tracking, as they stand in the task file."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...sync.strict import StrictModel

Span = tuple[float, float]


class TrackingConfig(StrictModel):
    """How the animals are found.

    Attributes:
        calibration: TOML of the calibrated views, as ``ethostream calibrate`` writes it; world in mm, z up.
        cage_x_mm, cage_y_mm, cage_z_mm: the space in which an animal can be, in the world of the calibration.
        views: cameras that are used; null: all of the rig. Two at least, and all of them calibrated.
        animals: how many there are.
        polarity: the animals are ``dark`` on a lighter cage, or ``light`` on a darker one.
        contrast: a pixel can belong to a silhouette from this contrast on, relative to the background's own distance
            from black (``dark``) or from white (``light``). Pixels with twice as much say how bright the animals are,
            and what is less dark (less light) than they is a shadow (a reflection).
        tail_mm: what is narrower than this is no part of the body: tail, cable, rim.
        voxel_mm: edge of a voxel.
        min_volume_mm3: a smaller volume is no animal.
        sample_width_px: silhouettes are found on a point-sampled image of at most this width.
        learn_s: time constant of the background away from the animals.
        lost_s: an animal that no two views show is carried on with its velocity for this long, then stays where it was.
    """

    calibration: Path
    cage_x_mm: Span
    cage_y_mm: Span
    cage_z_mm: Span = (0.0, 150.0)
    views: list[str] | None = Field(default=None, min_length=2)
    animals: int = Field(default=1, ge=1, le=4)
    polarity: Literal["dark", "light"] = "dark"
    contrast: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.18
    tail_mm: float = Field(default=6.0, ge=0.0, le=100.0)
    voxel_mm: float = Field(default=6.0, ge=1.0, le=50.0)
    min_volume_mm3: float = Field(default=6000.0, gt=0.0)
    sample_width_px: int = Field(default=320, ge=64, le=480)
    learn_s: float = Field(default=30.0, gt=0.0)
    lost_s: float = Field(default=0.5, ge=0.0)

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if self.views is not None and len(set(self.views)) != len(self.views):
            raise ValueError(f"views: a camera stands twice in {self.views}")
        for name in ("cage_x_mm", "cage_y_mm", "cage_z_mm"):
            low, high = getattr(self, name)
            if high - low < 2 * self.voxel_mm:
                raise ValueError(
                    f"{name} {low:g} to {high:g}: choose a span of at least two voxels ({self.voxel_mm:g} mm)"
                )
        n_voxels = (
            (self.cage_x_mm[1] - self.cage_x_mm[0])
            * (self.cage_y_mm[1] - self.cage_y_mm[0])
            * (self.cage_z_mm[1] - self.cage_z_mm[0])
            / self.voxel_mm**3
        )
        if n_voxels > 2_000_000:
            raise ValueError(f"{n_voxels:.0f} voxels: 2,000,000 at most can be carved at video rate")
        return self
