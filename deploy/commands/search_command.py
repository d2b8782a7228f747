"""``ethostream search``: which settings of a training file score best."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .cache_option import CacheOption, opened_cache
from .fold_options import FoldSeedOption, LeaveOneOutOption, UnitOption, asked_folds
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
)
from .json_output import JsonOption, require_writable, to_stdout, write_result
from .ray_option import RayOption, opened_ray, require_ray

_SHOWN = 10
_AT_ONCE_BY_RAY = 4


def search(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Data, model and fit.", show_default=False)
    ] = None,
    preset: PresetOption = None,
    data: DataOption = None,
    stream: StreamOption = None,
    space: Annotated[
        Path | None,
        typer.Option(metavar="SPACE.yaml", help="Keys and their values; without it those of the head's kind."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Variants in all, earlier calls included.")] = 40,
    objective: Annotated[
        str, typer.Option(metavar="SCORE", help="A score of an evaluation: raw.macro_f1, bout_f1, per_class.NAME.f1.")
    ] = "raw.macro_f1",
    folds: Annotated[
        int | None, typer.Option(min=2, help="How many; without it those of the file, else --leave-one-out.")
    ] = None,
    leave_one_out: LeaveOneOutOption = False,
    fold_seed: FoldSeedOption = None,
    unit: UnitOption = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A recording or group that the search must not see; may be repeated."),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Variants that go on together; 1, or 4 with --ray.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is proposed.")] = 0,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For the result, and to go on after a kill.")] = Path(
        "search.run"
    ),
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png|svg", help="Draw the variants here, not as search.svg in --out.")
    ] = None,
    cache: CacheOption = None,
    ray: RayOption = None,
    fps: FpsOption = None,
    ignore: IgnoreOption = None,
    group_by: GroupOption = None,
    overrides: SetOption = None,
    json_path: JsonOption = None,
) -> None:
    """Search for the settings of a training file that score best.

    Variants are proposed by what the ones before have scored (TPE), cross-validated inside the training part, and given
    up after any fold when they stay behind. Recordings of the test part are neither learnt from nor scored. The best is
    written as `best.yaml`, ready for `ethostream train`, and says how many were tried. Its score is too good, being the
    best of many: judge it on recordings that the search has not seen, by `ethostream evaluate` or `ethostream
    crossval`.

    By default the raw causal answer is scored, the most probable class, since a stabiliser is chosen afterwards on the
    same answers. The same command goes on where a kill ended it; with more --trials it goes on further.

    SPACE.yaml: `fit.learning_rate: {low: 0.0005, high: 0.01, log: true}`, `head.hidden: {choices: [16, 32, 64]}`

    Example: `ethostream search --preset pose-tcn --data recordings --stream S1 --leave-out 12 --trials 40`
    """
    from ..canvas import require_picture

    require_writable(json_path)
    require_writable(plot, "--plot")
    require_picture(plot)
    require_ray(ray)
    wanted_folds = asked_folds(folds, leave_one_out, fold_seed, unit, default=None)
    quiet = to_stdout(json_path)
    with needs_extra("search"):
        import optuna  # noqa: F401  # pyright: ignore[reportUnusedImport]
    with needs_extra("train"):
        from ...training.config.search import read_space
        from ...training.runs.search import search as run_search
        from ...training.runs.search_files import SearchRule

        wanted = None if space is None else read_space(space)
        loaded, root, notes = load_training(config, preset, data, stream, fps, ignore, group_by, overrides)
        rule = SearchRule(
            n_trials=trials,
            space=wanted,
            where="default space" if space is None else str(space),
            objective=objective,
            folds=wanted_folds,
            leave_out=leave_out or (),
            at_once=at_once or (1 if ray is None else _AT_ONCE_BY_RAY),
            seed=seed,
        )
        kept_in = opened_cache(cache)
        place = None if kept_in is None else kept_in.folder
        with opened_ray(ray, loaded.fit, quiet) as workers:
            do_folds = None if workers is None else workers.outcomes
            found = run_search(loaded, root, out, rule, quiet, notes, do_folds, place)
    from ..search_plot import write_search_plot

    picture = plot or out / "search.svg"
    write_search_plot(picture, found)
    found["picture"] = str(picture)
    if json_path is not None:
        write_result(json_path, found)
    if not quiet:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for name in ("variant", found["objective"]):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    done = [one for one in found["trials"] if one["score"] is not None]
    done.sort(key=lambda one: one["score"] * (1 if found["less_is_better"] else -1))
    for one in done[:_SHOWN]:
        settings = " ".join(f"{key}={_word(value)}" for key, value in one["values"].items())
        table.add_row(str(one["number"]), f"{one['score']:.4f}", settings)
    console.print(table)
    console.print(
        f"{found['tried']} variants tried: {found['complete']} done, {found['pruned']} given up, "
        f"{found['failed']} failed; {found['folds']['n_folds']} folds of {len(found['recordings'])} recordings"
    )
    if found["file_as_it_is"] is not None:
        console.print(f"the training file as it is: {found['file_as_it_is']:.4f}")
    for words in found["warnings"]:
        console.print(f"! {words}", style="yellow", markup=False)
    console.print(f"the best as a training file: {found['best_file']}", soft_wrap=True)
    console.print(f"next: ethostream train {found['best_file']} --out BUNDLE{_judged(found)}", soft_wrap=True)


def _judged(found: dict[str, Any]) -> str:
    """What then says how good it is."""
    if found["left_out"]:
        return f"; ethostream evaluate BUNDLE on {', '.join(found['left_out'])}, which the search has not seen"
    if found["not_seen"]:
        return f", which scores it on {', '.join(found['not_seen'])}, the test part"
    return "; then score it on recordings of other animals or days, of which this search has seen none"


def _word(value: Any) -> str:
    """As ``--set`` takes it."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, separators=(",", ":"))
