"""Firings as datagrams: UDP with one JSON object, and OSC (Open Sound Control 1.0) messages. Nobody answers these."""

import socket
from typing import Any, Literal

from pydantic import Field

from ...streaming.messages import Decision
from ...sync.errors import ActuatorError, ConfigError
from .actuator import BaseActuator
from .firing_text import firing_json
from .limits import ActionConfig


class DatagramConfig(ActionConfig):
    """Where datagrams go.

    Attributes:
        host: name or address; another than this machine only where it is named here.
        port: there.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(ge=1, le=65535)


class UdpActuatorConfig(DatagramConfig):
    """One JSON object per firing."""

    kind: Literal["udp"] = "udp"


class OscActuatorConfig(DatagramConfig):
    """One OSC message per firing: rule, behaviour, probability, trial and set.

    Attributes:
        address: OSC address pattern.
    """

    kind: Literal["osc"] = "osc"
    address: str = Field(default="/ethostream", pattern=r"^/[^\s#*,?\[\]{}]*$")


class UdpActuator(BaseActuator):
    """Sends each firing as one datagram.

    Raises:
        ActuatorError: the host is not known.
    """

    def __init__(self, name: str, config: DatagramConfig) -> None:
        super().__init__(name)
        try:
            family, _, _, _, self._to = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise ActuatorError(
                f"actuator {name}: {config.host} is not known here ({error}); check host, or give its address"
            ) from error
        self._socket.setblocking(False)

    def _act(self, decision: Decision) -> bool:
        try:
            self._socket.sendto(self._datagram(decision), self._to)
        except BlockingIOError:
            self._say(decision, "refused", "the network takes nothing at the moment")
            return False
        except OSError as error:
            raise ActuatorError(f"actuator {self.name}: cannot send to {self._to[0]} ({error})") from error
        return True

    def _datagram(self, decision: Decision) -> bytes:
        return firing_json(decision, self.name)

    def _let_go(self) -> None:
        self._socket.close()


class OscActuator(UdpActuator):
    """Sends each firing as one OSC message, with arguments ``s s f i h``.

    Raises:
        ActuatorError: the host is not known.
        ConfigError: python-osc is not installed.
    """

    def __init__(self, name: str, config: OscActuatorConfig) -> None:
        try:
            from pythonosc.osc_message_builder import OscMessageBuilder
        except ModuleNotFoundError as error:
            raise ConfigError("python-osc is not installed; pip install 'ethostream[osc]' brings it") from error
        self._builder: Any = OscMessageBuilder
        self._address = config.address
        super().__init__(name, config)

    def _datagram(self, decision: Decision) -> bytes:
        message = self._builder(address=self._address)
        for value, kind in (
            (decision.rule, "s"),
            (decision.behavior, "s"),
            (decision.p, "f"),
            (decision.trial, "i"),
            (decision.set_id, "h"),
        ):
            message.add_arg(value, kind)
        return bytes(message.build().dgram)
