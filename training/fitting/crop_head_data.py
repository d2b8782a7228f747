"""What the head of a video model sees: embeddings and features of whole recordings."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...inference.fusion import Fusion
from ..networks.embedders import Embedder
from ..networks.head import SequenceHead
from .crop_recordings import EmbeddedRecording, Recording, embedded
from .head_data import HeadData, training_statistics


def embed_recording(
    embedder: Embedder, recording: Recording | EmbeddedRecording, device: torch.device
) -> NDArray[np.float32]:
    """Embeddings [v, t, d] of a recording; where they are known already, those."""
    if isinstance(recording, EmbeddedRecording):
        return recording.embeddings
    return embedded(embedder, recording.crops, device)


def head_input(embeddings: NDArray[np.float32], features: NDArray[np.float32], joined: bool) -> NDArray[np.float32]:
    """The head's x [b, t, f]: one row per view, or one with the views' features side by side."""
    x = np.concatenate([embeddings, features], axis=2)
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(1, x.shape[1], -1) if joined else x


def head_data(
    embedder: Embedder, recordings: Sequence[Recording | EmbeddedRecording], fusion: Fusion, device: torch.device
) -> list[HeadData]:
    """What a head learns from with the embedder as it is: one row per view, or one of all views if they are joined."""
    return [
        HeadData(
            one.name,
            head_input(embed_recording(embedder, one, device), one.features, fusion == "joined"),
            one.labels,
            one.parts,
            one.targets,
            one.sequences,
        )
        for one in recordings
    ]


def renormalise(head: SequenceHead, mean: Tensor, std: Tensor) -> None:
    """Give a head a new normalisation and change its first layer so that its function stays the same."""
    old_mean, old_std = head.mean.clone(), head.std.clone()
    head.set_normalisation(mean.to(old_mean.device), std.to(old_mean.device))
    with torch.no_grad():
        weight = head.first_layer.weight.clone()
        head.first_layer.bias.add_(weight @ ((head.mean - old_mean) / old_std))
        head.first_layer.weight.mul_(head.std / old_std)


def feature_statistics(recordings: Sequence[Recording], dims: int, joined: bool) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the head's input over the training frames, before anything is known of embeddings.

    Args:
        recordings: in memory.
        dims: length of an embedding; its mean counts as 0 and its deviation as 1.
        joined: the views stand side by side.
    """
    blank = [
        HeadData(
            one.name,
            head_input(np.zeros((*one.features.shape[:2], dims), np.float32), one.features, joined),
            one.labels,
            one.parts,
        )
        for one in recordings
    ]
    mean, std = training_statistics(blank)
    return torch.from_numpy(mean), torch.from_numpy(std)
