"""Recordings to learn from and to score on: frames of all views in step, with one label per frame."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..acquisition.simulated_renderer import CAGE_VIEWS, SceneRenderer, ViewGeometry
from ..acquisition.simulated_world import SimulatedWorld
from ..inference.manifest import DataFingerprint
from ..streaming.video import VideoReader
from ..sync.errors import ConfigError, DataError
from .config import LabelOptions, SimulatedData, TrainConfig, VideoData
from .labels import Bout, frame_labels, read_bouts
from .splits import Part

FrameIterator = Iterator[list[NDArray[np.uint8]]]
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One recording, not yet read.

    Attributes:
        name: unique among the recordings of a configuration.
        views: camera → array shape of its frames, in joining order.
        rate_hz: frames per second.
        n_frames: as far as it is known before reading, else None.
        part: with a split by recording.
        origin: where it comes from, for people.
        open_frames: starts from the first frame; each item holds one image per view, valid until the next.
        read_labels: class index of every frame, int16, given the number of frames.
        compare: labels of other raters by name, likewise.
        files: videos and label files.
    """

    name: str
    views: dict[str, tuple[int, ...]]
    rate_hz: float
    n_frames: int | None
    part: Part | None
    origin: str
    open_frames: Callable[[], FrameIterator]
    read_labels: Callable[[int], NDArray[np.int16]]
    compare: dict[str, Callable[[int], NDArray[np.int16]]] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def open_sources(config: TrainConfig, root: Path) -> list[Source]:
    """Open every recording of a configuration: everything that can be wrong before reading is found here.

    Raises:
        VideoError: a video is missing, empty or no video.
        DataError: labels do not fit, names are not unique, or rates or views differ between recordings.
    """
    sources: list[Source] = []
    for entry in config.data:
        if isinstance(entry, VideoData):
            sources.append(_video_source(entry, root, config.classes, config.labels))
        else:
            sources += [_simulated_source(entry, seed, config.classes, config.labels) for seed in entry.seeds]
    first = sources[0]
    for place, source in enumerate(sources):
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


def fingerprint(source: Source, labels: NDArray[np.int16], content: str) -> DataFingerprint:
    """What the manifest says of a recording: the hash of its files, or of its crops where there are no files.

    Args:
        source: the recording.
        labels: of every frame.
        content: hash of its crops.
    """
    digest = hashlib.sha256(b"" if source.files else content.encode())
    for path in source.files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    digest.update(labels.tobytes())
    return DataFingerprint(name=source.name, sha256=digest.hexdigest(), n_frames=len(labels), source=source.origin)


def _video_source(entry: VideoData, root: Path, classes: list[str], options: LabelOptions) -> Source:
    paths = {camera: root / path for camera, path in entry.videos.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    rates: dict[str, float] = {}
    counts: set[int | None] = set()
    for camera, path in paths.items():
        with VideoReader(path, entry.pixel_format) as reader:
            shapes[camera], rates[camera] = reader.shape, reader.rate_hz
            counts.add(reader.n_frames)
    if max(rates.values()) > 1.02 * min(rates.values()):
        stated = ", ".join(f"{camera} {rate:g}" for camera, rate in rates.items())
        raise DataError(f"{entry.recording_name}: its views have different frame rates ({stated})")
    if len(counts) > 1:
        raise DataError(
            f"{entry.recording_name}: its views have {', '.join(map(str, sorted(counts, key=str)))} frames; views must "
            "be synchronised frame by frame"
        )
    n_frames = counts.pop()
    label_paths = {"": root / entry.labels} | {name: root / path for name, path in entry.compare.items()}
    bouts = {name: read_bouts(path, n_frames) for name, path in label_paths.items()}

    def reader_of(path: Path, bouts: list[Bout]) -> Callable[[int], NDArray[np.int16]]:
        return lambda n: frame_labels(bouts, n, classes, path, options.rename, options.ignore)

    readers = {name: reader_of(path, bouts[name]) for name, path in label_paths.items()}
    for read in readers.values():  # unknown classes are found before any frame is decoded
        read(n_frames if n_frames is not None else max(bout.stop_frame for one in bouts.values() for bout in one))
    return Source(
        name=entry.recording_name,
        views=shapes,
        rate_hz=next(iter(rates.values())),
        n_frames=n_frames,
        part=entry.part,
        origin=f"video {', '.join(str(path) for path in entry.videos.values())}; labels {entry.labels}",
        open_frames=lambda: _video_frames(entry, paths),
        read_labels=readers.pop(""),
        compare=readers,
        files=(*paths.values(), root / entry.labels),
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


def _simulated_source(entry: SimulatedData, seed: int, classes: list[str], options: LabelOptions) -> Source:
    views = _chosen_views(entry)
    path = Path(f"{entry.name}-{seed}")

    def frames() -> FrameIterator:
        world = SimulatedWorld(seed)
        renderers = [
            SceneRenderer(view, entry.width, entry.height, seed, entry.noise, entry.noise_everywhere, entry.light_drift)
            for view in views
        ]
        for instant in range(entry.n_frames):
            state = world.at(instant / entry.rate_hz)
            yield [renderer.render(state, instant) for renderer in renderers]

    def labels(n_frames: int) -> NDArray[np.int16]:
        world = SimulatedWorld(seed)
        bouts = [Bout(i, i + 1, world.at(i / entry.rate_hz).behavior) for i in range(n_frames)]
        return frame_labels(bouts, n_frames, classes, path, options.rename, options.ignore)

    return Source(
        name=f"{entry.name}-{seed}",
        views={view.name: (entry.height, entry.width) for view in views},
        rate_hz=entry.rate_hz,
        n_frames=entry.n_frames,
        part=entry.part,
        origin=(
            f"simulated session, seed {seed}, {len(views)} views of {entry.width}x{entry.height}, noise {entry.noise:g}"
        ),
        open_frames=frames,
        read_labels=labels,
    )


def _chosen_views(entry: SimulatedData) -> list[ViewGeometry]:
    if isinstance(entry.views, int):
        return list(CAGE_VIEWS[: entry.views])
    known = {view.name: view for view in CAGE_VIEWS}
    if unknown := [name for name in entry.views if name not in known]:
        raise ConfigError(
            f"data {entry.name}: views: {', '.join(unknown)} is no camera of the cage ({', '.join(known)})"
        )
    return [known[name] for name in entry.views]
