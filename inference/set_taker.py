"""Who takes the frame sets that `live_sets.py` assembles: a model in the same process, or one on another host."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..streaming.frames import FrameReceiver
from ..streaming.messages import Control, FrameHeader, FrameSet, SyncPulse
from ..sync.clock import NS_PER_S

STATE_PERIOD_NS: Final = 5 * NS_PER_S
"""A saved state is some megabytes: one at most in this time, however often frames are lost."""


class SetTaker(Protocol):
    """`RunningModel` or `CropOutlet`; each method is described there."""

    @property
    def views(self) -> Mapping[str, tuple[int, ...]]:
        """Camera → shape of its frames, for those that it looks at."""
        ...

    @property
    def ready(self) -> bool:
        """Frame sets may come."""
        ...

    @property
    def needs_state(self) -> bool:
        """Its state has to be saved before the next set, whatever the recording is at."""
        ...

    def step(
        self,
        frame_set: FrameSet,
        headers: Mapping[str, FrameHeader],
        images: Mapping[str, NDArray[np.uint8]],
        receiver: FrameReceiver,
        n_skipped: int,
        announce: Callable[[], None],
    ) -> bool:
        """One set; False: it was left out. ``announce`` is called before anything is said of the set."""
        ...

    def save_state(self, set_id: int) -> None:
        """Save what is remembered just before this set."""
        ...

    def reset(self) -> None:
        """Forget everything."""
        ...

    def control(self, message: Control) -> None:
        """The rig's common start, a person who arms or disarms, or the end of the run."""
        ...

    def pulse(self, pulse: SyncPulse) -> None:
        """An edge of the trigger board."""
        ...

    def tick(self) -> None:
        """Called in every turn."""
        ...

    def next_due_ns(self) -> int | None:
        """When `tick` has something to do, rig time; None: nothing waits."""
        ...

    def rest(self, reason: str) -> None:
        """The run ends."""
        ...
