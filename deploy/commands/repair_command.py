"""``ethostream repair``: close a recording that a crash or a power cut has left open."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from ...sync.errors import UndeclaredLossError
from .json_output import JsonOption, to_stdout, write_result


def repair(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    keep_torn: Annotated[
        bool, typer.Option("--keep-torn/--delete-torn", help="Keep the torn files in torn/, or delete them at the end.")
    ] = True,
    json_path: JsonOption = None,
) -> None:
    """Close a recording that a crash or a power cut has left open, and say what it lacks.

    Every whole message and every whole video frame is kept, bit for bit; nothing is encoded again. Frames that were
    taken and are not in the video are declared as lost, so that the recording verifies, replays and exports like any
    other. The torn files are kept in `torn/` inside the recording.

    It is harmless on a whole recording, and a second time; one that is cut off itself is taken up by the next. It
    refuses while the recorder is at work.
    """
    from ...streaming.repair import repair as repair_recording
    from ...streaming.verify import verify
    from ..terminal import print_verified

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=1.0)
        result = repair_recording(
            recording,
            keep_torn=keep_torn,
            on_progress=lambda what, part: bar.update(task, description=what, completed=min(1.0, part)),
        )
        bar.update(task, description="verifying", completed=1.0)
        verified = verify(recording)
    if json_path is not None:
        write_result(json_path, {**result.to_json(), "verified": verified.to_json()})
    if not to_stdout(json_path):
        words = {
            "whole": "it was closed in order; nothing to repair",
            "repaired": "repaired",
            "finished": "an earlier repair that was cut off has been brought to its end",
        }
        typer.echo(f"{recording}: {words[result.state]}")
        print_verified(verified)
    if not verified.ok:
        raise UndeclaredLossError(f"{recording}: does not verify")
