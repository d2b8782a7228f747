"""Recordings as arrays: the crops, features and labels that a network learns from.

Crops come from the croppers of the rig, run causally from the first frame on, and features from its feature steps. What
the network is given beforehand is its own resize alone, rounded to whole grey levels so that a long session fits into
memory; scores are always taken from the whole pipeline on raw frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...inference.cropper import Crop, State, make_cropper
from ...inference.features import FeatureStep, make_feature_step
from ...inference.grey import grey_view
from ...sync.errors import DataError
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..networks.embedders import Embedder
from ..splits import PARTS, Part, TimeBlockSplit, parts_of, refuse_shared, stretches_of
from ..stretches import class_counts

_RESIZE_BATCH = 64
PARITY_FRAMES = 24
_PARITY_STRIDE = 2


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording in memory.

    Attributes:
        name: of the source.
        views: camera names.
        crops: uint8 [v, t, side, side], resized as the embedder does.
        features: float32 [v, t, f] of the feature steps; f may be 0.
        labels: int16 [t], below 0 where there is none.
        parts: int8 [t], index into ``PARTS`` or ``UNUSED``.
    """

    name: str
    views: tuple[str, ...]
    crops: NDArray[np.uint8]
    features: NDArray[np.float32]
    labels: NDArray[np.int16]
    parts: NDArray[np.int8]

    def mask(self, part: Part) -> NDArray[np.bool_]:
        """Frames of a part that have a label, bool [t]."""
        return (self.parts == PARTS.index(part)) & (self.labels >= 0)


def read_recording(
    source: Source, config: TrainConfig, embedder: Embedder, progress: Callable[[int], None] | None = None
) -> Recording:
    """Read one source from its first to its last frame.

    Args:
        source: opened.
        config: crop rule, feature steps, split.
        embedder: for its resize.
        progress: told the number of frames after each batch.

    Raises:
        VideoError: a video is damaged.
        DataError: labels do not fit the frames that were read.
    """
    views = list(source.views)
    croppers = [make_cropper(config.crop, view, source.views[view], source.rate_hz) for view in views]
    steps = [make_feature_step(one.name, one.version, one.parameters) for one in config.features]
    states: list[list[State]] = [[step.initial() for step in steps] for _ in views]
    pending: list[list[NDArray[np.uint8]]] = [[] for _ in views]
    crops: list[list[NDArray[np.uint8]]] = [[] for _ in views]
    features: list[list[NDArray[np.float32]]] = [[] for _ in views]
    n_frames = 0

    def flush() -> None:
        for place, batch in enumerate(pending):
            if batch:
                stack = np.stack(batch)
                crops[place].append(resized(embedder, stack))
                batch.clear()

    for images in source.open_frames():
        for place, image in enumerate(images):
            crop = croppers[place].step(image)
            pending[place].append(grey_view(image)[crop.slices].copy())
            features[place].append(_measure(steps, states[place], crop, 1.0 / source.rate_hz))
        n_frames += 1
        if n_frames % _RESIZE_BATCH == 0:
            flush()
            if progress is not None:
                progress(_RESIZE_BATCH)
    flush()
    if progress is not None:
        progress(n_frames % _RESIZE_BATCH)
    if n_frames != source.n_frames:
        raise DataError(
            f"{source.name}: announces {source.n_frames} frames and holds {n_frames}; copy or remux the video, so that "
            "labels and frames fit"
        )
    return Recording(
        name=source.name,
        views=tuple(views),
        crops=np.stack([np.concatenate(view) for view in crops]),
        features=np.stack([np.stack(view) for view in features]),
        labels=source.labels,
        parts=parts_of_source(source, config),
    )


def resized(embedder: Embedder, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops [n, h, w] in the embedder's size [n, side, side], rounded to whole grey levels."""
    with torch.inference_mode():
        grey = embedder.resize(torch.from_numpy(np.ascontiguousarray(crops)))
        return grey.round_().clamp_(0, 255).to(torch.uint8).numpy()


def parts_of_source(source: Source, config: TrainConfig) -> NDArray[np.int8]:
    """The part of every frame, int8 [t]; see `parts_of`."""
    return parts_of(config.split, source.part, source.labels, source.rate_hz, source.name)


def check_split(sources: Sequence[Source], config: TrainConfig, may_be_absent: bool = False) -> list[str]:
    """Refuse a recording in two parts, and a training part without one of the classes.

    Args:
        sources: opened.
        config: split and classes.
        may_be_absent: a class may be missing from the training part, as in a fold of a cross-validation.

    Returns:
        The classes that are.

    Raises:
        DataError: see above.
    """
    members: list[tuple[str, Part, str]] = [
        (one.name, one.part, one.content) for one in sources if one.part is not None
    ]
    refuse_shared(members)
    if isinstance(config.split, TimeBlockSplit):
        contents = [one.content for one in sources]
        copies = [one.name for one in sources if contents.count(one.content) > 1]
        if copies:
            raise DataError(f"{' and '.join(copies)} are the same recording, whose blocks would stand in several parts")
    learnt = (one.labels[parts_of_source(one, config) == PARTS.index("train")] for one in sources)
    counts = class_counts(learnt, len(config.classes))
    absent = [name for name, count in zip(config.classes, counts, strict=True) if not count]
    if absent and not may_be_absent:
        raise DataError(
            f"the training part has no frame of {', '.join(absent)}; label some, choose other blocks, or leave the "
            "class out of 'classes'"
        )
    return absent


def members_of(sources: Sequence[Source], config: TrainConfig, part: Part) -> list[str]:
    """Names of what a part holds, for the manifest: whole recordings, or ``name[first:stop]`` for blocks of time."""
    names: list[str] = []
    for source in sources:
        names += stretches_of(source.name, parts_of_source(source, config) == PARTS.index(part))
    return names


def parity_frames(source: Source, moving_from: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A few frames of a recording for ``parity.npz``, point-sampled to half their size.

    Args:
        source: the recording; its first view is taken, or all of them where the model needs all.
        moving_from: first frame to take.

    Returns:
        Frames uint8 [v, t, h, w] and their times int64 [t].
    """
    kept: list[list[NDArray[np.uint8]]] = []
    frames = source.open_frames()
    for place, images in enumerate(frames):
        if place >= moving_from:
            kept.append([grey_view(image)[::_PARITY_STRIDE, ::_PARITY_STRIDE].copy() for image in images])
        if len(kept) == PARITY_FRAMES:
            break
    times_ns = np.rint(np.arange(len(kept)) * 1e9 / source.rate_hz).astype(np.int64)
    return np.stack([np.stack(view) for view in zip(*kept, strict=True)]), times_ns


def _measure(steps: Sequence[FeatureStep], states: list[State], crop: Crop, dt_s: float) -> NDArray[np.float32]:
    values: list[NDArray[np.float32]] = []
    for place, step in enumerate(steps):
        states[place], value = step.step(states[place], crop, dt_s)
        values.append(value)
    return np.concatenate(values) if values else np.zeros(0, np.float32)
