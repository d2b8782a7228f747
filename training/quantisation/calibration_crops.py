"""Crops of the training part, one frame at a time, exactly as the rig would cut them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...inference.bundle import Bundle
from ...sync.clock import NS_PER_S, ClockAnchor, RigClock
from ...sync.errors import DataError
from ..answers.offline import run_offline
from ..config.training_file import TrainConfig
from ..data.video_sources import Source
from ..splits import part_mask, stretches_of


@dataclass(slots=True)
class Calibration:
    """Which frames of which recordings are to be taken, and how many crops they gave.

    Attributes:
        chosen: frame numbers of each recording, ascending; recordings without any are left out and never opened.
        training: all frames of the training part of each of them, ascending: where the model's rate leaves a chosen
            frame out, the next of these is taken that it does not.
        members: the training part of these recordings, as the manifest names it.
        n_frames, n_crops: handed out until now.
    """

    chosen: list[tuple[Source, NDArray[np.intp]]]
    training: list[NDArray[np.intp]]
    members: list[str]
    n_frames: int = 0
    n_crops: int = 0

    @property
    def n_to_read(self) -> int:
        """Frames to be read at least."""
        return sum(int(frames[-1]) + 1 for _, frames in self.chosen)


def plan_calibration(config: TrainConfig, sources: Sequence[Source], n_frames: int) -> Calibration:
    """Spread ``n_frames`` evenly over all frames of the training part, labelled or not.

    Raises:
        DataError: the training part holds no frame.
    """
    frames = [np.flatnonzero(part_mask(config.split, source, "train")) for source in sources]
    total = sum(len(one) for one in frames)
    if not total:
        raise DataError("the training part holds no frame to calibrate on; give a recording 'part: train'")
    places = np.unique(np.linspace(0, total - 1, min(n_frames, total)).round().astype(np.intp))
    chosen: list[tuple[Source, NDArray[np.intp]]] = []
    training: list[NDArray[np.intp]] = []
    members: list[str] = []
    start = 0
    for source, mine in zip(sources, frames, strict=True):
        here = places[(places >= start) & (places < start + len(mine))] - start
        start += len(mine)
        if len(here):
            chosen.append((source, mine[here]))
            training.append(mine)
            mask = np.zeros(source.n_frames, np.bool_)
            mask[mine] = True
            members += stretches_of(source.name, mask)
    return Calibration(chosen, training, members)


def stream_crops(
    bundle: Bundle, calibration: Calibration, progress: Callable[[int], None] | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Crops of the planned frames, uint8 [n, h, w], views of one size together; nothing is kept.

    The live pipeline runs over each recording from its first frame to the last planned one, with something in place of
    the embedder that takes what it is given: the crops are those of the rig, whatever the rule and the rate. A planned
    frame that the rate leaves out gives its turn to the next training frame that is neither left out nor planned; what
    finds none before the recording ends goes on to the next one.

    Args:
        bundle: whose crop rule, views and rate hold.
        calibration: counted up on the way.
        progress: told the number of frames read.

    Raises:
        ConfigError: views or rate do not suit the model.
        VideoError: a video is damaged.
    """
    owed = 0
    for (source, planned), training in zip(calibration.chosen, calibration.training, strict=True):
        tap = _CropTap(bundle.manifest.video.embedder.dims)
        frames = (
            (round(place * NS_PER_S / source.rate_hz), images)
            for place, images in enumerate(islice(source.open_frames(), int(training[-1]) + 1))
        )
        clock = RigClock(ClockAnchor.take())
        tapped = replace(bundle, embedder_graph=tap)
        take, allowed, last = set(planned.tolist()), set(training.tolist()), int(planned[-1])
        tap.keep = 0 in take or (owed > 0 and 0 in allowed)
        for place, answer in enumerate(run_offline(tapped, source.views, source.rate_hz, frames, clock)):
            batches, tap.batches = tap.batches, []
            if progress is not None:
                progress(1)
            if answer is None:
                owed += place in take
            elif tap.keep:
                owed -= place not in take
                calibration.n_frames += 1
                calibration.n_crops += sum(len(batch) for batch in batches)
                yield from batches
            if place >= last and not owed:
                break
            tap.keep = place + 1 in take or (owed > 0 and place + 1 in allowed)


@dataclass(slots=True)
class _CropTap:
    """Stands where the embedder is, copies the crops of the frames that are wanted and answers zeros."""

    dims: int
    keep: bool = True
    name: str = "embedder.onnx"
    batches: list[NDArray[np.uint8]] = field(default_factory=list)
    inputs: dict[str, list[int | str]] = field(default_factory=dict)
    outputs: dict[str, list[int | str]] = field(default_factory=dict)

    def input_buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        crops = feeds["crops"]
        if self.keep:
            self.batches.append(crops.copy())
        return {"embedding": np.zeros((len(crops), self.dims), np.float32)}
