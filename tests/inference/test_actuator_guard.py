"""The process that guards a GPIO line: whose end, silence or refusal does what."""

import os
import signal
from contextlib import suppress
from typing import Any

import pytest
from actuator_bench import CONFIG, decision
from actuator_benches import bench
from ethostream.inference.actuators.actuator import Actuator, Report
from ethostream.inference.actuators.gpio_guard import ARM, FIRE, RELEASE, GuardOptions, LineGuard, rise_above_host
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.sync.clock import ClockAnchor, FakeClock, RigClock
from ethostream.sync.errors import ActuatorError

__all__ = ["bench"]


def make(**options: Any) -> Actuator:
    return make_actuators({"line": CONFIG.validate_python(options)}, RigClock(ClockAnchor.take()))["line"]


def failures(reports: list[Report]) -> list[str]:
    return [one.reason for one in reports if one.state == "failed"]


@pytest.mark.parametrize("kind", ["gpio"])
@pytest.mark.parametrize("way", ["host falls silent", "host dies", "guard dies"])
def test_a_gpio_line_is_dropped_when_its_host_is_gone(bench: Any, way: str) -> None:
    """The pulse would last eight seconds; its end comes from the guard."""
    actuator = bench.open(pulse_ms=8000.0, max_on_ms=9000.0, watchdog_ms=300)
    guard = actuator.inner._process
    actuator.arm()
    assert actuator.fire(decision(1))
    bench.wait(actuator, 1)
    if way == "host falls silent":
        bench.until(bench_silent(), lambda _: bench.pump() is None and not bench.changes()[-1][0])
        reports = bench.until(actuator, lambda new: bool(failures(new)))
        assert "silent for longer than watchdog_ms" in failures(reports)[0]
    elif way == "host dies":
        # What the kernel does to the pipes of a process that was killed.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, actuator.inner._in)
        os.close(nowhere)
        guard.wait(10)
    else:
        os.kill(guard.pid, signal.SIGTERM)
        guard.wait(10)
        reports = bench.until(actuator, lambda new: bool(failures(new)))
        assert "guard process has ended" in failures(reports)[0]
        assert not actuator.armed
    (_, rose_ns), (high, fell_ns) = bench.changes()
    assert not high and fell_ns - rose_ns < 7_000_000_000


@pytest.mark.parametrize("kind", ["gpio"])
def test_an_answer_of_the_gpio_guard_belongs_to_its_own_firing(bench: Any) -> None:
    """Also those that come in one breath with the word that the watchdog has dropped the line."""
    actuator = bench.open().inner
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    os.dup2(theirs, actuator._out)  # from here on the test speaks for the guard
    os.close(theirs)
    actuator.arm()
    assert actuator.fire(decision(1)) and actuator.fire(decision(2))
    os.write(ours, b"up 1\nsilent\nno not armed\n")
    found = [(one.decision and one.decision.set_id, one.state) for one in actuator.poll()]
    assert found == [(1, "acknowledged"), (2, "refused"), (None, "failed")] and not actuator.armed
    actuator.arm()
    assert actuator.fire(decision(3))
    os.write(ours, b"up 2\n")
    assert [(one.decision.set_id, one.state) for one in actuator.poll()] == [(3, "acknowledged")]
    os.close(ours)


def words(reports: list[Report]) -> list[tuple[int, str, str]]:
    return [(one.decision.set_id, one.state, one.reason) for one in reports if one.decision is not None]


@pytest.mark.parametrize("kind", ["gpio"])
def test_a_firing_that_the_gpio_guard_does_not_answer_in_time_has_failed(bench: Any) -> None:
    """It stands still, and goes on afterwards: a late answer is told, and says that it is late."""
    actuator = bench.open(ack_timeout_ms=20.0, watchdog_ms=10_000)
    guard = actuator.inner._process
    actuator.arm()
    os.kill(guard.pid, signal.SIGSTOP)
    assert actuator.fire(decision(1))
    reports = bench.until(actuator, lambda new: bool(words(new)))
    assert words(reports) == [(1, "failed", "not answered within 20 ms")]
    # Another one would be obeyed together with it.
    assert not actuator.inner.fire(decision(2)) and actuator.armed
    assert words(actuator.poll()) == [(2, "refused", "the firing before has not been answered")]
    os.kill(guard.pid, signal.SIGCONT)
    assert words(bench.until(actuator, lambda new: bool(words(new)))) == [(1, "acknowledged", "late")]
    bench.until(actuator, lambda _: not bench.changes()[-1][0])
    assert actuator.inner.fire(decision(3))
    assert (3, "acknowledged", "") in words(bench.until(actuator, lambda new: bool(words(new))))


