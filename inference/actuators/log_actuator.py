"""Writes every firing to the log; for dry runs and demonstrations."""

import logging
from typing import Final, Literal

from ...streaming.messages import Decision
from ...sync.clock import NS_PER_MS, Clock
from .actuator import BaseActuator
from .limits import ActionConfig

log = logging.getLogger(__name__)


class LogActuatorConfig(ActionConfig):
    """Writes every firing to the log.

    Attributes:
        level: of the lines.
    """

    kind: Literal["log"] = "log"
    level: Literal["debug", "info", "warning"] = "info"


class LogActuator(BaseActuator):
    """Counts firings and writes each to the log with its chain of times."""

    def __init__(self, name: str, config: LogActuatorConfig, clock: Clock) -> None:
        super().__init__(name)
        self.n_fired = 0
        self._level: Final = logging.getLevelNamesMapping()[config.level.upper()]
        self._clock = clock

    def _act(self, decision: Decision) -> bool:
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
