"""What acts in the process of a model, whatever the model takes: rules, their arming, actuators, and what is said."""

import logging
from collections.abc import Callable

import msgspec

from ..streaming.messages import Arming, Behavior, Control, Decision, SyncPulse
from ..streaming.topics import ACTUATION, ARMING, BEHAVIOR, DECISION
from .actuation import ActuationSchedule
from .actuators.kinds import make_actuators
from .config import TaskConfig
from .model_host import ModelHost
from .rules.arming import LINK, PERSON, START, STOP
from .rules.engine import Rules

log = logging.getLogger(__name__)


class ActingModel:
    """Decisions to actuators, and what is published of both. One thread.

    Args:
        context: of the node.
        replay: decisions are compared and nothing acts: no actuator is opened, and arming is what was recorded.

    Attributes:
        rules: of the model that decides; None without one.
        schedule: of the actuators; None in a replay and without a model.
    """

    def __init__(self, context: ModelHost, *, replay: bool) -> None:
        self._context = context
        self._replay = replay
        self.rules: Rules | None = None
        self.schedule: ActuationSchedule | None = None
        self._actuators_set = False

    def _begin_acting(self, rules: Rules, task: TaskConfig) -> None:
        """From here on these rules decide, and the task's actuators act."""
        context = self._context
        self.rules = rules
        if not self._replay:
            self.schedule = ActuationSchedule(
                make_actuators(task.actuators, context.clock),
                context.clock,
                lambda message: context.publish(ACTUATION, message),
                lambda text: context.alarm("error", text),
            )
        if context.spec.t_start_ns:
            rules.begin(context.spec.t_start_ns, context.clock.now_ns())

    def control(self, message: Control) -> None:
        """The rig's common start, a person who arms or disarms, or the end of the run."""
        if self.rules is None:
            return
        if message.command == "start":
            self.rules.begin(message.t_start_ns)
        else:
            if message.command == "arm" and self.schedule is not None:
                # Also where a window or line has the last word, and arms later.
                self.schedule.pardon()
            by = STOP if message.command == "stop" else PERSON
            self.rules.set_armed(message.command == "arm", by, self._context.clock.now_ns())
        self._say_arming()

    def pulse(self, pulse: SyncPulse) -> None:
        """An edge of the trigger board, which may arm or disarm."""
        if self.rules is not None:
            self.rules.pulse(pulse, None if self._replay else self._context.clock.now_ns())
            self._say_arming()

    def tick(self) -> None:
        """Keep the schedule also where nothing comes, fire what is due, and hear and keep alive the actuators."""
        if self.rules is not None:
            self.rules.tick(self._context.clock.now_ns())
            self._say_arming()
            self._turn_actuators(self.rules.armed)

    def next_due_ns(self) -> int | None:
        """When `tick` has something to fire; None: nothing waits."""
        return None if self.schedule is None else self.schedule.next_due_ns()

    def rest(self, reason: str) -> None:
        """Drop and disarm every actuator for good, while there is still somebody to tell."""
        if self.schedule is not None:
            self.schedule.close(reason)
            self._count_actuations(self.schedule)

    def disarm_by_link(self) -> None:
        """The rig is out of reach, and nobody there can disarm, or the model leaves it: a person has to arm again."""
        if self.rules is not None:
            self.rules.set_armed(armed=False, by=LINK, t_ns=self._context.clock.now_ns())
            self._say_arming()

    def recorded_arming(self, message: Arming) -> None:
        """In replay: what the live run said of its arming."""
        if self.rules is not None:
            if message.by == START:
                self.rules.begin(message.t_ns)
            self.rules.arming.recorded(message)

    def close(self) -> None:
        """Release every actuator, whatever happened."""
        self.rest("the inference process ends")

    def _act_on(
        self, behavior: Behavior, decisions: list[Decision], announce: Callable[[], None] | None = None
    ) -> None:
        self._say_arming()
        # Act first: what is published may take its time.
        decided = [self._act(decision) for decision in decisions]
        if announce is not None:
            announce()
        self._context.publish(BEHAVIOR, behavior)
        for decision in decided:
            self._context.publish(DECISION, decision)
        self._say_actuations()

    def _act(self, decision: Decision) -> Decision:
        """What a rule decided stays what it is, whatever its actuator can do: the actuator says so itself."""
        if decision.action != "fired" or self.schedule is None:
            return decision
        t_fired_ns = self.schedule.add(decision)
        return msgspec.structs.replace(decision, t_fired_ns=t_fired_ns) if t_fired_ns else decision

    def _turn_actuators(self, armed: bool) -> None:
        schedule = self.schedule
        if schedule is None or self._context.state == "starting":
            return
        if not self._actuators_set:
            # Not before the node's loop turns: the devices' watchdogs listen from here on.
            self._set_actuators(armed, "")
        schedule.run_due()
        schedule.poll()
        self._say_actuations()

    def _say_actuations(self) -> None:
        if self.schedule is not None and self.schedule.flush():
            self._count_actuations(self.schedule)

    def _count_actuations(self, schedule: ActuationSchedule) -> None:
        self._context.counters.update({f"act_{state}": n for state, n in schedule.counts.items()})

    def _say_arming(self) -> None:
        assert self.rules is not None
        if self._context.state == "starting":
            return  # nobody would hear it yet
        for change in self.rules.take_changes():
            self._set_actuators(change.armed, change.by)
            if not self._replay:
                self._context.publish(ARMING, change)
                log.info("rules %s by %s", "armed" if change.armed else "disarmed", change.by)

    def _set_actuators(self, armed: bool, by: str) -> None:
        if self.schedule is None:
            return
        self._actuators_set = True
        if armed:
            self.schedule.arm()
        else:
            self.schedule.disarm(f"disarmed by {by}" if by else "disarmed")
