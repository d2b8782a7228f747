"""Recordings to learn from and to score on: frames of all views in step, with one label per frame."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...acquisition.simulated_camera import render_session
from ...acquisition.simulated_device import InstantClock
from ...acquisition.simulated_renderer import CAGE_VIEWS
from ...acquisition.simulated_viewpoints import VIEWPOINT, render_viewpoint, world_of
from ...inference.disparity import DisparityViews
from ...inference.manifest import DataFingerprint
from ...streaming.video import VideoReader
from ...sync.calibration_file import Calibration, read_calibration
from ...sync.errors import ConfigError, DataError
from ..config.labels import LabelOptions
from ..config.recordings import PoseData, SimulatedData, VideoData
from ..config.training_file import TrainConfig
from ..label_files.frame_labels import Bout, frame_labels
from ..splits import Part, part_mask, part_of
from .checks import CheckedRecording, meeting_as
from .learnt_labels import class_frames, known_frames, learnt_labels
from .recording_labels import read_raters, read_stream

FrameIterator = Iterator[list[NDArray[np.uint8]]]
_CHUNK = 1 << 20
_NEWER_KEYS = ("behaviors", "brightness", "negative")
"""Of simulated sessions: left out of a fingerprint where they say what sessions were before there were such keys."""


@dataclass(frozen=True, slots=True)
class Source:
    """One recording, not yet read.

    Attributes:
        name: unique among the recordings of a configuration.
        views: camera → array shape of its frames, in joining order.
        rate_hz: frames per second.
        n_frames: of every view.
        part: with a split by recording or group.
        content: names what is seen in it; two recordings with the same content are the same animal at the same time.
        images: SHA-256 of what the images of its views are made from: files and how they are decoded, or a simulation.
        open_frames: starts from the first frame; each item holds one image per view, valid until the next.
        labels: class index of every frame, int16 [n_frames], below 0 where there is none.
        checked: what was found while it was opened.
        compare: labels of other raters by name, likewise.
        data: fingerprint for the manifest.
        group: that it belongs to, such as an animal or a day; "" where it has none.
        targets, sequences: what is learnt besides the labels; see `LearntLabels`.
    """

    name: str
    views: dict[str, tuple[int, ...]]
    rate_hz: float
    n_frames: int
    part: Part | None
    content: str
    images: str
    data: DataFingerprint
    open_frames: Callable[[], FrameIterator]
    labels: NDArray[np.int16]
    checked: CheckedRecording
    compare: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    group: str = ""
    targets: NDArray[np.float32] | None = None
    sequences: NDArray[np.int64] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames of which something is learnt, bool [n_frames]; see `known_frames`."""
        return known_frames(self.labels, self.targets)


def open_sources(config: TrainConfig, root: Path) -> list[Source]:
    """Open every recording of a configuration: everything that can be wrong before reading is found here.

    Raises:
        VideoError: a video is missing, empty or no video.
        DataError: labels do not fit, names are not unique, or rates or views differ between recordings.
    """
    sources: list[Source] = []
    for entry in config.data:
        if isinstance(entry, PoseData):
            raise ConfigError(f"data: {entry.recording_name} is of keypoints; this takes a training file of videos")
        name = entry.recording_name if isinstance(entry, VideoData) else entry.name
        part = part_of(config.split, entry.part, entry.group, name)
        if isinstance(entry, VideoData):
            opened = [_video_source(entry, root, config.classes, config.labels, part)]
        else:
            opened = [_simulated_source(entry, seed, config.classes, config.labels, part) for seed in entry.seeds]
        sources += [replace(one, group=entry.group or "") for one in opened]
    if config.disparity is not None or config.views is not None:
        sources = [_with_views(source, config, root) for source in sources]
    first = sources[0]
    for place, source in enumerate(sources):
        if source.n_frames < 2:
            raise DataError(f"{source.name}: has {source.n_frames} frame(s); a recording has at least 2")
        if source.name in {other.name for other in sources[:place]}:
            raise DataError(f"recording {source.name!r} stands twice in data; give each a 'name' of its own")
        if abs(source.rate_hz / first.rate_hz - 1.0) > 0.02:
            raise DataError(
                f"{source.name} has {source.rate_hz:g} frames/s and {first.name} {first.rate_hz:g}; a model has one "
                "rate, so train on recordings of one"
            )
        if not config.any_views and list(source.views) != list(first.views):
            raise DataError(
                f"{source.name} has views {', '.join(source.views)} and {first.name} {', '.join(first.views)}; name "
                "the same views in the same order, or set any_views: true"
            )
    return sources


