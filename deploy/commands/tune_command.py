"""``ethostream tune``: the stabiliser with the least delay that is wrong seldom enough."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...sync.errors import ConfigError, DataError
from .folder_options import FpsOption, GroupOption, IgnoreOption, StreamOption, refuse_with_config
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from rich.progress import Progress

    from ...inference.bundle import Bundle
    from ...training.config.training_file import TrainConfig
    from ...training.data.dataset_file import Dataset
    from ...training.stabilising.raw_answers import RawAnswers
    from ...training.stabilising.target import Target
    from ...training.stabilising.tune import Tuning


def tune(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder, zip, or the name of a shipped one: demo.")],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE.yaml|FOLDER",
            help="Labelled recordings: a training file, as for `evaluate`; for a bundle of keypoints also a folder.",
        ),
    ],
    target: Annotated[
        str, typer.Option(help="What must be reached: `false triggers/h`, `recall`, `delay p50`, joined by `and`.")
    ] = "false triggers/h <= 2",
    rule_behavior: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask the target of this behaviour alone; else of every one.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="TASK.yaml", help="Write the choice into this task file, as `stabiliser`.")
    ] = None,
    tolerance_ms: Annotated[
        float, typer.Option(min=0, help="A trigger without a true bout this close is false.")
    ] = 500.0,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that relative paths of the data file start from.")
    ] = None,
    stream: StreamOption = None,
    fps: FpsOption = None,
    ignore: IgnoreOption = None,
    group_by: GroupOption = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png|svg", help="Draw delay against false triggers per hour.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Choose a stabiliser from labelled recordings: the least delay that meets a target.

    The model runs once over the recordings; then every stabiliser of a grid runs over its probabilities. A trigger is
    an onset of the stabilised label. It is false where no true bout of its behaviour lies within the tolerance; its
    delay is its time after the true onset. The choice is made on the validation part of the data and reported on the
    test part. Of a folder half of the recordings that the bundle has not learnt from is chosen on, the other half
    reported on. Printed are the stabilisers that no other beats in both delay and false triggers.

    Examples: `ethostream tune demo --data train.yaml --target "false triggers/h <= 2 and recall >= 0.9"
    --rule-behavior rear --write task.yaml`, `ethostream tune bundles/social --data recordings --stream S1`
    """
    from ..canvas import require_picture

    require_writable(json_path)
    require_writable(plot, "--plot")
    require_picture(plot)
    from rich.console import Console
    from rich.progress import Progress

    from ...inference.bundle import Bundle
    from ...inference.bundled import resolve_bundle
    from ...training.config.training_file import load_config
    from ...training.data.dataset_file import DATASET_FILE
    from ...training.data.layouts import FolderOptions, find_dataset
    from ...training.stabilising.grid import as_options, in_short
    from ...training.stabilising.target import parse_target
    from ...training.stabilising.tune import split_in_words
    from ..task_edit import require_editable, write_key

    wanted = parse_target(target)
    if write is not None:
        require_editable(write, "stabiliser")
    folder = data.is_dir() or data.name == DATASET_FILE
    if not folder:
        refuse_with_config(stream=stream, fps=fps, ignore=ignore, group_by=group_by)
    config, root = (None, data) if folder else load_config(data, data_root)
    loaded = Bundle.load(resolve_bundle(bundle), max_look_ahead_frames=None)
    if rule_behavior is not None and rule_behavior not in loaded.manifest.classes:
        raise ConfigError(f"--rule-behavior {rule_behavior}: the bundle knows {', '.join(loaded.manifest.classes)}")
    console = Console(stderr=True)
    doubtful: list[str] = []
    with Progress(console=console, disable=to_stdout(json_path) or not console.is_terminal, transient=True) as progress:
        if config is None:
            dataset = find_dataset(data, FolderOptions(stream, fps, ignore, group_by))
            answers, doubtful = _folder_answers(loaded, dataset, progress)
        elif config.is_pose:
            answers = _pose_answers(loaded, config, root, progress)
        else:
            answers = _video_answers(loaded, config, root, progress)
        if doubtful:
            console.print(
                f"! perhaps learnt from: {', '.join(doubtful)}. The bundle has learnt from recordings of the same name "
                "and number of frames, whose files were others; if they are the same sessions, the stabiliser that is "
                "chosen will be too quick",
                style="yellow",
                markup=False,
            )
        found = _run(loaded, answers, wanted, tolerance_ms, rule_behavior, progress)
    split = split_in_words(found, config)
    result = _result(found, loaded.identity, target, tolerance_ms, split) | {"doubtful": doubtful}
    if json_path is not None:
        write_result(json_path, result)
    if not to_stdout(json_path):
        _print(found, target, tolerance_ms, split)
    if plot is not None:
        _plot(plot, found, loaded.identity)
    if found.chosen is None:
        raise DataError(
            f"no stabiliser of {len(found.candidates)} meets {target!r} on {', '.join(found.choice)}; ask for less, "
            "or for a single behaviour with --rule-behavior, or train a better model"
        )
    if write is not None:
        comment = f"ethostream tune: {target}; {', '.join(found.behaviors)}; {in_short(found.chosen.config)}"
        write_key(write, "stabiliser", as_options(found.chosen.config), " ".join(comment.split()))
        if not to_stdout(json_path):
            typer.echo(f"written into {write}")


