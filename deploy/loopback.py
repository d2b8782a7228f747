"""From light to line: how long the rig takes to answer what a camera or an input sees, measured with its own pulses.

A flash of the actuator's line is seen, and answered at once with another flash of the same line. The board stamps both
rises with its own clock, so their distance needs no other clock to be right, and nothing in between can hide: exposure,
readout, transfer, driver, this program, serial line and board are all in it. The model is not: its time stands in the
report of a recording.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..acquisition.camera import Camera, CameraFormat
from ..inference.actuators.actuator import Report
from ..inference.actuators.board_link import BoardLink
from ..inference.actuators.limits import LimitedActuator
from ..inference.actuators.serial_actuator import SerialActuator, SerialActuatorConfig
from ..streaming.messages import Decision
from ..streaming.pixel_format import values16
from ..streaming.serial_board import SerialBoard
from ..streaming.serial_port import ListeningPort, OpenPort
from ..sync.board_protocol import Edge, Edges, Watch
from ..sync.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from ..sync.errors import ActuatorError, CameraLostError, ConfigError, TriggerError
from ..sync.latency import LatencySummary

_SLICE_S = 0.01
_LEAST_S = 1e-5
_ANSWER_S = 1.0
_DARK_FRAMES = 30
_LEAST_CONTRAST = 8.0
"""Grey levels, of 256, by which a lit region exceeds a dark one at least."""
_N_SIGMA = 6.0
_MAX_MISSED = 20
_GREY_LEVELS = 256.0


class FlashLine:
    """The actuator's line, fired by number, with what became of each firing. One thread.

    Args:
        name: of the actuator.
        config: of it.
        clock: rig time.
        open_port: how its board's port is opened.

    Raises:
        ActuatorError: the board cannot be opened.
        ConfigError: its limits leave no room for two flashes.
    """

    def __init__(
        self, name: str, config: SerialActuatorConfig, clock: Clock, open_port: OpenPort = ListeningPort
    ) -> None:
        self.name = name
        self.pause_ns = round(2.2 * NS_PER_US * config.pulse_us * config.n_pulses / config.max_duty)
        if 2 * config.pulse_us * config.n_pulses > config.max_on_ms * 1000:
            raise ConfigError(
                f"actuator {name}: max_on_ms {config.max_on_ms:g} leaves no room for two flashes of "
                f"{config.n_pulses * config.pulse_ms:g} ms; make pulse_ms shorter"
            )
        self.clock = clock
        self.link = BoardLink(SerialBoard(name, config, clock, open_port), config.watchdog_ms, clock)
        self._actuator = LimitedActuator(SerialActuator(name, config, self.link, clock), config, clock)
        self._reports: dict[int, Report] = {}

    def arm(self) -> None:
        """See `Actuator.arm`."""
        self._actuator.arm()

    def flash(self, number: int) -> int:
        """Fire; returns rig time just before.

        Raises:
            ActuatorError: it was refused.
        """
        self.poll()
        now = self.clock.now_ns()
        decision = Decision("loopback", number, "fired", "", "", 1.0, self.name, (), now, now, now, 0, trial=number)
        if not self._actuator.fire(decision):
            self.poll()
            why = self._reports[number].reason
            raise ActuatorError(
                f"actuator {self.name}: the answer was refused ({why}); flashes have to end before they are seen: make "
                "pulse_ms shorter than exposure and transfer together"
            )
        return now

    def poll(self) -> None:
        """Hear the board.

        Raises:
            ActuatorError: it failed.
        """
        for report in self._actuator.poll():
            if report.state == "failed":
                raise ActuatorError(f"actuator {self.name}: {report.reason}")
            if report.decision is not None:
                self._reports[report.decision.set_id] = report

    def rise(self, number: int) -> Report:
        """When that flash began.

        Raises:
            ActuatorError: the board does not say so.
        """
        deadline = self.clock.now_ns() + round(_ANSWER_S * NS_PER_S)
        while number not in self._reports:
            if self.clock.now_ns() > deadline:
                raise ActuatorError(f"actuator {self.name}: flash {number} was not acknowledged")
            self.link.turn(_SLICE_S)
            self.poll()
        report = self._reports.pop(number)
        if report.state != "acknowledged":
            raise ActuatorError(f"actuator {self.name}: flash {number} was {report.state} ({report.reason})")
        return report

    def close(self) -> None:
        """Drop the line and close the port."""
        self._actuator.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """What shows a flash.

    Attributes:
        t_ns: rig time when this program had it.
        board_us: when it happened, by the board's clock; None: it is the rise of the flash.
        t_event_ns: the same in rig time.
    """

    t_ns: int
    board_us: int | None = None
    t_event_ns: int = 0


class Sensor(Protocol):
    """What sees a flash."""

    def settle(self, until_ns: int) -> None:
        """Let time pass until then, and until it is dark."""
        ...

    def await_light(self, timeout_s: float) -> Seen | None:
        """What shows the flash, as soon as it is there; None: nothing came."""
        ...


class InputSensor:
    """An input line of the same board: wired to the output, or to a photodiode before it.

    The end of the flash counts: the line is low then, and can answer at once.

    Raises:
        ActuatorError: the board has no such input.
    """

    def __init__(self, line: FlashLine, number: int) -> None:
        self._line = line
        self._number = number
        self._seen: list[Seen] = []
        line.link.on_input = self._edge
        try:
            line.link.board.command(Watch(number, Edges.FALLING))
        except TriggerError as error:
            raise ActuatorError(str(error)) from error

    def _edge(self, edge: Edge, t_ns: int) -> None:
        if edge.line == self._number and not edge.rising:
            self._seen.append(Seen(self._line.clock.now_ns(), edge.board_us, t_ns))

    def settle(self, until_ns: int) -> None:
        while self._line.clock.now_ns() < until_ns:
            left_s = (until_ns - self._line.clock.now_ns()) / NS_PER_S
            self._line.link.turn(min(_SLICE_S, max(_LEAST_S, left_s)))
            self._line.poll()
        self._seen.clear()

    def await_light(self, timeout_s: float) -> Seen | None:
        deadline = self._line.clock.now_ns() + round(timeout_s * NS_PER_S)
        while not self._seen and self._line.clock.now_ns() < deadline:
            self._line.link.turn(_SLICE_S)
            if not self._seen:
                self._line.poll()
        return self._seen[0] if self._seen else None


@dataclass(frozen=True, slots=True)
class Region:
    """Part of a picture, px."""

    x: int
    y: int
    width: int
    height: int


class CameraSensor:
    """An LED in a region of an open, running camera. A frame is lit when the region's mean says so.

    Raises:
        ConfigError: the region is not in the picture.
        CameraLostError: no frames come.
    """

    def __init__(self, line: FlashLine, camera: Camera, form: CameraFormat, region: Region) -> None:
        if region.x + region.width > form.width or region.y + region.height > form.height:
            raise ConfigError(f"region {region}: is not inside the picture of {form.width}x{form.height}")
        self._line = line
        self._camera = camera
        self._format = form
        self._buffer = np.zeros(form.shape, np.uint8)
        rows = slice(region.y, region.y + region.height)
        self._window: NDArray[Any] = self._buffer[rows, region.x : region.x + region.width]
        if form.pixel_format == "mono16":
            self._window = values16(self._buffer)[rows, region.x : region.x + region.width]
        self._lit = False
        dark = [self._level() for _ in range(_DARK_FRAMES)]
        self.threshold = float(np.mean(dark) + max(_N_SIGMA * np.std(dark), self._least_contrast(max(dark))))

    def _least_contrast(self, level: float) -> float:
        scale = 1.0 if self._format.pixel_format != "mono16" else max(1.0, level / _GREY_LEVELS)
        return _LEAST_CONTRAST * scale

    def _level(self) -> float:
        """The region's mean in the next frame."""
        for _ in range(round(_ANSWER_S / _SLICE_S) * 5):
            self._line.poll()
            if self._camera.read_into(self._buffer, _SLICE_S) is not None:
                return float(self._window.mean())
        raise CameraLostError("no frame comes from the camera; is it triggered by something that does not run?")

    def settle(self, until_ns: int) -> None:
        # It ends at that instant, and not with a frame: else every flash would fall on the same part of an exposure.
        while (left_ns := until_ns - self._line.clock.now_ns()) > 0 or self._lit:
            self._line.poll()
            if self._camera.read_into(self._buffer, min(_SLICE_S, max(_LEAST_S, left_ns / NS_PER_S))) is not None:
                self._lit = float(self._window.mean()) > self.threshold

    def await_light(self, timeout_s: float) -> Seen | None:
        deadline = self._line.clock.now_ns() + round(timeout_s * NS_PER_S)
        while self._line.clock.now_ns() < deadline:
            grab = self._camera.read_into(self._buffer, _SLICE_S)
            arrived_ns = self._line.clock.now_ns()
            if grab is not None and float(self._window.mean()) > self.threshold:
                self._lit = True
                return Seen(arrived_ns)
            self._line.poll()
        return None