def learnt_counts(sources: Sequence[Source], config: TrainConfig) -> dict[str, int]:
    """In how many frames of the training part each class is there."""
    total = np.zeros(len(config.classes), np.int64)
    for one in sources:
        learnt = part_mask(config.split, one, "train")
        total += class_frames(one.labels[learnt], None if one.targets is None else one.targets[learnt], len(total))
    return {name: int(n) for name, n in zip(config.classes, total, strict=True)}


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of several files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _with_views(source: Source, config: TrainConfig, root: Path) -> Source:
    """The views that the model is to see: some of the recording's, and those that are computed from its pairs."""
    computed: dict[str, tuple[int, ...]] = {}
    calibration: Calibration | None = None
    if config.disparity is not None:
        calibration = read_calibration(root / config.disparity.calibration)
        computed = DisparityViews(config.disparity, calibration, source.views).shapes
    there = {**source.views, **computed}
    chosen = list(there) if config.views is None else config.views
    if unknown := [name for name in chosen if name not in there]:
        raise DataError(f"{source.name}: views: {', '.join(unknown)} is not there ({', '.join(there)})")

    def frames() -> FrameIterator:
        # The matcher keeps its images between calls: every reader of the recording has its own.
        pairs = None
        if config.disparity is not None and calibration is not None:
            pairs = DisparityViews(config.disparity, calibration, source.views)
        for images in source.open_frames():
            named = dict(zip(source.views, images, strict=True))
            if pairs is not None:
                named |= pairs.step(named, set(chosen))
            yield [named[name] for name in chosen]

    # Bytes of the calibration change what the model sees: they belong to the data's fingerprint.
    parameters = "" if config.disparity is None else config.disparity.model_dump_json(exclude={"calibration"})
    if config.disparity is not None:
        parameters += hash_files([root / config.disparity.calibration])
    sha256, images = (
        hashlib.sha256(f"{one} {chosen} {parameters}".encode()).hexdigest()
        for one in (source.data.sha256, source.images)
    )
    return replace(
        source,
        images=images,
        views={name: there[name] for name in chosen},
        open_frames=frames,
        data=source.data.model_copy(update={"sha256": sha256, "source": f"{source.data.source}; views {chosen}"}),
    )


