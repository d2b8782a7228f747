"""``ethostream bundle export``: the bundle of a training, made anew from its run folder."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...sync.errors import ConfigError
from .folder_options import needs_extra
from .json_output import JsonOption, require_writable, to_stdout, write_result


def bundle_export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What `train` wrote beside its bundle: BUNDLE.run.")],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the bundle to make.")],
    precision: Annotated[
        str | None, typer.Option(help="Of the embedder: float32 or int8; else as the training file says.")
    ] = None,
    opset: Annotated[int | None, typer.Option(min=18, max=23, help="Version of the ONNX operators; 20.")] = None,
    calibration_frames: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="For int8; else as the training file says.")
    ] = None,
    max_score_loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="For int8: lost balanced accuracy above which nothing is written."),
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(min=7, max=8, help="For int8; 7 for processors without VNNI.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For int8: where the recordings are now, if not where they were."),
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Make the bundle of a training again: with another precision or opset, or because it was lost.

    The run folder keeps the weights, the manifest and some input. The graphs are exported anew and must compute what
    was trained, step by step and as a whole, within a relative error of 1e-5; otherwise no bundle is written (exit
    status 7). Without options the result is the bundle that `train` wrote. A float32 bundle needs none of the
    recordings; an int8 one is calibrated and scored on them, as by `ethostream quantise`. Options that matter to int8
    alone are refused with a float32 bundle.

    Example: `ethostream bundle export bundles/mine.run --out bundles/mine-again --opset 18`
    """
    require_writable(json_path)
    if out.resolve() == run.resolve():
        raise ConfigError(f"--out {out}: is the run folder; give the bundle a folder of its own")
    options: dict[str, Any] = {
        "precision": precision_of(precision),
        "calibration_frames": calibration_frames,
        "max_score_loss": max_score_loss,
        "weight_bits": weight_bits,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with needs_extra("train"):
        from ...training.export.graphs import OPSET
        from ...training.runs.export_run import export_run
        from ..terminal import print_result

        result = export_run(run, out, given, OPSET if opset is None else opset, data, to_stdout(json_path))
    if json_path is not None:
        write_result(json_path, result)
    if not to_stdout(json_path):
        from rich.console import Console

        from ...inference.precision import Quantisation
        from ..precision_table import print_precision

        print_result({name: value for name, value in result.items() if name != "quantisation"})
        if "quantisation" in result:
            print_precision(Quantisation.model_validate(result["quantisation"]), Console(highlight=False))


def precision_of(asked: str | None) -> Literal["float32", "int8"] | None:
    """What ``--precision`` says.

    Raises:
        ConfigError: something else.
    """
    if asked is None or asked == "float32" or asked == "int8":
        return asked
    raise ConfigError(f"--precision {asked}: float32 or int8; half precision is the task file's `gpu.precision`")
