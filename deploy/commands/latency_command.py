"""``ethostream latency``: how long this rig takes from light to line."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...sync.errors import ConfigError
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from ...inference.actuators.serial_actuator import SerialActuatorConfig
    from ...sync.clock import Clock
    from ..loopback import FlashLine, Loopback, Region, Sensor


def latency(
    task: Annotated[Path, typer.Argument(metavar="TASK.yaml", help="Task file that holds the actuator.")],
    actuator: Annotated[str, typer.Option(help="Its name there; of kind `serial`.")],
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Measure with the rig's own flashes; the one way there is.")
    ] = False,
    rig: Annotated[Path | None, typer.Option(metavar="RIG.yaml", help="Rig file that holds the camera.")] = None,
    camera: Annotated[str | None, typer.Option(help="Camera that sees an LED on the actuator's line.")] = None,
    roi: Annotated[str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Where it sees it, in pixels.")] = None,
    input_line: Annotated[
        int | None, typer.Option("--input", help="Instead of a camera: input of the board that the line is wired to.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="How many flashes are answered.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the pauses between them.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the line is driven.")] = False,
    json_path: JsonOption = None,
) -> None:
    """Measure photon to TTL: a flash of the actuator's line is seen and answered with another one.

    Both rises are stamped by the board's own clock, so that their distance is the whole way: exposure, readout,
    transfer, this program, serial line, board. Only the model is not in it; its time stands in a recording's report.

    Wire an LED to the actuator's output and put it before the camera, or wire the output (or a photodiode that sees its
    LED) to an input of the board. Take everything off the line that could do harm: it will be driven. A flash has to be
    over before it is seen: 2 ms suit most cameras, and the exposure should fill most of the frame period.
    """
    if not loopback:
        raise ConfigError("say how: --loopback measures with the rig's own flashes")
    if (camera is None) == (input_line is None):
        raise ConfigError("give either --camera with --rig and --roi, or --input")
    if camera is not None and (rig is None or roi is None):
        raise ConfigError("--camera needs --rig and --roi as well")
    require_writable(json_path)
    from rich.console import Console
    from rich.progress import Progress

    from ...sync.clock import ClockAnchor, RigClock
    from ..loopback import FlashLine, measure

    config = _serial(task, actuator)
    if not yes:
        typer.confirm(
            f"Output {config.output} of {config.port} will be driven {2 * trials} times for {config.pulse_ms:g} ms. Is "
            "nothing on it that could do harm?",
            abort=True,
            err=True,
        )
    clock = RigClock(ClockAnchor.take())
    console = Console(stderr=True, quiet=to_stdout(json_path), highlight=False)
    with ExitStack() as stack, Progress(console=console, transient=True) as progress:
        line = FlashLine(actuator, config, clock)
        stack.callback(line.close)
        sensor = _sensor(stack, line, clock, rig, camera, roi, input_line)
        line.arm()
        bar = progress.add_task("flashes answered", total=trials)
        result = measure(line, sensor, trials, seed, on_trial=lambda: progress.advance(bar))
    console.print(_table(result))
    if json_path is not None:
        how = {"loopback": "input" if camera is None else "camera", "actuator": actuator, "camera": camera}
        write_result(json_path, {**how, **result.to_json()})


def _serial(task: Path, name: str) -> "SerialActuatorConfig":
    from ...inference.actuators.serial_actuator import SerialActuatorConfig
    from ..config import load_task

    actuators = load_task(task).actuators
    config = actuators.get(name)
    if config is None:
        raise ConfigError(f"{task}: there is no actuator {name} (there are: {', '.join(actuators) or 'none'})")
    if not isinstance(config, SerialActuatorConfig):
        raise ConfigError(f"actuator {name}: is of kind {config.kind}; only a serial board stamps its own line")
    return config


def _sensor(
    stack: ExitStack,
    line: "FlashLine",
    clock: "Clock",
    rig: Path | None,
    camera: str | None,
    roi: str | None,
    input_line: int | None,
) -> "Sensor":
    from ...acquisition.kinds import make_camera
    from ..config import load_run
    from ..loopback import CameraSensor, InputSensor

    if input_line is not None:
        return InputSensor(line, input_line)
    assert rig is not None and camera is not None and roi is not None
    cameras = load_run(rig).rig.cameras
    if camera not in cameras:
        raise ConfigError(f"{rig}: there is no camera {camera} (there are: {', '.join(cameras)})")
    region = _region(roi)
    opened = make_camera(camera, cameras[camera], clock)
    stack.callback(opened.close)
    form = opened.open()
    opened.start(clock.now_ns())
    return CameraSensor(line, opened, form, region)


def _region(text: str) -> "Region":
    from ..loopback import Region

    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--roi {text}: give four whole numbers, X,Y,WIDTH,HEIGHT") from error
    if min(x, y) < 0 or min(width, height) < 1:
        raise ConfigError(f"--roi {text}: has to lie inside the picture, and to hold a pixel")
    return Region(x, y, width, height)


def _table(result: "Loopback") -> str:
    found = result.to_json()
    rows = [f"{found['n']} flashes answered, {found['n_missed']} not seen; milliseconds:"]
    rows.append(f"{'':24} {'p50':>9} {'p99':>9} {'p99.9':>9} {'max':>9}")
    for key, words in (
        ("light_to_line_ms", "photon to TTL"),
        ("light_to_host_ms", "  photon to program"),
        ("host_ms", "  in the program"),
        ("told_to_line_ms", "  program to TTL"),
    ):
        one = found[key]
        rows.append(f"{words:24} {one['p50']:9.3f} {one['p99']:9.3f} {one['p999']:9.3f} {one['max']:9.3f}")
    return "\n".join(rows)
