"""Two lines of one board: whatever ends it, each line says its own end, once, and none is left armed."""

from typing import Any

import pytest
from actuator_bench import decision
from actuator_benches import bench
from ethostream.inference.actuation import ActuationSchedule
from ethostream.inference.actuators.actuator import Actuator
from ethostream.inference.actuators.limits import LimitedActuator
from ethostream.inference.actuators.serial_actuator import SerialActuator, SerialActuatorConfig
from ethostream.streaming.messages import Actuation
from ethostream.sync import board_protocol as p

__all__ = ["bench"]

pytestmark = pytest.mark.parametrize("kind", ["simulated"])


def two_lines(bench: Any, said: list[Actuation]) -> ActuationSchedule:
    config = SerialActuatorConfig(port="simulated", output=1, pulse_ms=20, watchdog_ms=400)
    link = bench.link(config)
    made: dict[str, Actuator] = {}
    for name, output in (("a", 1), ("b", 2)):
        one = config.model_copy(update={"output": output})
        made[name] = LimitedActuator(SerialActuator(name, one, link, bench.clock), one, bench.clock)
    return ActuationSchedule(made, bench.clock, said.append, lambda _text: None)


def turn(bench: Any, schedule: ActuationSchedule, n: int = 40) -> None:
    for _ in range(n):
        bench.world.run(5000)
        schedule.run_due()
        schedule.poll()
        schedule.flush()


def ends(said: list[Actuation]) -> list[tuple[str, str]]:
    return sorted((one.actuator, one.state) for one in said if one.set_id < 0)


@pytest.mark.parametrize("fired", ["a", "b", ""])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("watchdog", [("a", "failed"), ("b", "failed")]),
        ("unplugged", [("a", "failed"), ("b", "failed")]),
        ("unplugged, then disarmed", [("a", "failed"), ("b", "failed")]),
        ("mute, then disarmed", [("a", "failed"), ("b", "failed")]),
        ("restarted", [("a", "failed"), ("b", "failed")]),
        ("a is lied to", [("a", "failed"), ("b", "released")]),
        ("b is refused", [("a", "released")]),
    ],
)
def test_each_line_says_its_own_end(bench: Any, fault: str, fired: str, expected: list[tuple[str, str]]) -> None:
    said: list[Actuation] = []
    schedule, world = two_lines(bench, said), bench.world
    schedule.arm()
    turn(bench, schedule)
    assert schedule.armed and said == []
    if fired:
        schedule.add(decision(1, actuator=fired))
        turn(bench, schedule, 1)
    match fault:
        case "watchdog":
            world.run(900_000)
        case "unplugged" | "unplugged, then disarmed":
            world.unplug()
            if "then" in fault:
                schedule.disarm("person")
        case "mute, then disarmed":
            world.from_board = lambda data: b""
            schedule.disarm("person")
        case "restarted":
            world.restart()
        case "a is lied to":
            world._up.append((world.now_us(), p.encode(p.Edge(1, p.Edge.RISING, 7, world.now_us()), 99)))
        case _:
            turn(bench, schedule)
            world.from_host = lambda data: data if len(data) < 20 else b""
            said.clear()
            schedule.add(decision(9, actuator="b"))
            seq = schedule._actuators["b"].inner._pending[-1].seq  # type: ignore[attr-defined]
            world.from_host = lambda data: data
            world._up.append((world.now_us(), p.encode(p.Nak(p.PulseTrain.TYPE, seq, p.Reason.BAD_VALUE), 99)))
    turn(bench, schedule)
    assert not schedule.armed
    assert ends(said) == expected
    if fault == "b is refused":
        assert [(one.actuator, one.state) for one in said if one.set_id == 9] == [("b", "sent"), ("b", "failed")]
    rest = len(said)
    schedule.close("end")
    assert ends(said[rest:]) == [], "what has ended does not end again"
    world.run(500_000)
    assert not (world.level(1) or world.level(2))
