"""``ethostream features``: what heads learn from, computed ahead, listed, and written out for people to look at."""

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
)
from .json_output import JsonOption, require_writable, to_stdout, write_result

if TYPE_CHECKING:
    from rich.console import Console

    from ...training.cache.store import FeatureCache


def features(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="A training file.", show_default=False)
    ] = None,
    preset: PresetOption = None,
    data: DataOption = None,
    stream: StreamOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv|npz", help="Write the features of one recording, with their names."),
    ] = None,
    recording: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this recording; --out needs it where there are several.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List what the cache holds.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything from the cache.")] = False,
    max_gb: Annotated[
        float | None,
        typer.Option(min=0, help="How large the cache may become, from now on: what was used longest ago goes."),
    ] = None,
    cache: CacheOption = None,
    fps: FpsOption = None,
    ignore: IgnoreOption = None,
    group_by: GroupOption = None,
    overrides: SetOption = None,
    json_path: JsonOption = None,
) -> None:
    """Compute the features of recordings ahead of a training, or look at them.

    Of keypoints the whole input of the head is kept, of video the crops, or, where the embedder is not learnt
    (`fit.joint_epochs: 0`), its embeddings. `train`, `crossval` and `evaluate` look into the same cache: nothing is
    computed twice, and other labels, another head or another split change nothing of it. What is read is compared
    with its checksum; an entry that is damaged is named and computed anew.

    With --out the features of one recording are written: a row per frame, with its time, its label and a named column
    per feature.

    Examples: `ethostream features --preset pose-tcn --data recordings --stream S1`,
    `ethostream features train.yaml --recording day1 --out day1.csv`, `ethostream features --list`
    """
    require_writable(json_path)
    require_writable(out, "--out")
    from rich.console import Console

    asked = config is not None or preset is not None or data is not None
    if not asked and not listed and not clear and max_gb is None:
        raise ConfigError("features: give CONFIG.yaml, or --preset NAME with --data FOLDER, or --list, or --clear")
    if (out is not None or recording is not None) and not asked:
        raise ConfigError(
            "--out, --recording: say of which data, with CONFIG.yaml, or --preset NAME with --data FOLDER"
        )
    console = Console(stderr=True, highlight=False, quiet=to_stdout(json_path))
    result: dict[str, Any] = {}
    with needs_extra("train"):
        kept = opened_cache(cache)
        if kept is None and (listed or clear or max_gb is not None):
            raise ConfigError(
                "--cache none: there is no cache to list, clear or bound; give its folder, or leave it out"
            )
        if clear:
            assert kept is not None
            n, n_bytes = kept.clear()
            result |= {"cleared": {"entries": n, "bytes": n_bytes}}
            console.print(f"removed {n} entries, {n_bytes / 1e9:.3f} GB ({kept.folder})", soft_wrap=True)
        if max_gb is not None:
            assert kept is not None
            kept.set_max_gb(max_gb)
        if asked:
            loaded, root, notes = load_training(config, preset, data, stream, fps, ignore, group_by, overrides)
            from ...training.runs.compute_features import compute_features, require_one, write_features

            if out is not None:
                require_one(out, loaded, recording)
            made: list[dict[str, Any]] = []
            for one in compute_features(loaded, root, kept, console, notes, recording):
                made.append({"recording": one.recording, "n_frames": len(one.x), "n_features": len(one.names)})
                if out is not None:
                    write_features(out, one)
            result |= {"recordings": made, "out": None if out is None else str(out)}
            _print_made(made, console)
            if kept is not None and not to_stdout(json_path):
                print_account(kept.to_dict())
    result |= {} if kept is None else _account(kept)
    if json_path is not None:
        write_result(json_path, result)
    if listed and kept is not None and not to_stdout(json_path):
        _print_entries(kept)


def _account(cache: "FeatureCache") -> dict[str, Any]:
    entries = cache.entries()
    return {
        **cache.to_dict(),
        "max_gb": cache.max_gb,
        "n_bytes": sum(one.n_bytes for one in entries),
        "entries": [one.to_dict() for one in entries],
    }


def _print_made(made: list[dict[str, Any]], console: "Console") -> None:
    for one in made:
        console.print(f"{one['recording']}: {one['n_features']} features of {one['n_frames']:,} frames", markup=False)


def _print_entries(cache: "FeatureCache") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    entries = cache.entries()
    total = sum(one.n_bytes for one in entries) / 1e9
    console.print(f"{cache.folder}: {len(entries)} entries, {total:.3f} of {cache.max_gb:g} GB", soft_wrap=True)
    if not entries:
        return
    table = Table(box=None)
    for name in ("kind", "recording", "arrays", "MB", "last used", ""):
        table.add_column(name, justify="right" if name == "MB" else "left", no_wrap=name == "MB", overflow="fold")
    for one in entries:
        arrays = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in one.shapes.items())
        fault = "another user's" if one.locked else "damaged" if one.fault else ""
        table.add_row(one.kind, one.name, arrays, f"{one.n_bytes / 1e6:.1f}", one.used.removesuffix("+00:00"), fault)
    console.print(table)
