"""What a quantised embedder cost: the record that stands in the manifest of an int8 bundle.

Both embedders were run in the process that made the bundle: over the same test frames for the scores, and in turn over
the same crops for the times.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..sync.strict import StrictModel

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class PrecisionScores(StrictModel):
    """Scores of one embedder on the test part. None stands for undefined; ``f1`` is by class."""

    accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    f1: dict[str, float | None]


class PrecisionCost(StrictModel):
    """Both embedders on the same frames; ``agreement`` is the share of frames on which their labels are equal."""

    float32: PrecisionScores
    int8: PrecisionScores
    agreement: Share

    @property
    def loss(self) -> float:
        """Balanced accuracy that int8 lost; below 0 where it gained."""
        return (self.float32.balanced_accuracy or 0.0) - (self.int8.balanced_accuracy or 0.0)


class ScoredStretch(StrictModel):
    """What was scored: a recording, or ``name[first:stop]`` of it, and the fingerprint of the whole recording."""

    name: str
    sha256: str


class PrecisionJudgement(StrictModel):
    """The scores that decide whether an int8 bundle is written.

    Attributes:
        part: ``validation``, or ``test`` where the data have no validation part.
        scored_on: what of it both embedders were run over.
        n_frames: labelled frames of it.
        stabilised, raw: as in `Quantisation`.
        max_score_loss: the limit.
    """

    part: Literal["validation", "test"]
    scored_on: list[ScoredStretch]
    n_frames: Count
    stabilised: PrecisionCost
    raw: PrecisionCost
    max_score_loss: Share

    @property
    def loss(self) -> float:
        """The larger loss of the two, in balanced accuracy."""
        return max(self.stabilised.loss, self.raw.loss)


class PrecisionSpeed(StrictModel):
    """Median time of one batch of crops, milliseconds; ``ratio`` is how many times faster int8 is."""

    threads: Count
    batch: Count
    n_runs: Count
    float32_ms: float = Field(gt=0.0)
    int8_ms: float = Field(gt=0.0)
    ratio: float = Field(gt=0.0)


class Quantisation(StrictModel):
    """How an embedder became int8, and what that cost.

    Attributes:
        source: identity of the float32 bundle.
        weight_bits: bits of a weight that are used; 7 leaves room in sums that some processors hold in 16 bits.
        calibrated_on: the training recordings, or stretches of them, that the ranges of activations come from.
        n_calibration_frames, n_calibration_crops: taken from them.
        n_test_frames: labelled frames that both embedders were scored on.
        stabilised: of the label that rules act on.
        raw: of the most probable class, before the stabiliser.
        p_change_p99, p_change_max: how far the probability of any class moved, over the test frames.
        score_loss: the larger loss of the two, in balanced accuracy, on the part that was judged.
        max_score_loss: the limit that it was held to.
        speed: with one and two threads, of one crop and of one from every view.
        float32_bytes, int8_bytes: size of ``embedder.onnx``.
        machine: where the times were taken.
        scored_on: the test part behind ``stabilised`` and ``raw``, and behind the ``scores`` of the manifest, whose
            ``data`` and ``split`` are those that the float32 bundle was trained with; empty in older bundles.
        validation: what was judged; None: the data had no validation part, and the test part was.
    """

    precision: Literal["int8"] = "int8"
    source: str
    activations: Literal["uint8"] = "uint8"
    weights: Literal["int8 per channel"] = "int8 per channel"
    weight_bits: Literal[7, 8]
    calibrated_on: list[str] = Field(min_length=1)
    n_calibration_frames: Count
    n_calibration_crops: Count
    n_test_frames: Count
    stabilised: PrecisionCost
    raw: PrecisionCost
    p_change_p99: Share
    p_change_max: Share
    score_loss: float
    max_score_loss: Share
    speed: list[PrecisionSpeed]
    float32_bytes: Count
    int8_bytes: Count
    machine: str
    scored_on: list[ScoredStretch] = Field(default_factory=list)
    validation: PrecisionJudgement | None = None

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """Bundles of the first form were judged on the test part and did not say of which recordings."""
        return {"scored_on": [], "validation": None, **data} if isinstance(data, dict) else data
