"""Training batches: short windows of crops for embedder and head together, long stretches of features for the head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from .config import AugmentConfig
from .dataset import Recording
from .splits import PARTS, runs_of

IGNORED = -100
"""Target of a frame that is not learnt from: torch's own ``ignore_index``."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some windows. ``crops`` uint8 [b, v, t, s, s] (joint stage) or ``x`` float32 [b, t, f] (head stage).

    Attributes:
        crops: of the embedder's size; None in the head stage.
        x: features without embedding [b, v, t, f] in the joint stage, the head's whole input in the head stage.
        targets: int64 [b, t], ``IGNORED`` where nothing is learnt.
    """

    crops: Tensor | None
    x: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class _Window:
    recording: int
    views: tuple[int, ...]
    start: int
    stop: int


def training_targets(recording: Recording, margin: int) -> NDArray[np.int64]:
    """Class of every training frame, ``IGNORED`` elsewhere and within ``margin`` frames of a change of label."""
    targets = np.where(recording.mask("train"), recording.labels.astype(np.int64), IGNORED)
    if margin:
        for edge in np.flatnonzero(np.diff(recording.labels)) + 1:
            targets[max(edge - margin, 0) : edge + margin] = IGNORED
    return targets


class _Windows(IterableDataset[Batch]):
    """Draws windows anew for every epoch; windows never leave a stretch of training frames."""

    def __init__(
        self, recordings: Sequence[Recording], joined: bool, window: int, batch: int, n_windows: int | None, seed: int
    ) -> None:
        super().__init__()
        self.recordings = recordings
        self.joined = joined
        self.window = window
        self.batch = batch
        self.seed = seed
        self.epoch = 0
        self._runs: list[tuple[int, int, int]] = []
        for place, recording in enumerate(recordings):
            self._runs += [(place, *run) for run in runs_of(recording.parts == PARTS.index("train"))]
        covering = sum(
            -(-(stop - start) // window) * (1 if joined else len(recordings[place].views))
            for place, start, stop in self._runs
        )
        self.n_windows = n_windows or covering

    def __len__(self) -> int:
        return (self.n_windows + self.batch - 1) // self.batch

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        windows = self._draw(rng)
        for first in range(0, len(windows), self.batch):
            yield self.collate(windows[first : first + self.batch], rng)

    def collate(self, windows: list[_Window], rng: np.random.Generator) -> Batch:
        """The windows as one batch; shorter ones are filled up with zeros that nothing is learnt from."""
        raise NotImplementedError

    def _draw(self, rng: np.random.Generator) -> list[_Window]:
        lengths = np.array([stop - start for _, start, stop in self._runs], np.float64)
        windows: list[_Window] = []
        for run in rng.choice(len(lengths), self.n_windows, p=lengths / lengths.sum()):
            place, start, stop = self._runs[run]
            n_views = len(self.recordings[place].views)
            views = tuple(range(n_views)) if self.joined else (int(rng.integers(n_views)),)
            first = int(rng.integers(start, max(stop - self.window, start) + 1))
            windows.append(_Window(place, views, first, min(first + self.window, stop)))
        return windows

    def targets(self, windows: list[_Window], per_recording: Sequence[NDArray[np.int64]]) -> Tensor:
        """Targets [b, t] of the windows."""
        rows = np.full((len(windows), self.window), IGNORED, np.int64)
        for row, one in zip(rows, windows, strict=True):
            row[: one.stop - one.start] = per_recording[one.recording][one.start : one.stop]
        return torch.from_numpy(rows)


class CropWindows(_Windows):
    """Windows of crops and features, for embedder and head together."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        joined: bool,
        window: int,
        batch: int,
        n_windows: int | None,
        seed: int,
        margin: int,
        augment: AugmentConfig,
    ) -> None:
        super().__init__(recordings, joined, window, batch, n_windows, seed)
        self._targets = [training_targets(one, margin) for one in recordings]
        self._augment = augment

    def collate(self, windows: list[_Window], rng: np.random.Generator) -> Batch:
        first = self.recordings[0]
        n_views, side, n_features = len(windows[0].views), first.crops.shape[2], first.features.shape[2]
        crops = np.zeros((len(windows), n_views, self.window, side, side), np.uint8)
        x = np.zeros((len(windows), n_views, self.window, n_features), np.float32)
        for row, one in enumerate(windows):
            recording, length = self.recordings[one.recording], one.stop - one.start
            for place, view in enumerate(one.views):
                window = recording.crops[view, one.start : one.stop]
                crops[row, place, :length] = augmented(window, self._augment, rng)
                x[row, place, :length] = recording.features[view, one.start : one.stop]
        return Batch(torch.from_numpy(crops), torch.from_numpy(x), self.targets(windows, self._targets))


class FeatureStretches(_Windows):
    """Stretches of the head's input, for the head alone.

    Args:
        inputs: per recording the head's input [b, t, f]: one row per view, or one for joined views.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        inputs: Sequence[NDArray[np.float32]],
        joined: bool,
        window: int,
        batch: int,
        seed: int,
        margin: int,
    ) -> None:
        super().__init__(recordings, joined, window, batch, None, seed)
        self._inputs = inputs
        self._targets = [training_targets(one, margin) for one in recordings]

    def collate(self, windows: list[_Window], rng: np.random.Generator) -> Batch:
        x = np.zeros((len(windows), self.window, self._inputs[0].shape[2]), np.float32)
        for row, one in zip(x, windows, strict=True):
            row[: one.stop - one.start] = self._inputs[one.recording][one.views[0], one.start : one.stop]
        return Batch(None, torch.from_numpy(x), self.targets(windows, self._targets))


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
