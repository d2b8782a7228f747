"""What the page of a training is made from: the files of its run folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ...inference.manifest import MANIFEST_FILE
from ...sync.errors import DataError
from ...training.run_files import COMMAND_FILE, CONFIG_FILE, EVALUATION_FILE, METRICS_FILE
from ...training.scores.answers_file import ANSWERS_FILE, RecordingAnswers, read_answers
from ...training.scores.evaluation_record import RECORD_KEYS, SCHEMA

RUN_ENDING: Final = ".run"
_OF_A_FOLD: Final = "bundle.run"
"""Within the folder of a fold, where each is a training with a bundle of its own."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """One fit: a stage, or a fold, or both.

    Attributes:
        name: which; "" where there is only one.
        epochs: per epoch every number that was logged, ``validation.macro_f1`` for one within another.
    """

    name: str
    epochs: list[dict[str, float]]

    def of(self, key: str) -> tuple[list[float], list[float]]:
        """Epochs from 1, and the values there."""
        found = [(place + 1.0, one[key]) for place, one in enumerate(self.epochs) if key in one]
        return [x for x, _ in found], [y for _, y in found]


@dataclass(frozen=True, slots=True)
class TrainingDigest:
    """Of one run folder.

    Attributes:
        name: of the folder.
        evaluation: as `evaluation_record` made it; None: the run has not come to it.
        classes: names, in order.
        recordings: what was said frame by frame; empty where the run kept nothing.
        curves: epoch by epoch.
        config: the resolved configuration; empty where there is none.
        config_text: the same, as it stands in its file.
        command: that repeats the run; "" where it is not kept.
    """

    name: str
    evaluation: dict[str, Any] | None
    classes: list[str]
    recordings: list[RecordingAnswers]
    curves: list[LearningCurve]
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    config_text: str = ""
    command: str = ""


def run_folder_of(path: Path) -> Path | None:
    """The run folder that a path means: itself, or ``BUNDLE.run`` beside a bundle; None where it means none."""
    here = path.resolve()  # "." has no name
    for folder in (path, *([here.parent / (here.name + RUN_ENDING)] if (path / MANIFEST_FILE).is_file() else ())):
        # A cross-validation keeps scores and curves in its folds until it has ended.
        begun = (folder / COMMAND_FILE).is_file() and (folder / CONFIG_FILE).is_file()
        if begun or (folder / EVALUATION_FILE).is_file() or (folder / METRICS_FILE).is_file():
            return folder
    return None


def digest_training(folder: Path) -> TrainingDigest:
    """Read a run folder.

    Raises:
        DataError: a file of it is damaged.
    """
    evaluation = _json(folder / EVALUATION_FILE) if (folder / EVALUATION_FILE).is_file() else None
    recordings: list[RecordingAnswers] = []
    classes: list[str] = [] if evaluation is None else [str(name) for name in evaluation.get("classes", [])]
    if (folder / ANSWERS_FILE).is_file():
        recordings, said = read_answers(folder / ANSWERS_FILE)
        if classes and said != classes:
            raise DataError(
                f"{folder / ANSWERS_FILE}: is of {', '.join(said)}, {EVALUATION_FILE} of {', '.join(classes)}; "
                "evaluate again, so that both are of one model"
            )
        classes = said
    config_text = _text(folder / CONFIG_FILE)
    return TrainingDigest(
        name=folder.resolve().name.removesuffix(RUN_ENDING),
        evaluation=evaluation,
        classes=classes,
        recordings=recordings,
        curves=_curves(folder),
        config=_yaml(folder / CONFIG_FILE, config_text),
        config_text=config_text,
        command=_text(folder / COMMAND_FILE).strip(),
    )


def _curves(folder: Path) -> list[LearningCurve]:
    """Of the folder itself and of the folds and members in it, in order of their names."""
    files = sorted(folder.rglob(METRICS_FILE), key=lambda path: (path.parent != folder, path))
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for path in files:
        where = " ".join(name for name in path.parent.relative_to(folder).parts if name != _OF_A_FOLD)
        # A line without its end is what a killed training was writing.
        for number, line in enumerate(_text(path).split("\n")[:-1], start=1):
            try:
                epoch: Any = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number}: is not JSON ({error}); train again") from error
            if not isinstance(epoch, dict):
                raise DataError(f"{path}: line {number}: holds no epoch; expected an object of names and values")
            logged: dict[str, Any] = epoch
            parts = [where, *(f"{name} {logged[name]}" for name in ("fold", "seed") if logged.get(name) is not None)]
            stage = "" if logged.get("stage") is None else str(logged["stage"])
            found.setdefault((" ".join(part for part in parts if part), stage), []).append(_numbers(logged))
    stages = {stage for _, stage in found}
    curves: list[LearningCurve] = []
    for (where, stage), epochs in found.items():
        name = " ".join(part for part in (where, stage if len(stages) > 1 else "") if part)
        curves.append(LearningCurve("" if len(found) == 1 else name or "the model itself", epochs))
    return curves


def _numbers(values: Mapping[str, Any], before: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            inner: dict[str, Any] = value
            found |= _numbers(inner, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[before + name] = float(value)
    return found


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); is the run folder whole?") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value: Any = json.loads(_text(path))
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); evaluate again") from error
    if not isinstance(value, dict) or "per_class" not in value:
        raise DataError(f"{path}: holds no scores; it is not what `evaluate` writes")
    found: dict[str, Any] = value
    lacking = sorted(RECORD_KEYS - found.keys())
    if lacking or found.get("schema") != SCHEMA:
        why = f"it lacks {', '.join(lacking)}" if lacking else f"its schema is {found.get('schema')!r}, not {SCHEMA}"
        raise DataError(f"{path}: {why}; evaluate again with this version")
    n = len(found["classes"])
    if [len(row) for row in found["confusion_matrix"]] != [n] * n or set(found["per_class"]) != set(found["classes"]):
        raise DataError(f"{path}: its scores are not of its {n} classes; evaluate again")
    return found


def _yaml(path: Path, text: str) -> dict[str, Any]:
    try:
        value: Any = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        raise DataError(f"{path}: is not YAML: {error}") from error
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]
