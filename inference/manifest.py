"""The manifest of a model bundle: what a model is, what it wants and what it was shown to do.

A bundle is a folder, or the same zipped, that holds `MANIFEST_FILE`, the ONNX graphs and ``parity.npz``. Contracts:

========================  ==============================================================================================
``embedder.onnx``         ``crops`` uint8 [n, h, w] (n, h, w dynamic) -> ``embedding`` float32 [n, d]. Resize and
                          normalisation are inside the graph.
``head_step.onnx``        ``x`` float32 [b, f], ``state_0`` .. float32 [b, ...] -> ``p`` float32 [b, c] (probabilities),
                          ``state_0_out`` .. A head with ``taps`` takes, in place of the state, ``taps`` float32
                          [b, rows, n]: the named rows of each state tensor, one tensor after the other; and gives
                          ``column`` float32 [b, tensors, n]: the row that is appended to each, whose first then goes.
``head_sequence.onnx``    ``x`` float32 [b, t, f], ``state_0`` .. -> ``p`` float32 [b, t, c], ``state_0_out`` .. A head
                          that looks ahead without bound has this graph alone, and no state.
========================  ==============================================================================================

b is the number of views for ``mean`` and ``max`` fusion and 1 for ``joined``, where the views' features stand one after
the other in view order. The features of a view are its embedding followed by the outputs of the feature steps.
Normalisation of features is inside the head graphs.
"""

from math import inf
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, JsonValue, ValidationError, model_validator

from ..sync.errors import BundleError
from ..sync.strict import StrictModel
from .crop_rule import CropRule
from .disparity_config import DisparityOptions
from .pose.config import BodyScale, Identity, PoseFill
from .precision import Quantisation
from .stabilisation.config import StabiliserConfig

MANIFEST_FILE = "manifest.json"
MANIFEST_SCHEMA = 1
EMBEDDER_FILE = "embedder.onnx"
HEAD_STEP_FILE = "head_step.onnx"
HEAD_SEQUENCE_FILE = "head_sequence.onnx"
PARITY_FILE = "parity.npz"
TAPS = "taps"
COLUMN = "column"

