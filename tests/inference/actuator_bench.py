"""An actuator with something at its other end that sees what it does: what the benches of all kinds share."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ethostream.inference.actuators.actuator import Actuator, Report
from ethostream.inference.actuators.config import ActuatorConfig
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.streaming.messages import Decision
from ethostream.sync.clock import Clock, ClockAnchor, RigClock
from pydantic import TypeAdapter

CONFIG: TypeAdapter[ActuatorConfig] = TypeAdapter(ActuatorConfig)
PATIENCE = 1000
"""Turns of a few milliseconds; only what fails needs them all."""


def decision(set_id: int, due_ns: int = 0, actuator: str = "line") -> Decision:
    return Decision(
        "rule", set_id, "fired", "onset", "rear", 0.75, actuator, (), 1, 2, 3, 0, trial=set_id, t_due_ns=due_ns
    )


class Bench:
    """One kind, ready to be opened.

    Attributes:
        options: of the task file.
        acknowledges: whether the kind hears from its other end.
        acted: what the other end has seen: set ids where they travel, else 0 for each act.
    """

    acknowledges = False

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.stack = stack
        self.clock: Clock = RigClock(ClockAnchor.take())
        self.options: dict[str, Any] = {}
        self.acted: list[int] = []
        self.tmp_path = tmp_path

    def open(self, **more: Any) -> Actuator:
        config = CONFIG.validate_python(self.options | more)
        actuator = make_actuators({"line": config}, self.clock)["line"]
        self.stack.callback(actuator.close)
        return actuator

    def pump(self) -> None:
        """Let a little time pass, and look at the other end."""

    def until(self, actuator: Actuator, done: Callable[[list[Report]], bool]) -> list[Report]:
        """Turn the loop until it is done."""
        reports: list[Report] = []
        for _ in range(PATIENCE):
            reports += actuator.poll()
            if done(reports):
                return reports
            self.pump()
        raise AssertionError(f"did not happen; reports {reports}, acted {self.acted}")

    def wait(self, actuator: Actuator, n: int) -> list[Report]:
        """Until the other end has seen ``n`` acts."""
        return self.until(actuator, lambda _: len(self.acted) >= n)


class LogBench(Bench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        self.options = {"kind": "log"}

    def open(self, **more: Any) -> Actuator:
        self.actuator: Any = super().open(**more)
        return self.actuator

    def pump(self) -> None:
        self.acted = [0] * self.actuator.inner.n_fired


class NullBench(LogBench):
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__(stack, tmp_path)
        self.options = {"kind": "null"}
