"""``ethostream report``: one page about a recording."""

from pathlib import Path
from typing import Annotated

import typer

from .json_output import JsonOption, require_writable, to_stdout, write_result


def report(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The page; default: report.html in the recording.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Draw a recording on one page: latency, frames, behaviour, and every rule's decisions.

    The page needs nothing beside it, and can be mailed. It shows the latency histogram that the recorder kept, what
    became of every frame, the bouts of each behaviour over time, and of each rule when it fired, was sham, or was
    withheld and why. --json writes the same numbers: the report, and the decisions by rule.

    Example: `ethostream report recordings/RECORDING --out session.html`
    """
    from rich.console import Console
    from rich.progress import Progress

    from ...streaming.recording_reader import Recording
    from ..calibration_report import write_page
    from ..recording_digest import digest_recording
    from ..recording_page import recording_page

    path = out or recording / "report.html"
    opened = Recording.open(recording)
    require_writable(path, "--out")
    require_writable(json_path)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        digest = digest_recording(opened, lambda part: bar.update(task, completed=part))
    write_page(path, recording_page(digest))
    if json_path is not None:
        bouts = {name: len(each) for name, each in digest.bouts.items()}
        write_result(json_path, {"page": str(path), "report": digest.report, "rules": digest.rules, "bouts": bouts})
    if not to_stdout(json_path):
        typer.echo(str(path))
