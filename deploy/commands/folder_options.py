"""Options of commands that take a folder of labelled recordings: ``--preset``, ``--data``, ``--stream`` and so on."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...sync.errors import ConfigError

if TYPE_CHECKING:
    from ...training.config.training_file import TrainConfig

PresetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A named model instead of CONFIG.yaml, on the folder of --data: `pose-tcn` for keypoints, `video-tcn` for "
        "video; for comparison `pose-lstm`, and `pose-tcn-centred`, which is not causal.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Recordings: with CONFIG.yaml where its relative paths start, else a folder with a dataset.yaml or of a "
        "known layout.",
    ),
]
StreamOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which stream of labels, where the files hold several: `S1`.")
]
FpsOption = Annotated[float | None, typer.Option(min=0.001, help="Frames per second, where the files do not say.")]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LABEL",
        help="Frames with this label count as unlabelled, in place of what the layout ignores; may be repeated. "
        "`none`: ignore nothing.",
    ),
]
GroupOption = Annotated[
    str | None, typer.Option("--group-by", metavar="KEY", help="Which of the groups in dataset.yaml counts.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the training file: `fit.head_epochs=5`; may be repeated."
    ),
]


def load_training(
    config: Path | None,
    preset: str | None,
    data: Path | None,
    stream: str | None,
    fps: float | None,
    ignore: list[str] | None,
    group_by: str | None,
    overrides: list[str] | None,
) -> tuple["TrainConfig", Path, list[str]]:
    """The training file of a command: a file, or a preset on a folder.

    Returns:
        The configuration, the folder that its relative paths start from, and what was assumed about the data.

    Raises:
        ConfigError: neither or both are given, or one of them is wrong.
        DataError: a label file cannot be read.
    """
    from ...training.config.training_file import load_config
    from ...training.data.layouts import FolderOptions, find_dataset
    from ...training.presets.reading import configure, preset_names, read_preset

    if (config is None) == (preset is None):
        raise ConfigError(
            f"give either CONFIG.yaml or --preset NAME ({', '.join(preset_names())}) with --data FOLDER, and not both"
        )
    if preset is not None:
        if data is None:
            raise ConfigError(f"--preset {preset}: needs the folder of the recordings; give it with --data")
        dataset = find_dataset(data, FolderOptions(stream, fps, ignore, group_by))
        return configure(read_preset(preset), dataset, overrides or ()), dataset.root, dataset.notes
    assert config is not None
    refuse_with_config(stream=stream, fps=fps, ignore=ignore, group_by=group_by)
    loaded, root = load_config(config, data, overrides or ())
    return loaded, root, []


def refuse_with_config(**options: object) -> None:
    """Refuse options of a folder beside a training file, which says all of that itself.

    Raises:
        ConfigError: one is given.
    """
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)}: CONFIG.yaml says that itself; change it there, or use --preset")


@contextmanager
def needs_extra(name: str) -> Generator[None]:
    """Say which extra brings what is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'ethostream[{name}]' brings it") from error
