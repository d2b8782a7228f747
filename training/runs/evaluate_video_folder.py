"""Scores of a bundle of video on the labelled recordings of a folder that it has not learnt from."""

from pathlib import Path

from ...inference.bundle import Bundle
from ...inference.bundled import resolve_bundle
from ...sync.errors import ConfigError
from ..answers.learnt_frames import UNSEEN
from ..config.fit import FitConfig, LossConfig
from ..config.recordings import VideoData
from ..config.training_file import TrainConfig
from ..data.dataset_file import Dataset
from ..data.layouts import labels_for
from ..data.video_sources import open_sources
from ..splits import KFoldSplit, RecordingSplit
from .evaluate_video import VideoEvaluation, evaluate_sources


def evaluate_folder(bundle_path: Path, dataset: Dataset, quiet: bool = True) -> VideoEvaluation:
    """Score a bundle on every labelled recording of a folder that it has not learnt from.

    Where it has learnt from all of them, all are scored, and there is a warning; see `evaluate_sources`.

    Args:
        bundle_path: folder, zip or name of a shipped bundle.
        dataset: of recordings of video.
        quiet: no progress bar.

    Raises:
        ConfigError: the recordings are no videos, or the labels' options name a class that the bundle does not know.
        DataError, VideoError: the recordings do not fit the bundle, or cannot be read.
        BundleError: the bundle cannot be used.
    """
    bundle = Bundle.load(resolve_bundle(bundle_path), max_look_ahead_frames=None)
    manifest = bundle.manifest
    entries = [one for one in dataset.entries if isinstance(one, VideoData)]
    if len(entries) != len(dataset.entries):
        raise ConfigError(f"{dataset.root}: holds no videos, and bundle {manifest.name!r} takes video")
    labels = labels_for(dataset.labels, manifest.classes, manifest.name)
    config = TrainConfig(
        name=manifest.name,
        classes=list(manifest.classes),
        data=[*entries],
        labels=labels,
        any_views=manifest.video.n_views is None,
        fusion=manifest.video.fusion,
        split=KFoldSplit(),
        fit=FitConfig(loss=LossConfig(kind="binary" if labels.overlap == "each" else "cross_entropy")),
        notes=list(dataset.notes),
    )
    # Nothing is learnt here: every recording stands in the test part.
    tested = [one.model_copy(update={"part": "test"}) for one in entries]
    config = config.model_copy(update={"data": tested, "split": RecordingSplit()})
    found = evaluate_sources(bundle, config, open_sources(config, dataset.root), quiet=quiet)
    split = found.record["split"]
    if split["by"] == "recording":
        split["by"] = UNSEEN
    return found
