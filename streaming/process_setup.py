"""Puts a process where its options want it. What the system refuses is told in words, and the process goes on."""

import ctypes
import gc
import os
import resource
from collections.abc import Callable
from typing import Final

from .process_config import NodeProcess

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_RT_CURE: Final = (
    "allow it with `rtprio 98` for your user in /etc/security/limits.conf and log in again, or start as root"
)
_LOCK_CURE: Final = (
    "allow it with `memlock unlimited` for your user in /etc/security/limits.conf and log in again, or start as root"
)


def set_up_process(options: NodeProcess, node: str) -> list[str]:
    """Apply cores, priority and locked memory to this process; returns what was refused, in words with the cure."""
    refused: list[str] = []
    if options.cores is not None:
        try:
            os.sched_setaffinity(0, options.cores)
        except OSError as error:
            here = ", ".join(str(core) for core in sorted(os.sched_getaffinity(0)))
            refused.append(
                f"{node} is not pinned to cores {options.cores} ({error.strerror}): this machine gives it {here}; "
                "change process.cores in the rig file"
            )
    if options.priority is not None:
        try:
            # Threads and children that it starts have it too: the encoders of the recorder, the workers of the model.
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.priority))
        except OSError as error:
            refused.append(
                f"{node} does not have real-time priority {options.priority} ({error.strerror}); {_RT_CURE}, or leave "
                "it out of process.realtime in the rig file"
            )
    if options.lock_memory:
        why = lock_memory()
        if why:
            refused.append(
                f"{node} may be paged out, its memory is not locked ({why}); {_LOCK_CURE}, or set process.lock_memory: "
                "false in the rig file"
            )
    return refused


def lock_memory() -> str:
    """Lock all memory of this process, now and later, into RAM; returns why not, "" where it is."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        # It could be locked now, while it is small; what is loaded later would then find no memory at all.
        return f"its user may lock {limit / 2**20:.0f} MiB"
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0:
        return ""
    return os.strerror(ctypes.get_errno())


class QuietCollector:
    """Python's garbage collector, kept out of a loop: it runs when `turn` is called, and looks at what is new only.

    Args:
        collect: ``gc.collect``.
    """

    YOUNG_PER_OLD: Final = 10
    """Each tenth time the middle generation is looked at as well, and of those each tenth time the oldest."""

    def __init__(self, collect: Callable[[int], int] = gc.collect) -> None:
        self._collect = collect
        self._n = 0
        self.active = False

    def begin(self) -> None:
        """What is there by now stays: it is never looked at again. From here on nothing is collected but by `turn`."""
        self._collect(2)
        gc.freeze()
        gc.disable()
        self.active = True

    def turn(self) -> None:
        """Collect what has become garbage lately; a fraction of a millisecond, since little is new."""
        if not self.active:
            return
        self._n += 1
        every = self.YOUNG_PER_OLD
        self._collect(2 if self._n % every**2 == 0 else 1 if self._n % every == 0 else 0)

    def end(self) -> None:
        """As Python does it."""
        if self.active:
            gc.unfreeze()
            gc.enable()
            self.active = False
