"""When each fired decision acts, and what became of it: due times, acknowledgements, cancelling. One thread."""

import heapq
from collections.abc import Callable, Mapping
from typing import Final, Literal

from ..streaming.messages import Actuation, Decision
from ..sync.clock import NS_PER_MS, NS_PER_S, Clock
from ..sync.errors import ActuatorError
from .actuators.actuator import CLOSE_S, Actuator, Report

MAX_WAITING: Final = 1024
"""Decisions that wait for their time; one more is refused."""
MAX_LATE_NS: Final = NS_PER_S
"""A process that was held up for longer fires nothing afterwards: the animal does something else by then."""
COUNTED: Final = ("sent", "acknowledged", "cancelled", "refused", "failed")


class ActuationSchedule:
    """Fires decisions when they are due, and says what became of each.

    It acts first and speaks afterwards: what there is to publish waits for `flush`. Exactly one of ``sent``,
    ``refused``, ``failed`` and ``cancelled`` follows each decision that was added; after ``sent`` the device, or who
    else has to carry it out, may have another word.

    Args:
        actuators: by name; all that a decision can name.
        clock: rig time.
        publish: called by `flush`.
        alarm: told that something failed, once per actuator until a person arms again (`pardon`).
    """

    def __init__(
        self,
        actuators: Mapping[str, Actuator],
        clock: Clock,
        publish: Callable[[Actuation], object],
        alarm: Callable[[str], None],
    ) -> None:
        self._actuators = dict(actuators)
        self._clock = clock
        self._publish = publish
        self._alarm = alarm
        self._waiting: list[tuple[int, int, Decision]] = []
        self._n_added = 0
        self._said: list[Actuation] = []
        self._alarmed: set[str] = set()
        self._meant: set[str] = set()  # armed from here, and not disarmed from here since
        self._fallen: set[str] = set()  # failed: not armed before a person knows
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)

    @property
    def armed(self) -> bool:
        """Whether any actuator is."""
        return any(one.armed for one in self._actuators.values())

    def arm(self) -> None:
        """Arm every actuator but those that failed since the last `pardon`.

        One that cannot be armed is declared as failed, and the others are armed all the same.
        """
        self._see_who_fell()
        for name, actuator in self._actuators.items():
            if not actuator.armed and name not in self._fallen:
                try:
                    actuator.arm()
                except ActuatorError as error:
                    self._add(name, Report(None, "failed", str(error)))
                else:
                    self._meant.add(name)

    def pardon(self) -> None:
        """A person arms, knowing what failed: the next `arm` tries every actuator, and each may alarm anew."""
        self._meant.clear()
        self._meant.update(name for name, actuator in self._actuators.items() if actuator.armed)
        self._fallen.clear()
        self._alarmed.clear()

    def disarm(self, reason: str) -> None:
        """Drop every line now; what waits is cancelled."""
        self._see_who_fell()
        self._meant.clear()
        released = [name for name, actuator in self._actuators.items() if actuator.armed]
        for actuator in self._actuators.values():
            actuator.release()
        waiting, self._waiting = self._waiting, []
        for _, _, decision in sorted(waiting, key=lambda one: one[:2]):
            self._add(decision.actuator, Report(decision, "cancelled", reason))
        for name in released:
            reports = self._actuators[name].poll()
            for report in reports:
                self._add(name, report)
            # One that could not be brought to rest has said so.
            if not any(one.state == "failed" and one.decision is None for one in reports):
                self._add(name, Report(None, "released", reason))

    def add(self, decision: Decision) -> int:
        """Take a fired decision; returns when its actuator was told, 0 where that is still to come or was refused."""
        if decision.t_due_ns > self._clock.now_ns():
            if len(self._waiting) >= MAX_WAITING:
                self._add(decision.actuator, Report(decision, "refused", f"{MAX_WAITING} decisions wait already"))
            else:
                self._n_added += 1
                heapq.heappush(self._waiting, (decision.t_due_ns, self._n_added, decision))
            return 0
        return self._fire(decision)

    def next_due_ns(self) -> int | None:
        """When `run_due` has to be called next; None: nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def run_due(self) -> None:
        """Fire what is due; what has been due for longer than `MAX_LATE_NS` is refused."""
        while self._waiting and self._waiting[0][0] <= (now := self._clock.now_ns()):
            due_ns, _, decision = heapq.heappop(self._waiting)
            if now - due_ns <= MAX_LATE_NS:
                self._fire(decision)
            else:
                late_ms = (now - due_ns) // NS_PER_MS
                self._add(decision.actuator, Report(decision, "refused", f"due {late_ms} ms ago: held up too long"))

    def poll(self) -> None:
        """Hear what the actuators have to say, and keep their devices alive."""
        for name, actuator in self._actuators.items():
            for report in actuator.poll():
                self._add(name, report)

    def flush(self) -> bool:
        """Publish what there is to say; False: nothing."""
        if not self._said:
            return False
        said, self._said = self._said, []
        for one in said:
            self._publish(one)
        return True

    def close(self, reason: str) -> None:
        """Disarm and close every actuator, whatever happens, and say so; all of it takes `CLOSE_S` at most.

        What is known is published before anything waits, so that an actuator that hangs takes no other's word along.
        """
        try:
            self.disarm(reason)
            self._say_all()
        finally:
            # All of them, before any is waited for: they share the time.
            for actuator in self._actuators.values():
                actuator.end()
            deadline_ns = self._clock.now_ns() + round(CLOSE_S * NS_PER_S)
            for actuator in self._actuators.values():
                self._say_all()
                actuator.close(max(0, deadline_ns - self._clock.now_ns()) / NS_PER_S)
            self._say_all()

    def _say_all(self) -> None:
        self.poll()
        self.flush()

    def _see_who_fell(self) -> None:
        """What was armed from here and is not any more has failed, whether its report was heard yet or not."""
        self._fallen.update(name for name in self._meant if not self._actuators[name].armed)

    def _fire(self, decision: Decision) -> int:
        if not self._actuators[decision.actuator].fire(decision):
            return 0  # the actuator says why when it is polled
        t_sent_ns = self._clock.now_ns()
        self._note(_message(decision.actuator, decision, "sent", "", t_sent_ns=t_sent_ns))
        return t_sent_ns

    def _add(self, name: str, report: Report) -> None:
        message = _message(
            name, report.decision, report.state, report.reason, t_on_ns=report.t_on_ns, board_us=report.board_us
        )
        self._note(message)
        if report.state == "failed" and report.decision is None and not self._actuators[name].armed:
            self._fallen.add(name)
        if report.state == "failed" and name not in self._alarmed:
            self._alarmed.add(name)
            self._alarm(f"actuator {name}: {report.reason}")

    def _note(self, message: Actuation) -> None:
        if message.state in self.counts:
            self.counts[message.state] += 1
        self._said.append(message)


def _message(
    actuator: str,
    decision: Decision | None,
    state: Literal["sent", "acknowledged", "cancelled", "refused", "failed", "released"],
    reason: str,
    t_sent_ns: int = 0,
    t_on_ns: int = 0,
    board_us: int = -1,
) -> Actuation:
    if decision is None:
        return Actuation(actuator, "", -1, -1, state, reason, 0, 0, t_on_ns, board_us)
    t_due_ns = decision.t_due_ns or decision.t_decided_ns
    return Actuation(
        actuator, decision.rule, decision.set_id, decision.trial, state, reason, t_due_ns, t_sent_ns, t_on_ns, board_us
    )
