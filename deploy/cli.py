"""The ``ethostream`` command: what runs a rig and reads its recordings, and the list of all commands.

Exit status: 0 all well; 1 something unforeseen; 2 a wrong file or option; 3 to 11 the kind of error that
``sync/errors.py`` gives; 130 stopped by Ctrl-C before anything ran.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..sync.errors import ConfigError, EthostreamError, NodeError, ReplayDiffersError, UndeclaredLossError
from .commands.align_command import align
from .commands.arm_command import arm, disarm
from .commands.bundle_command import bundle_export
from .commands.calibrate_command import calibrate
from .commands.cameras_command import cameras
from .commands.crossval_command import crossval
from .commands.doctor_command import doctor
from .commands.engines_command import engines
from .commands.features_command import features
from .commands.infer_command import infer
from .commands.json_output import JsonOption, require_writable, to_stdout, write_result
from .commands.keys_command import keys_app
from .commands.latency_command import latency
from .commands.model_commands import bundle_app, evaluate, predict, train
from .commands.profile_command import profile
from .commands.quantise_command import quantise
from .commands.repair_command import repair
from .commands.report_command import report as report_page
from .commands.resume_command import resume
from .commands.rules_command import rules_app
from .commands.search_command import search
from .commands.time_command import time_app
from .commands.tune_command import tune
from .ctrl_c import leave_on_ctrl_c

app = typer.Typer(
    name="ethostream",
    help="See, record and act on animal behaviour while it happens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
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

    Example: `ethostream run rig.yaml --task task.yaml --seconds 600 --set 'cameras.*.exposure_us=1500'`
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
    with leave_on_ctrl_c():
        from .config import load_run
        from .rig_run import run_rig
        from .terminal import make_display

    config = load_run(rig, task, session, overrides or ())
    require_writable(report, "--report")
    result = run_rig(config, make_display(config, headless=headless), seconds or None, out, report)
    finish_run(result)


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
    with leave_on_ctrl_c():
        from .config import load_task
        from .replay_run import run_replay
        from .terminal import make_display

    require_writable(report, "--report")
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
        write_result(json_path, result.to_json())
    if not to_stdout(json_path):
        print_verified(result)
    if not result.ok:
        raise UndeclaredLossError(f"{recording}: does not verify")


def export(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    to: Annotated[str, typer.Option("--to", help="Format: csv.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="Folder to write into; default: export/ in the recording.")] = None,
) -> None:
    """Write frames, poses, behaviour, bouts, decisions and trials of a recording as tables."""
    from ..streaming.export import export_csv

    if to != "csv":
        raise ConfigError(f"--to {to}: this version writes csv")
    for path in export_csv(recording, out or recording / "export"):
        typer.echo(str(path))


def monitor(
    session: Annotated[str | None, typer.Option(help="Session id, where several rigs run on this machine.")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any free one.")] = 0,
) -> None:
    """Serve the live page of a rig that is running on this machine."""
    from .attach import attach_monitor

    attach_monitor(session, port)


def version(json_path: JsonOption = None) -> None:
    """Print the versions of ethostream and of the libraries and the machine that it runs on."""
    from ..streaming.recording_info import software_versions
    from .report import machine

    facts = {"ethostream": __version__, **software_versions(), **machine()}
    if json_path is not None:
        write_result(json_path, facts)
    else:
        for name, found in facts.items():
            typer.echo(f"{name:<24}{found}")


# What `ethostream --help` lists, in its order. A group of commands always comes after the commands of its panel.
_RIG, _RECORDING, _BENCH = "Run a rig", "Recordings", "Cameras and machine, before a run"
_MODEL, _HOSTS = "Models", "Hosts and versions"
app.command(rich_help_panel=_RIG)(demo)
app.command(rich_help_panel=_RIG)(run)
app.command(rich_help_panel=_RIG)(monitor)
app.command(rich_help_panel=_RIG)(arm)
app.command(rich_help_panel=_RIG)(disarm)
app.command(rich_help_panel=_RIG)(resume)
app.command(rich_help_panel=_RIG)(profile)
app.command(rich_help_panel=_HOSTS)(infer)
app.add_typer(rules_app, name="rules", rich_help_panel=_RIG)
app.command(rich_help_panel=_RECORDING)(verify)
app.command("report", rich_help_panel=_RECORDING)(report_page)
app.command(rich_help_panel=_RECORDING)(replay)
app.command(rich_help_panel=_RECORDING)(export)
app.command(rich_help_panel=_RECORDING)(align)
app.command(rich_help_panel=_RECORDING)(repair)
app.command(rich_help_panel=_BENCH)(cameras)
app.command(rich_help_panel=_BENCH)(calibrate)
app.command(rich_help_panel=_BENCH)(doctor)
app.command(rich_help_panel=_BENCH)(latency)
app.command(rich_help_panel=_MODEL)(train)
app.command(rich_help_panel=_MODEL)(evaluate)
app.command(rich_help_panel=_MODEL)(crossval)
app.command(rich_help_panel=_MODEL)(search)
app.command(rich_help_panel=_MODEL)(features)
app.command(rich_help_panel=_MODEL)(tune)
app.command(rich_help_panel=_MODEL)(predict)
app.command(rich_help_panel=_MODEL)(quantise)
app.command(rich_help_panel=_MODEL)(engines)
bundle_app.command("export")(bundle_export)
app.add_typer(bundle_app, name="bundle", rich_help_panel=_MODEL)
app.command(rich_help_panel=_HOSTS)(version)
app.add_typer(keys_app, name="keys", rich_help_panel=_HOSTS)
app.add_typer(time_app, name="time", rich_help_panel=_HOSTS)


def main() -> None:
    """Run the command line; `entry.py` calls it."""
    try:
        app()
    except EthostreamError as error:
        _err.print(f"[bold red]error[/] {type(error).__name__}", highlight=False)
        _err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _err.print("stopped")
        sys.exit(130)
