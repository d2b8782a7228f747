"""What a fired decision drives: one file per kind, behind one protocol. An actuator is born disarmed."""

from ...sync.clock import Clock
from .actuator import Actuator
from .config import ActuatorConfig
from .kinds import make_actuators
from .log_actuator import LogActuator
from .null_actuator import NullActuator

__all__ = ["Actuator", "ActuatorConfig", "LogActuator", "NullActuator", "make_actuator"]


def make_actuator(name: str, config: ActuatorConfig, clock: Clock) -> Actuator:
    """One actuator alone."""
    return make_actuators({name: config}, clock)[name]
