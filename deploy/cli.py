"""The ``ethostream`` command: demo, run, replay, verify, export, train, evaluate, predict, bundle info, monitor.

Exit status: 0 all well; 1 something unforeseen; 2 a wrong file or option; 3 to 10 the kind of error that
``sync/errors.py`` gives; 130 stopped by Ctrl-C before anything ran.
"""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..sync.errors import ConfigError, EthostreamError, NodeError, ReplayDiffersError, UndeclaredLossError
from .commands.align_command import align
from .commands.calibrate_command import calibrate
from .commands.cameras_command import cameras
from .commands.doctor_command import doctor
from .commands.keys_command import keys_app
from .commands.repair_command import repair
from .commands.resume_command import resume
from .commands.time_command import time_app

app = typer.Typer(
    name="ethostream",
    help="See, record and act on animal behaviour while it happens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
bundle_app = typer.Typer(help="Look into model bundles.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
app.add_typer(keys_app, name="keys")
app.add_typer(time_app, name="time")
app.command()(repair)
app.command()(resume)
app.command()(calibrate)
app.command()(align)
app.command()(cameras)
app.command()(doctor)

_err = Console(stderr=True)

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the files: `cameras.cam0.rate_hz=60`, `cameras.*.noise=2`, `task.bundle=my-bundle`.",
    ),
]
SecondsOption = Annotated[
    float | None, typer.Option(min=0, help="Stop this long after the first complete frame set; 0: until Ctrl-C.")
]
OutOption = Annotated[Path, typer.Option(help="Folder in which the recording folder is made.")]
HeadlessOption = Annotated[bool, typer.Option("--headless", help="Plain lines instead of a live table.")]
ReportOption = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the report here as well.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is stdout.")
]
DataOption = Annotated[Path | None, typer.Option(help="Folder that relative data paths of the file start from.")]


@app.command()
def demo(
    seconds: SecondsOption = 60.0,
    out: OutOption = Path("recordings"),
    headless: HeadlessOption = False,
    report: ReportOption = None,
    overrides: SetOption = None,
) -> None:
    """Run the whole rig on eight simulated cameras with the bundled model.

    A mouse walks, rears, grooms and rests in a cage; the model names what it does, a rule fires when it rears,
    everything is recorded, verified and reported. The address of the live page is printed.
    """
    folder = Path(__file__).parent / "demo"
    _run(folder / "rig.yaml", folder / "task.yaml", None, overrides, seconds, out, headless, report)


@app.command()
def run(
    rig: Annotated[Path, typer.Argument(metavar="RIG.yaml", help="Cameras, bus, recording, monitor.")],
    task: Annotated[Path | None, typer.Option(metavar="T.yaml", help="Model, rules and actuators.")] = None,
    session: Annotated[Path | None, typer.Option(metavar="S.yaml", help="Subject, experimenter, notes.")] = None,
    overrides: SetOption = None,
    seconds: SecondsOption = 0.0,
    out: OutOption = Path("recordings"),
    headless: HeadlessOption = False,
    report: ReportOption = None,
) -> None:
    """Run a rig: acquire, classify, act, record.

    Example: `ethostream run rig.yaml --task task.yaml --seconds 600 --set cameras.*.exposure_us=1500`
    """
    _run(rig, task, session, overrides, seconds, out, headless, report)


def _run(
    rig: Path,
    task: Path | None,
    session: Path | None,
    overrides: list[str] | None,
    seconds: float | None,
    out: Path,
    headless: bool,
    report: Path | None,
) -> None:
    from .config import load_run
    from .rig_run import run_rig
    from .terminal import make_display

    config = load_run(rig, task, session, overrides or ())
    _writable(report)
    result = run_rig(config, make_display(config, headless=headless), seconds or None, out, report)
    finish_run(result)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    speed: Annotated[str, typer.Option(help="1 is real time, 0.5 half of it; `max` as fast as the model can.")] = "1",
    bundle: Annotated[str | None, typer.Option(help="Another model than the live one.")] = None,
    task: Annotated[Path | None, typer.Option(metavar="T.yaml", help="Another task than the live one.")] = None,
    monitor: Annotated[bool, typer.Option("--monitor", help="Serve the live page.")] = False,
    headless: HeadlessOption = False,
    report: ReportOption = None,
) -> None:
    """Run a recording through the model again, and compare with what the live run decided.

    Without --bundle and --task the replay takes exactly the frame sets that the live model took, from the state that
    was saved when recording began; a difference is an error. No actuator is opened.
    """
    from .config import load_task
    from .rig_run import run_replay
    from .terminal import make_display

    _writable(report)
    result = run_replay(
        recording,
        make_display(None, headless=headless),
        _speed(speed),
        bundle,
        None if task is None else load_task(task, bundle or _live_bundle(recording)),
        monitor,
        report,
    )
    finish_run(result)


def _live_bundle(recording: Path) -> str | None:
    """The bundle that ran live, for a task file that names none."""
    from ..streaming.recording_info import read_info

    return read_info(recording).config.get("task", {}).get("bundle")


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError as error:
        raise ConfigError(f"--speed {text}: a number above 0, or max") from error
    if not 0 < speed < float("inf"):
        raise ConfigError(f"--speed {text}: a number above 0, or max")
    return speed


