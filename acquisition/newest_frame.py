"""A thread that reads a source as fast as it delivers and keeps only the newest frame: latency can not build up."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..sync.clock import NS_PER_S, Clock
from ..sync.errors import CameraError, CameraLostError

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_JOIN_S = 0.9
"""A source that is silent holds its reader at most this long; then it is left to end on its own."""


class FrameSource(Protocol):
    """Something that delivers frames and counts nothing. One thread reads and closes it."""

    def read(self) -> NDArray[np.uint8] | None:
        """Wait for the next frame; None: it was damaged.

        Raises:
            CameraLostError: gone, or silent for too long.
        """
        ...

    def close(self) -> None:
        """Release it."""
        ...


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame and its number."""

    seq: int
    image: NDArray[np.uint8]


class NewestFrame:
    """The reader and its one slot.

    Frames are numbered as they are read, damaged ones included; what was replaced before it was taken is missing from
    the numbers that are taken. While a source is away its frames are counted by the clock at ``rate_hz``.

    Args:
        name: the camera.
        source: open; this object closes it.
        reopen: opens the source again when it is lost; None: it is then lost for good.
        rate_hz: nominal rate.
        away_s: how long it may stay away.
        clock: rig time.
    """

    def __init__(
        self,
        name: str,
        source: FrameSource,
        reopen: Callable[[], FrameSource] | None,
        rate_hz: float,
        away_s: float,
        clock: Clock,
    ) -> None:
        self._name = name
        self._reopen = reopen
        self._rate_hz = rate_hz
        self._away_s = away_s
        self._clock = clock
        self._t_start_ns: int | None = None
        self._seq = -1
        self._last_ns = 0
        self._slot: NewFrame | None = None
        self._failure: CameraError | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(source,), name=f"grab {name}", daemon=True)
        self._thread.start()

    def start(self, t_start_ns: int) -> None:
        """Number frames from 0, beginning with the first that comes at or after ``t_start_ns``."""
        with self._changed:
            self._t_start_ns = t_start_ns
            self._seq = -1
            self._last_ns = t_start_ns
            self._slot = None

    def take(self, timeout_s: float) -> NewFrame | None:
        """The newest frame that was not taken yet; None where none came in time.

        Raises:
            CameraLostError: the source is gone for good.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._failure is not None, timeout_s)
            frame, self._slot = self._slot, None
            if frame is None and self._failure is not None:
                raise CameraLostError(str(self._failure)) from self._failure
            return frame

    def close(self) -> None:
        """Stop reading. A source that hangs is closed by its thread when it lets go."""
        self._stop.set()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            log.warning("camera %s: its source does not answer; it is left to time out", self._name)

    def _run(self, source: FrameSource) -> None:
        current: FrameSource | None = source
        try:
            while current is not None and not self._stop.is_set():
                try:
                    image = current.read()
                except CameraLostError as error:
                    gone, current = current, None
                    gone.close()
                    current = self._come_back(error)
                else:
                    self._put(image)
        except CameraError as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            if current is not None:
                current.close()

    def _put(self, image: NDArray[np.uint8] | None) -> None:
        now = self._clock.now_ns()
        with self._changed:
            if self._t_start_ns is None or now < self._t_start_ns:
                return
            self._seq += 1
            self._last_ns = now
            if image is not None:
                self._slot = NewFrame(self._seq, image)
                self._changed.notify_all()

    def _come_back(self, reason: CameraLostError) -> FrameSource | None:
        """Open the source again, with pauses that grow to a bound. None: told to stop.

        Raises:
            CameraLostError: it stays away.
        """
        if self._reopen is None:
            raise reason
        since_ns = self._last_ns if self._t_start_ns is not None else self._clock.now_ns()
        log.warning("%s; it is called again for %g s", reason, self._away_s)
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                source = self._reopen()
            except CameraError as error:
                if self._clock.now_ns() - since_ns > self._away_s * NS_PER_S:
                    raise CameraLostError(
                        f"camera {self._name}: did not come back within {self._away_s:g} s: {error}"
                    ) from error
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._count_gap()
                return source
        return None

    def _count_gap(self) -> None:
        with self._changed:
            if self._t_start_ns is None:
                return
            now = self._clock.now_ns()
            n = max(0, int((now - self._last_ns) * self._rate_hz / NS_PER_S) - 1)
            self._seq += n
            self._last_ns = now
            log.warning("camera %s: is back; %d frames, by its nominal rate, are declared as lost", self._name, n)
