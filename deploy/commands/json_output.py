"""Where ``--json`` and other results are written to."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...sync.errors import ConfigError

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is stdout.")
]


def to_stdout(path: Path | None) -> bool:
    """Whether the JSON goes to stdout, so that words must go elsewhere."""
    return str(path) == "-"


def require_writable(path: Path | None, option: str = "--json") -> None:
    """Better now than after an hour of work; None and ``-`` pass.

    Raises:
        ConfigError: the folder of ``path`` does not exist, or ``path`` is a folder itself.
    """
    if path is None or to_stdout(path):
        return
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"{option} {path}: the folder {path.resolve().parent} does not exist; make it first")
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a folder; name a file in it")


def write_result(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` to ``path``, or to stdout for ``-``.

    Raises:
        ReportError: it cannot be written.
    """
    if to_stdout(path):
        typer.echo(json.dumps(value, indent=2, sort_keys=True, allow_nan=False))
        return
    from ..report import write_json

    write_json(path, value)
