"""What a run folder says of how it came about: the resolved training file, and the command that repeats it."""

import json
import shlex
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from ...sync.errors import ConfigError, ReportError
from ...sync.strict import read_yaml
from ...sync.whole_file import write_whole
from ..config.training_file import VIDEO_KEYS, TrainConfig
from ..run_files import (
    BUNDLE_FILE,
    COMMAND_FILE,
    CONFIG_FILE,
    CURVES_FOLDER,
    DATA_FILE,
    EVALUATION_FILE,
    EXPORT_INPUT_FILE,
    METRICS_FILE,
    WEIGHTS_FILE,
)
from ..scores.answers_file import ANSWERS_FILE
from ..splits import FoldSplit, KFoldSplit


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
    """Options of `crossval` and `search` for a split."""
    if isinstance(rule, KFoldSplit):
        return ["--folds", str(rule.folds), "--fold-seed", str(rule.seed), "--unit", rule.unit]
    return ["--leave-one-out", "--unit", rule.unit]


def refuse_other_data(run: Path, root: Path) -> None:
    """Refuse a folder with the folds of recordings that lie elsewhere, before they are cleared away.

    Where nobody names a folder it is called after the model, and two data sets may share a model.

    Raises:
        ConfigError: it is one.
    """
    file = run / CONFIG_FILE
    if not (run / COMMAND_FILE).is_file() or not file.is_file():
        return
    theirs = read_yaml(file).get("data_root")
    if isinstance(theirs, str) and Path(theirs) != root.resolve():
        raise ConfigError(
            f"{run}: holds what was found on the recordings in {theirs}, and these are in {root.resolve()}; give "
            "another --out, or remove the folder"
        )


def begin_run(
    run: Path, config: TrainConfig, root: Path, command: list[str], done: Collection[Path] = frozenset()
) -> None:
    """Write ``config.yaml`` and ``command.txt``, and clear away what an earlier run has left in the folder.

    Folds, members, curves and scores of an earlier run would be taken for those of this one. They stay where this one
    goes on from them: the run was not finished and is given again as it was, or a checkpoint is there, of which the fit
    itself knows whose it is.

    Args:
        run: the folder; made if it is not there.
        config: as it was used.
        root: folder of the data.
        command: what comes after ``ethostream``; ``{config}`` stands for the file that is written here.
        done: folders of folds that are known to be of this very run: they stay in any case.

    Raises:
        ReportError: they cannot be written.
    """
    file = run / CONFIG_FILE
    words = [str(file.resolve()) if word == "{config}" else word for word in command]
    text = yaml.safe_dump(resolved(config, root), sort_keys=False, allow_unicode=True, width=120)
    try:
        if (run / COMMAND_FILE).is_file():  # else it is no run folder, and nothing in it is ours
            same = file.is_file() and file.read_text(encoding="utf-8") == text
            finished = (run / EVALUATION_FILE).is_file()
            if (finished or not same) and next(run.rglob("checkpoint*.ckpt"), None) is None:
                _clear(run, done)
            for name in (EVALUATION_FILE, ANSWERS_FILE, WEIGHTS_FILE, EXPORT_INPUT_FILE, BUNDLE_FILE):
                (run / name).unlink(missing_ok=True)
        run.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
        write_whole(run / COMMAND_FILE, shlex.join(["ethostream", *words]) + "\n")
    except OSError as error:
        raise ReportError(f"{run}: cannot be written ({error.strerror}); make room, or give another --out") from error


def seconds_before(fitted: Mapping[str, Any]) -> float:
    """Seconds that the fits of a summary took in calls that were killed, added up.

    Args:
        fitted: what fits say of themselves by name, one or a list of them each; anything else in it is passed over.
    """
    every: list[Any] = []
    for value in fitted.values():
        every += value if isinstance(value, list) else [value]
    return sum(float(one["seconds_before"]) for one in every if isinstance(one, dict) and "seconds_before" in one)


def forget_beyond(run: Path, kind: Literal["fold", "member"], n: int) -> None:
    """Remove ``fold-5`` and on of an earlier run with more folds than ``n``; likewise members.

    Raises:
        ReportError: they cannot be removed.
    """
    try:
        for folder in run.glob(f"{kind}-*"):
            number = folder.name.removeprefix(f"{kind}-")
            if number.isdecimal() and int(number) > n:
                shutil.rmtree(folder)
    except OSError as error:
        raise ReportError(f"{run}: {kind}s of an earlier run cannot be removed ({error.strerror})") from error


def _clear(run: Path, done: Collection[Path]) -> None:
    for folder in (*run.glob("fold-*"), *run.glob("member-*"), run / CURVES_FOLDER):
        if folder.is_dir() and folder not in done:
            shutil.rmtree(folder)
    for name in (METRICS_FILE, DATA_FILE):
        (run / name).unlink(missing_ok=True)
