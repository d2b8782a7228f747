"""What each kind says when its other end is not there, ends, stalls or lies."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from actuator_bench import CONFIG, decision
from actuator_benches import bench
from board_processes import BoardProcess
from ethostream.inference.actuation import ActuationSchedule
from ethostream.inference.actuators.actuator import Actuator, Report
from ethostream.inference.actuators.kinds import make_actuators
from ethostream.inference.actuators.sound_actuator import SoundActuatorConfig, tone_train
from ethostream.streaming.messages import Actuation
from ethostream.sync import board_protocol as p
from ethostream.sync.clock import ClockAnchor, RigClock
from ethostream.sync.errors import ActuatorError, ConfigError, EthostreamError
from hardware_benches import FakeCounter
from pydantic import ValidationError
from simulated_board import WIRE_US, highs

__all__ = ["bench"]


def make(**options: Any) -> Actuator:
    return make_actuators({"line": CONFIG.validate_python(options)}, RigClock(ClockAnchor.take()))["line"]


def failures(reports: list[Report]) -> list[str]:
    return [one.reason for one in reports if one.state == "failed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "serial", "port": "/dev/ttyNOTHERE"}, "/dev/ttyNOTHERE cannot be opened .*plugged in"),
        ({"kind": "udp", "host": "no such host", "port": 9}, "no such host is not known here"),
        ({"kind": "tcp", "port": 9}, "127.0.0.1:9 takes no connection .*program running"),
        ({"kind": "zmq", "endpoint": "tcp://*:5555"}, "not the address of a receiver"),
        ({"kind": "nidaq", "counter": "Dev1/ctr0"}, "Dev1/ctr0 cannot be set up .*NI-DAQmx"),
        (
            {"kind": "gpio", "chip": "/dev/gpiochip99", "line": 3},
            "line 3 of /dev/gpiochip99 cannot be had .*is it free",
        ),
    ],
)
def test_what_is_not_there_is_said_so_before_the_run(options: dict[str, Any], words: str) -> None:
    if options["kind"] in ("nidaq", "gpio"):
        pytest.importorskip({"nidaq": "nidaqmx", "gpio": "gpiod"}[options["kind"]])
    with pytest.raises(ActuatorError, match=words):
        make(**options)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("serial", {"kind": "serial", "port": "/dev/ttyS0"}),
        ("nidaqmx", {"kind": "nidaq", "counter": "Dev1/ctr0"}),
        ("pylsl", {"kind": "lsl", "stream": "marks"}),
        ("pythonosc.osc_message_builder", {"kind": "osc", "port": 9}),
        ("miniaudio", {"kind": "sound"}),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    module: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = "lsl" if options["kind"] == "lsl" else options["kind"]
    with pytest.raises(ConfigError, match=rf"pip install 'ethostream\[{extra}\]'"):
        make(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pulse_ms": 50, "max_on_ms": 20}, "longer than max_on_ms"),
        ({"n_pulses": 3}, "need a period_ms"),
        ({"n_pulses": 3, "pulse_ms": 10, "period_ms": 10}, "need a period_ms longer"),
        ({"n_pulses": 1000, "pulse_ms": 10, "period_ms": 11}, "more than max_duty 0.5"),
        ({"pulse_ms": 0}, "pulse_ms"),
        ({"max_duty": 1.5}, "max_duty"),
        ({"watchdog_ms": 10}, "watchdog_ms"),
    ],
)
def test_pulses_that_can_never_be_are_refused_in_the_task_file(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CONFIG.validate_python({"kind": "serial", "port": "x", **options})


def test_one_failure_closes_what_was_opened(firmware: Path) -> None:
    """The board's port is free again for the next try."""
    with BoardProcess.firmware(firmware) as board:
        good = {"kind": "serial", "port": board.port, "output": 1}
        for bad, words in (
            ({**good, "output": 1}, "asked for by two"),
            ({**good, "output": 9}, "no 9"),
            ({**good, "output": 2, "watchdog_ms": 300}, "one watchdog"),
            ({"kind": "tcp", "port": 9}, "takes no connection"),
        ):
            configs = {"a": CONFIG.validate_python(good), "b": CONFIG.validate_python(bad)}
            with pytest.raises(EthostreamError, match=words):
                make_actuators(configs, RigClock(ClockAnchor.take()))
        make(**good).close()


def test_older_firmware_is_refused() -> None:
    with BoardProcess.faulty("none") as board, pytest.raises(ActuatorError, match=r"firmware 1\.0 does not limit"):
        make(kind="serial", port=board.port)


@pytest.mark.parametrize("kind", ["simulated"])
def test_two_lines_of_one_board_act_apart_and_are_released_together(bench: Any) -> None:
    from ethostream.inference.actuators.serial_actuator import SerialActuator, SerialActuatorConfig

    config = SerialActuatorConfig(port="simulated", output=1, pulse_ms=20)
    other = config.model_copy(update={"output": 2, "pulse_ms": 50.0})
    link = bench.link(config)
    a, b = SerialActuator("a", config, link, bench.clock), SerialActuator("b", other, link, bench.clock)
    a.arm()
    b.arm()
    assert a.fire(decision(1)) and b.fire(decision(2))
    reports = bench.until(a, lambda new: len(new) >= 1) + b.poll()
    assert [(one.decision.set_id, one.state) for one in reports] == [(1, "acknowledged"), (2, "acknowledged")]
    a.release()
    bench.world.run(1000)
    assert not (bench.world.level(1) or bench.world.level(2)) and not b.armed
    a.close()
    b.close()
    assert bench.world.port is None


