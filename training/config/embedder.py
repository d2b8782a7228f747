"""The training file's part about the network from crops to embeddings. Needs no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ...sync.strict import StrictModel


class SmallCnnConfig(StrictModel):
    """A small convolutional network, trained from scratch."""

    kind: Literal["small_cnn"]
    dims: int = Field(default=32, ge=1, le=4096)
    side_px: int = Field(default=64, ge=16, le=512)
    width: int = Field(default=16, ge=1, le=256)


class ResNet18Config(StrictModel):
    """ResNet-18; ``weights`` is a file with the published ImageNet weights, relative to the data folder."""

    kind: Literal["resnet18"]
    side_px: int = Field(default=128, ge=32, le=512)
    weights: Path | None = None


EmbedderConfig = Annotated[SmallCnnConfig | ResNet18Config, Field(discriminator="kind")]
