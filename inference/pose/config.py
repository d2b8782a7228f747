"""What becomes of raw keypoints before a feature is measured: options in bundle manifests and training files."""

from typing import Literal

from pydantic import Field

from ...sync.strict import StrictModel

Identity = Literal["tracker", "nearest"]
"""Which animal is which: as the tracker says, or each goes on where it was (two animals only)."""


class PoseFill(StrictModel):
    """Which points count as missing, and what stands in for them.

    Attributes:
        min_likelihood: points below it are missing, as those without coordinates are.
        max_fill_ms: for so long a missing point stays where it was seen last; after that it is at the centre of those
            points of its animal that are there.
        twin_px: where every point that two animals share lies this near to its twin, the tracker gave one animal twice:
            it counts for the one that was nearer, with the points of both, and the other is missing. null: both are
            taken as they are.
    """

    min_likelihood: float = Field(default=0.0, ge=0.0, le=1.0)
    max_fill_ms: float = Field(default=500.0, ge=0.0)
    twin_px: float | None = Field(default=None, gt=0.0)


class BodyScale(StrictModel):
    """The unit of length: a body length in pixels, as far as it is known by then.

    Attributes:
        path: keypoints from one end of the body to the other; its length is measured where all of them are seen.
        start_px: the length before anything was measured.
        weight_s: so many seconds of all animals weigh as much as ``start_px``; null: it stays ``start_px`` for ever.
    """

    path: list[str] = Field(min_length=2)
    start_px: float = Field(gt=0.0)
    weight_s: float | None = Field(default=60.0, gt=0.0)
