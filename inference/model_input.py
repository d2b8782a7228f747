"""What a model takes: video, keypoints or signals, and what is done to them before its features."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..sync.strict import StrictModel
from .crop_rule import CropRule
from .disparity_config import DisparityOptions
from .graph_spec import Count, EmbedderSpec
from .pose.config import BodyScale, Identity, PoseFill


class VideoInput(StrictModel):
    """Frames of one or several synchronised views.

    Attributes:
        n_views: how many views the model takes; None: any number (not with ``joined``).
        view_names: the cameras it was trained on, in order.
        fusion: ``mean`` or ``max`` of the views' probabilities, or their features ``joined`` before one head.
        pixel_format: what the embedder takes.
        color_to_grey: how a colour frame becomes grey (``inference/grey.py``).
        disparity: those of ``view_names`` that are no cameras but computed from a stereo pair, and how.
    """

    kind: Literal["video"] = "video"
    n_views: Count | None
    view_names: list[str]
    fusion: Literal["mean", "max", "joined"]
    pixel_format: Literal["mono8"] = "mono8"
    color_to_grey: Literal["green"] = "green"
    crop: CropRule
    embedder: EmbedderSpec
    disparity: dict[str, DisparityOptions] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _joined_needs_a_number(self) -> Self:
        if self.fusion == "joined" and self.n_views is None:
            raise ValueError("n_views: fusion 'joined' needs a fixed number of views")
        return self


class PoseInput(StrictModel):
    """Keypoints from a tracker, in pixels.

    Attributes:
        keypoints: in the order in which the model takes them.
        n_animals: in every frame.
        fill: which points are missing, and what stands in for them.
        identity: which of two animals is which.
        scale: the unit of length.
    """

    kind: Literal["pose"] = "pose"
    keypoints: list[str] = Field(min_length=1)
    n_animals: Count
    fill: PoseFill = PoseFill()
    identity: Identity = "tracker"
    scale: BodyScale

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError(f"keypoints: a name stands twice in {self.keypoints}")
        if unknown := sorted(set(self.scale.path) - set(self.keypoints)):
            raise ValueError(f"scale.path: {unknown} are not among the keypoints {self.keypoints}")
        if self.n_animals != 2 and (self.identity != "tracker" or self.fill.twin_px is not None):
            raise ValueError(f"identity nearest and fill.twin_px are for two animals, and there are {self.n_animals}")
        return self


class SignalInput(StrictModel):
    """Sampled channels beside the video."""

    kind: Literal["signal"] = "signal"
    channels: list[str] = Field(min_length=1)
    rate_hz: float = Field(gt=0.0)


ModelInput = Annotated[VideoInput | PoseInput | SignalInput, Field(discriminator="kind")]
