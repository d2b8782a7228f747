"""The training file: what a model is made of, what it learns from and how. One YAML, strict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from ...inference.crop_rule import BackgroundCrop, CropRule
from ...inference.disparity_config import DisparityConfig
from ...inference.manifest import Name
from ...inference.stabilisation.config import StabiliserConfig, ThresholdsConfig
from ...sync.errors import ConfigError
from ...sync.strict import StrictModel, read_yaml, validate
from ..splits import GroupSplit, RecordingSplit, SplitRule, TimeBlockSplit
from .choice import ChoiceConfig
from .embedder import EmbedderConfig, SmallCnnConfig
from .export import ExportConfig
from .features import FeatureConfig
from .fit import FitConfig
from .head import HeadConfig, stride_fault
from .labels import LabelOptions
from .pose import PoseRule
from .recordings import DataEntry, PoseData

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
