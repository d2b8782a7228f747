"""Does nothing, and counts."""

from typing import Literal

from ...streaming.messages import Decision
from .actuator import BaseActuator
from .limits import ActionConfig


class NullActuatorConfig(ActionConfig):
    """Does nothing."""

    kind: Literal["null"] = "null"


class NullActuator(BaseActuator):
    """Touches nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.n_fired = 0

    def _act(self, decision: Decision) -> bool:
        self.n_fired += 1
        return True
