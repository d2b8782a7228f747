"""The training file: what a model is made of, what it learns from and how. One YAML, strict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from ...inference.crop_rule import BackgroundCrop, CropRule
from ...inference.disparity_config import DisparityConfig
from ...inference.manifest import Name
from ...inference.pose.config import Identity, PoseFill
from ...inference.stabilisation.config import StabiliserConfig, ThresholdsConfig
from ...sync.errors import ConfigError
from ...sync.strict import StrictModel, read_yaml, validate
from ..label_files.label_file import FrameConvention, LabelKind
from ..splits import GroupSplit, Part, RecordingSplit, SplitRule, TimeBlockSplit
from .choice import ChoiceConfig
from .export import ExportConfig
from .fit import FitConfig
from .head import HeadConfig, stride_fault

Dims = Annotated[int, Field(ge=1, le=4096)]


class LabelOptions(StrictModel):
    """How names in label files become classes.

    Attributes:
        rename: label → class, applied first.
        ignore: labels whose frames count as unlabelled.
        priority: classes, the most important first: where a file has two behaviours at once, the frame is the first of
            these; without it, and of behaviours that it does not name, overlaps are refused.
        overlap: ``one``: a frame has one class. ``each``: every behaviour is learnt on its own, several may be there at
            once; it goes with a binary loss. Frames of several are scored where ``priority`` names all that meet, and
            all frames count as looked at unless the file says otherwise.
        rest: class of the frames that no bout covers, for files in which all else was looked at and found empty; None:
            they are unlabelled.
        made_by: who labelled; it is said beside every score. None: nobody says.
    """

    rename: dict[str, str] = Field(default_factory=dict)
    ignore: list[str] = Field(default_factory=list)
    priority: list[str] = Field(default_factory=list)
    overlap: Literal["one", "each"] = "one"
    rest: str | None = None
    made_by: Literal["people", "machine"] | None = None


class RaterLabels(StrictModel):
    """The labels of another rater; a path alone means that file, its format recognised and its only stream.

    Attributes:
        labels: the label file, which may be that of the recording itself, with another stream.
        label_kind, frames, stream, behaviors: as for the recording's own labels; nothing of these is taken from there.
    """

    labels: Path
    label_kind: LabelKind | None = None
    frames: FrameConvention | None = None
    stream: str | None = None
    behaviors: list[str] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"labels": value} if isinstance(value, str | Path) else value


class LabelledData(StrictModel):
    """What entries of recordings with label files have in common.

    Attributes:
        name: of the recording; the default is the file name without its ending.
        labels: the label file; relative paths start at the data folder.
        label_kind: its format (`label_files`); None: recognised by its content.
        frames: how it counts frames, where the format leaves that open; None: as its format does.
        stream: which of several streams of labels in it; None: the only one, or, of a file with one label per
            recording, that of this name.
        behaviors: the columns that are behaviours, for SimBA's CSV; None: as its project says.
        compare: labels of other raters by name: scored against, never trained on.
        group: what the recording belongs to, such as an animal or a day.
        part: with ``split.by: recording``, the part that this recording belongs to.
    """

    name: Name | None = None
    labels: Path
    label_kind: LabelKind | None = None
    frames: FrameConvention | None = None
    stream: str | None = None
    behaviors: list[str] | None = Field(default=None, min_length=1)
    compare: dict[Name, RaterLabels] = Field(default_factory=dict)
    group: str | None = None
    part: Part | None = None


class VideoData(LabelledData):
    """One recording on disk.

    Attributes:
        path: one video; relative paths start at the data folder.
        views: several synchronised videos by camera name, instead of ``path``.
        pixel_format: as the rig's camera delivers it; ``mono8`` of a colour file is its luma plane.
    """

    kind: Literal["video"]
    path: Path | None = None
    views: dict[Name, Path] = Field(default_factory=dict)
    pixel_format: Literal["mono8", "bgr8"] = "mono8"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (not self.views):
            raise ValueError("give either 'path' (one video) or 'views' (camera: video), and not both")
        return self

    @property
    def videos(self) -> dict[str, Path]:
        """Camera name → path, as written."""
        return {"video": self.path} if self.path is not None else dict(self.views)

    @property
    def recording_name(self) -> str:
        """``name``, or the stem of the first video."""
        return self.name or next(iter(self.videos.values())).stem


class PoseData(LabelledData):
    """One recording of a tracker.

    Attributes:
        path: what DeepLabCut or SLEAP wrote; relative paths start at the data folder.
        video: the video that was tracked: only its frames are counted, and compared with the rows.
        rate_hz: frames per second; None: the file says.
        rate_assumed: nobody stated that rate: it is printed and recorded as an assumption.
    """

    kind: Literal["pose"]
    path: Path
    video: Path | None = None
    rate_hz: float | None = Field(default=None, gt=0.0)
    rate_assumed: bool = False

    @property
    def recording_name(self) -> str:
        """``name``, or the stem of the file."""
        return self.name or self.path.stem


class SimulatedData(StrictModel):
    """Sessions of the simulated mouse; each seed is one recording.

    Attributes:
        seeds: one session each.
        n_frames: per session.
        rate_hz: frames per second.
        views: how many of the eight cameras, or which; ``anywhere``: one camera per session, placed at random, from
            beside the cage to straight above it, near or far.
        behaviors: ``basic``; ``extended`` by rearing at a wall, turning and drinking, for views from ``anywhere``.
        width, height: of the images, pixels.
        noise: standard deviation of the sensor noise, grey levels.
        noise_everywhere: fresh noise in the whole image and not only around the animal.
        light_drift: relative amplitude of a slow change of the light.
        brightness: of the light, for views from ``anywhere``.
        negative: a light animal on dark ground, for views from ``anywhere``.
        group: what these sessions belong to.
        part: with ``split.by: recording``, the part that these sessions belong to.
    """

    kind: Literal["simulated"]
    name: Name = "simulated"
    seeds: list[int] = Field(min_length=1)
    n_frames: int = Field(ge=2)
    rate_hz: float = Field(default=30.0, gt=0.0)
    views: Annotated[int, Field(ge=1, le=8)] | Annotated[list[str], Field(min_length=1)] | Literal["anywhere"] = 8
    behaviors: Literal["basic", "extended"] = "basic"
    width: int = Field(default=640, ge=64)
    height: int = Field(default=480, ge=64)
    noise: float = Field(default=2.0, ge=0.0)
    noise_everywhere: bool = False
    light_drift: float = Field(default=0.0, ge=0.0, lt=1.0)
    brightness: float = Field(default=1.0, gt=0.0, le=4.0)
    negative: bool = False
    group: str | None = None
    part: Part | None = None

    @model_validator(mode="after")
    def _fits_its_views(self) -> Self:
        # A resolved file gives every key, as in the run folder.
        fields, names = type(self).model_fields, ("behaviors", "brightness", "negative")
        given = [name for name in names if getattr(self, name) != fields[name].default]
        if self.views != "anywhere" and given:
            raise ValueError(f"{', '.join(given)}: goes with views: anywhere")
        return self


DataEntry = Annotated[VideoData | SimulatedData | PoseData, Field(discriminator="kind")]


class SmallCnnConfig(StrictModel):
    """A small convolutional network, trained from scratch."""

    kind: Literal["small_cnn"]
    dims: Dims = 32
    side_px: int = Field(default=64, ge=16, le=512)
    width: int = Field(default=16, ge=1, le=256)


class ResNet18Config(StrictModel):
    """ResNet-18; ``weights`` is a file with the published ImageNet weights, relative to the data folder."""

    kind: Literal["resnet18"]
    side_px: int = Field(default=128, ge=32, le=512)
    weights: Path | None = None


EmbedderConfig = Annotated[SmallCnnConfig | ResNet18Config, Field(discriminator="kind")]


class FeatureConfig(StrictModel):
    """A feature step beside the embedding, by name and version, with its parameters."""

    name: str
    version: int = Field(default=1, ge=1)
    parameters: dict[str, Any] = Field(default_factory=dict)


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


VIDEO_KEYS = frozenset({"disparity", "views", "crop", "embedder", "features", "fusion", "any_views", "export"})
"""Keys of `TrainConfig` that say something of images only."""


class TrainConfig(StrictModel):
    """Everything that `train` needs, and that `evaluate` needs to score the same split.

    Attributes:
        name: of the bundle.
        task: one line for people.
        classes: behaviours in the order of the model's output.
        data_root: folder that relative paths start from, relative to this file; ``--data`` overrides it.
        data: recordings.
        labels: how names in label files become classes.
        pose: with recordings of ``kind: pose``, in place of everything from ``disparity`` to ``any_views``.
        disparity: further views, computed from stereo pairs of the data; the rig's task file needs the same.
        views: cameras and disparity views that the model sees, in joining order; None: all, the computed ones last.
        crop: the rule that the rig will use, too.
        fusion: how the views are combined.
        any_views: the model takes any number of views (not with ``joined``); else exactly those of the data.
        features: feature steps, computed beside the embedding.
        choose: what is chosen on validation data after the fit; None: nothing.
        stabiliser: what the bundle carries, unless it is chosen.
        gap_repeat_ms: gaps up to this long repeat the last input; longer ones reset the state.
        export: precision of the embedder in the bundle.
        notes: what was assumed about the data when this file was made, one line each: printed, and kept with the run.
        seed: of everything random.
    """

    name: Name
    task: str = ""
    classes: list[Name] = Field(min_length=2)
    data_root: Path = Path()
    data: list[DataEntry] = Field(min_length=1)
    labels: LabelOptions = LabelOptions()
    pose: PoseRule | None = None
    disparity: DisparityConfig | None = None
    views: list[str] | None = Field(default=None, min_length=1)
    crop: CropRule = BackgroundCrop()
    embedder: EmbedderConfig = SmallCnnConfig(kind="small_cnn")
    features: list[FeatureConfig] = Field(default_factory=list)
    head: HeadConfig = HeadConfig()
    fusion: Literal["mean", "max", "joined"] = "mean"
    any_views: bool = False
    split: SplitRule
    fit: FitConfig = FitConfig()
    choose: ChoiceConfig | None = None
    stabiliser: StabiliserConfig = ThresholdsConfig()
    gap_repeat_ms: float = Field(default=100.0, ge=0.0)
    export: ExportConfig = ExportConfig()
    notes: list[str] = Field(default_factory=list)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: a name stands twice in {self.classes}")
        if self.views is not None and len(set(self.views)) != len(self.views):
            raise ValueError(f"views: one stands twice in {self.views}")
        if self.any_views and self.fusion == "joined":
            raise ValueError("any_views: fusion 'joined' needs a fixed number of views")
        if self.any_views and self.disparity is not None:
            raise ValueError("any_views: disparity needs fixed views, each in its place")
        if unknown := sorted(set(self.labels.rename.values()) - set(self.classes) - set(self.labels.ignore)):
            raise ValueError(f"labels.rename: {', '.join(unknown)} is not among the classes")
        if unknown := self.stabiliser.unknown(self.classes):
            raise ValueError(f"stabiliser: {', '.join(unknown)} is not among the classes")
        if unknown := sorted(set(self.labels.priority) - set(self.classes) - set(self.labels.ignore)):
            raise ValueError(f"labels.priority: {', '.join(unknown)} is neither a class nor ignored")
        if self.labels.rest is not None and self.labels.rest not in self.classes:
            raise ValueError(f"labels.rest: {self.labels.rest} is not among the classes")
        self._check_targets()
        self._check_input()
        self._check_parts()
        return self

    @property
    def is_pose(self) -> bool:
        """Whether the model takes keypoints; else it takes video."""
        return self.pose is not None

    @property
    def has_validation(self) -> bool:
        """Whether the file's own split sets a validation part aside; folds have none, they make theirs."""
        match self.split:
            case GroupSplit(validation=validation):
                return bool(validation)
            case TimeBlockSplit(pattern=pattern):
                return "validation" in pattern
            case RecordingSplit():
                return any(entry.part == "validation" for entry in self.data)
            case _:
                return False

    def _check_targets(self) -> None:
        if self.labels.overlap != "each":
            return
        if not self.fit.loss.is_binary:
            raise ValueError(
                f"labels.overlap: each: fit.loss.kind is {self.fit.loss.kind}, for which behaviours exclude each "
                "other; set it to binary or binary_focal"
            )
        if self.fit.supervision != "frame":
            raise ValueError("labels.overlap: each: a sequence has one label; set fit.supervision: frame")
        if self.fit.loss.edge_frames or self.fit.label_margin_frames:
            raise ValueError(
                "fit.loss.edge_frames, fit.label_margin_frames: are about changes from one class to another; with "
                "labels.overlap: each leave them at 0"
            )

    def _check_input(self) -> None:
        kinds = {"pose" if isinstance(entry, PoseData) else "video" for entry in self.data}
        if len(kinds) > 1:
            raise ValueError("data: holds recordings of pose and of video; one model takes one of them")
        if self.is_pose != (kinds == {"pose"}):
            needs = "'pose' is missing: say which features" if kinds == {"pose"} else "'pose' goes with kind: pose only"
            raise ValueError(f"data: recordings of kind {kinds.pop()}; {needs}")
        if self.is_pose and (given := sorted(VIDEO_KEYS & self.model_fields_set)):
            raise ValueError(f"{', '.join(given)}: goes with video; of keypoints 'pose' says everything")
        if self.is_pose and not self.fit.head_epochs:
            raise ValueError("fit.head_epochs: is 0, and a model of keypoints is a head alone")
        if not self.is_pose and (not self.head.causal or self.head.ensemble > 1):
            raise ValueError("head: causal: false and ensemble go with kind: pose; a model of video is one causal head")
        head, k = self.head, self.fit.stride_frames
        if fault := stride_fault(head.kind, head.kernel, head.dilations, head.causal, k):
            raise ValueError(f"fit.stride_frames: {fault}")
        if self.choose is not None and not self.is_pose:
            raise ValueError("choose: goes with kind: pose; for video use `ethostream tune` on the bundle")

    def _check_parts(self) -> None:
        if isinstance(self.split, GroupSplit):
            have = {entry.group for entry in self.data}
            if absent := sorted({*self.split.validation, *self.split.test} - have):
                raise ValueError(f"split: no recording is of group {', '.join(absent)}")
            if have <= {*self.split.validation, *self.split.test}:
                raise ValueError("split: every group stands in 'validation' or 'test', so nothing is left to train on")
        if not isinstance(self.split, RecordingSplit):
            if any(entry.part is not None for entry in self.data):
                raise ValueError("data: 'part' goes with 'split: {by: recording}' only; the split decides here")
            return
        parts = [entry.part for entry in self.data]
        if None in parts:
            raise ValueError(f"data.{parts.index(None)}: 'split: {{by: recording}}' needs 'part' on every entry")
        if "train" not in parts or "test" not in parts:
            raise ValueError("data: needs at least one entry with 'part: train' and one with 'part: test'")


