"""``ethostream train``, ``evaluate``, ``predict`` and ``bundle``: models, from labels to bundles."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...sync.errors import ConfigError
from .cache_option import CacheOption, opened_cache, print_account
from .folder_options import (
    DataOption,
    FpsOption,
    GroupOption,
    IgnoreOption,
    PresetOption,
    SetOption,
    StreamOption,
    load_training,
    needs_extra,
    refuse_with_config,
)
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from ...training.runs.evaluate_pose import PoseEvaluation
    from ...training.runs.evaluate_video import VideoEvaluation

bundle_app = typer.Typer(help="Look into model bundles.", no_args_is_help=True)


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Data, model and fit.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder of the bundle to make.")] = Path("bundle"),
    preset: PresetOption = None,
    data: DataOption = None,
    stream: StreamOption = None,
    fps: FpsOption = None,
    ignore: IgnoreOption = None,
    group_by: GroupOption = None,
    overrides: SetOption = None,
    cache: CacheOption = None,
    json_path: JsonOption = None,
) -> None:
    """Train a causal model on labelled video, simulated sessions or keypoints, score it, export it as a bundle.

    What to do stands in CONFIG.yaml, or comes from a preset and a folder of recordings. What is odd about the data is
    printed first. Beside the bundle, BUNDLE.run keeps the resolved training file, the command that repeats the run,
    the numbers of every epoch, answers and scores. A run that was killed goes on with the same command.

    Examples: `ethostream train train.yaml --out bundles/mine`,
    `ethostream train --preset pose-tcn --data recordings --stream S1 --out bundles/social`
    """
    require_writable(json_path)
    quiet = to_stdout(json_path)
    with needs_extra("train"):
        loaded, root, notes = load_training(config, preset, data, stream, fps, ignore, group_by, overrides)
        kept = opened_cache(cache)
        if loaded.is_pose:
            from ...training.runs.train_pose import train_pose

            result = train_pose(loaded, root, out, quiet, notes, kept)
        else:
            from ...training.runs.train_video import train_video

            result = train_video(loaded, root, out, quiet, notes, cache=kept)
        if not quiet:
            print_account(result.get("cache"))
    _show(result, json_path)


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG.yaml]", help="A training file: its test part is scored.", show_default=False),
    ] = None,
    data: DataOption = None,
    stream: StreamOption = None,
    fps: FpsOption = None,
    ignore: IgnoreOption = None,
    group_by: GroupOption = None,
    cache: CacheOption = None,
    json_path: JsonOption = None,
) -> None:
    """Score a bundle on recordings that it has not seen, through the very steps that run live.

    With CONFIG.yaml the test part of that file is scored. Without it, every labelled recording of the folder of --data
    that the bundle has not learnt from; where it has learnt from all of them they are scored all the same, and the
    result says so. Top-level scores are those of the stabilised label, `raw` those of the most probable class.

    Examples: `ethostream evaluate bundles/mine train.yaml --json scores.json`,
    `ethostream evaluate bundles/social --data recordings --stream S1 --json scores.json`,
    `ethostream evaluate video-default --data recordings --json scores.json`
    """
    require_writable(json_path)
    kept = opened_cache(cache)
    if config is not None:
        refuse_with_config(stream=stream, fps=fps, ignore=ignore, group_by=group_by)
        from ...training.config.training_file import load_config

        loaded, root = load_config(config, data)
        if not loaded.is_pose:
            from ...training.runs.evaluate_video import evaluate_config as evaluate_video

            _show_evaluation(evaluate_video(bundle, loaded, root, to_stdout(json_path)), json_path)
            return
        from ...training.runs.evaluate_pose import evaluate_config

        with _recordings_bar(len(loaded.data), to_stdout(json_path)) as progress:
            found = evaluate_config(bundle, loaded, root, progress, kept)
    else:
        if data is None:
            raise ConfigError("evaluate: needs CONFIG.yaml, or the folder of the recordings with --data")
        from ...inference.bundled import resolve_bundle
        from ...training.data.layouts import FolderOptions, find_dataset
        from ...training.runs.evaluate_pose import evaluate_folder
        from ...training.runs.evaluate_video_folder import evaluate_folder as evaluate_videos
        from ...training.runs.predict_pose import takes_pose

        dataset = find_dataset(data, FolderOptions(stream, fps, ignore, group_by))
        if not takes_pose(resolve_bundle(bundle)):
            _show_evaluation(evaluate_videos(bundle, dataset, to_stdout(json_path)), json_path)
            return
        with _recordings_bar(len(dataset.entries), to_stdout(json_path)) as progress:
            found = evaluate_folder(bundle, dataset, progress, kept)
    if kept is not None and not to_stdout(json_path):
        print_account(kept.to_dict())
    _show_evaluation(found, json_path)


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    recording: Annotated[
        Path, typer.Argument(metavar="VIDEO|POSE", help="A video, or for a bundle of keypoints a file of a tracker.")
    ],
    out: Annotated[Path, typer.Option(metavar="CSV", help="One row per frame: frame, time_s, behaviour, p_CLASS ...")],
    fps: FpsOption = None,
    json_path: JsonOption = None,
) -> None:
    """Name the behaviour in every frame of a video file, or of a file of keypoints.

    Keypoints are read from DeepLabCut (.csv, .h5) and SLEAP (.slp, .h5). Where such a file does not state its frame
    rate and --fps does not either, that of the model is assumed, and the result says so.

    Examples: `ethostream predict video-default mouse.mp4 --out behaviour.csv`,
    `ethostream predict bundles/social session_12.csv --fps 30 --out behaviour.csv`
    """
    require_writable(json_path)
    from ...inference.bundled import resolve_bundle
    from ...training.runs.predict_pose import takes_pose

    if takes_pose(resolve_bundle(bundle)):
        from ...training.runs.predict_pose import predict_pose

        result = predict_pose(bundle, recording, out, fps)
        if result["rate_assumed"]:
            typer.echo(
                f"assumed: {result['rate_hz']:g} frames/s, as the model has; the file does not say (--fps)",
                err=True,
            )
    else:
        if fps is not None:
            raise ConfigError("--fps: goes with files of keypoints; a video states its rate itself")
        if recording.suffix.lower() in (".csv", ".h5", ".slp"):
            raise ConfigError(
                f"{recording}: is a file of a tracker, and bundle {bundle} takes video; give a video, or a bundle of "
                "keypoints"
            )
        from ...training.runs.predict_video import predict as predict_csv

        result = predict_csv(bundle, recording, out)
    _show(result, json_path)


@bundle_app.command("info")
def bundle_info(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder, zip, or the name of a shipped one: demo.")],
    json_path: JsonOption = None,
) -> None:
    """Say what a model is, what it wants and how well it did; checks every hash and runs its self-test."""
    from ...inference.bundle import Bundle
    from ...inference.bundled import resolve_bundle
    from ..terminal import print_bundle

    loaded = Bundle.load(resolve_bundle(bundle), max_look_ahead_frames=None)
    if json_path is not None:
        write_result(json_path, {"identity": loaded.identity, **loaded.manifest.model_dump(mode="json", by_alias=True)})
    if not to_stdout(json_path):
        print_bundle(loaded)


@contextmanager
def _recordings_bar(n_recordings: int, quiet: bool) -> Generator[Callable[[str], None]]:
    """A bar over recordings that are read one after the other and then scored; told the name of each, twice."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task("recordings", total=2 * n_recordings)
        yield lambda name: progress.update(task, description=name, advance=1)


def _show_evaluation(found: "PoseEvaluation | VideoEvaluation", json_path: Path | None) -> None:
    from rich.console import Console

    from ...training.data.checks import print_check

    console = Console(stderr=True, highlight=False)
    if not to_stdout(json_path):
        print_check(found.check, console)
    if found.warning:
        console.print(found.warning, style="bold red", markup=False)
    _show(found.record, json_path)


def _show(result: dict[str, Any], json_path: Path | None) -> None:
    from rich.console import Console

    from ...inference.precision import Quantisation
    from ..precision_table import print_precision
    from ..scores_table import fit_in_short
    from ..terminal import print_result

    if json_path is not None:
        write_result(json_path, result)
    if not to_stdout(json_path):
        shown = {name: value for name, value in result.items() if name not in ("quantisation", "cache", "unchosen")}
        print_result(shown | ({"fit": fit_in_short(shown["fit"])} if "fit" in shown else {}))
        if "quantisation" in result:
            print_precision(Quantisation.model_validate(result["quantisation"]), Console(highlight=False))
