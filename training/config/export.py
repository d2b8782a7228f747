"""The training file's part about the precision of the exported embedder."""

from typing import Literal

from pydantic import Field

from ...sync.strict import StrictModel


class ExportConfig(StrictModel):
    """How the embedder goes into the bundle; the head is always float32.

    Attributes:
        precision: ``float32`` as trained, or ``int8``: quantised, and scored beside the float32 one.
        calibration_frames: frames of the training part, spread evenly over it, that the ranges of activations come
            from; each gives one crop per view.
        max_score_loss: more lost balanced accuracy than this on the validation part (on the test part where there is
            none), before or after the stabiliser, and no int8 bundle is written.
        weight_bits: 8, or 7 for rigs whose processor has no VNNI instructions and adds pairs of products in 16 bits.
    """

    precision: Literal["float32", "int8"] = "float32"
    calibration_frames: int = Field(default=256, ge=1, le=100_000)
    max_score_loss: float = Field(default=0.01, ge=0.0, le=1.0)
    weight_bits: Literal[7, 8] = 8
