"""Which kinds of actuator there are, as they stand in the task file."""

from typing import Annotated

from pydantic import Field

from .datagram_actuators import OscActuatorConfig, UdpActuatorConfig
from .gpio_actuator import GpioActuatorConfig
from .http_actuator import HttpActuatorConfig
from .log_actuator import LogActuatorConfig
from .nidaq_actuator import NidaqActuatorConfig
from .null_actuator import NullActuatorConfig
from .serial_actuator import SerialActuatorConfig
from .sound_actuator import SoundActuatorConfig
from .stream_actuators import LslActuatorConfig, ZmqActuatorConfig
from .tcp_actuator import TcpActuatorConfig

ActuatorConfig = Annotated[
    LogActuatorConfig
    | NullActuatorConfig
    | SerialActuatorConfig
    | NidaqActuatorConfig
    | GpioActuatorConfig
    | LslActuatorConfig
    | OscActuatorConfig
    | UdpActuatorConfig
    | TcpActuatorConfig
    | ZmqActuatorConfig
    | HttpActuatorConfig
    | SoundActuatorConfig,
    Field(discriminator="kind"),
]
