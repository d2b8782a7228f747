"""Training batches for embedder and head together: short windows of crops."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from ...sync.errors import DataError
from ..config.fit import AugmentConfig, FitConfig
from .crop_recordings import Recording
from .targets import frame_targets
from .window_sampling import Window, WindowSampler


@dataclass(frozen=True, slots=True)
class CropBatch:
    """Some windows.

    Attributes:
        crops: of the embedder's size, uint8 [b, v, t, s, s].
        x: features without embedding, float32 [b, v, t, f].
        targets: share of each class, float32 [b, t, c].
        counts: what is learnt from, bool [b, t].
        inside: frames that are no filling, bool [b, t].
    """

    crops: Tensor
    x: Tensor
    targets: Tensor
    counts: Tensor
    inside: Tensor

    def to(self, device: torch.device) -> "CropBatch":
        """The same on a device."""
        return CropBatch(*(one.to(device) for one in (self.crops, self.x, self.targets, self.counts, self.inside)))


class CropWindows(IterableDataset[CropBatch]):
    """Windows of crops and features, drawn anew for every epoch; windows never leave a stretch of training frames.

    Args:
        recordings: their crops may be mapped from the disk.
        rule: of the fit.
        classes: how many.
        joined: a window holds all views instead of one.
        seed: of the fit.

    Attributes:
        epoch: of the next iteration.
        share: which part of the batches is given here, and of how many, where several devices learn together.
    """

    def __init__(self, recordings: Sequence[Recording], rule: FitConfig, classes: int, joined: bool, seed: int) -> None:
        super().__init__()
        self.epoch = 0
        self.share = (0, 1)
        self._recordings, self._rule, self._classes, self._seed = recordings, rule, classes, seed
        self._sampler = WindowSampler(
            [one.labels for one in recordings],
            [one.parts for one in recordings],
            [len(one.views) for one in recordings],
            joined,
            rule.window_frames,
            rule.epoch_windows,
            rule.sampling,
            [one.targets for one in recordings],
        )
        self._targets = [
            frame_targets(one.labels, one.parts, classes, rule.loss.edge_frames, rule.label_margin_frames, one.targets)
            for one in recordings
        ]
        if not any(counts.any() for _, counts in self._targets):
            raise DataError("the training part has no labelled frame to learn from; label some")
        self._n_batches = -(-self._sampler.n_windows // rule.batch_windows)

    def __len__(self) -> int:
        return self._n_batches // self.share[1]  # every device takes as many steps

    def __iter__(self) -> Iterator[CropBatch]:
        rng = np.random.default_rng([self._seed, self.epoch])
        windows = self._sampler.draw(rng)
        place, n = self.share
        for number in range(len(self)):
            first = (number * n + place) * self._rule.batch_windows
            yield self._batch(windows[first : first + self._rule.batch_windows], rng)

    def _batch(self, windows: list[Window], rng: np.random.Generator) -> CropBatch:
        one = self._recordings[0]
        n, n_views, length = len(windows), len(windows[0].rows), self._rule.window_frames
        side, n_features = one.crops.shape[2], one.features.shape[2]
        crops = torch.zeros((n, n_views, length, side, side), dtype=torch.uint8)
        x = torch.zeros((n, n_views, length, n_features))
        targets = torch.zeros((n, length, self._classes))
        counts, inside = (torch.zeros((n, length), dtype=torch.bool) for _ in range(2))
        for row, window in enumerate(windows):
            recording, stop = self._recordings[window.recording], window.stop - window.start
            frames = slice(window.start, window.stop)
            for place, view in enumerate(window.rows):
                changed = augmented(recording.crops[view, frames], self._rule.augment, rng)
                crops.numpy()[row, place, :stop] = changed
                x.numpy()[row, place, :stop] = recording.features[view, frames]
            wanted, learnt = self._targets[window.recording]
            targets.numpy()[row, :stop] = wanted[frames]
            counts.numpy()[row, :stop] = learnt[frames]
            inside[row, :stop] = True
        return CropBatch(crops, x, targets, counts, inside)


def augmented(window: NDArray[np.uint8], rule: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One window [t, s, s], changed at random but the same way in all of its frames."""
    if rule.flip_horizontal and rng.random() < 0.5:
        window = window[:, :, ::-1]
    if rule.flip_vertical and rng.random() < 0.5:
        window = window[:, ::-1]
    if rule.brightness or rule.contrast or rule.noise:
        grey = window.astype(np.float32)
        if rule.contrast:
            middle = float(grey.mean())
            grey = (grey - middle) * (1.0 + rule.contrast * float(rng.uniform(-1, 1))) + middle
        if rule.brightness:
            grey += rule.brightness * float(rng.uniform(-1, 1))
        if rule.noise:
            grey += rng.standard_normal(grey.shape, np.float32) * (rule.noise * float(rng.random()))
        window = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return window
