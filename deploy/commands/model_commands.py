"""``ethostream train``, ``evaluate``, ``predict`` and ``bundle``: models, from labels to bundles."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ...sync.errors import ConfigError
from .json_output import JsonOption, require_writable, to_stdout, write_result

bundle_app = typer.Typer(help="Look into model bundles.", no_args_is_help=True)

DataOption = Annotated[Path | None, typer.Option(help="Folder that relative data paths of the file start from.")]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Data, model and fit.")],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the bundle to make.")],
    data: DataOption = None,
    json_path: JsonOption = None,
) -> None:
    """Train a causal model on labelled video or simulated sessions, score it and export it as a bundle."""
    require_writable(json_path)
    with _extra("train"):
        from ...training.train import train as train_bundle

    _show(train_bundle(config, out, data, quiet=to_stdout(json_path)), json_path)


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The file that names data and split.")],
    data: DataOption = None,
    json_path: JsonOption = None,
) -> None:
    """Score a bundle on the held-out part of a data set, through the very pipeline that runs live."""
    require_writable(json_path)
    with _extra("train"):
        from ...training.evaluate import evaluate as evaluate_bundle

    _show(evaluate_bundle(bundle, config, data), json_path)


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    video: Annotated[Path, typer.Argument(metavar="VIDEO")],
    out: Annotated[Path, typer.Option(metavar="CSV", help="One row per frame: frame, time_s, behaviour, p_CLASS ...")],
    json_path: JsonOption = None,
) -> None:
    """Name the behaviour in every frame of a video file."""
    require_writable(json_path)
    from ...training.predict import predict as predict_csv

    _show(predict_csv(bundle, video, out), json_path)


@bundle_app.command("info")
def bundle_info(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder, zip, or the name of a shipped one: demo.")],
    json_path: JsonOption = None,
) -> None:
    """Say what a model is, what it wants and how well it did; checks every hash and runs its self-test."""
    from ...inference.bundle import Bundle
    from ...inference.bundled import resolve_bundle
    from ..terminal import print_bundle

    loaded = Bundle.load(resolve_bundle(bundle))
    if json_path is not None:
        write_result(json_path, {"identity": loaded.identity, **loaded.manifest.model_dump(mode="json", by_alias=True)})
    if not to_stdout(json_path):
        print_bundle(loaded)


@contextmanager
def _extra(name: str) -> Generator[None]:
    """Say which extra brings what is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'ethostream[{name}]' brings it") from error


def _show(result: dict[str, Any], json_path: Path | None) -> None:
    from rich.console import Console

    from ...inference.precision import Quantisation
    from ..precision_table import print_precision
    from ..terminal import print_result

    if json_path is not None:
        write_result(json_path, result)
    if not to_stdout(json_path):
        print_result({name: value for name, value in result.items() if name != "quantisation"})
        if "quantisation" in result:
            print_precision(Quantisation.model_validate(result["quantisation"]), Console(highlight=False))