def _video_source(entry: VideoData, root: Path, classes: list[str], options: LabelOptions, part: Part | None) -> Source:
    paths = {camera: root / path for camera, path in entry.videos.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    rates: dict[str, float] = {}
    counts: set[int] = set()
    for camera, path in paths.items():
        with VideoReader(path, entry.pixel_format) as reader:
            shapes[camera], rates[camera] = reader.shape, reader.rate_hz
            counts.add(reader.n_frames if reader.n_frames is not None else sum(1 for _ in reader))
    if max(rates.values()) > 1.02 * min(rates.values()):
        stated = ", ".join(f"{camera} {rate:g}" for camera, rate in rates.items())
        raise DataError(f"{entry.recording_name}: its views have different frame rates ({stated})")
    if len(counts) > 1:
        raise DataError(
            f"{entry.recording_name}: its views have {', '.join(map(str, sorted(counts)))} frames; views must "
            "be synchronised frame by frame"
        )
    n_frames = counts.pop()
    rate_hz = next(iter(rates.values()))
    own = read_stream(entry, root / entry.labels, rate_hz)
    streams = {"": own, **read_raters(entry, root, rate_hz, own)}
    labels = {name: learnt_labels(stream, n_frames, classes, options) for name, stream in streams.items()}
    learnt = labels.pop("")
    checked = CheckedRecording(
        name=entry.recording_name,
        n_frames={"video": n_frames} | ({} if own.n_frames is None else {"labels": own.n_frames}),
        labels=learnt.labels,
        rate_hz=rate_hz,
        covered=own.covered(n_frames),
        known=learnt.known,
        meeting=own.meeting(n_frames, options),
        meet_as=meeting_as(options),
        whole=own.whole is not None,
        group=entry.group,
        said=own.notes,
    )
    content = hash_files(paths.values())
    origin = f"video {', '.join(str(path) for path in entry.videos.values())}; labels {entry.labels}"
    return Source(
        name=entry.recording_name,
        views=shapes,
        rate_hz=rate_hz,
        n_frames=n_frames,
        part=part,
        content=content,
        images=hashlib.sha256(f"{content} {list(paths)} {entry.pixel_format}".encode()).hexdigest(),
        data=DataFingerprint(
            name=entry.recording_name,
            sha256=hash_files([*paths.values(), root / entry.labels]),
            n_frames=n_frames,
            source=origin,
        ),
        open_frames=lambda: _video_frames(entry, paths),
        labels=learnt.labels,
        checked=checked,
        compare={name: one.labels for name, one in labels.items()},
        targets=learnt.targets,
        sequences=learnt.sequences,
    )


def _video_frames(entry: VideoData, paths: Mapping[str, Path]) -> FrameIterator:
    readers: list[VideoReader] = []
    try:
        for path in paths.values():
            readers.append(VideoReader(path, entry.pixel_format))
        images = [np.empty(reader.shape, np.uint8) for reader in readers]
        while True:
            ended = [reader.read_into(image) is None for reader, image in zip(readers, images, strict=True)]
            if all(ended):
                return
            if any(ended):
                short = [camera for camera, end in zip(paths, ended, strict=True) if end]
                raise DataError(
                    f"{entry.recording_name}: {', '.join(short)} ends after {readers[0].n_read} frames and the other "
                    "views go on; views must be synchronised frame by frame"
                )
            yield images
    finally:
        for reader in readers:
            reader.close()


def _simulated_source(
    entry: SimulatedData, seed: int, classes: list[str], options: LabelOptions, part: Part | None
) -> Source:
    names = _chosen_views(entry)
    path = Path(f"{entry.name}-{seed}")

    def frames() -> FrameIterator:
        if entry.views == VIEWPOINT:
            single = render_viewpoint(
                seed,
                entry.n_frames,
                entry.rate_hz,
                entry.width,
                entry.height,
                entry.noise,
                entry.noise_everywhere,
                entry.light_drift,
                entry.brightness,
                entry.negative,
                entry.behaviors,
            )
            return ([image] for image in single)
        session = render_session(
            seed,
            entry.n_frames,
            entry.rate_hz,
            names,
            entry.width,
            entry.height,
            entry.noise,
            entry.noise_everywhere,
            entry.light_drift,
        )
        return (images for images, _ in session)

    world, instants = world_of(seed, entry.behaviors), InstantClock(0, entry.rate_hz)
    bouts = [Bout(k, k + 1, world.at(instants.elapsed_s(k)).behavior) for k in range(entry.n_frames)]
    labels = frame_labels(bouts, entry.n_frames, classes, path, options.rename, options.ignore)
    usual = {name for name in _NEWER_KEYS if getattr(entry, name) == SimulatedData.model_fields[name].default}
    parameters = entry.model_dump_json(exclude={"name", "seeds", "group", "part", *usual})
    return Source(
        name=f"{entry.name}-{seed}",
        views={name: (entry.height, entry.width) for name in names},
        rate_hz=entry.rate_hz,
        n_frames=entry.n_frames,
        part=part,
        content=f"simulated world of seed {seed}",
        images=hashlib.sha256(f"simulated {seed} {parameters}".encode()).hexdigest(),
        data=DataFingerprint(
            name=f"{entry.name}-{seed}",
            sha256=hashlib.sha256(f"{seed} {parameters}".encode() + labels.tobytes()).hexdigest(),
            n_frames=entry.n_frames,
            source=f"simulated session, seed {seed}: {parameters}",
        ),
        open_frames=frames,
        labels=labels,
        checked=CheckedRecording(path.name, {"video": entry.n_frames}, labels, entry.rate_hz, group=entry.group),
    )


def _chosen_views(entry: SimulatedData) -> list[str]:
    known = [view.name for view in CAGE_VIEWS]
    if isinstance(entry.views, int):
        return known[: entry.views]
    if isinstance(entry.views, str):
        return [VIEWPOINT]
    if unknown := [name for name in entry.views if name not in known]:
        raise ConfigError(
            f"data {entry.name}: views: {', '.join(unknown)} is no camera of the cage ({', '.join(known)})"
        )
    return list(entry.views)
