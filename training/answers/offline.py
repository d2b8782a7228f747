"""The rig's own step over recorded frames: what a rig would have answered, frame by frame. Needs no torch."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...inference.bundle import Bundle
from ...inference.config import TaskConfig
from ...inference.pipeline import BehaviorPipeline
from ...streaming.messages import Behavior, FrameSet, SourceFrame
from ...sync.clock import Clock

_EPOCH: Final = 0


def run_offline(
    bundle: Bundle,
    views: Mapping[str, tuple[int, ...]],
    rate_hz: float,
    frames: Iterable[tuple[int, list[NDArray[np.uint8]]]],
    clock: Clock,
) -> Iterator[Behavior | None]:
    """Run a bundle over frames in order, from a fresh state, with no rules and the bundle's own stabiliser.

    Args:
        bundle: loaded.
        views: camera → array shape, in joining order.
        rate_hz: of the frames.
        frames: exposure time in ns and one image per view.
        clock: for the stage times in the messages; the answer does not depend on it.

    Yields:
        One answer per item; None where the model's rate leaves the frame out.

    Raises:
        ConfigError: views or rate do not suit the model.
    """
    pipeline = BehaviorPipeline(bundle, TaskConfig(), views, clock, rate_hz, armed=False)
    names = list(views)
    for place, (t_ns, images) in enumerate(frames):
        received_ns = clock.now_ns()
        sources = tuple(SourceFrame(name, _EPOCH, place, t_ns, 0, received_ns) for name in names)
        frame_set = FrameSet(place, "complete", sources, (), t_ns, received_ns)
        answer = pipeline.step(frame_set, dict(zip(names, images, strict=True)), n_skipped=0)
        yield None if answer is None else answer[0]
