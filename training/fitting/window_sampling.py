"""Which windows an epoch learns from: any stretch of training frames, or stretches around bouts of each class in turn.

What is drawn depends on seed and epoch alone, so that an epoch can be repeated after a crash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ...sync.errors import DataError
from ..splits import PARTS
from ..stretches import bout_runs, runs_of

Sampling = Literal["frames", "bouts"]
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """Frames ``start`` to ``stop`` (exclusive) of some rows (views or animals) of one recording."""

    recording: int
    rows: tuple[int, ...]
    start: int
    stop: int


class WindowSampler:
    """Draws the windows of an epoch; a window never leaves a stretch of training frames.

    Args:
        labels: per recording the class of every frame, below 0 where there is none.
        parts: per recording the part of every frame.
        n_rows: per recording how many rows there are to choose from.
        joined: a window holds all rows instead of one.
        window: frames; shorter stretches give shorter windows.
        n_windows: per epoch; None: as many as cover the training frames once.
        sampling: ``frames``: stretches by their length; ``bouts``: classes equally, then bouts of the class equally.
        targets: per recording what is learnt in place of the labels, [t, c], where several behaviours may be there at
            once; each has bouts of its own.

    Raises:
        DataError: there is no training frame, or, with ``bouts``, no labelled one.
    """

    def __init__(
        self,
        labels: Sequence[NDArray[np.integer]],
        parts: Sequence[NDArray[np.int8]],
        n_rows: Sequence[int],
        joined: bool,
        window: int,
        n_windows: int | None = None,
        sampling: Sampling = "frames",
        targets: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> None:
        self.window = window
        self._n_rows = np.asarray(n_rows, np.int64)
        self._joined = joined
        rows: list[tuple[int, int, int]] = []
        for place, part in enumerate(parts):
            rows += [(place, *run) for run in runs_of(part == PARTS.index("train"))]
        if not rows:
            raise DataError("the training part has no frame; give it a recording, or other blocks")
        self._runs = np.array(rows, np.int64)
        self._bouts = _bouts_in(self._runs, labels, targets or [None] * len(labels)) if sampling == "bouts" else None
        if self._bouts is not None and not len(self._bouts):
            raise DataError("sampling: bouts: the training part holds no labelled frame; label some")
        pieces = -(-(self._runs[:, 2] - self._runs[:, 1]) // window)
        self.n_windows = n_windows or int((pieces * (1 if joined else self._n_rows[self._runs[:, 0]])).sum())

    def draw(self, rng: np.random.Generator) -> list[Window]:
        """The windows of one epoch."""
        run, first = self._by_length(rng) if self._bouts is None else self._by_bout(self._bouts, rng)
        place, stop = self._runs[run, 0], self._runs[run, 2]
        row = rng.integers(self._n_rows[place])
        last = np.minimum(first + self.window, stop)
        drawn = np.stack([place, row, first, last], axis=1).tolist()
        return [
            Window(where, tuple(range(int(self._n_rows[where]))) if self._joined else (view,), start, end)
            for where, view, start, end in drawn
        ]

    def _by_length(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        lengths = (self._runs[:, 2] - self._runs[:, 1]).astype(np.float64)
        run = rng.choice(len(lengths), self.n_windows, p=lengths / lengths.sum())
        start, stop = self._runs[run, 1], self._runs[run, 2]
        return run, rng.integers(start, np.maximum(stop - self.window, start) + 1)

    def _by_bout(
        self, bouts: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = bouts[np.argsort(bouts[:, 3], kind="stable")]
        classes, begins, counts = np.unique(order[:, 3], return_index=True, return_counts=True)
        which = rng.integers(len(classes), size=self.n_windows)
        chosen = order[begins[which] + rng.integers(counts[which])]
        run, middle = chosen[:, 0], rng.integers(chosen[:, 1], chosen[:, 2])
        start, stop = self._runs[run, 1], self._runs[run, 2]
        first = middle - rng.integers(self.window, size=self.n_windows)
        return run, np.clip(first, start, np.maximum(stop - self.window, start))


def _bouts_in(
    runs: NDArray[np.int64], labels: Sequence[NDArray[np.integer]], targets: Sequence[NDArray[np.float32] | None]
) -> NDArray[np.int64]:
    """Stretches of one label, or of one behaviour, inside the runs: (run, start, stop, class), [n, 4]."""
    found: list[NDArray[np.int64]] = []
    for number, (place, start, stop) in enumerate(runs.tolist()):
        of_place = targets[place]
        if of_place is None:
            shown = [bout_runs(labels[place][start:stop])]
        else:  # NaN is nothing's half
            there = of_place[start:stop] >= _HALF
            shown = [bout_runs(np.where(there[:, kind], kind, -1)) for kind in range(there.shape[1])]
        for begins, ends, kinds in shown:
            found.append(np.stack([np.full(len(begins), number), begins + start, ends + start, kinds], axis=1))
    return np.concatenate(found)
