"""The end of a run: what hangs takes nobody else's word along, and all actuators share one span of time."""

from typing import Any

import pytest
from actuator_bench import decision
from actuator_benches import bench
from ethostream.inference import actuation
from ethostream.inference.actuation import ActuationSchedule
from ethostream.streaming.messages import Actuation

__all__ = ["bench"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["http"])
def test_receivers_that_hang_are_told_to_end_together_and_everybody_is_heard(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them alone might take its two minutes."""
    monkeypatch.setattr(actuation, "CLOSE_S", 0.2)
    bench.gate.clear()
    lines = {name: bench.open(timeout_ms=60_000) for name in ("a", "b")}
    said: dict[tuple[str, int], tuple[str, list[bool], list[bool]]] = {}

    def publish(one: Actuation) -> None:
        if one.state not in ("sent", "released"):
            told = [line.inner._worker._ending for line in lines.values()]
            let_go = [line.inner._has_let_go for line in lines.values()]
            said[one.actuator, one.set_id] = one.state, told, let_go

    schedule = ActuationSchedule(lines, bench.clock, publish, lambda _text: None)
    schedule.arm()
    for name, line in lines.items():
        worker = line.inner._worker
        schedule.add(decision(1, actuator=name))
        bench.until(line, lambda _, worker=worker: worker.n_waiting == 0)
        schedule.add(decision(2, actuator=name))
    schedule.add(decision(3, bench.clock.now_ns() + 60_000_000_000, "a"))
    schedule.close("the end")
    # What is known is said before anybody is waited for, and what "a" leaves open before "b" is waited for.
    at_once = "cancelled", [False, False], [False, False]
    assert said == {
        ("a", 3): at_once,
        ("a", 2): at_once,
        ("b", 2): at_once,
        ("a", 1): ("failed", [True, True], [True, False]),
        ("b", 1): ("failed", [True, True], [True, True]),
    }
