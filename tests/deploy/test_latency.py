"""``ethostream latency --loopback`` against an emulated board and camera whose truth is known."""

import ctypes
import json
from collections.abc import Iterator
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_processes import BoardProcess
from ethostream.acquisition.camera import CameraFormat, Grab
from ethostream.deploy import cli
from ethostream.deploy.loopback import CameraSensor, FlashLine, InputSensor, Loopback, Region, measure
from ethostream.inference.actuators.serial_actuator import SerialActuatorConfig
from ethostream.sync.clock import FakeClock
from ethostream.sync.errors import ActuatorError, CameraLostError, ConfigError
from numpy.typing import NDArray
from simulated_board import STEP_US, WIRE_US, SimulatedBoard, highs
from typer.testing import CliRunner

PERIOD_US, EXPOSURE_US, TRANSFER_US = 16_667, 14_000, 6_300
LINE = 1


class LedCamera:
    """Sees an LED on the board's line: each frame arrives when its exposure and transfer are over.

    It is bright where the LED was on during the exposure, by as much as it was on.
    """

    def __init__(self, world: SimulatedBoard) -> None:
        self.world = world
        self.seq = 0
        self.arrivals: list[tuple[int, int]] = []

    def read_into(self, out: NDArray[np.uint8], timeout_s: float) -> Grab | None:
        begin_us = self.seq * PERIOD_US
        arrives_us = begin_us + EXPOSURE_US + TRANSFER_US
        now = self.world.now_us()
        if arrives_us > now + ceil(timeout_s * 1e6):
            self.world.run(ceil(timeout_s * 1e6))
            return None
        self.world.run_until(max(now, arrives_us))
        on_us = sum(
            max(0, min(fall, begin_us + EXPOSURE_US) - max(rise, begin_us))
            for rise, fall in highs(self.world.changes(), LINE, self.world.now_us())[-4:]
        )
        out[:] = np.random.default_rng(self.seq).integers(20, 24, out.shape)
        out[10:20, 30:40] += np.uint8(min(200, on_us // 10))
        self.seq += 1
        self.arrivals.append((begin_us, self.world.now_us()))
        return Grab(self.seq, self.world.t0_ns + begin_us * 1000, EXPOSURE_US)


FORM = CameraFormat(64, 48, "mono8", 60.0, "simulated")


@pytest.fixture
def world(simulated_board_library: ctypes.CDLL) -> Iterator[SimulatedBoard]:
    one = SimulatedBoard(simulated_board_library, FakeClock(10**18), 2**32 - 2_000_000)
    yield one
    one.close()


def open_line(world: SimulatedBoard, **options: Any) -> FlashLine:
    config = SerialActuatorConfig(port="simulated", output=LINE, **({"pulse_ms": 2.0} | options))
    return FlashLine("led", config, world.clock, world.open_port)


def rises(world: SimulatedBoard) -> list[int]:
    return [rise for rise, _ in highs(world.changes(), LINE, world.now_us())]


def pairs_of(world: SimulatedBoard, result: Loopback) -> list[tuple[int, int]]:
    """Flash and answer, from what the emulated line really did: the answer is the only rise that soon after another."""
    found = rises(world)
    pairs = [(a, b) for a, b in pairwise(found) if b - a < 45_000]
    assert len(found) == 2 * len(result.trials) + result.n_missed
    return pairs


def test_photon_to_ttl_through_a_camera(world: SimulatedBoard) -> None:
    line = open_line(world)
    camera = LedCamera(world)
    sensor = CameraSensor(line, camera, FORM, Region(30, 10, 10, 10))  # type: ignore[arg-type]
    line.arm()
    result = measure(line, sensor, 60, seed=3)
    line.close()
    pairs = pairs_of(world, result)
    assert [one.light_to_line_us for one in result.trials] == [answer - flash for flash, answer in pairs]
    assert 0 < result.n_missed < 30  # some flashes fall between two exposures
    for trial, (flash, answer) in zip(result.trials, pairs, strict=True):
        shows = [arrived for begin, arrived in camera.arrivals if begin < flash + 2000 and begin + EXPOSURE_US > flash]
        assert min(abs(arrived - flash - trial.light_to_host_ns / 1000) for arrived in shows) < 30
        assert trial.told_to_line_ns / 1000 == pytest.approx(WIRE_US, abs=30)
        assert answer - shows[0] >= WIRE_US
    shown = result.to_json()
    assert TRANSFER_US / 1000 < shown["light_to_line_ms"]["p50"] < (PERIOD_US + EXPOSURE_US + TRANSFER_US) / 1000
    assert shown["told_to_line_ms"]["p99"] == pytest.approx(WIRE_US / 1000, rel=0.1)


def test_a_wire_from_output_to_input(world: SimulatedBoard) -> None:
    """Nothing but serial line and program: up, and down again."""
    line = open_line(world)
    sensor = InputSensor(line, LINE)
    line.arm()
    result = measure(line, sensor, 40, seed=1)
    line.close()
    assert result.n_missed == 0
    flashes = highs(world.changes(), LINE, world.now_us())
    gaps = [rise - fall for (_, fall), (rise, _) in pairwise(flashes) if rise - fall < 45_000]
    assert [one.light_to_line_us for one in result.trials] == gaps
    for one in result.trials:
        assert 2 * WIRE_US <= one.light_to_line_us <= 2 * WIRE_US + 2 * STEP_US
        assert one.told_to_line_ns / 1000 == pytest.approx(WIRE_US, abs=30)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("dark", "flashes were not seen"),
        ("outside", "not inside the picture"),
        ("no frames", "no frame comes"),
        ("long", "leaves no room for two flashes"),
        ("too long", "flashes have to end before they are seen"),
        ("unplugged", "is gone"),
        ("no input", "no such line"),
    ],
)
def test_what_cannot_be_measured_is_said_so(world: SimulatedBoard, fault: str, words: str) -> None:
    camera: Any = LedCamera(world)
    if fault == "no frames":
        camera.read_into = lambda out, timeout_s: world.run(round(timeout_s * 1e6))
    region = Region(0, 0, 10, 10) if fault == "dark" else Region(60 if fault == "outside" else 30, 10, 10, 10)
    options = {"long": {"pulse_ms": 600.0}, "too long": {"pulse_ms": 40.0}}.get(fault, {})
    with pytest.raises((ActuatorError, ConfigError, CameraLostError), match=words):
        line = open_line(world, **options)
        try:
            sensor = InputSensor(line, 9) if fault == "no input" else CameraSensor(line, camera, FORM, region)
            line.arm()
            if fault == "unplugged":
                world.unplug()
            measure(line, sensor, 5, seed=1)
        finally:
            line.close()


