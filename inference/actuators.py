"""What a fired decision drives. An actuator is born disarmed and never arms itself."""

import logging
from typing import Annotated, Final, Literal, Protocol

from pydantic import Field

from ..streaming.messages import Decision
from ..sync.clock import NS_PER_MS, Clock
from ..sync.strict import StrictModel

log = logging.getLogger(__name__)


class LogActuatorConfig(StrictModel):
    """Writes every firing to the log; for dry runs and demonstrations."""

    kind: Literal["log"] = "log"
    level: Literal["debug", "info", "warning"] = "info"


class NullActuatorConfig(StrictModel):
    """Does nothing."""

    kind: Literal["null"] = "null"


ActuatorConfig = Annotated[LogActuatorConfig | NullActuatorConfig, Field(discriminator="kind")]


class Actuator(Protocol):
    """One output of the rig. One thread drives it."""

    def arm(self) -> None:
        """Allow `fire` to act."""
        ...

    def fire(self, decision: Decision) -> bool:
        """Act on a fired decision, at once. False: it is not armed, and nothing happened."""
        ...

    def release(self) -> None:
        """Bring the output to rest and disarm; may be called at any time, and twice."""
        ...

    def close(self) -> None:
        """Release, then let go of the device; may be called twice."""
        ...


class LogActuator:
    """Counts firings and writes each to the log with its chain of times."""

    def __init__(self, name: str, config: LogActuatorConfig, clock: Clock) -> None:
        self.name = name
        self.n_fired = 0
        self.armed = False
        self._level: Final = logging.getLevelNamesMapping()[config.level.upper()]
        self._clock = clock

    def arm(self) -> None:
        self.armed = True

    def fire(self, decision: Decision) -> bool:
        if not self.armed:
            return False
        self.n_fired += 1
        after_ms = (self._clock.now_ns() - decision.t_exposure_ns) / NS_PER_MS
        log.log(
            self._level,
            "actuator %s fired: rule %s, behavior %s, p %.3f, set %d, %.1f ms after exposure",
            self.name,
            decision.rule,
            decision.behavior,
            decision.p,
            decision.set_id,
            after_ms,
            extra={"actuator": self.name, "rule": decision.rule, "set_id": decision.set_id, "after_ms": after_ms},
        )
        return True

    def release(self) -> None:
        self.armed = False

    def close(self) -> None:
        self.release()


class NullActuator:
    """Stands in for every actuator in replay: counts, and touches nothing."""

    def __init__(self) -> None:
        self.n_fired = 0
        self.armed = False

    def arm(self) -> None:
        self.armed = True

    def fire(self, decision: Decision) -> bool:
        self.n_fired += self.armed
        return self.armed

    def release(self) -> None:
        self.armed = False

    def close(self) -> None:
        self.release()


def make_actuator(name: str, config: ActuatorConfig, clock: Clock) -> Actuator:
    """The actuator of a config, closed over its device but disarmed."""
    if isinstance(config, LogActuatorConfig):
        return LogActuator(name, config, clock)
    return NullActuator()
