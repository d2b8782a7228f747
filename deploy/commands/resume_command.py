"""``ethostream resume``: go on with a session after a crash of the machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from ..supervised_run import RunResult


def resume(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="The recording that the crash ended.")],
    seconds: Annotated[
        float, typer.Option(min=0, help="Stop this long after the first complete frame set; 0: until Ctrl-C.")
    ] = 0.0,
    headless: Annotated[bool, typer.Option("--headless", help="Plain lines instead of a live table.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the report here as well.")] = None,
) -> None:
    """Go on with a session after a crash of the machine, as a new part.

    The torn recording is repaired first. Then the rig runs with the configuration that stands in it, into a folder
    beside it, `RECORDING.part2` (then `.part3` and so on); each part names the other, and states the gap between them.
    Every part verifies, replays and exports by itself. Rules are armed as at any start: look at the animal first.
    """
    from ..cli import finish_run
    from ..resume import plan_resume
    from ..resume import resume as resume_session
    from ..terminal import make_display

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=1.0)
        plan = plan_resume(recording, lambda what, part: bar.update(task, description=what, completed=min(1.0, part)))
    if plan.repaired:
        typer.echo(f"{recording}: was torn and has been repaired; `ethostream verify {recording}` says what it lacks")
    typer.echo(f"part {plan.part.recorder['part']} is recorded into {plan.part.folder}")
    display = make_display(plan.run, headless=headless)
    result: RunResult = resume_session(recording, plan, display, seconds or None, report)
    finish_run(result)
