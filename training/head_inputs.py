"""What the head sees: embeddings and features of whole recordings, and how they are normalised."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import TrainConfig
from .dataset import Recording
from .heads import CausalHead
from .networks import Embedder

_EMBED_BATCH = 512


def embed_recording(embedder: Embedder, recording: Recording, device: torch.device) -> NDArray[np.float32]:
    """Embeddings [v, t, d] of all crops."""
    embedder.eval()
    n_views, n_frames, side, _ = recording.crops.shape
    flat = recording.crops.reshape(-1, side, side)
    with torch.inference_mode():
        parts = [
            embedder.embed(torch.from_numpy(flat[first : first + _EMBED_BATCH]).to(device).float()).cpu().numpy()
            for first in range(0, len(flat), _EMBED_BATCH)
        ]
    return np.concatenate(parts).reshape(n_views, n_frames, -1)


def head_input(embeddings: NDArray[np.float32], features: NDArray[np.float32], joined: bool) -> NDArray[np.float32]:
    """The head's x [b, t, f]: one row per view, or one with the views' features side by side."""
    x = np.concatenate([embeddings, features], axis=2)
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(1, x.shape[1], -1) if joined else x


def renormalise(head: CausalHead, mean: Tensor, std: Tensor) -> None:
    """Give a head a new normalisation and change its first layer so that its function stays the same."""
    old_mean, old_std = head.mean.clone(), head.std.clone()
    head.set_normalisation(mean.to(old_mean.device), std.to(old_mean.device))
    with torch.no_grad():
        weight = head.entry.weight.clone()
        head.entry.bias.add_(weight @ ((head.mean - old_mean) / old_std))
        head.entry.weight.mul_(head.std / old_std)


def feature_statistics(
    embedder: Embedder,
    recordings: Sequence[Recording],
    inputs: Sequence[NDArray[np.float32]] | None,
    config: TrainConfig,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the head's input over the training frames; of embeddings only with ``inputs``."""
    rows: list[NDArray[np.float32]] = []
    for place, recording in enumerate(recordings):
        mask = recording.parts == 0
        if inputs is not None:
            x = inputs[place]
        else:
            blank = np.zeros((*recording.features.shape[:2], embedder.dims), np.float32)
            x = head_input(blank, recording.features, config.fusion == "joined")
        rows.append(x[:, mask].reshape(-1, x.shape[2]))
    every = np.concatenate(rows).astype(np.float64)
    mean, std = every.mean(0), every.std(0)
    std[std < 1e-6] = 1.0  # a constant feature, and the embedding before it is known
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32))
