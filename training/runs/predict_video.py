"""A bundle over a video: one row per frame, by the model that runs live.

A thread decodes ahead, and crops are embedded in blocks; everything else goes frame by frame, as on a rig.
"""

import csv
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from ...inference.bundle import Bundle
from ...inference.bundled import resolve_bundle
from ...inference.model import BehaviorModel, ModelStep
from ...streaming.read_ahead import ReadAhead
from ...sync.clock import NS_PER_S, ClockAnchor, RigClock
from ...sync.errors import ConfigError
from ..answers.look_ahead import answer_lag
from .prediction_csv import prediction_csv

VIEW = "video"


@dataclass(frozen=True, slots=True)
class PredictedFrame:
    """One frame: its number from 0, its time since the first frame, the stabilised behaviour and p in class order.

    ``behavior`` is "" until the first one is certain enough, as it is live.
    """

    frame: int
    time_s: float
    behavior: str
    p: tuple[float, ...]


def predict_video(
    bundle_path: Path, video_path: Path, pixel_format: Literal["mono8", "bgr8"] = "mono8"
) -> Iterator[PredictedFrame]:
    """Classify every frame of a video, in order, causally; a model that looks ahead sees as far as it says.

    A frame that the model's rate leaves out repeats the answer before it.

    Args:
        bundle_path: folder, zip or name of a shipped bundle; it must take one view.
        video_path: any video that FFmpeg reads.
        pixel_format: how frames are decoded, as for the data that the model was trained on.

    Raises:
        BundleError: the bundle cannot be used.
        VideoError: the video cannot be read.
        ConfigError: its rate does not suit the model, or the model needs several views.
    """
    bundle = _open_bundle(bundle_path)
    with ReadAhead(video_path, pixel_format) as frames:
        yield from _predict(bundle, frames)


def predict(bundle: Path, video: Path, out: Path, pixel_format: Literal["mono8", "bgr8"] = "mono8") -> dict[str, Any]:
    """Write `predict_video` as CSV: ``frame,time_s,behaviour`` and one column ``p_<class>`` per class.

    A terminal is shown how far it is.

    Returns:
        ``n_frames``, ``bundle``, ``out`` and ``frames_of`` each behaviour.

    Raises:
        ConfigError: the CSV cannot be written; and as `predict_video`.
    """
    loaded = _open_bundle(bundle)
    frames_of: dict[str, int] = {}
    n_frames = 0
    console = Console(stderr=True)
    with prediction_csv(out, loaded.manifest.classes) as file, ReadAhead(video, pixel_format) as frames:
        writer = csv.writer(file, lineterminator="\n")
        rows = _predict(loaded, frames)
        for row in track(rows, video.name, frames.n_frames, console=console, disable=not console.is_terminal):
            values = (f"{value:.6f}" for value in row.p)
            writer.writerow([row.frame, f"{row.time_s:.6f}", row.behavior, *values])
            frames_of[row.behavior] = frames_of.get(row.behavior, 0) + 1
            n_frames += 1
    return {
        "bundle": loaded.identity,
        "video": str(video),
        "out": str(out),
        "n_frames": n_frames,
        "frames_of": frames_of,
    }


def _open_bundle(path: Path) -> Bundle:
    loaded = Bundle.load(resolve_bundle(path), threads=_n_cores(), max_look_ahead_frames=None)
    n_views = loaded.manifest.video.n_views
    if n_views not in (None, 1):
        raise ConfigError(
            f"bundle {loaded.manifest.name!r} takes {n_views} synchronised views "
            f"({', '.join(loaded.manifest.video.view_names)}) and one video was given; play the videos through "
            "'ethostream run' with one file camera per view"
        )
    return loaded


def _n_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def _predict(bundle: Bundle, video: ReadAhead) -> Iterator[PredictedFrame]:
    clock = RigClock(ClockAnchor.take())
    manifest = bundle.manifest
    model = BehaviorModel(manifest, bundle.embedder, bundle.head_step, {VIEW: video.shape}, video.rate_hz, clock)
    times_ns: deque[int] = deque()
    last: ModelStep | None = None
    place, lag = 0, answer_lag(manifest, video.rate_hz)
    for block in video:
        sets = [({VIEW: image}, t_ns) for image, t_ns in zip(block.images, block.times_ns, strict=True)]
        for t_ns, answer in zip(block.times_ns, model.steps(sets), strict=True):
            times_ns.append(t_ns)
            last = answer or last
            assert last is not None, "the first frame is always a step"
            if len(times_ns) > lag:
                yield _row(place, times_ns.popleft(), last)
                place += 1
    for rest, t_ns in enumerate(times_ns):  # of these nothing came any more
        assert last is not None
        yield _row(place + rest, t_ns, last)


def _row(frame: int, t_ns: int, answer: ModelStep) -> PredictedFrame:
    return PredictedFrame(frame, t_ns / NS_PER_S, answer.label, tuple(answer.p.tolist()))
