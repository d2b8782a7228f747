"""How a view is cropped before it is embedded: the options, shared by bundle manifests and training configs."""

from typing import Annotated, Literal

from pydantic import Field

from ..sync.strict import StrictModel

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]


class BackgroundCrop(StrictModel):
    """A square that follows the animal, found by an adaptive background model on a point-sampled image.

    Attributes:
        side: side of the square as a fraction of the image width (bounded by the image height).
        polarity: the animal is darker than the floor, lighter, or it may be either.
        sample_width_px: the image is point-sampled to at most this width for the background model.
        threshold: grey levels by which a pixel must differ from the background at least.
        noise_factor: and by this many times the mean absolute deviation of the pixel.
        learn_s: time constant with which the background follows where no animal is.
        stuck_s: time constant with which it takes in what stands out but is not the animal; under the animal it rests.
        min_area: smallest animal, as a fraction of the image area.
        max_area: largest animal, as a fraction of the image area; more means that the light changed.
        max_jump: how strongly a far blob is disfavoured: at this distance (fraction of the image width) from the last
            place a blob counts a quarter.
        smooth_s: time constant of the box centre (a causal low-pass; 0 is none).
    """

    kind: Literal["background"] = "background"
    side: Fraction = 0.25
    polarity: Literal["dark", "light", "both"] = "both"
    sample_width_px: int = Field(default=320, ge=64, le=480)
    threshold: float = Field(default=18.0, gt=0.0, le=255.0)
    noise_factor: float = Field(default=3.0, ge=0.0)
    learn_s: float = Field(default=4.0, gt=0.0)
    stuck_s: float = Field(default=5.0, gt=0.0)
    min_area: Fraction = 0.001
    max_area: Fraction = 0.35
    max_jump: Fraction = 0.15
    smooth_s: float = Field(default=0.05, ge=0.0)


class FixedBox(StrictModel):
    """A square that does not move. Centre as fractions of image width and height, side as a fraction of the width."""

    x: float = Field(ge=0.0, le=1.0)
    y: float = Field(ge=0.0, le=1.0)
    side: Fraction


class FixedCrop(StrictModel):
    """One square per view, by camera name; ``"*"`` stands for every camera that is not named."""

    kind: Literal["fixed"] = "fixed"
    boxes: dict[str, FixedBox] = Field(min_length=1)


class FullCrop(StrictModel):
    """The whole image."""

    kind: Literal["full"] = "full"


CropRule = Annotated[BackgroundCrop | FixedCrop | FullCrop, Field(discriminator="kind")]
