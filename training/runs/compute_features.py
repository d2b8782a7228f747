"""The features that a training would compute, into the cache; or those of one recording, by name."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ...inference.features import spec_of
from ...inference.pose.pose_front import PoseFront
from ...sync.errors import ConfigError, ReportError
from ..cache.pose_features import pose_features
from ..cache.store import FeatureCache
from ..config.training_file import TrainConfig
from ..data.entries import name_of, single_recordings
from ..data.pose_recordings import feature_specs, pose_input
from ..data.video_sources import Source, open_sources

ENDINGS: Final = (".csv", ".npz")


@dataclass(frozen=True, slots=True)
class NamedFeatures:
    """What a head sees of one recording, with a name for every number.

    Attributes:
        recording: name.
        rate_hz: rows per second.
        x: float32 [t, f].
        names: of the f features.
        labels: int16 [t] index into classes, below 0 where there is none.
        classes: in order.
    """

    recording: str
    rate_hz: float
    x: NDArray[np.float32]
    names: list[str]
    labels: NDArray[np.int16]
    classes: list[str]


def compute_features(
    config: TrainConfig,
    root: Path,
    cache: FeatureCache | None,
    console: Console,
    notes: Sequence[str] = (),
    only: str | None = None,
) -> Iterator[NamedFeatures]:
    """Compute what `train` computes of the same file before it fits, so that it is in the cache; one after the other.

    Args:
        config: the training file.
        root: folder that relative paths start from.
        cache: None: nothing is kept.
        console: for progress and what is odd about the data.
        notes: what was assumed about the data.
        only: name of the one recording to compute; None: all of them.

    Yields:
        The features of each recording; of a model of video that learns its embedder those beside it alone.

    Raises:
        ConfigError: there is no recording of that name, or the cache cannot be written.
        DataError, VideoError: the data do not fit.
        DiskFullError: there is no room.
    """
    if config.is_pose:
        yield from _of_pose(config, root, cache, console, notes, only)
    else:
        yield from _of_video(config, root, cache, console, only)


def require_one(out: Path, config: TrainConfig, only: str | None) -> None:
    """Refuse a file of features that cannot be written, before anything is computed.

    Raises:
        ConfigError: another ending, or several recordings for one file.
    """
    if out.suffix not in ENDINGS:
        raise ConfigError(f"--out {out}: give a file that ends in {' or '.join(ENDINGS)}")
    names = [name_of(one) for one in single_recordings(config.data)]
    if only is None and len(names) > 1:
        raise ConfigError(f"--out {out}: holds one recording; say which with --recording ({', '.join(names)})")


def write_features(path: Path, found: NamedFeatures) -> None:
    """Write features as ``.csv`` (frame, time_s, label, then a column per feature) or ``.npz``.

    An ``.npz`` holds ``x``, ``names``, ``time_s``, ``labels`` (index, below 0: none), ``classes`` and ``rate_hz``.

    Raises:
        ReportError: it cannot be written; no part of it is left.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            _write_csv(part, found)
        else:
            _write_npz(part, found)
        part.replace(path)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); make room, or give another --out") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write_csv(path: Path, found: NamedFeatures) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "time_s", "label", *found.names])
        for frame, (label, row) in enumerate(zip(found.labels.tolist(), found.x.tolist(), strict=True)):
            name = found.classes[label] if label >= 0 else ""
            writer.writerow([frame, f"{frame / found.rate_hz:.6f}", name, *(f"{value:.7g}" for value in row)])


def _write_npz(path: Path, found: NamedFeatures) -> None:
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            x=found.x,
            names=np.array(found.names),
            time_s=np.arange(len(found.x)) / found.rate_hz,
            labels=found.labels,
            classes=np.array(found.classes),
            rate_hz=np.array(found.rate_hz),
        )


def _of_pose(
    config: TrainConfig,
    root: Path,
    cache: FeatureCache | None,
    console: Console,
    notes: Sequence[str],
    only: str | None,
) -> Iterator[NamedFeatures]:
    from .train_pose import measured_rule, read_poses

    config = config.model_copy(update={"notes": [*config.notes, *notes]})
    recordings, read_rule, _ = read_poses(config, root, console)
    rule = measured_rule(config, read_rule, recordings)
    assert rule.rate_hz is not None
    names = list(PoseFront(pose_input(rule), feature_specs(rule), rule.rate_hz).names)
    chosen = _chosen(recordings, only)
    with Progress(console=console, disable=console.quiet) as progress:
        task = progress.add_task("features", total=sum(one.n_frames for one in chosen))
        for one in chosen:
            progress.update(task, description=one.name)
            x = pose_features(rule, one, cache)
            progress.advance(task, one.n_frames)
            yield NamedFeatures(one.name, one.rate_hz, x, names, one.labels, list(config.classes))


def _of_video(
    config: TrainConfig, root: Path, cache: FeatureCache | None, console: Console, only: str | None
) -> Iterator[NamedFeatures]:
    from ..fitting.crop_recordings import EmbeddedRecording
    from .crop_reading import learnt_from, read_crops
    from .train_video import first_networks

    sources = open_sources(config, root)
    networks = first_networks(config, sources, root)
    sources = learnt_from(sources) if only is None else _chosen(sources, only)
    steps = [spec_of(one.name, one.version, one.parameters) for one in config.features]
    beside = [f"{one.name}_{place}" for one in steps for place in range(one.dims)]
    by_name: dict[str, Source] = {one.name: one for one in sources}
    for one in read_crops(sources, config, networks.embedder, cache, console):
        x, names = one.features, beside
        if isinstance(one, EmbeddedRecording):
            x = np.concatenate([one.embeddings, one.features], axis=2)
            names = [*(f"embedding_{place}" for place in range(one.embeddings.shape[2])), *beside]
        yield NamedFeatures(
            recording=one.name,
            rate_hz=by_name[one.name].rate_hz,
            x=np.ascontiguousarray(x.swapaxes(0, 1)).reshape(x.shape[1], -1),
            names=[f"{view}.{name}" for view in one.views for name in names],
            labels=one.labels,
            classes=list(config.classes),
        )


def _chosen(recordings: Sequence[Any], only: str | None) -> list[Any]:
    if only is None:
        return list(recordings)
    chosen = [one for one in recordings if one.name == only]
    if not chosen:
        raise ConfigError(
            f"--recording {only}: is not among the recordings ({', '.join(one.name for one in recordings)})"
        )
    return chosen
