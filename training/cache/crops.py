"""Crops of video and what an embedder makes of them, computed once; crops that are learnt from stay on the disk."""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
import torch

from ...inference.features import OPENCV, spec_of
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..fitting.crop_recordings import (
    EmbeddedRecording,
    Recording,
    crop_blocks,
    read_embedded,
    read_recording,
)
from ..networks.embedders import Embedder
from ..splits import parts_of
from .entry import ArrayFile, Form
from .key import CacheKey, code_below, code_of, versions_of
from .store import FeatureCache

Progress = Callable[[int], None]
CODE_BELOW: Final = (
    "inference.cropper", "inference.disparity", "streaming.video", "training.networks.embedders",
    "acquisition.simulated_camera", "acquisition.simulated_viewpoints",
)  # fmt: skip
"""Modules that images pass through, or come from; what they import counts as well."""
CODE_ITSELF: Final = ("training.fitting.crop_recordings", "training.data.video_sources")
_SAMPLE: Final = "sample"
_LIBRARIES: Final = ("numpy", "av", "torch")


def crops_key(source: Source, config: TrainConfig, embedder: Embedder) -> CacheKey:
    """What crops depend on: the images, the crop rule, the feature steps, the embedder's size, and all code between."""
    recipe: dict[str, Any] = {
        "views": {view: list(shape) for view, shape in source.views.items()},
        "n_frames": source.n_frames,
        "rate_hz": source.rate_hz,
        "crop": config.crop.model_dump(mode="json"),
        "side_px": embedder.side_px,
        "features": [spec_of(one.name, one.version, one.parameters).model_dump(mode="json") for one in config.features],
        "code": {name: code_below(name) for name in CODE_BELOW} | {name: code_of(name) for name in CODE_ITSELF},
        "versions": versions_of(*_LIBRARIES) | {OPENCV: cv2.__version__},
    }
    return CacheKey("crops", source.images, recipe)


def embeddings_key(source: Source, config: TrainConfig, embedder: Embedder, device: torch.device) -> CacheKey:
    """What embeddings depend on: all that crops do, the network with its weights, and the kind of device."""
    below = crops_key(source, config, embedder)
    network = {
        "kind": config.embedder.kind,
        "weights": weights_sha256(embedder),
        "device": device.type,
    }
    return CacheKey("embeddings", below.content, below.recipe | {"embedder": network})


def weights_sha256(network: torch.nn.Module) -> str:
    """SHA-256 of every weight and buffer of a network."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def crops_of(
    source: Source,
    config: TrainConfig,
    embedder: Embedder,
    cache: FeatureCache | None,
    progress: Progress | None = None,
) -> Recording:
    """As `read_recording`, with crops that lie in the cache, and on the disk alone, if there is one.

    Crops that there is no room for are mapped as well, from a file that is gone with the process.

    Raises:
        DiskFullError, ConfigError: the cache cannot be written.
        VideoError, DataError: as `read_recording`.
    """
    if cache is None:
        return read_recording(source, config, embedder, progress)
    key = crops_key(source, config, embedder)
    found = cache.find(key, mapped=("crops",))
    if found is None:
        n_views, side = len(source.views), embedder.side_px
        n_features = sum(one["dims"] for one in key.recipe["features"])
        forms = {
            "crops": Form((n_views, source.n_frames, side, side), np.uint8),
            "features": Form((n_views, source.n_frames, n_features), np.float32),
        }

        def fill(files: dict[str, ArrayFile]) -> None:
            for block in crop_blocks(source, config, embedder):
                for view in range(n_views):
                    files["crops"].put((view, block.start), block.crops[view])
                    files["features"].put((view, block.start), block.features[view])
                if progress is not None:
                    progress(block.crops.shape[1])

        if cache.may_write(key) and cache.room_for(sum(form.n_bytes for form in forms.values()), source.name):
            with cache.writing(key, source.name, forms) as files:
                fill(files)
            found = cache.read(key, mapped=("crops",))
        if found is None:  # no room for it, or another process has made room with it meanwhile
            found = cache.computed_aside(forms, fill, mapped=("crops",))
    elif progress is not None:
        progress(source.n_frames)
    return Recording(
        name=source.name,
        views=tuple(source.views),
        features=found["features"],
        labels=source.labels,
        parts=parts_of(config.split, source),
        targets=source.targets,
        sequences=source.sequences,
        crops=found["crops"],
    )


def embedded_of(
    source: Source,
    config: TrainConfig,
    embedder: Embedder,
    device: torch.device,
    cache: FeatureCache | None,
    progress: Progress | None = None,
) -> EmbeddedRecording:
    """As `read_embedded`, from the cache if it is there.

    Raises:
        DiskFullError, ConfigError: the cache cannot be written.
        VideoError, DataError: as `read_embedded`.
    """
    if cache is None:
        return read_embedded(source, config, embedder, device, progress)
    key = embeddings_key(source, config, embedder, device)
    found = cache.find(key)
    if found is None:
        made = read_embedded(source, config, embedder, device, progress)
        arrays = {"embeddings": made.embeddings, "features": made.features, _SAMPLE: made.sample}
        cache.write(key, source.name, arrays)
        return made
    if progress is not None:
        progress(source.n_frames)
    return EmbeddedRecording(
        name=source.name,
        views=tuple(source.views),
        features=found["features"],
        labels=source.labels,
        parts=parts_of(config.split, source),
        targets=source.targets,
        sequences=source.sequences,
        embeddings=found["embeddings"],
        sample=found[_SAMPLE],
    )