def _video_answers(loaded: "Bundle", config: "TrainConfig", root: Path, progress: "Progress") -> "list[RawAnswers]":
    """What a bundle of video says of the recordings of a training file."""
    from ...training.answers.learnt_frames import refuse_learnt
    from ...training.answers.of_video import refuse_classes
    from ...training.data.video_sources import open_sources
    from ...training.stabilising.raw_answers import raw_answers

    _refuse_input(loaded, pose=False)
    refuse_classes(loaded, config)
    sources = [one for one in open_sources(config, root) if one.part != "train"]
    refuse_learnt(loaded.manifest, config, sources)
    bar = progress.add_task("model", total=sum(one.n_frames for one in sources))
    found = [raw_answers(loaded, config, one, lambda n: progress.advance(bar, n)) for one in sources]
    return [one for one in found if one is not None]


def _pose_answers(loaded: "Bundle", config: "TrainConfig", root: Path, progress: "Progress") -> "list[RawAnswers]":
    """What a bundle of keypoints says of the recordings of a training file."""
    from ...training.answers.of_video import refuse_classes
    from ...training.data.bundle_recordings import BundleRecordings
    from ...training.stabilising.raw_answers import raw_answers_of_file

    _refuse_input(loaded, pose=True)
    refuse_classes(loaded, config)
    show, advance = _bar(progress, len(config.data))
    recordings = BundleRecordings.of_file(loaded.manifest, config, root)
    return raw_answers_of_file(loaded, recordings.each(show), config.split, advance)


def _folder_answers(loaded: "Bundle", dataset: "Dataset", progress: "Progress") -> "tuple[list[RawAnswers], list[str]]":
    """What a bundle of keypoints says of the recordings of a folder, and which of them it may have learnt from."""
    from ...training.data.bundle_recordings import BundleRecordings
    from ...training.stabilising.raw_answers import raw_answers_of_folder

    _refuse_input(loaded, pose=True)
    show, advance = _bar(progress, len(dataset.entries))
    return raw_answers_of_folder(loaded, BundleRecordings.of_folder(loaded.manifest, dataset).each(show), advance)


def _bar(progress: "Progress", n_recordings: int) -> tuple[Callable[[str], None], Callable[[int], None]]:
    """A bar over recordings; told the name of one when it is read, and when it is done."""
    bar = progress.add_task("recordings", total=n_recordings)

    def show(name: str) -> None:
        progress.update(bar, description=name)

    def advance(n: int) -> None:
        progress.advance(bar, n)

    return show, advance


def _refuse_input(loaded: "Bundle", pose: bool) -> None:
    if loaded.manifest.takes_pose != pose:
        takes, given = ("video", "keypoints") if pose else ("keypoints", "video")
        raise ConfigError(
            f"bundle {loaded.manifest.name!r} takes {takes}, and the recordings are of {given}; give others with --data"
        )


