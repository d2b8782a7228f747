"""The training file's part about keypoints: what a model of them takes, and what is computed of it."""

from typing import Annotated, Literal

from pydantic import Field

from ...inference.pose.config import Identity, PoseFill
from ...sync.strict import StrictModel
from .features import FeatureConfig


class ScaleRule(StrictModel):
    """The unit of length, a body length.

    Attributes:
        path: keypoints from one end of the body to the other.
        start_px: its length before a rig has measured any; None: the median of the recordings that are learnt from.
        weight_s: so many seconds weigh as much as ``start_px``; None: it stays that for ever.
    """

    path: list[str] = Field(min_length=2)
    start_px: float | None = Field(default=None, gt=0.0)
    weight_s: float | None = Field(default=60.0, gt=0.0)


class PoseRule(StrictModel):
    """What a model of keypoints takes, and what is computed of it.

    Attributes:
        keypoints: names in the order of the model; None: those of the first recording.
        n_animals: animals per frame; None: those of the first recording.
        rate_hz: frames per second of the model; None: those of the recordings, which must then be of one rate.
        other_rates: recordings of another rate are refused, or, where it is a whole multiple, subsampled; the bundle
            says so too, for the rig.
        identity: which animal is which: as the ``tracker`` says, or ``nearest`` to where it was.
        fill: which points count as missing, and what stands in for them.
        scale: the unit of length.
        features: feature steps (`inference.pose`), in the order in which the head gets them.
    """

    keypoints: list[str] | None = Field(default=None, min_length=1)
    n_animals: Annotated[int, Field(ge=1)] | None = None
    rate_hz: float | None = Field(default=None, gt=0.0)
    other_rates: Literal["refuse", "subsample"] = "refuse"
    identity: Identity = "tracker"
    fill: PoseFill = PoseFill()
    scale: ScaleRule
    features: list[FeatureConfig] = Field(min_length=1)
