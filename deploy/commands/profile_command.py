"""``ethostream profile``: where each millisecond of a rig goes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .json_output import JsonOption, require_writable, to_stdout, write_result


def profile(
    rig: Annotated[Path, typer.Argument(metavar="RIG.yaml", help="Cameras, bus, recording, monitor.")],
    task: Annotated[Path | None, typer.Option(metavar="T.yaml", help="Model, rules and actuators.")] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to run after the first complete frame set.")] = 30.0,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write every stage of every set as a trace for Perfetto.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the files, as `run` does.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep the recording, in a folder here; else it is made aside and removed.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Run a rig for a while and say where each millisecond goes.

    A table of stages, from exposure to trigger, with percentiles; and of processes, with the cores that each takes. The
    rig runs as `run` would run it, actuators included. --trace writes a file for https://ui.perfetto.dev or
    chrome://tracing, in which each process is a row and each stage of each set a bar.

    Example: `ethostream profile rig.yaml --task task.yaml --seconds 30 --trace trace.json`
    """
    import tempfile

    from rich.console import Console
    from rich.progress import Progress

    from ..config import load_run
    from ..profile import Profile, ProfileDisplay, profile_result, write_trace
    from ..rig_run import run_rig

    require_writable(trace, "--trace")
    require_writable(json_path)
    run = load_run(rig, task, None, overrides or [])
    found = Profile()
    display: Any = ProfileDisplay(found, Progress(console=Console(stderr=True), transient=True), seconds)
    with tempfile.TemporaryDirectory(prefix="ethostream-profile-") as aside:
        result = run_rig(run, display, seconds, out or Path(aside), None)
    figures = profile_result(found, result.report)
    if trace is not None:
        write_trace(trace, found)
    if json_path is not None:
        write_result(json_path, figures)
    if not to_stdout(json_path):
        _print(figures, trace)
    if result.outcome.failures:
        from ...sync.errors import NodeError

        raise NodeError("\n".join(result.outcome.failures))


def _print(figures: dict[str, Any], trace: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..profile import milliseconds

    console = Console()
    table = Table(title=f"Stages, ms, over {figures['seconds']:g} s")
    for name in ("stage", "p50", "p99", "p99.9", "max", "n", "process"):
        is_name = name in ("stage", "process")
        table.add_column(name, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for name, one in figures["stage_ms"].items():
        if one["n"]:
            values = [milliseconds(one[key]) for key in ("p50", "p99", "p999", "max")]
            table.add_row(name, *values, str(one["n"]), one["process"])
    console.print(table)
    processes = Table(title="Processes")
    for name in ("process", "cores", "processor ms per frame set"):
        processes.add_column(name, justify="left" if name == "process" else "right")
    for node, one in figures["processes"].items():
        processes.add_row(node, milliseconds(one["cores"]), milliseconds(one["ms_per_set"]))
    console.print(processes)
    sets, inference, disk = figures["sets"], figures["inference"], figures["disk_ms"]
    console.print(
        f"{sets['complete']} complete sets, {sets['partial']} partial; {inference['steps']} steps, "
        f"{inference['skipped']} sets passed over for a newer one"
    )
    if disk:
        console.print(
            f"disk at its slowest: {disk['write_ms']} ms for a write, {disk['sync_ms']} ms to force a file out"
        )
    if trace is not None:
        console.print(f"trace: {trace} (open it in https://ui.perfetto.dev)", soft_wrap=True)
        if figures["events_left_out"]:
            console.print(
                f"the trace holds the last events only: {figures['events_left_out']} before them are left out"
            )
