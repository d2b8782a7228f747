"""How a test ends a rig's run: as Ctrl-C does, once it has seen what it waits for. The run's seconds are a limit."""

import os
import signal

LIMIT_S = 120.0
"""Far more than any machine needs; a run that lasts so long has not shown what it should."""
RING_SLOTS = 240
"""Eight seconds of frames at 30 Hz: a reader that is held up for less than that loses none."""


class RunEnd:
    """Ends the run once: a second Ctrl-C would kill its processes."""

    def __init__(self) -> None:
        self._asked = False

    def when(self, come: bool) -> None:
        """End it, where what is waited for has come."""
        if come and not self._asked:
            self._asked = True
            os.kill(os.getpid(), signal.SIGINT)
