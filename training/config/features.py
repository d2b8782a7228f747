"""The training file's way to name a feature step, of images and of keypoints alike."""

from typing import Any

from pydantic import Field

from ...sync.strict import StrictModel


class FeatureConfig(StrictModel):
    """A feature step beside the embedding, by name and version, with its parameters."""

    name: str
    version: int = Field(default=1, ge=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
