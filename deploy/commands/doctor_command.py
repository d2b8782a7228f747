"""``ethostream doctor``: is this machine fit for a rig, and does this rig fit it?"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .json_output import JsonOption, to_stdout, write_result

if TYPE_CHECKING:
    from rich.table import Table

    from ..doctor_finding import Finding

_MARKS = {"ok": ("OK", "green"), "warning": ("LOOK", "bold yellow"), "error": ("WRONG", "bold red")}


def doctor(
    rig: Annotated[
        Path | None, typer.Argument(metavar="[RIG.yaml]", help="Also look whether this rig fits; opens its cameras.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the recordings, whose disk is measured.")] = Path("recordings"),
    json_path: JsonOption = None,
) -> None:
    """Look at this machine with a rig's eyes, and say how to mend what is wrong.

    Cores and their load, the clock, shared memory, the disk (64 MiB are written and removed), network and USB settings,
    limits, GPU, what a model really runs on, and what is installed. Nothing is changed.

    With a rig file its cameras are opened, the bandwidth of each link that they name is summed (one 1080p60 Mono8
    camera sends 995 Mbit/s, and GigE carries about 940), and the rings and the recording are held against memory and
    disk. Green is well, yellow may hurt, red will.

    Exit status 2 when the rig cannot fit this machine, 1 when anything else is red.
    """
    from rich.console import Console

    from ...sync.clock import ClockAnchor, RigClock
    from ...sync.errors import ConfigError
    from ..config import load_run
    from ..doctor import Machine, diagnose

    config = None if rig is None else load_run(rig).rig
    console = Console(highlight=False, stderr=to_stdout(json_path))
    with console.status("looking ...") as status:
        clock = RigClock(ClockAnchor.take())
        findings = diagnose(Machine.this(), config, out, clock, lambda what: status.update(f"looking at: {what} ..."))
    refusing = [one for one in findings if one.refuses]
    if json_path is not None:
        result = {"fits": not refusing, "findings": [one.to_json() for one in findings]}
        write_result(json_path, result if rig is not None else {"findings": result["findings"]})
    console.print(_table(findings))
    console.print(_verdict(findings), highlight=False)
    if refusing:
        lines = [f"{one.topic}: {one.text}. {one.cure}" for one in refusing]
        raise ConfigError(f"{rig}: cannot run on this machine as it stands:\n" + "\n".join(lines))
    if any(one.level == "error" for one in findings):
        raise typer.Exit(1)


def _table(findings: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        word, style = _MARKS[one.level]
        text = Text(one.text)
        if one.cure:
            text.append("\nmend: ", style="bold").append(one.cure, style="cyan")
        table.add_row(Text(word, style=style), one.topic, text)
    return table


def _verdict(findings: "list[Finding]") -> str:
    count = Counter(one.level for one in findings)
    parts = [f"[green]{count['ok']} well[/]"]
    if count["warning"]:
        parts.append(f"[yellow]{count['warning']} to look at[/]")
    if count["error"]:
        parts.append(f"[red]{count['error']} wrong[/]")
    return ", ".join(parts)
