"""Software triggers and action commands: begun at instants of the rig clock, and counted when they could not be."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ..sync.clock import NS_PER_MS, NS_PER_S, Clock
from ..sync.errors import CameraError, CameraLostError

_SLICE_NS = 50 * NS_PER_MS
"""Longest sleep, so that a stop is heard."""

_READY_LEAD_NS = 4 * NS_PER_MS
"""The camera is asked whether it can take a trigger this long before; the answer takes 1 to 2 ms."""

_KEPT = 4096
"""Triggers whose frames may be under way; far more than any camera has buffers."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A trigger that was given: the ``n``-th one, for instant ``k`` of the plan, at rig time ``t_ns``."""

    n: int
    k: int
    t_ns: int


class TriggerThread:
    """Gives trigger k at ``t_start_ns`` + k periods, from a thread of its own.

    One that cannot be given within ``max_late_ns`` of its time (the camera is not ready, or this computer was busy) is
    left out and counted: its instant has no frame. `stop` may be called from another thread, once.

    Args:
        name: the camera.
        clock: rig time.
        rate_hz: instants per second.
        max_late_ns: see above.
        fire: gives the trigger.
        ready: waits up to so many ms until the camera can take a trigger; None: not known, a trigger is given anyway.
        gone: what the SDK raises when the camera is not there any more.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        rate_hz: float,
        max_late_ns: int,
        fire: Callable[[], None],
        ready: Callable[[int], bool] | None,
        gone: type[Exception],
    ) -> None:
        self._name = name
        self._clock = clock
        self._period_ns = NS_PER_S / Fraction(str(rate_hz))
        self._max_late_ns = max_late_ns
        self._ready_lead_ns = min(_READY_LEAD_NS, int(self._period_ns / 2))
        self._fire = fire
        self._ready = ready
        self._gone = gone
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._t_start_ns = 0
        self.fired: deque[Fired] = deque(maxlen=_KEPT)
        """Triggers whose frames have not come, oldest first."""
        self.n_fired = 0
        self.n_late = 0
        self.error: CameraError | None = None

    def start(self, t_start_ns: int) -> None:
        """Begin; instants before now are not made up for."""
        self._t_start_ns = t_start_ns
        self._thread = threading.Thread(target=self._run, name=f"trigger-{self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give no further trigger; returns when the thread has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def instant_ns(self, k: int) -> int:
        """Rig time of instant ``k``."""
        return self._t_start_ns + round(k * self._period_ns)

    def _run(self) -> None:
        try:
            k = max(0, int((self._clock.now_ns() - self._t_start_ns) // self._period_ns) + 1)
            if self._clock.now_ns() <= self._t_start_ns:
                k = 0
            while not self._stop.is_set():
                # The SDK asks the camera every millisecond while it waits: not before it matters.
                self._sleep_until(self.instant_ns(k) - self._ready_lead_ns)
                ready = self._wait_ready(k)
                if self._stop.is_set():
                    return
                if ready and self._sleep_until(self.instant_ns(k)):
                    now = self._clock.now_ns()
                    if now - self.instant_ns(k) <= self._max_late_ns:
                        self.fired.append(Fired(self.n_fired, k, now))
                        self.n_fired += 1
                        self._fire()
                    else:
                        self.n_late += 1
                elif not self._stop.is_set():
                    self.n_late += 1
                k += 1
        except self._gone as error:
            self.error = CameraLostError(
                f"camera {self._name}: it takes no trigger any more ({error}); check its cable and power"
            )

    def _wait_ready(self, k: int) -> bool:
        """Whether the camera can take trigger ``k`` in time."""
        if self._ready is None:
            return True
        limit_ns = self.instant_ns(k) + self._max_late_ns
        while not self._stop.is_set():
            left_ns = limit_ns - self._clock.now_ns()
            if self._ready(max(0, min(_SLICE_NS, left_ns)) // NS_PER_MS):
                return True
            if left_ns <= NS_PER_MS:
                return False
        return False

    def _sleep_until(self, t_ns: int) -> bool:
        """Sleep in slices; False when asked to stop."""
        while not self._stop.is_set():
            now = self._clock.now_ns()
            if t_ns <= now:
                return True
            self._clock.sleep_until_ns(min(t_ns, now + _SLICE_NS))
        return False


class TriggerMatch:
    """Which trigger a frame belongs to. One thread.

    The n-th frame of the device belongs to the n-th trigger that it took. A device with a clock proves it: the time
    between two frames is the time between their triggers; where it is not, the device did not take a trigger, which is
    then passed over.

    Args:
        name: the camera.
        fired: of the `TriggerThread`.
        tick_hz: of the device's clock; 0 where there is none.
        period_ns: between instants.
    """

    def __init__(self, name: str, fired: deque[Fired], tick_hz: float, period_ns: float) -> None:
        self._name = name
        self._fired = fired
        self._tick_hz = tick_hz
        self._half_ns = period_ns / 2
        self._skipped = 0
        self._last: tuple[int, int] | None = None

    def take(self, n: int, ticks: int) -> Fired:
        """The trigger of frame number ``n``; ``ticks`` -1 where there are none.

        Raises:
            CameraLostError: there is no such trigger.
        """
        while self._fired:
            fired = self._fired.popleft()
            if fired.n < n + self._skipped:
                continue
            if fired.n > n + self._skipped:
                break
            if self._last is not None and ticks >= 0 and self._tick_hz > 0:
                apart_ns = (ticks - self._last[0]) * NS_PER_S / self._tick_hz
                if apart_ns - (fired.t_ns - self._last[1]) > self._half_ns:
                    self._skipped += 1
                    continue
            self._last = (ticks, fired.t_ns) if ticks >= 0 else None
            return fired
        raise CameraLostError(
            f"camera {self._name}: delivered frame {n}, and no trigger of the last {_KEPT} was given for it; is "
            "another program triggering it, or is its trigger mode off?"
        )
