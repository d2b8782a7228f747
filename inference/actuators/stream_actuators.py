"""Firings on other programs' buses: Lab Streaming Layer markers, and ZeroMQ messages."""

from typing import Literal

from pydantic import Field

from ...streaming.lsl_config import StreamName
from ...streaming.lsl_marker import LslMarker
from ...streaming.messages import Decision
from ...streaming.zmq_outlet import ZmqOutlet
from ...sync.errors import ActuatorError, AddressError
from .actuator import BaseActuator
from .firing_text import firing_json
from .limits import ActionConfig


class LslActuatorConfig(ActionConfig):
    """One marker per firing.

    Attributes:
        stream: name of the stream.
        marker: text of the marker; None: one JSON object.
    """

    kind: Literal["lsl"] = "lsl"
    stream: StreamName
    marker: str | None = Field(default=None, min_length=1, max_length=256)


class ZmqActuatorConfig(ActionConfig):
    """One message per firing.

    Attributes:
        endpoint: ``tcp://HOST:PORT`` or ``ipc://FILE`` of the receiver, which binds it; another host than this machine
            only where it is named here.
        pattern: ``push`` (the receiver is ``PULL``) or ``pub`` (it is ``SUB``).
    """

    kind: Literal["zmq"] = "zmq"
    endpoint: str
    pattern: Literal["push", "pub"] = "push"


class LslActuator(BaseActuator):
    """Pushes a marker.

    Raises:
        ConfigError: pylsl is not installed.
    """

    def __init__(self, name: str, config: LslActuatorConfig) -> None:
        super().__init__(name)
        self._text = config.marker
        self._marker = LslMarker(config.stream)

    def _act(self, decision: Decision) -> bool:
        self._marker.push(firing_json(decision, self.name).decode() if self._text is None else self._text)
        return True

    def _let_go(self) -> None:
        self._marker.close()


class ZmqActuator(BaseActuator):
    """Sends a message; refused while no receiver takes it (``push``).

    Raises:
        ActuatorError: the endpoint is none.
    """

    def __init__(self, name: str, config: ZmqActuatorConfig) -> None:
        super().__init__(name)
        self._endpoint = config.endpoint
        try:
            self._outlet = ZmqOutlet(config.endpoint, config.pattern)
        except AddressError as error:
            raise ActuatorError(f"actuator {name}: {error}") from error

    def _act(self, decision: Decision) -> bool:
        if self._outlet.send(firing_json(decision, self.name)):
            return True
        self._say(decision, "refused", f"no receiver at {self._endpoint} takes it")
        return False

    def _let_go(self) -> None:
        self._outlet.close()
