"""What every kind of actuator promises."""

from typing import Any

import pytest
from actuator_bench import Bench, decision
from actuator_benches import KINDS, bench
from ethostream.inference.actuation import ActuationSchedule
from ethostream.streaming.messages import Actuation
from ethostream.sync.errors import ActuatorError

__all__ = ["bench"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_life(bench: Bench) -> None:
    """Disarmed at birth; acts when armed and not otherwise; released and closed as often as one likes."""
    actuator = bench.open()
    assert not actuator.armed
    assert not actuator.fire(decision(1))
    assert [(one.state, one.reason) for one in actuator.poll()] == [("refused", "actuator disarmed")]
    actuator.arm()
    actuator.arm()
    assert actuator.armed
    assert actuator.fire(decision(2))
    reports = bench.wait(actuator, 1)
    actuator.release()
    actuator.release()
    assert not actuator.armed
    assert not actuator.fire(decision(3))
    actuator.arm()
    assert actuator.fire(decision(4))
    reports += bench.wait(actuator, 2)
    if bench.acknowledges:
        reports += bench.until(actuator, lambda new: sum(one.state == "acknowledged" for one in [*reports, *new]) == 2)
    actuator.close()
    actuator.close()
    assert not actuator.armed
    assert not actuator.fire(decision(5))
    assert [(one.decision.set_id, one.reason) for one in actuator.poll() if one.decision] == [(5, "actuator closed")]
    with pytest.raises(ActuatorError, match="actuator line: is closed"):
        actuator.arm()
    bench.pump()
    assert bench.acted in ([2, 4], [0, 0])
    found = [(one.decision and one.decision.set_id, one.state) for one in reports]
    acknowledged = [(2, "acknowledged"), (4, "acknowledged")] if bench.acknowledges else []
    assert sorted(found, key=str) == sorted([(3, "refused"), *acknowledged], key=str)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_per_minute_is_bounded(bench: Bench) -> None:
    actuator = bench.open(max_per_minute=1)
    actuator.arm()
    assert actuator.fire(decision(1))
    bench.wait(actuator, 1)
    assert not actuator.fire(decision(2))
    reports = [one for one in actuator.poll() if one.state == "refused"]
    assert [(one.decision and one.decision.set_id, one.reason) for one in reports] == [(2, "max_per_minute")]


@pytest.mark.parametrize("kind", ["simulated", "nidaq", "gpio"])
def test_a_line_that_is_busy_or_has_had_its_share_is_refused(bench: Any) -> None:
    actuator = bench.open(pulse_ms=100.0, max_on_ms=100.0, max_duty=0.1)
    actuator.arm()
    assert actuator.fire(decision(1))
    assert not actuator.fire(decision(2))
    reports = bench.until(actuator, lambda _: bench.clock.now_ns() > actuator._busy_until_ns)
    assert not actuator.fire(decision(3))
    reports += actuator.poll()
    assert [(one.decision.set_id, one.reason) for one in reports if one.state == "refused"] == [
        (2, "the pulses before have not ended"),
        (3, "max_duty"),
    ]


@pytest.mark.parametrize("kind", ["simulated", "log", "udp"])
def test_the_schedule_fires_when_due_and_cancels_what_waits(bench: Any) -> None:
    said: list[Actuation] = []
    schedule = ActuationSchedule({"line": bench.open()}, bench.clock, said.append, lambda text: None)
    schedule.arm()
    now = bench.clock.now_ns()
    assert schedule.add(decision(1)) >= now
    assert schedule.next_due_ns() is None
    for set_id, after_ms in ((3, 60), (2, 30), (4, 3_600_000)):
        assert schedule.add(decision(set_id, now + after_ms * 1_000_000)) == 0
    assert schedule.next_due_ns() == now + 30_000_000
    while len([one for one in said if one.state == "sent"]) < 3:
        bench.pump()
        schedule.run_due()
        schedule.poll()
        schedule.flush()
    schedule.close("end of the run")
    assert [one.set_id for one in said if one.state == "sent"] == [1, 2, 3]
    for one in said:
        if one.state == "sent" and one.set_id > 1:
            assert one.t_sent_ns >= one.t_due_ns == now + 30_000_000 * (one.set_id - 1)
    assert [(one.set_id, one.reason) for one in said if one.state == "cancelled"] == [(4, "end of the run")]
    assert [one.reason for one in said if one.state == "released"] == ["end of the run"]
    assert all(one.state not in ("failed", "refused") for one in said)


@pytest.mark.parametrize("kind", ["simulated"])
def test_too_many_that_wait_are_refused(bench: Any) -> None:
    said: list[Actuation] = []
    schedule = ActuationSchedule({"line": bench.open()}, bench.clock, said.append, lambda text: None)
    schedule.arm()
    later = bench.clock.now_ns() + 10**9
    for set_id in range(1025):
        schedule.add(decision(set_id, later))
    schedule.close("end")
    assert [one.set_id for one in said if one.state == "refused"] == [1024]
    assert sum(one.state == "cancelled" for one in said) == 1024
