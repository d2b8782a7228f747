"""The seam between a decision and the world: what every actuator can do, and the part that all of them share.

Arming, refusing and declaring are the same for every kind and stand here; a kind adds how it acts, comes to rest and
lets go. Whatever happens to a decision is either told by the return value of `Actuator.fire` or by a `Report`.
"""

from contextlib import suppress
from typing import Final, Literal, NamedTuple, Protocol

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError

ReportState = Literal["acknowledged", "cancelled", "refused", "failed", "released"]
MAX_REPORTS = 4096
"""Kept between two polls; one that is not polled for so long has lost its reader."""
CLOSE_S: Final = 4.0
"""All the time that the actuators of a run have together to close; the supervisor kills the process after 10 s."""


class Report(NamedTuple):
    """What an actuator has to say about a decision, or, without one, about itself.

    ``t_on_ns`` is when its line rose, in rig time, ``board_us`` the same instant on the device's own clock; 0 and -1
    where it has none.
    """

    decision: Decision | None
    state: ReportState
    reason: str
    t_on_ns: int = 0
    board_us: int = -1


class Actuator(Protocol):
    """One output of the rig. One thread drives it, and calls `poll` at least every watchdog time."""

    name: str

    @property
    def armed(self) -> bool:
        """Whether `fire` may act."""
        ...

    def arm(self) -> None:
        """Allow `fire` to act.

        Raises:
            ActuatorError: it is closed, or its device does not answer.
        """
        ...

    def fire(self, decision: Decision) -> bool:
        """Act on a fired decision, at once and without waiting.

        False: nothing happened, and the next `poll` says why (``refused`` or ``failed``). Never raises.
        """
        ...

    def release(self) -> None:
        """Bring the output to rest and disarm; at any time, and twice. Never raises: `poll` tells what failed."""
        ...

    def poll(self) -> list[Report]:
        """What has come to be known since the last call; keeps the device's watchdog from dropping the line."""
        ...

    def end(self) -> None:
        """Release for good, without waiting: whatever takes its time to end begins to. `close` has to follow."""
        ...

    def close(self, patience_s: float = CLOSE_S) -> None:
        """`end`, then let go of the device; may be called twice. It never acts again.

        Args:
            patience_s: the longest wait for what is under way; what has no answer by then is reported as failed.
        """
        ...


class BaseActuator:
    """Arming, refusals and reports of any kind. A kind raises `ActuatorError` where it fails, and is disarmed then.

    Args:
        name: of the task file, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._armed = False
        self._closed = False
        self._has_let_go = False
        self._patience_s = CLOSE_S
        self._reports: list[Report] = []

    @property
    def armed(self) -> bool:
        return self._armed

    @property
    def closed(self) -> bool:
        """Whether it has ended, and never acts again."""
        return self._closed

    def arm(self) -> None:
        if self._closed:
            raise ActuatorError(f"actuator {self.name}: is closed and cannot be armed; start the run anew")
        self._ready()
        self._armed = True

    def fire(self, decision: Decision) -> bool:
        if not self._armed:
            self._say(decision, "refused", "actuator closed" if self._closed else "actuator disarmed")
            return False
        try:
            return self._act(decision)
        except ActuatorError as error:
            self._fail(decision, error)
            return False

    def release(self) -> None:
        self._armed = False
        if not self._closed:
            try:
                self._rest()
            except ActuatorError as error:
                self._fail(None, error)

    def poll(self) -> list[Report]:
        if not self._closed:
            try:
                self._look()
            except ActuatorError as error:
                self._fail(None, error)
        said, self._reports = self._reports, []
        return said

    def end(self) -> None:
        if self._closed:
            return
        self.release()
        self._closed = True
        self._begin_to_end()

    def close(self, patience_s: float = CLOSE_S) -> None:
        if self._has_let_go:
            return
        self.end()
        self._has_let_go = True
        self._patience_s = patience_s
        self._let_go()

    def _act(self, decision: Decision) -> bool:
        """Act; False after `_say` where this one cannot be taken."""
        raise NotImplementedError

    def _ready(self) -> None:
        """Before it is armed."""

    def _rest(self) -> None:
        """Bring the output to rest."""

    def _look(self) -> None:
        """See what the device says, and keep it from dropping the line."""

    def _begin_to_end(self) -> None:
        """Tell whatever takes its time to end; never waits, never raises."""

    def _let_go(self) -> None:
        """Close the device, within ``_patience_s``; never raises."""

    def _say(
        self, decision: Decision | None, state: ReportState, reason: str, t_on_ns: int = 0, board_us: int = -1
    ) -> None:
        if len(self._reports) < MAX_REPORTS:
            self._reports.append(Report(decision, state, reason, t_on_ns, board_us))

    def _fail(self, decision: Decision | None, error: ActuatorError) -> None:
        """It is disarmed, and brought to rest as far as it can be."""
        self._armed = False
        self._say(decision, "failed", str(error))
        if not self._closed:
            with suppress(ActuatorError):  # that it fails is said already
                self._rest()
