"""``ethostream align``: the frames of a recording on the clock of another device."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .json_output import JsonOption, to_stdout, write_result


def align(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording folder.")],
    pulses: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Pulses of the other device: CSV, .npy, .npz, .smr, .tdms, or a folder of Open Ephys."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="TABLE.csv", help="One row per frame; pulses go to TABLE.pulses.csv.")],
    camera: Annotated[str, typer.Option(metavar="CAM", help="Which camera, or `all`.")] = "all",
    channel: Annotated[str, typer.Option(metavar="C", help="Channel, column, array or line of the file.")] = "",
    rate: Annotated[
        float | None, typer.Option(min=0, metavar="HZ", help="Samples per second, where the file does not say it.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="V", help="Of a voltage; default: halfway between its two levels.")
    ] = None,
    hysteresis: Annotated[
        float | None, typer.Option(min=0, metavar="V", help="Width of the band around the threshold.")
    ] = None,
    edge: Annotated[Literal["rising", "falling"], typer.Option(help="Which edge a frame begins at.")] = "rising",
    first_frame_is_pulse: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Declare the pulse of the first frame, counted from 0.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png|svg", help="Draw the residuals.")] = None,
    json_path: JsonOption = None,
) -> None:
    """Say when each frame was on another device's clock, from the camera pulses that it recorded.

    Pulses and frames are matched by the pattern of their intervals, never by counting: missing pulses, glitches, lost
    frames, a late start and two clocks that drift apart are found and named. Where the pattern fits in more than one
    place (a perfectly periodic train does), nothing is guessed: declare the first frame's pulse, if you know it.

    Example: `ethostream align rec --pulses ephys.csv --channel camera_s --out frames.csv`
    """
    from rich.console import Console
    from rich.progress import track

    from ...streaming.alignment_table import ALIGNMENT_SCHEMA, align_camera, write_tables
    from ...streaming.recording_reader import Recording
    from ...sync.pulse_files import ReadOptions, read_pulses
    from ..canvas import require_picture
    from ..terminal import print_result

    require_picture(plot)
    opened = Recording.open(recording)
    cameras = list(opened.info.cameras) if camera == "all" else [camera]
    read = read_pulses(pulses, ReadOptions(channel, rate, threshold, hysteresis, edge))
    bar = track(cameras, "aligning", console=Console(stderr=True), transient=True)
    found = [align_camera(opened, name, read, first_frame_is_pulse) for name in bar]
    written = write_tables(out, found)
    if plot is not None:
        from ..alignment_plot import write_plot

        write_plot(plot, found)
        written.append(plot)
    result: dict[str, Any] = {
        "schema": ALIGNMENT_SCHEMA,
        "recording": str(recording),
        "pulses": {
            "source": read.source,
            "n": len(read.times_s),
            "threshold": read.threshold,
            "hysteresis": read.hysteresis,
        },
        "cameras": {one.camera: one.summary() for one in found},
        "look": [words for one in found for words in one.words()],
        "written": [str(path) for path in written],
    }
    if json_path is not None:
        write_result(json_path, result)
    if not to_stdout(json_path):
        for words in result["look"]:
            typer.echo(words)
        print_result({one.camera: _short(one.summary()) for one in found})
        typer.echo(f"written: {', '.join(result['written'])}")


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    """One row of the printed table: lists become counts."""
    shown = ("frames", "paired", "frames_without_pulse", "pulses_without_frame", "drift_ppm")
    row = {key: len(summary[key]) if isinstance(summary[key], list) else summary[key] for key in shown}
    return {**row, **{f"residual_{key}_us": value for key, value in summary["residual_us"].items()}}