@pytest.mark.parametrize("kind", ["gpio"])
@pytest.mark.parametrize("way", ["it answers", "it is killed", "it hangs"])
def test_at_the_end_each_firing_of_a_gpio_line_has_its_word(bench: Any, way: str) -> None:
    actuator = bench.open(watchdog_ms=10_000)
    guard = actuator.inner._process
    actuator.arm()
    if way != "it answers":
        os.kill(guard.pid, signal.SIGSTOP)
    assert actuator.fire(decision(1))
    if way == "it is killed":
        os.kill(guard.pid, signal.SIGKILL)
    actuator.close(0.05 if way == "it hangs" else 20.0)
    (said,) = words(actuator.poll())
    if way == "it answers":
        assert said == (1, "acknowledged", "")
    else:
        assert said[:2] == (1, "failed") and "guard process" in said[2]


@pytest.mark.parametrize("kind", ["gpio"])
def test_a_gpio_guard_that_has_ended_is_said_once(bench: Any) -> None:
    actuator = bench.open()
    guard = actuator.inner._process
    actuator.arm()
    os.kill(guard.pid, signal.SIGKILL)
    guard.wait(10)
    reports = [one for _ in range(50) for one in actuator.poll()]
    actuator.release()
    reports += actuator.poll()
    (words,) = failures(reports)
    assert "guard process has ended" in words and not actuator.armed
    with pytest.raises(ActuatorError, match="start the run anew"):
        actuator.arm()


def bench_silent() -> Any:
    class Silent:
        def poll(self) -> list[Report]:
            return []

    return Silent()


class Line:
    """A line in simulated time, and what its guard says."""

    def __init__(self, **changes: Any) -> None:
        options = {"pulse_us": 1000, "period_us": 4000, "n_pulses": 2, "watchdog_ms": 50, "max_on_us": 10**7}
        self.clock = FakeClock(10**9)
        self.changes: list[tuple[bool, int]] = []
        self.said: list[str] = []
        self.guard = LineGuard(
            GuardOptions("chip", 1, False, **(options | changes)), self.set, self.said.append, self.clock
        )

    def set(self, high: bool) -> None:
        if high != bool(self.changes and self.changes[-1][0]):
            self.changes.append((high, (self.clock.now_ns() - 10**9) // 1000))

    def run(self, ms: float) -> None:
        end = self.clock.now_ns() + round(ms * 1e6)
        while (now := self.clock.now_ns()) < end:
            self.clock.set_ns(min(end, now + max(1000, round(self.guard.wait_s() * 1e9))))
            self.guard.turn(self.clock.now_ns())


def test_the_guard_makes_its_train_to_the_microsecond() -> None:
    line = Line()
    line.guard.hear(FIRE)
    assert line.said == ["no not armed"] and line.changes == []
    line.guard.hear(ARM + FIRE + FIRE)
    line.run(20)
    assert line.changes == [(True, 0), (False, 1000), (True, 4000), (False, 5000)]
    assert line.said[1:] == ["up 1000000000", "no the pulses before have not ended", f"down {10**9 + 5_000_000}"]


@pytest.mark.parametrize("way", ["release", "silence", "late command"])
def test_the_guard_drops_its_line(way: str) -> None:
    line = Line(pulse_us=500_000, n_pulses=1)
    line.guard.hear(ARM + FIRE)
    line.run(10)
    if way == "release":
        line.guard.hear(RELEASE)
    elif way == "silence":
        line.run(100)
        assert line.said[-1] == "silent"
    else:
        line.clock.advance_ns(200_000_000)  # the guard itself was held up, and a command waited in the pipe
        line.guard.hear(FIRE)
    assert [high for high, _ in line.changes] == [True, False]
    line.guard.hear(FIRE)
    assert line.said[-1] == "no not armed" and len(line.changes) == 2


def test_the_guard_bounds_the_time_on_by_itself() -> None:
    line = Line(pulse_us=30_000, n_pulses=1, max_on_us=20_000)
    line.guard.hear(ARM + FIRE)
    line.run(40)
    assert line.changes == [(True, 0), (False, 20_000)]


@pytest.mark.parametrize("kind", ["gpio"])
def test_the_guard_may_run_on_every_core_and_before_its_host(bench: Any) -> None:
    """Its host is pinned to one core here and, where the system allows it, has real-time priority."""
    cores = os.sched_getaffinity(0)
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        is_fifo = os.sched_getscheduler(0) == os.SCHED_FIFO
        guard = bench.open().inner._process
    finally:
        os.sched_setscheduler(0, policy, priority)
        os.sched_setaffinity(0, cores)
    assert os.sched_getaffinity(guard.pid) >= cores
    if is_fifo:
        assert os.sched_getparam(guard.pid).sched_priority == 11


def test_what_the_system_refuses_the_guard_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_getparam", lambda _: os.sched_param(98))
    cores, priority = rise_above_host()
    assert "cores of its host (Operation not permitted)" in cores
    assert "real-time priority 99 (Operation not permitted)" in priority
