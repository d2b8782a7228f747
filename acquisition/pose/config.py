"""Options of a pose source, as the rig file gives them."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from ...sync.strict import StrictModel


class PoseFileConfig(StrictModel):
    """A tracker's file, played as if its points came from a tracker that runs now.

    Attributes:
        path: the file; see `read_pose`.
        rate_hz: its frames per second; required where the file does not say, as DeepLabCut's and SLEAP's do not.
        loop: begin again at the end; time goes on.
        animals: names of those that are meant, in this order; null: all of the file. DeepLabCut's unique body parts are
            an animal too, which no model was trained on.
    """

    kind: Literal["file"]
    path: Path
    rate_hz: float | None = Field(default=None, gt=0.0, le=10_000.0)
    loop: bool = False
    animals: list[str] | None = Field(default=None, min_length=1)


PoseSourceConfig = PoseFileConfig
"""Settings of one pose source; files are the only kind so far."""