@pytest.mark.parametrize("kind", ["simulated"])
def test_the_rise_that_is_told_is_the_rise_that_was(bench: Any) -> None:
    """In rig time and by the board's clock, through the wrap of the latter, from a loop that looks now and then."""
    actuator = bench.open(pulse_ms=2.0)
    actuator.arm()
    told: list[Report] = []
    for set_id in range(20):
        assert actuator.fire(decision(set_id))
        for _ in range(7):
            bench.world.run(17_000)
            told += actuator.poll()
    rises = [rise for rise, _ in highs(bench.world.changes(), 1, bench.world.now_us())]
    assert [one.decision.set_id for one in told if one.decision] == list(range(20))
    assert [(one.t_on_ns - bench.world.t0_ns) / 1000 for one in told] == pytest.approx(rises, abs=WIRE_US / 10)
    assert [one.board_us for one in told] == rises


@pytest.mark.parametrize("kind", ["simulated"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("unplugged", "is gone"),
        ("restarted", "restarted by itself"),
        ("silent loop", "heard nothing for 500 ms"),
        ("mute", "did not answer for 2 s"),
        ("rise that nobody asked for", "nobody asked for"),
        ("rise before it happens", "before it happens"),
        ("the same train twice", "reports train 0 after train 0"),
    ],
)
def test_a_board_that_fails_or_lies_is_disarmed_and_said_so(bench: Any, fault: str, words: str) -> None:
    world, actuator = bench.world, bench.open(pulse_ms=400.0, watchdog_ms=500)
    actuator.arm()
    assert actuator.fire(decision(1))
    bench.wait(actuator, 1)
    now_us = world.now_us()
    lie = {
        "rise that nobody asked for": p.Edge(1, p.Edge.RISING, 7, now_us),
        "rise before it happens": p.Edge(1, p.Edge.RISING, 7, now_us + 900_000),
        "the same train twice": p.Edge(1, p.Edge.RISING, 0, now_us),
    }.get(fault)
    if fault == "unplugged":
        world.unplug()
    elif fault == "restarted":
        world.restart()
    elif fault == "silent loop":
        world.run(700_000)
    elif fault == "mute":
        world.from_board = lambda data: b""
    elif lie is not None:
        if fault == "rise before it happens":
            bench.until(actuator, lambda _: not world.level(1))
            world.from_board = lambda data: b""
            assert actuator.fire(decision(2))
        world._up.append((now_us, p.encode(lie, 99)))
        world.from_board = lambda data: data
    reports = bench.until(actuator, lambda _: not actuator.armed)
    world.from_board = lambda data: data
    reports += actuator.poll()
    assert any(words in one for one in failures(reports)), reports
    world.run(600_000)
    assert not world.level(1)
    n_highs = len(highs(world.changes(), 1, world.now_us()))
    assert not actuator.fire(decision(3))
    assert [one.decision.set_id for one in actuator.poll() if one.state == "refused"] == [3]
    world.run(100_000)
    assert len(highs(world.changes(), 1, world.now_us())) == n_highs
    if fault in ("unplugged", "restarted", "mute"):
        with pytest.raises(ActuatorError, match="start the run anew"):
            actuator.arm()
    else:
        actuator.arm()  # a person may, knowing why
        assert actuator.armed


@pytest.mark.parametrize("kind", ["simulated"])
def test_what_its_watchdog_disarmed_is_not_armed_again_before_a_person_knows(bench: Any) -> None:
    """Windows and lines call `arm` again and again."""
    said: list[Actuation] = []
    alarms: list[str] = []
    schedule = ActuationSchedule({"line": bench.open()}, bench.clock, said.append, alarms.append)
    for _ in range(2):
        schedule.arm()
        assert schedule.armed
        bench.world.run(1_200_000)  # this process was held up
        for _ in range(3):
            schedule.poll()
            bench.pump()
        for _ in range(2):
            schedule.arm()
            assert not schedule.armed
            schedule.disarm("window")
        schedule.poll()
        assert len(alarms) == 1 and "heard nothing for" in alarms.pop()
        schedule.pardon()
    schedule.close("end")


@pytest.mark.parametrize("kind", ["simulated"])
def test_a_firing_that_is_not_acknowledged_has_failed_once(bench: Any) -> None:
    actuator = bench.open(watchdog_ms=500)
    actuator.arm()
    bench.world.from_host = lambda data: data if len(data) < 20 else b""  # a pulse train is the longest of all
    assert actuator.fire(decision(1))
    reports = bench.until(actuator, bool)
    for _ in range(100):
        bench.pump()
        reports += actuator.poll()
    assert [(one.decision.set_id, one.state, one.reason) for one in reports] == [
        (1, "failed", "not answered within 250 ms")
    ]
    bench.world.from_host = lambda data: data
    assert actuator.armed and actuator.fire(decision(2))
    assert [one.decision.set_id for one in bench.until(actuator, bool)] == [2]


