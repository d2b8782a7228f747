"""``ethostream quantise``: an int8 bundle of a float32 one, with what it costs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ...sync.errors import ConfigError, ScoreLossError
from .json_output import JsonOption, require_writable, to_stdout, write_result


def quantise(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Float32: folder, zip, or a shipped one: demo.")],
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.yaml", help="Training file: its train part calibrates, its validation part decides."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the int8 bundle to make.")],
    data: Annotated[Path | None, typer.Option(help="Folder that relative data paths of the file start from.")] = None,
    calibration_frames: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Frames of the train part, spread evenly; the file's, or 256."),
    ] = None,
    max_score_loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lost balanced accuracy above which nothing is written; the file's, or 0.01."),
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(min=7, max=8, help="7 for processors without VNNI; the file's, or 8.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Make a bundle with an int8 embedder of one with a float32 embedder, and measure what that costs.

    The ranges of the activations come from crops of training recordings. Then both embedders run through the whole
    pipeline over the validation part. When int8 loses more balanced accuracy there than --max-score-loss, before or
    after the stabiliser, no bundle is written (exit status 7). Otherwise both run over the test part, once, and in turn
    over the same crops for their times. Scores, agreement of the labels and times are printed and written into the
    bundle. Without a validation part the test part decides.

    int8 is for the CPU. A large network gains, a small one may become slower: the table says which.

    Example: `ethostream quantise bundles/cage train.yaml --out bundles/cage-int8`
    """
    require_writable(json_path)
    try:
        from ...training.quantisation.quantise import quantise as quantise_bundle
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'ethostream[train]' brings it") from error
    from rich.console import Console

    from ...inference.precision import PrecisionJudgement
    from ..precision_table import print_judgement, print_precision

    options = {
        "calibration_frames": calibration_frames,
        "max_score_loss": max_score_loss,
        "weight_bits": weight_bits,
    }
    given = {name: value for name, value in options.items() if value is not None}
    judged: list[PrecisionJudgement] = []
    console = Console(highlight=False, quiet=to_stdout(json_path))
    result: dict[str, Any] = {"schema": 1, "bundle": None, "out": None, "quantisation": None, "evaluation": None}
    try:
        made = quantise_bundle(bundle, config, data, given, quiet=to_stdout(json_path), judged=judged.append)
    except ScoreLossError:
        print_judgement(judged[0], console)
        if json_path is not None:
            write_result(json_path, result | {"judged": judged[0].model_dump(mode="json")})
        raise
    print_precision(made.record, console)
    identity = made.write(out)
    if json_path is not None:
        result |= {
            "bundle": identity,
            "out": str(out),
            "quantisation": made.record.model_dump(mode="json"),
            "evaluation": made.evaluation | {"bundle": identity},
            "judged": judged[0].model_dump(mode="json"),
        }
        write_result(json_path, result)
    if not to_stdout(json_path):
        typer.echo(f"{identity} written to {out}")
