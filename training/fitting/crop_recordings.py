"""Recordings as arrays: the crops, features and labels that a network learns from.

Crops come from the croppers of the rig, run causally from the first frame on, and features from its feature steps. What
the network is given beforehand is its own resize alone, rounded to whole grey levels so that a long session fits into
memory; scores are always taken from the whole pipeline on raw frames.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ...inference.cropper import Crop, State, make_cropper
from ...inference.features import Advance, advance_of, make_feature_step
from ...inference.grey import grey_view
from ...sync.errors import DataError
from ..config.training_file import TrainConfig
from ..data.learnt_labels import known_frames
from ..data.video_sources import Source, learnt_counts
from ..networks.embedders import Embedder
from ..splits import PARTS, Part, TimeBlockSplit, part_mask, parts_of, refuse_shared, stretches_of

_RESIZE_BATCH = 64
_EMBED_BATCH = 512
_SAMPLED_FRAMES = 16
PARITY_FRAMES = 24
_PARITY_STRIDE = 2


@dataclass(frozen=True, slots=True)
class SeenRecording:
    """What is known of one recording beside its images.

    Attributes:
        name: of the source.
        views: camera names.
        features: float32 [v, t, f] of the feature steps; f may be 0.
        labels: int16 [t], below 0 where there is none.
        parts: int8 [t], index into ``PARTS`` or ``UNUSED``.
        targets, sequences: what is learnt besides the labels; see `LearntLabels`.
    """

    name: str
    views: tuple[str, ...]
    features: NDArray[np.float32]
    labels: NDArray[np.int16]
    parts: NDArray[np.int8]
    targets: NDArray[np.float32] | None = field(default=None, kw_only=True)
    sequences: NDArray[np.int64] | None = field(default=None, kw_only=True)

    def mask(self, part: Part) -> NDArray[np.bool_]:
        """Frames of a part that have a label, bool [t]."""
        return (self.parts == PARTS.index(part)) & (self.labels >= 0)

    def known_in(self, part: Part) -> NDArray[np.bool_]:
        """Frames of a part of which something is learnt, bool [t]; a label of one behaviour alone they may lack."""
        return (self.parts == PARTS.index(part)) & known_frames(self.labels, self.targets)


@dataclass(frozen=True, slots=True)
class Recording(SeenRecording):
    """One recording with its crops, in memory or mapped from the disk.

    Attributes:
        crops: uint8 [v, t, side, side], resized as the embedder does.
    """

    crops: NDArray[np.uint8]

    @property
    def sample(self) -> NDArray[np.uint8]:
        """Some crops of each view, spread evenly over the recording, uint8 [n, side, side]."""
        chosen = self.crops[:, :: _sample_step(self.crops.shape[1])]
        return chosen.reshape(-1, *chosen.shape[2:])


@dataclass(frozen=True, slots=True)
class EmbeddedRecording(SeenRecording):
    """One recording seen by an embedder that stays as it is; the crops are not kept.

    Attributes:
        embeddings: float32 [v, t, d].
        sample: some crops of each view, uint8 [n, side, side], as `Recording.sample`.
    """

    embeddings: NDArray[np.float32]
    sample: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CropBlock:
    """Some frames of a recording.

    Attributes:
        start: the first of them.
        crops: uint8 [v, n, side, side].
        features: float32 [v, n, f].
    """

    start: int
    crops: NDArray[np.uint8]
    features: NDArray[np.float32]

    @property
    def frames(self) -> slice:
        """Which they are."""
        return slice(self.start, self.start + self.crops.shape[1])


def crop_blocks(source: Source, config: TrainConfig, embedder: Embedder) -> Iterator[CropBlock]:
    """Read one source from its first to its last frame, a block of frames at a time.

    Args:
        source: opened.
        config: crop rule, feature steps.
        embedder: for its resize.

    Raises:
        VideoError: a video is damaged.
        DataError: the source does not hold as many frames as it announces.
    """
    views = list(source.views)
    croppers = [make_cropper(config.crop, view, source.views[view], source.rate_hz) for view in views]
    steps = [make_feature_step(one.name, one.version, one.parameters) for one in config.features]
    advances = [advance_of(step) for step in steps]
    states: list[list[State]] = [[step.initial() for step in steps] for _ in views]
    cut: list[list[NDArray[np.uint8]]] = [[] for _ in views]
    measured: list[list[NDArray[np.float32]]] = [[] for _ in views]
    n_frames = 0

    def block() -> CropBlock:
        crops = np.stack([resized(embedder, np.stack(one)) for one in cut])
        features = np.stack([np.stack(one) for one in measured])
        for one in (*cut, *measured):
            one.clear()
        return CropBlock(n_frames - crops.shape[1], crops, features)

    for images in source.open_frames():
        n_frames += 1
        if n_frames > source.n_frames:
            continue  # counted to the end, for the message below
        for place, image in enumerate(images):
            crop = croppers[place].step(image)
            pixels = grey_view(image)[crop.slices].copy()
            cut[place].append(pixels)
            measured[place].append(_measure(advances, states[place], crop, pixels, 1.0 / source.rate_hz))
        if len(cut[0]) == _RESIZE_BATCH or n_frames == source.n_frames:
            yield block()
    if n_frames != source.n_frames:
        raise DataError(
            f"{source.name}: announces {source.n_frames} frames and holds {n_frames}; copy or remux the video, so that "
            "labels and frames fit"
        )


def read_recording(
    source: Source, config: TrainConfig, embedder: Embedder, progress: Callable[[int], None] | None = None
) -> Recording:
    """Read one source with its crops into memory.

    Args:
        source: opened.
        config: crop rule, feature steps, split.
        embedder: for its resize.
        progress: told the number of frames after each block.

    Raises:
        VideoError, DataError: see `crop_blocks`.
    """
    n_views, n_frames, side = len(source.views), source.n_frames, embedder.side_px
    crops = np.empty((n_views, n_frames, side, side), np.uint8)
    features: list[NDArray[np.float32]] = []
    for block in crop_blocks(source, config, embedder):
        crops[:, block.frames] = block.crops
        features.append(block.features)
        if progress is not None:
            progress(block.crops.shape[1])
    return Recording(
        name=source.name,
        views=tuple(source.views),
        features=np.concatenate(features, axis=1),
        labels=source.labels,
        parts=parts_of(config.split, source),
        targets=source.targets,
        sequences=source.sequences,
        crops=crops,
    )


def read_embedded(
    source: Source,
    config: TrainConfig,
    embedder: Embedder,
    device: torch.device,
    progress: Callable[[int], None] | None = None,
) -> EmbeddedRecording:
    """Read one source through an embedder that stays as it is: crops are forgotten as soon as they are embedded.

    Args:
        source: opened.
        config: crop rule, feature steps, split.
        embedder: on the CPU; it is back there afterwards.
        device: that embeds.
        progress: told the number of frames after each block.

    Raises:
        VideoError, DataError: see `crop_blocks`.
    """
    step = _sample_step(source.n_frames)
    embedder.to(device)
    embeddings = np.empty((len(source.views), source.n_frames, embedder.dims), np.float32)
    features: list[NDArray[np.float32]] = []
    sample: list[NDArray[np.uint8]] = []
    for block in crop_blocks(source, config, embedder):
        embeddings[:, block.frames] = embedded(embedder, block.crops, device)
        features.append(block.features)
        sample.append(block.crops[:, -block.start % step :: step])
        if progress is not None:
            progress(block.crops.shape[1])
    embedder.to("cpu")
    chosen = np.concatenate(sample, axis=1)
    return EmbeddedRecording(
        name=source.name,
        views=tuple(source.views),
        features=np.concatenate(features, axis=1),
        labels=source.labels,
        parts=parts_of(config.split, source),
        targets=source.targets,
        sequences=source.sequences,
        embeddings=embeddings,
        sample=chosen.reshape(-1, *chosen.shape[2:]),
    )


def embedded(embedder: Embedder, crops: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """Embeddings [v, t, d] of crops [v, t, side, side] by an embedder on a device."""
    embedder.eval()
    n_views, n_frames, side, _ = crops.shape
    flat = crops.reshape(-1, side, side)
    with torch.inference_mode():
        parts = [
            embedder.embed(torch.from_numpy(flat[first : first + _EMBED_BATCH]).to(device).float()).cpu().numpy()
            for first in range(0, len(flat), _EMBED_BATCH)
        ]
    return np.concatenate(parts).reshape(n_views, n_frames, -1)


def resized(embedder: Embedder, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops [n, h, w] in the embedder's size [n, side, side], rounded to whole grey levels."""
    with torch.inference_mode():
        grey = embedder.resize(torch.from_numpy(np.ascontiguousarray(crops)))
        return grey.round_().clamp_(0, 255).to(torch.uint8).numpy()


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
    counts = learnt_counts(sources, config)
    absent = [name for name, count in counts.items() if not count]
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
        names += stretches_of(source.name, part_mask(config.split, source, part))
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


def _sample_step(n_frames: int) -> int:
    """Every so many frames one is taken for a sample of crops."""
    return max(n_frames // _SAMPLED_FRAMES, 1)


def _measure(
    advances: Sequence[Advance], states: list[State], crop: Crop, pixels: NDArray[np.uint8], dt_s: float
) -> NDArray[np.float32]:
    values: list[NDArray[np.float32]] = []
    for place, advance in enumerate(advances):
        states[place], value = advance(states[place], crop, pixels, dt_s)
        values.append(value)
    return np.concatenate(values) if values else np.zeros(0, np.float32)