def _writable(path: Path | None, option: str = "--report") -> None:
    """Better now than after an hour of recording."""
    if path is None or str(path) == "-":
        return
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"{option} {path}: the folder {path.resolve().parent} does not exist; make it first")
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a folder; name a file in it")


def finish_run(result: Any) -> None:
    """Print the summary of a run, and end with the exit status that it calls for."""
    from .terminal import print_summary

    print_summary(result)
    if result.outcome.failures:
        raise NodeError("\n".join(result.outcome.failures))
    if result.verified is not None and not result.verified.ok:
        raise UndeclaredLossError(f"{result.recording}: does not verify:\n" + "\n".join(result.verified.errors))
    comparison = result.report.get("replay", {})
    if comparison.get("exact") is False:
        raise ReplayDiffersError("the replay differs from the live run: " + "; ".join(comparison["first_differences"]))


@app.command()
def verify(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    decode: Annotated[bool, typer.Option("--decode", help="Also decode every frame.")] = False,
    json_path: JsonOption = None,
) -> None:
    """Check that a recording accounts for every frame: captured = written + declared drops.

    Exit status 8 when a frame is missing and nothing says why.
    """
    from ..streaming.verify import verify as verify_recording
    from .terminal import print_verified

    result = verify_recording(recording, decode=decode)
    if json_path is not None:
        _write_json(json_path, result.to_json())
    if json_path is None or str(json_path) != "-":
        print_verified(result)
    if not result.ok:
        raise UndeclaredLossError(f"{recording}: does not verify")


@app.command()
def export(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    to: Annotated[str, typer.Option("--to", help="Format: csv.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="Folder to write into; default: export/ in the recording.")] = None,
) -> None:
    """Write frames, behaviour, bouts and decisions of a recording as tables."""
    from ..streaming.export import export_csv

    if to != "csv":
        raise ConfigError(f"--to {to}: this version writes csv")
    for path in export_csv(recording, out or recording / "export"):
        typer.echo(str(path))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Data, model and fit.")],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the bundle to make.")],
    data: DataOption = None,
    json_path: JsonOption = None,
) -> None:
    """Train a causal model on labelled video or simulated sessions, score it and export it as a bundle."""
    _writable(json_path, "--json")
    with _extra("train"):
        from ..training.train import train as train_bundle

    _show(train_bundle(config, out, data, quiet=str(json_path) == "-"), json_path)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The file that names data and split.")],
    data: DataOption = None,
    json_path: JsonOption = None,
) -> None:
    """Score a bundle on the held-out part of a data set, through the very pipeline that runs live."""
    _writable(json_path, "--json")
    with _extra("train"):
        from ..training.evaluate import evaluate as evaluate_bundle

    _show(evaluate_bundle(bundle, config, data), json_path)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    video: Annotated[Path, typer.Argument(metavar="VIDEO")],
    out: Annotated[Path, typer.Option(metavar="CSV", help="One row per frame: frame, time_s, behaviour, p_CLASS ...")],
    json_path: JsonOption = None,
) -> None:
    """Name the behaviour in every frame of a video file."""
    _writable(json_path, "--json")
    from ..training.predict import predict as predict_csv

    _show(predict_csv(bundle, video, out), json_path)


@bundle_app.command("info")
def bundle_info(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder, zip, or the name of a shipped one: demo.")],
    json_path: JsonOption = None,
) -> None:
    """Say what a model is, what it wants and how well it did; checks every hash and runs its self-test."""
    from ..inference.bundle import Bundle
    from ..inference.bundled import resolve_bundle
    from .terminal import print_bundle

    loaded = Bundle.load(resolve_bundle(bundle))
    if json_path is not None:
        _write_json(json_path, {"identity": loaded.identity, **loaded.manifest.model_dump(mode="json", by_alias=True)})
    if json_path is None or str(json_path) != "-":
        print_bundle(loaded)


@app.command()
def monitor(
    session: Annotated[str | None, typer.Option(help="Session id, where several rigs run on this machine.")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any free one.")] = 0,
) -> None:
    """Serve the live page of a rig that is running on this machine."""
    from .attach import attach_monitor

    attach_monitor(session, port)


@app.command()
def version(json_path: JsonOption = None) -> None:
    """Print the versions of ethostream and of the libraries that it runs on."""
    from .report import machine

    facts = {"ethostream": __version__, "python": sys.version.split()[0], **machine()}
    if json_path is not None:
        _write_json(json_path, facts)
    else:
        typer.echo(f"ethostream {__version__}, Python {facts['python']}")


@contextmanager
def _extra(name: str) -> Generator[None]:
    """Say which extra brings what is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'ethostream[{name}]' brings it") from error


def _show(result: dict[str, Any], json_path: Path | None) -> None:
    from .terminal import print_result

    if json_path is not None:
        _write_json(json_path, result)
    if json_path is None or str(json_path) != "-":
        print_result(result)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    if str(path) == "-":
        typer.echo(json.dumps(value, indent=2, sort_keys=True))
        return
    from .report import write_json

    write_json(path, value)


def main() -> None:
    """Entry point of the ``ethostream`` command."""
    try:
        app()
    except EthostreamError as error:
        _err.print(f"[bold red]error[/] {type(error).__name__}", highlight=False)
        _err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _err.print("stopped")
        sys.exit(130)