@dataclass(frozen=True, slots=True)
class Trial:
    """One flash and its answer.

    Attributes:
        light_to_line_us: from the rise of the flash (at an input: from its end) to the rise of the answer, by the
            board's own clock.
        light_to_host_ns: from there until this program had what shows it.
        host_ns: from then until the board was told to answer.
        told_to_line_ns: from then until the line rose.
    """

    light_to_line_us: int
    light_to_host_ns: int
    host_ns: int
    told_to_line_ns: int


@dataclass(slots=True)
class Loopback:
    """Trials, and how many flashes were not seen."""

    trials: list[Trial] = field(default_factory=list[Trial])
    n_missed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Percentiles in milliseconds."""
        parts = {
            "light_to_line_ms": [one.light_to_line_us * NS_PER_US for one in self.trials],
            "light_to_host_ms": [one.light_to_host_ns for one in self.trials],
            "host_ms": [one.host_ns for one in self.trials],
            "told_to_line_ms": [one.told_to_line_ns for one in self.trials],
        }
        return {"n": len(self.trials), "n_missed": self.n_missed} | {
            name: asdict(_summary(values)) for name, values in parts.items()
        }


def _summary(values: list[int]) -> LatencySummary:
    """By nearest rank. Parts may be negative, by as much as the board's clock is known in terms of this one."""
    p50, p99, p999, most = (
        round(float(one) / NS_PER_MS, 4) for one in np.quantile(values, (0.5, 0.99, 0.999, 1.0), method="higher")
    )
    return LatencySummary(p50, p99, p999, most, len(values))