def load_config(path: Path, data: Path | None = None, overrides: Sequence[str] = ()) -> tuple[TrainConfig, Path]:
    """Read a training file.

    Args:
        path: YAML.
        data: data folder instead of the file's ``data_root``.
        overrides: ``key.key=value``, the value YAML, in place of what the file says.

    Returns:
        The configuration and the folder that its relative paths start from.

    Raises:
        ConfigError: the file or the data folder cannot be read, or a value is wrong; every fault is named.
    """
    raw: dict[str, Any] = read_yaml(path)
    for override in overrides:
        set_key(raw, override)
    config = validate(TrainConfig, raw, str(path))
    root = data if data is not None else path.parent / config.data_root
    if not root.is_dir():
        where = "--data" if data is not None else "data_root"
        raise ConfigError(f"{root}: is not a folder; give the folder of the recordings with {where}")
    return config, root


def set_key(raw: dict[str, Any], override: str) -> None:
    """Set one key of a training file: ``fit.head_epochs=5``.

    Raises:
        ConfigError: it has no such form, or goes through something that is no group of keys.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected key.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML ({error})") from error
    *groups, last = key.split(".")
    target = raw
    for part in groups:
        inner = target.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {part!r} is a value, not a group of keys")
        target = inner
    target[last] = value
