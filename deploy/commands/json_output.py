"""Where ``--json`` writes to."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is stdout.")
]


def to_stdout(path: Path | None) -> bool:
    """Whether the JSON goes to stdout, so that words must go elsewhere."""
    return str(path) == "-"


def write_result(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` to ``path``, or to stdout for ``-``.

    Raises:
        ReportError: it cannot be written.
    """
    if to_stdout(path):
        typer.echo(json.dumps(value, indent=2, sort_keys=True))
        return
    from ..report import write_json

    write_json(path, value)