def _run(
    loaded: "Bundle",
    answers: "list[RawAnswers]",
    wanted: "Target",
    tolerance_ms: float,
    rule_behavior: str | None,
    progress: "Progress",
) -> "Tuning":
    from ...training.stabilising.grid import stabiliser_grid
    from ...training.stabilising.tune import tune

    grid = progress.add_task("stabilisers", total=1 + len(stabiliser_grid()))
    return tune(
        list(loaded.manifest.classes),
        loaded.manifest.stabiliser,
        answers,
        wanted,
        tolerance_ms,
        rule_behavior,
        lambda n: progress.advance(grid, n),
    )


def _result(found: "Tuning", identity: str, target: str, tolerance_ms: float, split: str) -> dict[str, Any]:
    from ...training.scores.onsets import pooled
    from ...training.stabilising.tune import upper_bound_per_hour

    reported = None
    if found.chosen is not None:
        reported = {
            name: one.to_dict() | {"false_per_hour_upper_95": upper_bound_per_hour(one)}
            for name, one in found.reported.items()
        }
        together = pooled(found.reported.values())
        reported = {
            "delay_p50_ms": together.delay_ms(50),
            "delay_p99_ms": together.delay_ms(99),
            "per_behavior": reported,
        }
    return {
        "schema": 1,
        "bundle": identity,
        "target": target,
        "tolerance_ms": tolerance_ms,
        "behaviors": found.behaviors,
        "chosen_on": found.choice,
        "reported_on": found.report,
        "same_data": found.same_data,
        "split": split,
        "chosen": None if found.chosen is None else found.chosen.to_dict(),
        "reported": reported,
        "front": [one.to_dict()["in_short"] for one in found.front],
        "bundle_default": found.candidates[0].to_dict(),
        "candidates": [one.to_dict() for one in found.candidates],
    }


def _print(found: "Tuning", target: str, tolerance_ms: float, split: str) -> None:
    from rich.console import Console

    from ...training.stabilising.grid import in_short
    from ...training.stabilising.tune import upper_bound_per_hour
    from ..number_table import NumberTable

    console = Console(highlight=False)
    table = NumberTable("stabiliser", "p50", "p99", "false/h", *found.behaviors)
    shown = [("bundle's own: ", found.candidates[0]), *(("", one) for one in found.front)]
    for prefix, one in shown:
        row = one.to_dict()
        recalls = [scores.recall for scores in one.scores.values()]
        cells = [row["delay_p50_ms"], row["delay_p99_ms"], row["false_per_hour"]]
        mark, style = ("-> ", "bold") if one is found.chosen else ("", "")
        table.add_row(
            mark + prefix + row["in_short"],
            *(_number(value) for value in cells),
            *("-" if value is None else f"{value:.3f}" for value in recalls),
            style=style,
        )
    hours = max(one.hours for one in found.candidates[0].scores.values())
    console.print(
        f"onsets of {', '.join(found.behaviors)}, {hours * 60:.3g} minutes; delay in ms; false: without a bout within "
        f"{tolerance_ms:g} ms, per hour{' of the worst behaviour' if len(found.behaviors) > 1 else ''}; under the name "
        "of a behaviour its recall"
    )
    console.print(table)
    if found.chosen is not None:
        console.print(f"chosen for {target!r}: {in_short(found.chosen.config)}")
        for name, one in found.reported.items():
            bound = upper_bound_per_hour(one)
            console.print(
                f"  {name}: {one.n_false} false in {one.hours * 60:.3g} min = {_number(one.false_per_hour)}/h (up to "
                f"{_number(bound)}/h with 95 % confidence), {one.n_found} of {one.n_bouts} bouts found, delay p50 "
                f"{_number(one.delay_ms(50))} ms, p99 {_number(one.delay_ms(99))} ms"
            )
    console.print(split)


def _plot(path: Path, found: "Tuning", identity: str) -> None:
    from ..tuning_plot import PlotPoint, write_tuning_plot

    front = {id(one) for one in found.front}
    points = [
        PlotPoint(one.config.kind, one.false_per_hour, one.delay_p50_ms, id(one) in front, one is found.chosen)
        for one in found.candidates
        if one.delay_p50_ms is not None and one.false_per_hour is not None
    ]
    write_tuning_plot(path, f"{identity}: {', '.join(found.behaviors)}", points)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