@pytest.mark.parametrize("kind", ["simulated"])
def test_nothing_is_fired_while_a_command_may_still_be_on_its_way(bench: Any) -> None:
    """Both would arrive together, and their pulses lie closer than the host's limits meant."""
    actuator = bench.open(watchdog_ms=400)
    actuator.arm()
    bench.world.hold()
    assert actuator.fire(decision(1))
    for set_id in (2, 3):
        bench.world.run(100_000)
        assert not actuator.fire(decision(set_id))
    bench.world.release_held()
    reports = bench.until(actuator, lambda new: any(one.state == "acknowledged" for one in new))
    refused = [(one.decision.set_id, one.reason) for one in reports if one.state == "refused"]
    assert refused == [(2, "the firing before has not been answered"), (3, "the firing before has not been answered")]
    assert actuator.fire(decision(4))
    assert bench.wait(actuator, 2) is not None


@pytest.mark.parametrize("kind", ["simulated"])
def test_a_loop_that_turns_keeps_the_shortest_watchdog_quiet(bench: Any) -> None:
    """Between two pings for the clock there are more signs of life."""
    actuator = bench.open(watchdog_ms=100)
    actuator.arm()
    for _ in range(200):
        bench.world.run(20_000)
        assert actuator.poll() == [] and actuator.armed


@pytest.mark.parametrize("kind", ["simulated"])
def test_what_the_board_refuses_is_said_so(bench: Any) -> None:
    """The host's own limits are wider here: the board keeps its own."""
    actuator = bench.open(pulse_ms=1900.0, max_on_ms=9000.0, max_duty=1.0)
    actuator.arm()
    assert actuator.fire(decision(1))
    bench.until(actuator, lambda _: bench.clock.now_ns() > actuator._busy_until_ns)
    assert actuator.fire(decision(2))
    reports = bench.until(actuator, bool)
    assert [(one.decision.set_id, one.state, one.reason) for one in reports] == [
        (2, "refused", "the board's own limit of time on")
    ]
    assert actuator.armed


@pytest.mark.parametrize("kind", ["nidaq"])
@pytest.mark.parametrize(
    ("fails", "words"),
    [("start", "start failed .*unplugged"), ("is_task_done", "is_task_done failed"), ("endless", "still pulses")],
)
def test_a_counter_that_fails_is_disarmed(bench: Any, fails: str, words: str) -> None:
    import re

    actuator = bench.open(n_pulses=2, period_ms=20.0)
    ((_, options),) = FakeCounter.made[0].calls
    assert (options["high_time"], options["low_time"], FakeCounter.made[0].n) == (0.005, 0.015, 2)
    actuator.arm()
    FakeCounter.fails = fails
    actuator.fire(decision(1))
    reports = bench.until(actuator, lambda new: bool(failures(new)))
    assert re.search(words, failures(reports)[0]) and not actuator.armed and not FakeCounter.made[0].running
    actuator.close()
    assert FakeCounter.made[0].closed


def test_a_tone_is_as_long_as_its_pulses() -> None:
    config = SoundActuatorConfig(pulse_ms=10, n_pulses=3, period_ms=30, max_duty=1.0, tone_hz=1000, rate_hz=8000)
    train = tone_train(config)
    assert len(train) == 8 * (60 + 10)
    loud = [any(train[8 * ms : 8 * ms + 8]) for ms in range(70)]
    assert loud == [ms % 30 < 10 for ms in range(70)]
    assert 0.9 * 16384 < max(train) <= 16384
    assert max(map(abs, train[:3])) < 0.2 * max(train)  # no click


def test_a_marker_reaches_a_receiver_of_the_lab(tmp_path: Path) -> None:
    """The real library: an outlet of the actuator and an inlet, in a process of their own."""
    pytest.importorskip("pylsl")
    stream = f"marks-{uuid.uuid4().hex[:8]}"
    config = tmp_path / "lsl_api.cfg"
    config.write_text(
        "[multicast]\nResolveScope = machine\n[log]\nlevel = -3\n"
        f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = {stream}\n"
    )
    script = f"""
import pylsl
from ethostream.inference.actuators.stream_actuators import LslActuator, LslActuatorConfig
from ethostream.streaming.messages import Decision
actuator = LslActuator("line", LslActuatorConfig(stream={stream!r}, marker="now"))
(info,) = pylsl.resolve_byprop("name", {stream!r}, 1, 30)
inlet = pylsl.StreamInlet(info)
inlet.open_stream(30)
actuator.arm()
row = None
while row is None:
    assert actuator.fire(Decision("r", 0, "fired", "", "rear", 0.9, "line", (), 0, 0, 0, 0))
    row, stamp = inlet.pull_sample(0.5)
print(row[0], abs(pylsl.local_clock() - stamp) < 20)
actuator.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LSLAPICFG": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split() == ["now", "True"], done.stderr
