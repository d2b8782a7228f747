"""``ethostream crossval``: scores of a model on recordings that it has not seen, every one of them in turn."""

from pathlib import Path
from typing import Annotated

import typer

from .cache_option import CacheOption, opened_cache, print_account
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

_FOLDS = 4


def crossval(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Data, model and fit.", show_default=False)
    ] = None,
    preset: PresetOption = None,
    data: DataOption = None,
    stream: StreamOption = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="How many; each is left out once. 4 by default.", show_default=False)
    ] = None,
    leave_one_out: LeaveOneOutOption = False,
    fold_seed: FoldSeedOption = None,
    unit: UnitOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="For scores, answers and the logs of every fold; else NAME-crossval.run of the model.",
        ),
    ] = None,
    fps: FpsOption = None,
    ignore: IgnoreOption = None,
    group_by: GroupOption = None,
    overrides: SetOption = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score gradient boosting on the same features, too; for keypoints.")
    ] = False,
    cache: CacheOption = None,
    ray: RayOption = None,
    json_path: JsonOption = None,
) -> None:
    """Cross-validate a model: what would it score on recordings that it has not seen?

    Recordings of one group, such as an animal or a day, are never torn apart. In every fold everything is done anew on
    the other recordings alone, the unit of length and the choice of epochs and stabiliser included. The answers of all
    folds are pooled; intervals are over recordings or groups. No bundle is made: `ethostream train` makes one of all
    recordings. Given again after a kill, the command does only what is not done.

    Example: `ethostream crossval --preset pose-tcn --data recordings --stream S1 --folds 4 --json scores.json`
    """
    require_writable(json_path)
    require_ray(ray)
    rule = asked_folds(folds, leave_one_out, fold_seed, unit, default=_FOLDS)
    assert rule is not None
    with needs_extra("train"):
        from ...training.runs.crossval import crossval as run_crossval
        from ..terminal import print_result

        loaded, root, notes = load_training(config, preset, data, stream, fps, ignore, group_by, overrides)
        folder = Path(f"{loaded.name}-crossval.run") if out is None else out
        kept_in = opened_cache(cache)
        place = None if kept_in is None else kept_in.folder
        with opened_ray(ray, loaded.fit, to_stdout(json_path)) as workers:
            result = run_crossval(loaded, root, folder, rule, to_stdout(json_path), notes, workers, place, baselines)
    if json_path is not None:
        write_result(
            json_path,
            result["evaluation"] | {name: result[name] for name in ("run", "folds", "cache") if name in result},
        )
    if not to_stdout(json_path):
        print_account(result.get("cache"))
        print_result({"run": result["run"], "evaluation": result["evaluation"]})