HeadName = Literal["linear", "mlp", "lstm", "gru", "tcn", "transformer", "ensemble", "other"]
HeadOutput = Literal["softmax", "independent"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


class StateTensor(StrictModel):
    """One state tensor: ``shape`` is without the batch axis, every element starts at ``initial``."""

    name: str
    shape: list[Count]
    dtype: Literal["float32", "float64", "int64", "uint8"]
    initial: float


class TensorSpec(StrictModel):
    """One input or output of a graph; a dynamic axis is a name."""

    name: str
    shape: list[int | str]
    dtype: Literal["float32", "uint8"]


class EmbedderSpec(StrictModel):
    """The image network: ``dims`` is the length of an embedding."""

    file: Literal["embedder.onnx"] = EMBEDDER_FILE
    name: str
    dims: Count
    input: TensorSpec
    output: TensorSpec

    @classmethod
    def build(cls, name: str, dims: int) -> Self:
        """The spec of an embedder that obeys the contract at the top of this file."""
        return cls(
            name=name,
            dims=dims,
            input=TensorSpec(name="crops", shape=["n", "h", "w"], dtype="uint8"),
            output=TensorSpec(name="embedding", shape=["n", dims], dtype="float32"),
        )


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


class FeatureStepSpec(StrictModel):
    """One stateful feature step: the code (by version and hash), its parameters and what it remembers per view."""

    name: str
    version: Count
    hash: Sha256
    parameters: dict[str, JsonValue]
    dims: Count
    state: list[StateTensor]


class HeadSpec(StrictModel):
    """The classifier.

    Attributes:
        kind: what it is made of; for people.
        members: of an ensemble, the kinds of the heads whose probabilities it averages; else empty.
        output: the classes exclude each other and ``p`` sums to one (``softmax``), or each class has a probability of
            its own (``independent``). Either way the label is one class.
        step_file: None: it is not causal and has no single step.
        dims: length of ``x``.
        state: what it remembers. With ``taps`` each is [rows, n] float32, oldest row first, and n is the same for all.
        taps: for each state tensor the rows that one step needs; None: the step graph takes the state as it is.
    """

    kind: HeadName
    members: list[HeadName] = Field(default_factory=list)
    output: HeadOutput = "softmax"
    step_file: Literal["head_step.onnx"] | None = HEAD_STEP_FILE
    sequence_file: Literal["head_sequence.onnx"] = HEAD_SEQUENCE_FILE
    dims: Count
    x: TensorSpec
    p: TensorSpec
    state: list[StateTensor]
    taps: list[list[int]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        """Bundles of the first forms gave every step its whole state, were single heads with classes that exclude each
        other, and did not say so.
        """
        return {"taps": None, "members": [], "output": "softmax", **data} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _taps_fit_the_state(self) -> Self:
        if self.taps is None:
            return self
        if not self.state or len(self.taps) != len(self.state):
            raise ValueError(f"taps: are of {len(self.taps)} state tensors, but there are {len(self.state)}")
        if any(len(one.shape) != 2 or one.dtype != "float32" for one in self.state):
            raise ValueError("taps: are rows of float32 state tensors with two axes only")
        if len({one.shape[1] for one in self.state}) != 1:
            raise ValueError(f"taps: rows are not of one length ({', '.join(str(one.shape) for one in self.state)})")
        for tensor, rows in zip(self.state, self.taps, strict=True):
            if not rows or rows != sorted(set(rows)) or rows[0] < 0 or rows[-1] >= tensor.shape[0]:
                raise ValueError(f"taps: {rows} of {tensor.name} are no ascending rows of its {tensor.shape[0]}")
        return self

    @classmethod
    def build(
        cls,
        kind: HeadName,
        dims: int,
        n_classes: int,
        state: list[StateTensor],
        taps: list[list[int]] | None = None,
        *,
        members: list[HeadName] | None = None,
        output: HeadOutput = "softmax",
        causal: bool = True,
    ) -> Self:
        """The spec of a head that obeys the contract at the top of this file."""
        return cls(
            kind=kind,
            members=members or [],
            output=output,
            step_file=HEAD_STEP_FILE if causal else None,
            dims=dims,
            x=TensorSpec(name="x", shape=["b", dims], dtype="float32"),
            p=TensorSpec(name="p", shape=["b", n_classes], dtype="float32"),
            state=state,
            taps=taps,
        )


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


def read_manifest(text: str | bytes, where: str) -> Manifest:
    """Read and check a manifest.

    Args:
        text: the JSON.
        where: the path, for messages.

    Raises:
        BundleError: not JSON, a key missing (every one is named), unknown or wrong.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(_explain(error, where)) from error
    missing = missing_keys(manifest)
    if missing:
        raise BundleError(
            f"{where}: missing key {', '.join(map(repr, missing))}; write the bundle again with write_bundle"
        )
    return manifest


def build_manifest(fields: dict[str, Any], where: str) -> Manifest:
    """Check the fields of a manifest that is about to be written.

    Raises:
        BundleError: as `read_manifest`; defaults may be left out here.
    """
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise BundleError(_explain(error, where)) from error


def missing_keys(model: BaseModel, path: str = "") -> list[str]:
    """Key paths of ``model`` and what it holds that took their default instead of being given."""
    missing: list[str] = []
    for name in type(model).model_fields:
        here = f"{path}{name}"
        if name not in model.model_fields_set:
            missing.append(here)
        else:
            missing.extend(_missing_in(getattr(model, name), here))
    return missing


def _missing_in(value: object, path: str) -> list[str]:
    if isinstance(value, BaseModel):
        return missing_keys(value, f"{path}.")
    if isinstance(value, dict):
        return [key for name, item in value.items() for key in _missing_in(item, f"{path}.{name}")]
    if isinstance(value, list):
        return [key for place, item in enumerate(value) for key in _missing_in(item, f"{path}.{place}")]
    return []


def _explain(error: ValidationError, where: str) -> str:
    lines = [f"{where}: {error.error_count()} fault(s) in the manifest"]
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(top level)"
        if fault["type"] == "missing":
            lines.append(f"  missing key {key!r}")
        elif fault["type"] == "extra_forbidden":
            lines.append(f"  unknown key {key!r}")
        else:
            lines.append(f"  {key}: {fault['msg']} (got {fault['input']!r:.80})")
    return "\n".join(lines)