def test_the_command_on_a_board_in_real_time(firmware: Path, tmp_path: Path) -> None:
    with BoardProcess.firmware(firmware) as board:
        task = tmp_path / "task.yaml"
        task.write_text(
            f"actuators: {{led: {{kind: serial, port: {board.port}, output: 2, pulse_ms: 0.2}}, log: {{kind: log}}}}\n"
        )
        words = ["latency", str(task), "--actuator", "led", "--loopback", "--input", "2", "--trials", "5"]
        done = CliRunner().invoke(cli.app, [*words, "--yes", "--json", str(tmp_path / "found.json")])
        assert done.exit_code == 0, done.output
        assert "photon to TTL" in done.output
        found = json.loads((tmp_path / "found.json").read_text())
        assert (found["n"], found["loopback"], found["light_to_line_ms"]["n"]) == (5, "input", 5)
        assert 0 < found["light_to_line_ms"]["p50"] <= found["light_to_line_ms"]["max"]
        # The port is free again, and a person who does not say yes drives nothing.
        refused = CliRunner().invoke(cli.app, words, input="n\n")
        assert refused.exit_code == 1 and "driven 10 times" in refused.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input", "1"], "--loopback measures"),
        (["--loopback"], "either --camera"),
        (["--loopback", "--camera", "top", "--input", "1"], "either --camera"),
        (["--loopback", "--camera", "top"], "needs --rig and --roi"),
        (["--loopback", "--input", "1", "--actuator", "log"], "of kind log"),
        (["--loopback", "--input", "1", "--actuator", "x"], "there is no actuator x"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, words: list[str], told: str) -> None:
    task = tmp_path / "task.yaml"
    task.write_text("actuators: {led: {kind: serial, port: /dev/ttyNOTHERE}, log: {kind: log}}\n")
    named = words if "--actuator" in words else [*words, "--actuator", "led"]
    done = CliRunner().invoke(cli.app, ["latency", str(task), *named, "--yes"])
    assert isinstance(done.exception, ConfigError) and told in str(done.exception)
