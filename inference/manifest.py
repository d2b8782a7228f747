"""The manifest of a model bundle: what a model is, what it wants and what it was shown to do.

A bundle is a folder, or the same zipped, that holds `MANIFEST_FILE`, the ONNX graphs (`graph_spec`) and ``parity.npz``.
"""

from math import inf
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from ..sync.errors import BundleError
from ..sync.strict import StrictModel
from .graph_spec import EMBEDDER_FILE, HEAD_SEQUENCE_FILE, Count, FeatureStepSpec, HeadSpec, Sha256
from .model_input import ModelInput, PoseInput, VideoInput
from .precision import Quantisation
from .stabilisation.config import StabiliserConfig

MANIFEST_FILE = "manifest.json"
MANIFEST_SCHEMA = 1
PARITY_FILE = "parity.npz"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class GapRule(StrictModel):
    """Missing steps up to ``max_repeat_ms`` in all repeat the last input; a longer gap resets the state."""

    max_repeat_ms: float = Field(ge=0.0)


class DataFingerprint(StrictModel):
    """One recording or label file that the model was trained or scored on."""

    name: str
    sha256: Sha256
    n_frames: int = Field(ge=0)
    source: str


class Split(StrictModel):
    """How training and test data were kept apart: unit (``recording``, ``time_block`` ...) and the members of each."""

    unit: str
    train: list[str]
    validation: list[str]
    test: list[str]


class Scores(StrictModel):
    """Causal scores on data that the model has not seen. None stands for undefined (a class without examples).

    ``confusion`` rows are the truth, columns the prediction, in class order.
    """

    evaluated_on: str
    n_frames: int = Field(ge=0)
    accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    per_class: dict[str, dict[str, float | None]]
    confusion: list[list[int]]
    more: dict[str, JsonValue]


class ComputeTime(StrictModel):
    """How long one stage took where the bundle was made, milliseconds."""

    stage: str
    provider: str
    threads: Count
    batch: Count
    p50_ms: float = Field(ge=0.0)
    p99_ms: float = Field(ge=0.0)
    machine: str


class Manifest(StrictModel):
    """Everything that is known of a model. Every key is required in the file, also those with a default here.

    Attributes:
        rate_hz: steps per second that the model was trained with.
        other_rates: a live rate that differs is refused, or, where it is a whole multiple, subsampled.
        look_ahead_frames: frames of the future that the model needs: what it says at a step is of the step so many
            before it. None: without bound.
        warm_up_frames: steps after a reset until the output is to be trusted.
        files: sha256 of every other file of the bundle.
        quantisation: how the embedder became int8 and what that cost; None: it is float32, as it was trained. Of an
            int8 bundle ``data`` and ``split`` tell how it was trained, ``quantisation.scored_on`` what ``scores`` are
            of.
    """

    schema_version: Literal[1] = MANIFEST_SCHEMA
    name: Name
    task: str
    classes: list[str] = Field(min_length=2)
    rate_hz: float = Field(gt=0.0)
    other_rates: Literal["refuse", "subsample"]
    inputs: list[ModelInput] = Field(min_length=1)
    features: list[FeatureStepSpec]
    head: HeadSpec
    gap: GapRule
    warm_up_frames: int = Field(ge=0)
    look_ahead_frames: Annotated[int, Field(ge=0)] | None
    stabiliser: StabiliserConfig
    data: list[DataFingerprint]
    split: Split
    scores: Scores
    compute: list[ComputeTime]
    library_versions: dict[str, str]
    files: dict[str, Sha256]
    quantisation: Quantisation | None = None

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """Bundles of the first form were all float32 and did not say so."""
        return {"quantisation": None, **data} if isinstance(data, dict) else data

    @property
    def video(self) -> VideoInput:
        """The video input.

        Raises:
            BundleError: the model does not take video.
        """
        for entry in self.inputs:
            if isinstance(entry, VideoInput):
                return entry
        raise BundleError(f"bundle {self.name!r} takes {self.kinds}, and no video: run it on what it takes")

    @property
    def pose(self) -> PoseInput:
        """The pose input.

        Raises:
            BundleError: the model does not take pose.
        """
        for entry in self.inputs:
            if isinstance(entry, PoseInput):
                return entry
        raise BundleError(f"bundle {self.name!r} takes {self.kinds}, and no pose: run it on what it takes")

    @property
    def takes_pose(self) -> bool:
        """Whether its input is pose, and nothing else."""
        return [entry.kind for entry in self.inputs] == ["pose"]

    @property
    def kinds(self) -> str:
        """What it takes, in words."""
        return ", ".join(entry.kind for entry in self.inputs)

    @property
    def view_dims(self) -> int:
        """Length of the features of one view: embedding and feature steps."""
        return self.video.embedder.dims + sum(step.dims for step in self.features)

    @property
    def x_dims(self) -> int:
        """Length of the head's input."""
        if self.takes_pose:
            return sum(step.dims for step in self.features)
        video = self.video
        return self.view_dims * (video.n_views or 1 if video.fusion == "joined" else 1)

    @property
    def look_ahead_ms(self) -> float:
        """By how much every answer comes later for what the model looks ahead; infinite where that has no bound."""
        return inf if self.look_ahead_frames is None else 1000.0 * self.look_ahead_frames / self.rate_hz

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: a name stands twice in {self.classes}")
        if unknown := self.stabiliser.unknown(self.classes):
            raise ValueError(f"stabiliser: {unknown} are not among classes {self.classes}")
        if self.head.p.shape[-1] != len(self.classes):
            raise ValueError(
                f"head.p.shape: ends in {self.head.p.shape[-1]}, but there are {len(self.classes)} classes"
            )
        if self.head.step_file is None and self.look_ahead_frames is not None:
            raise ValueError("head.step_file: only a model that looks ahead without bound has none")
        needed = {self.head.step_file or HEAD_SEQUENCE_FILE, HEAD_SEQUENCE_FILE, PARITY_FILE}
        of_video = [entry.kind for entry in self.inputs] == ["video"]
        if of_video:
            needed.add(EMBEDDER_FILE)
        if (of_video or self.takes_pose) and self.head.dims != self.x_dims:
            raise ValueError(f"head.dims: is {self.head.dims}, but inputs and features give {self.x_dims}")
        absent = sorted(needed - set(self.files))
        if absent:
            raise ValueError(f"files: the sha256 of {', '.join(absent)} is missing")
        return self
