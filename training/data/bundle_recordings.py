"""Recordings of keypoints as a bundle takes them, read one after the other: a folder of them need not fit in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...inference.manifest import Manifest
from ...sync.errors import ConfigError
from ..config.features import FeatureConfig
from ..config.labels import LabelOptions
from ..config.pose import PoseRule, ScaleRule
from ..config.recordings import PoseData
from ..config.training_file import TrainConfig
from ..splits import SplitRule
from .dataset_file import Dataset
from .layouts import labels_for
from .pose_recordings import PoseRecording, open_poses, refuse_twice

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BundleRecordings:
    """Recordings that a bundle is run over; nothing here keeps their points.

    Attributes:
        manifest: of the bundle.
        entries: the recordings.
        root: folder that their paths start from.
        options: how names in label files become its classes.
        split: gives whole recordings their part; None: all of one.
    """

    manifest: Manifest
    entries: Sequence[PoseData]
    root: Path
    options: LabelOptions
    split: SplitRule | None = None

    @staticmethod
    def of_folder(manifest: Manifest, dataset: Dataset) -> "BundleRecordings":
        """Every recording of a folder.

        Raises:
            ConfigError: they are videos, or the labels' options name a class that the bundle does not know.
        """
        entries = [one for one in dataset.entries if isinstance(one, PoseData)]
        if len(entries) != len(dataset.entries):
            raise ConfigError(f"{dataset.root}: holds videos, and bundle {manifest.name!r} takes keypoints")
        options = labels_for(dataset.labels, manifest.classes, manifest.name)
        return BundleRecordings(manifest, entries, dataset.root, options)

    @staticmethod
    def of_file(manifest: Manifest, config: TrainConfig, root: Path) -> "BundleRecordings":
        """Those of a training file."""
        entries = [one for one in config.data if isinstance(one, PoseData)]
        return BundleRecordings(manifest, entries, root, config.labels, config.split)

    def read(self, place: int, progress: Progress | None = None) -> PoseRecording:
        """One of them, told the progress by name.

        Raises:
            DataError: it cannot be read, or does not fit the bundle.
        """
        rule, classes = rule_of(self.manifest), list(self.manifest.classes)
        entries = [self.entries[place]]
        return open_poses(entries, self.root, rule, classes, self.options, self.split, progress)[0][0]

    def each(self, progress: Progress | None = None) -> Iterator[PoseRecording]:
        """All of them, in order; see `read`.

        Raises:
            DataError: as `read`; or one stands there twice.
        """
        known: list[tuple[str, str]] = []
        for place in range(len(self.entries)):
            one = self.read(place, progress)
            known.append((one.name, one.content))
            refuse_twice(known)
            yield one


def rule_of(manifest: Manifest) -> PoseRule:
    """What a bundle asks of recordings."""
    given = manifest.pose
    return PoseRule(
        keypoints=list(given.keypoints),
        n_animals=given.n_animals,
        rate_hz=manifest.rate_hz,
        other_rates=manifest.other_rates,
        identity=given.identity,
        fill=given.fill,
        scale=ScaleRule(**given.scale.model_dump()),
        features=[
            FeatureConfig(name=one.name, version=one.version, parameters=one.parameters) for one in manifest.features
        ],
    )
