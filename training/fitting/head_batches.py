"""Batches for the head alone: long stretches of features with a target for every frame, or sequences with one target.

Rows shorter than their batch are filled up with their last frame, and nothing is learnt from that. With a stride of k a
stretch is every k-th of its frames, from a random one of the first k on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from ...sync.errors import DataError
from ..config.fit import AugmentConfig, FitConfig
from .head_data import HeadData
from .targets import frame_targets
from .window_sampling import Window, WindowSampler


@dataclass(frozen=True, slots=True)
class HeadBatch:
    """Some stretches.

    Attributes:
        x: float32 [b, t, f].
        targets: share of each class, float32 [b, t, c], or [b, 1, c] of sequences.
        counts: what is learnt from, bool [b, t] or [b, 1].
        lengths: frames of each row that are no filling, int64 [b].
    """

    x: Tensor
    targets: Tensor
    counts: Tensor
    lengths: Tensor

    def to(self, device: torch.device) -> "HeadBatch":
        """The same on a device."""
        return HeadBatch(*(part.to(device) for part in (self.x, self.targets, self.counts, self.lengths)))


class HeadBatches(IterableDataset[HeadBatch]):
    """The batches of one epoch after the other; which they are depends on seed and epoch alone.

    Args:
        data: recordings.
        rule: of the fit.
        classes: how many.
        seed: of the fit.
        scale: mean and standard deviation of each feature, for the changes that ``rule.augment`` asks for.

    Attributes:
        epoch: of the next iteration.
        share: which part of the batches is given here, and of how many, where several devices learn together.
    """

    def __init__(
        self,
        data: Sequence[HeadData],
        rule: FitConfig,
        classes: int,
        seed: int,
        scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> None:
        super().__init__()
        self.epoch = 0
        self.share = (0, 1)
        self._data, self._rule, self._classes, self._seed = data, rule, classes, seed
        self._stride = rule.stride_frames
        self._augment = _Augment(rule.augment, *scale)
        self._sampler: WindowSampler | None = None
        self._sequences: list[Window] = []
        if rule.supervision == "frame":
            self._sampler = WindowSampler(
                [one.labels for one in data],
                [one.parts for one in data],
                [len(one.x) for one in data],
                joined=False,
                window=rule.stretch_frames,
                sampling=rule.sampling,
                targets=[one.targets for one in data],
            )
            n_windows = self._sampler.n_windows
        else:
            self._sequences = _sequences_in(data)
            n_windows = len(self._sequences)
            if not n_windows:
                raise DataError("the training part holds no sequence with a label; label some")
        self._targets = [
            frame_targets(one.labels, one.parts, classes, rule.loss.edge_frames, rule.label_margin_frames, one.targets)
            for one in data
        ]
        if self._sampler is not None and not any(counts.any() for _, counts in self._targets):
            raise DataError("the training part has no labelled frame to learn from; label some")
        self._n_batches = -(-n_windows // rule.batch_windows)

    def __len__(self) -> int:
        return self._n_batches // self.share[1]  # every device takes as many steps

    def __iter__(self) -> Iterator[HeadBatch]:
        rng = np.random.default_rng([self._seed, self.epoch])
        windows = self._shuffled(rng) if self._sampler is None else self._sampler.draw(rng)
        place, n = self.share
        for number in range(len(self)):
            first = (number * n + place) * self._rule.batch_windows
            yield self._batch(windows[first : first + self._rule.batch_windows], rng)

    def _shuffled(self, rng: np.random.Generator) -> list[Window]:
        return [self._sequences[number] for number in rng.permutation(len(self._sequences))]

    def _batch(self, windows: list[Window], rng: np.random.Generator) -> HeadBatch:
        of_frames = self._sampler is not None
        n, width = len(windows), self._data[0].x.shape[2]
        shown = [self._frames(one, rng) for one in windows]
        longest = max(len(one) for one in shown)
        x = torch.empty((n, longest, width))
        targets = torch.zeros((n, longest if of_frames else 1, self._classes))
        counts = torch.zeros(targets.shape[:2], dtype=torch.bool)
        lengths = torch.tensor([len(one) for one in shown])
        x_, targets_, counts_ = x.numpy(), targets.numpy(), counts.numpy()
        for row, (one, frames) in enumerate(zip(windows, shown, strict=True)):
            length, taken = len(frames), slice(frames.start, frames.stop, frames.step)
            recording = self._data[one.recording]
            x_[row, :length] = recording.x[one.rows[0], taken]
            self._augment.apply(x_[row, :length], rng)
            x_[row, length:] = x_[row, length - 1]
            wanted, learnt = self._targets[one.recording]
            if of_frames:
                targets_[row, :length] = wanted[taken]
                counts_[row, :length] = learnt[taken]
            else:
                targets_[row, 0, recording.labels[one.stop - 1]] = 1.0
                counts_[row, 0] = True
        return HeadBatch(x, targets, counts, lengths)

    def _frames(self, window: Window, rng: np.random.Generator) -> range:
        if self._stride == 1:
            return range(window.start, window.stop)
        phase = int(rng.integers(min(self._stride, window.stop - window.start)))
        return range(window.start + phase, window.stop, self._stride)


def reduced(logits: Tensor, lengths: Tensor, supervision: str) -> Tensor:
    """Logits [b, 1, c] of whole sequences from those of their frames [b, t, c]: the last one's, or the mean."""
    if supervision == "sequence_last":
        return logits[torch.arange(len(logits)), lengths - 1][:, None]
    inside = inside_of(logits, lengths)[:, :, None]
    return (logits * inside).sum(dim=1, keepdim=True) / lengths[:, None, None]


def inside_of(logits: Tensor, lengths: Tensor) -> Tensor:
    """Frames that are no filling, bool [b, t]."""
    return torch.arange(logits.shape[1], device=logits.device)[None] < lengths[:, None]


def _sequences_in(data: Sequence[HeadData]) -> list[Window]:
    return [
        Window(place, (row,), start, stop)
        for place, one in enumerate(data)
        for start, stop, _ in one.sequences_of("train").tolist()
        for row in range(len(one.x))
    ]


class _Augment:
    """Changes of features: noise of each frame, and what holds for a whole stretch."""

    def __init__(self, rule: AugmentConfig, mean: NDArray[np.float32], std: NDArray[np.float32]) -> None:
        self._rule, self._mean, self._std = rule, mean, std

    def apply(self, x: NDArray[np.float32], rng: np.random.Generator) -> None:
        if self._rule.feature_noise:
            x += self._std * np.float32(self._rule.feature_noise) * rng.standard_normal(len(self._std), np.float32)
        if self._rule.input_noise:
            x += self._std * np.float32(self._rule.input_noise) * rng.standard_normal(x.shape, np.float32)
        if self._rule.feature_drop:
            dropped = rng.random(len(self._mean)) < self._rule.feature_drop
            x[:, dropped] = self._mean[dropped]
