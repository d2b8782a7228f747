"""Options of views that are computed from a stereo pair, as they stand in the task and the training file."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ..sync.strict import StrictModel


class DisparityOptions(StrictModel):
    """What a disparity view looks like; a model sees the same only where these are the same.

    Attributes:
        width_px: of the view; the height follows the cameras' own shape.
        nearest_mm: depth that is white (255); nearer things are not found.
        farthest_mm: depth that is darkest (1); 0 is unknown.
        block_px: side of the blocks that are matched.
    """

    width_px: int = Field(default=320, ge=64, le=1920)
    nearest_mm: float = Field(default=100.0, gt=0.0)
    farthest_mm: float = Field(default=800.0, gt=0.0)
    block_px: int = Field(default=5, ge=3, le=21)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.nearest_mm >= self.farthest_mm:
            raise ValueError(f"nearest_mm {self.nearest_mm:g} is not nearer than farthest_mm {self.farthest_mm:g}")
        if self.block_px % 2 == 0:
            raise ValueError(f"block_px {self.block_px}: choose an odd number")
        return self


class DisparityView(StrictModel):
    """One stereo pair.

    Attributes:
        left: camera on the left, seen from behind the pair.
        right: camera on the right.
        options: of the view.
    """

    left: str
    right: str
    options: DisparityOptions = DisparityOptions()


class DisparityConfig(StrictModel):
    """Views that are computed from stereo pairs; a model takes them like cameras, by their names.

    Attributes:
        calibration: TOML of the calibrated cameras.
        views: name of the new view → pair.
    """

    calibration: Path
    views: dict[str, DisparityView] = Field(min_length=1)
