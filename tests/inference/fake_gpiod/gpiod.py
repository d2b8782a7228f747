"""What is used of gpiod v2, without a line: every value is written to the file that GPIO_LOG names, with its time."""

import os
import sys
from enum import Enum
from time import monotonic_ns  # noqa: TID251
from types import ModuleType
from typing import Any


class Direction(Enum):
    OUTPUT = 3


class Value(Enum):
    INACTIVE = 0
    ACTIVE = 1


line: Any = ModuleType("gpiod.line")
line.Direction, line.Value = Direction, Value
sys.modules["gpiod.line"] = line


class LineSettings:
    def __init__(self, direction: Direction, output_value: Value, active_low: bool) -> None:
        assert direction is Direction.OUTPUT and output_value is Value.INACTIVE
        self.active_low = active_low


class LineRequest:
    def __init__(self, number: int) -> None:
        self.number = number
        self.high = False
        self.log = os.open(os.environ["GPIO_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def set_value(self, number: int, value: Value) -> None:
        assert number == self.number
        high = value is Value.ACTIVE
        if high != self.high:
            self.high = high
            os.write(self.log, f"{int(high)} {monotonic_ns()}\n".encode())

    def release(self) -> None:
        os.close(self.log)


def request_lines(path: str, config: dict[int, LineSettings], consumer: str) -> LineRequest:
    assert consumer == "ethostream" and path == "/dev/gpiochip0"
    (number,) = config
    return LineRequest(number)
