"""The training file: what a model is made of, what it learns from and how. One YAML, strict."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..inference.crop_rule import BackgroundCrop, CropRule
from ..inference.disparity_config import DisparityConfig
from ..inference.manifest import Name
from ..inference.stabilisation.config import StabiliserConfig, ThresholdsConfig
from ..sync.errors import ConfigError
from ..sync.strict import StrictModel, read_yaml, validate
from .export_config import ExportConfig
from .splits import Part, RecordingSplit, SplitRule

Dims = Annotated[int, Field(ge=1, le=4096)]


class LabelOptions(StrictModel):
    """How names in label files become classes.

    Attributes:
        rename: label → class, applied first.
        ignore: labels whose frames count as unlabelled.
    """

    rename: dict[str, str] = Field(default_factory=dict)
    ignore: list[str] = Field(default_factory=list)


class VideoData(StrictModel):
    """One recording on disk.

    Attributes:
        name: of the recording; the default is the file name without its ending.
        path: one video; relative paths start at the data folder.
        views: several synchronised videos by camera name, instead of ``path``.
        labels: bout CSV.
        compare: further bout CSVs by name, of other raters: scored against, never trained on.
        pixel_format: as the rig's camera delivers it; ``mono8`` of a colour file is its luma plane.
        part: with ``split.by: recording``, the part that this recording belongs to.
    """

    kind: Literal["video"]
    name: Name | None = None
    path: Path | None = None
    views: dict[Name, Path] = Field(default_factory=dict)
    labels: Path
    compare: dict[Name, Path] = Field(default_factory=dict)
    pixel_format: Literal["mono8", "bgr8"] = "mono8"
    part: Part | None = None

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


class SimulatedData(StrictModel):
    """Sessions of the simulated mouse; each seed is one recording.

    Attributes:
        seeds: one session each.
        n_frames: per session.
        rate_hz: frames per second.
        views: how many of the eight cameras, or which.
        width, height: of the images, pixels.
        noise: standard deviation of the sensor noise, grey levels.
        noise_everywhere: fresh noise in the whole image and not only around the animal.
        light_drift: relative amplitude of a slow change of the light.
        part: with ``split.by: recording``, the part that these sessions belong to.
    """

    kind: Literal["simulated"]
    name: Name = "simulated"
    seeds: list[int] = Field(min_length=1)
    n_frames: int = Field(ge=2)
    rate_hz: float = Field(default=30.0, gt=0.0)
    views: Annotated[int, Field(ge=1, le=8)] | Annotated[list[str], Field(min_length=1)] = 8
    width: int = Field(default=640, ge=64)
    height: int = Field(default=480, ge=64)
    noise: float = Field(default=2.0, ge=0.0)
    noise_everywhere: bool = False
    light_drift: float = Field(default=0.0, ge=0.0, lt=1.0)
    part: Part | None = None


DataEntry = Annotated[VideoData | SimulatedData, Field(discriminator="kind")]


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


class HeadConfig(StrictModel):
    """The causal head; ``layers`` is for lstm and gru, ``kernel`` and ``dilations`` for tcn."""

    kind: Literal["lstm", "gru", "tcn"] = "gru"
    hidden: Dims = 32
    layers: int = Field(default=1, ge=1, le=8)
    kernel: int = Field(default=3, ge=2, le=31)
    dilations: list[Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: [1, 2, 4, 8], min_length=1)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)


class FeatureConfig(StrictModel):
    """A feature step beside the embedding, by name and version, with its parameters."""

    name: str
    version: int = Field(default=1, ge=1)
    parameters: dict[str, Any] = Field(default_factory=dict)


class AugmentConfig(StrictModel):
    """Random changes of a whole training window, the same for all of its frames.

    Attributes:
        flip_horizontal, flip_vertical: mirror half of the windows; for views where the mirror image can occur.
        brightness: up to this many grey levels are added or taken.
        contrast: up to this relative change around the window's mean.
        noise: standard deviation of noise that is added, grey levels.
    """

    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: float = Field(default=0.0, ge=0.0, le=128.0)
    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    noise: float = Field(default=0.0, ge=0.0, le=64.0)


class FitConfig(StrictModel):
    """Two stages: embedder and head together on short windows, then the head alone on long stretches.

    Attributes:
        joint_epochs: at most so many of the first stage; 0: the embedder stays as it was loaded.
        head_epochs: at most so many of the second stage.
        window_frames: length of a window of the first stage.
        stretch_frames: length of a stretch of the second stage.
        batch_windows: windows (of one view each, of all views with ``joined``) per step.
        epoch_windows: windows drawn per epoch of the first stage; None: as many as cover the training frames once.
        learning_rate, weight_decay: of AdamW; the rate falls along a cosine.
        patience: epochs without a better macro-F1 on the validation part before a stage ends.
        class_weights: weigh each class by n / (n_classes x count).
        label_margin_frames: frames on both sides of a change of label that are not trained on.
        device: where torch runs.
        threads: of torch on the CPU.
    """

    joint_epochs: int = Field(default=10, ge=0)
    head_epochs: int = Field(default=30, ge=0)
    window_frames: int = Field(default=48, ge=2)
    stretch_frames: int = Field(default=300, ge=2)
    batch_windows: int = Field(default=16, ge=1)
    epoch_windows: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0.0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    patience: int = Field(default=8, ge=1)
    class_weights: bool = True
    label_margin_frames: int = Field(default=0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if not self.joint_epochs + self.head_epochs:
            raise ValueError("joint_epochs and head_epochs are both 0, so nothing would be trained")
        return self


class TrainConfig(StrictModel):
    """Everything that `train` needs, and that `evaluate` needs to score the same split.

    Attributes:
        name: of the bundle.
        task: one line for people.
        classes: behaviours in the order of the model's output.
        data_root: folder that relative paths start from, relative to this file; ``--data`` overrides it.
        data: recordings.
        labels: how names in label files become classes.
        disparity: further views, computed from stereo pairs of the data; the rig's task file needs the same.
        views: cameras and disparity views that the model sees, in joining order; None: all, the computed ones last.
        crop: the rule that the rig will use, too.
        fusion: how the views are combined.
        any_views: the model takes any number of views (not with ``joined``); else exactly those of the data.
        features: feature steps, computed beside the embedding.
        stabiliser: defaults that the bundle carries.
        gap_repeat_ms: gaps up to this long repeat the last input; longer ones reset the state.
        export: precision of the embedder in the bundle.
        seed: of everything random.
    """

    name: Name
    task: str = ""
    classes: list[Name] = Field(min_length=2)
    data_root: Path = Path()
    data: list[DataEntry] = Field(min_length=1)
    labels: LabelOptions = LabelOptions()
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
    stabiliser: StabiliserConfig = ThresholdsConfig()
    gap_repeat_ms: float = Field(default=100.0, ge=0.0)
    export: ExportConfig = ExportConfig()
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
        self._check_parts()
        return self

    def _check_parts(self) -> None:
        if not isinstance(self.split, RecordingSplit):
            if any(entry.part is not None for entry in self.data):
                raise ValueError("data: 'part' goes with 'split: {by: recording}' only; the blocks decide here")
            return
        parts = [entry.part for entry in self.data]
        if None in parts:
            raise ValueError(f"data.{parts.index(None)}: 'split: {{by: recording}}' needs 'part' on every entry")
        if "train" not in parts or "test" not in parts:
            raise ValueError("data: needs at least one entry with 'part: train' and one with 'part: test'")


def load_config(path: Path, data: Path | None = None) -> tuple[TrainConfig, Path]:
    """Read a training file.

    Args:
        path: YAML.
        data: data folder instead of the file's ``data_root``.

    Returns:
        The configuration and the folder that its relative paths start from.

    Raises:
        ConfigError: the file or the data folder cannot be read, or a value is wrong; every fault is named.
    """
    raw: dict[str, Any] = read_yaml(path)
    config = validate(TrainConfig, raw, str(path))
    root = data if data is not None else path.parent / config.data_root
    if not root.is_dir():
        where = "--data" if data is not None else "data_root"
        raise ConfigError(f"{root}: is not a folder; give the folder of the recordings with {where}")
    return config, root
