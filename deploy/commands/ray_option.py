"""``--ray`` of the commands that do folds."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from .folder_options import needs_extra

if TYPE_CHECKING:
    from ...training.config.fit import FitConfig
    from ...training.runs.ray_folds import RayFolds

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Do the folds by Ray: HOST:PORT of a cluster, `auto` for the one on this machine, `local` to start one.",
    ),
]


def require_ray(address: str | None) -> None:
    """Better now than after the recordings were read.

    Raises:
        ConfigError: Ray is asked for and not installed.
    """
    with needs_extra("ray"):
        if address is not None and find_spec("ray") is None:
            raise ModuleNotFoundError(name="ray")


@contextmanager
def opened_ray(address: str | None, fit: "FitConfig", quiet: bool) -> Generator["RayFolds | None"]:
    """A connection to Ray for the time being; None where none is asked for.

    Raises:
        ConfigError: Ray cannot be reached, or has no room for a fold.
    """
    if address is None:
        yield None
        return
    from rich.console import Console

    from ...training.runs.ray_folds import RayFolds

    with RayFolds(address, fit, Console(stderr=True, quiet=quiet, highlight=False)) as ray:
        yield ray