def measure(
    line: FlashLine,
    sensor: Sensor,
    n_trials: int,
    seed: int,
    timeout_s: float = 1.0,
    on_trial: Callable[[], object] = lambda: None,
) -> Loopback:
    """Flash, see, answer; again and again, after pauses of random length, so that no rhythm of a camera is favoured.

    A flash that falls between two exposures is not seen: it is counted, and tried again.

    Raises:
        ActuatorError: the line fails, or flashes are hardly ever seen.
    """
    draw = random.Random(seed)
    result = Loopback()
    number = 0
    while len(result.trials) < n_trials:
        sensor.settle(line.clock.now_ns() + round(max(line.pause_ns, 50 * NS_PER_MS) * draw.uniform(1.0, 2.0)))
        line.flash(number)
        seen = sensor.await_light(timeout_s)
        if seen is None:
            result.n_missed += 1
            number += 1
            if result.n_missed > _MAX_MISSED + 3 * len(result.trials):
                raise ActuatorError(
                    f"{result.n_missed} of {number} flashes were not seen; does the light reach the region or the "
                    "input, is the region right, and does the exposure fill most of the frame period?"
                )
            continue
        told_ns = line.flash(number + 1)
        flash, answer = line.rise(number), line.rise(number + 1)
        event_us, event_ns = (
            (flash.board_us, flash.t_on_ns) if seen.board_us is None else (seen.board_us, seen.t_event_ns)
        )
        result.trials.append(
            Trial(answer.board_us - event_us, seen.t_ns - event_ns, told_ns - seen.t_ns, answer.t_on_ns - told_ns)
        )
        number += 2
        on_trial()
    return result
