"""What a run folder says of how it came about: the resolved training file, and the command that repeats it."""

import json
import shlex
from pathlib import Path
from typing import Any, Final

import yaml

from ...sync.errors import ReportError
from ...sync.whole_file import write_whole
from ..config.training_file import VIDEO_KEYS, TrainConfig
from ..splits import FoldSplit, KFoldSplit

CONFIG_FILE: Final = "config.yaml"
COMMAND_FILE: Final = "command.txt"
METRICS_FILE: Final = "metrics.jsonl"
EVALUATION_FILE: Final = "evaluation.json"
DATA_FILE: Final = "data.json"
"""What was found while the data were read."""


def resolved(config: TrainConfig, root: Path) -> dict[str, Any]:
    """A training file with every key, and with paths that hold from anywhere."""
    keys = {"pose"} if not config.is_pose else set(VIDEO_KEYS)
    if config.choose is None:
        keys.add("choose")
    values = config.model_dump(mode="json", exclude=keys)
    return {**values, "data_root": str(root.resolve())}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one file of a run folder; numbers that are none are a mistake.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); make room, or give another --out") from error


def words_of(rule: FoldSplit) -> list[str]:
    """Options of `crossval` for a split."""
    if isinstance(rule, KFoldSplit):
        return ["--folds", str(rule.folds), "--fold-seed", str(rule.seed)]
    return ["--leave-one-out"]


def write_record(run: Path, config: TrainConfig, root: Path, command: list[str]) -> None:
    """Write ``config.yaml`` and ``command.txt``.

    Args:
        run: the folder; made if it is not there.
        config: as it was used.
        root: folder of the data.
        command: what comes after ``ethostream``; ``{config}`` stands for the file that is written here.

    Raises:
        ReportError: they cannot be written.
    """
    file = run / CONFIG_FILE
    words = [str(file.resolve()) if word == "{config}" else word for word in command]
    text = yaml.safe_dump(resolved(config, root), sort_keys=False, allow_unicode=True, width=120)
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
        write_whole(run / COMMAND_FILE, shlex.join(["ethostream", *words]) + "\n")
    except OSError as error:
        raise ReportError(f"{run}: cannot be written ({error.strerror}); make room, or give another --out") from error
