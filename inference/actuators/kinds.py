"""From the task file to open actuators, every one within its limits and disarmed."""

from collections.abc import Mapping

from ...streaming.serial_board import SerialBoard
from ...streaming.serial_port import ListeningPort
from ...sync.clock import Clock
from ...sync.errors import ActuatorError
from .actuator import Actuator
from .board_link import BoardLink
from .config import ActuatorConfig
from .datagram_actuators import OscActuator, OscActuatorConfig, UdpActuator, UdpActuatorConfig
from .gpio_actuator import GpioActuator, GpioActuatorConfig
from .http_actuator import HttpActuator, HttpActuatorConfig
from .limits import LimitedActuator
from .log_actuator import LogActuator, LogActuatorConfig
from .nidaq_actuator import NidaqActuator, NidaqActuatorConfig
from .null_actuator import NullActuator
from .serial_actuator import SerialActuator, SerialActuatorConfig
from .sound_actuator import SoundActuator, SoundActuatorConfig
from .stream_actuators import LslActuator, LslActuatorConfig, ZmqActuator, ZmqActuatorConfig
from .tcp_actuator import TcpActuator, TcpActuatorConfig


def make_actuators(configs: Mapping[str, ActuatorConfig], clock: Clock) -> dict[str, Actuator]:
    """Open every actuator of a task; lines of one board share it. What was opened is closed when one fails.

    Raises:
        ActuatorError: a device is not there, or refuses what is asked of it.
        ConfigError: the library of a kind is not installed.
    """
    made: dict[str, Actuator] = {}
    boards: dict[str, BoardLink] = {}
    complete = False
    try:
        for name, config in configs.items():
            made[name] = LimitedActuator(_open(name, config, clock, boards), config, clock)
        complete = True
    finally:
        if not complete:
            for actuator in made.values():
                actuator.close()
            for link in boards.values():
                link.board.close()
    return made


def _open(name: str, config: ActuatorConfig, clock: Clock, boards: dict[str, BoardLink]) -> Actuator:
    match config:
        case LogActuatorConfig():
            return LogActuator(name, config, clock)
        case SerialActuatorConfig():
            return SerialActuator(name, config, _link(name, config, clock, boards), clock)
        case NidaqActuatorConfig():
            return NidaqActuator(name, config, clock)
        case GpioActuatorConfig():
            return GpioActuator(name, config, clock)
        case LslActuatorConfig():
            return LslActuator(name, config)
        case OscActuatorConfig():
            return OscActuator(name, config)
        case UdpActuatorConfig():
            return UdpActuator(name, config)
        case TcpActuatorConfig():
            return TcpActuator(name, config)
        case ZmqActuatorConfig():
            return ZmqActuator(name, config)
        case HttpActuatorConfig():
            return HttpActuator(name, config)
        case SoundActuatorConfig():
            return SoundActuator(name, config)
        case _:
            return NullActuator(name)


def _link(name: str, config: SerialActuatorConfig, clock: Clock, boards: dict[str, BoardLink]) -> BoardLink:
    link = boards.get(config.port)
    if link is None:
        link = boards[config.port] = BoardLink(
            SerialBoard(name, config, clock, ListeningPort), config.watchdog_ms, clock
        )
    elif link.watchdog_ms != config.watchdog_ms:
        raise ActuatorError(
            f"actuator {name}: watchdog_ms {config.watchdog_ms} differs from the {link.watchdog_ms} that another line "
            f"of {config.port} has; a board has one watchdog"
        )
    return link
