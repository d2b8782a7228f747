"""One fold of a cross-validation: everything that it needs in one value, and everything that it finds in one folder.

A fold can so be done in this process, in another one or on another machine that sees the same folders; whoever does it,
the files are the same. A fold that is done is known by what it was done with, and not done again.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...sync.clock import NS_PER_S, MonotonicClock
from ...sync.errors import DataError
from ..answers.of_pose import answers_from
from ..cache.pose_features import pose_features
from ..cache.store import FeatureCache
from ..config.pose import PoseRule
from ..config.recordings import PoseData
from ..config.training_file import TrainConfig
from ..data.entries import name_of, single_recordings
from ..data.pose_recordings import PoseRecording, open_poses, with_scale
from ..export.bundle_record import library_versions
from ..fitting.checkpoint import forget_checkpoints
from ..fitting.progress import WholeProgress
from ..scores.answers_file import ANSWERS_FILE, RecordingAnswers, read_answers, write_answers
from ..splits import FoldSplit, KFoldSplit, LeaveOneOutSplit, Part, RecordingSplit, folds_of, unit_of
from .fit_pose import absent_classes, count_fits, fit_pose, frame_answers
from .record import resolved, seconds_before, write_json
from .train_video import train_video

FOLD_FILE: Final = "fold.json"
INNER_FOLDS: Final = 3
"""Of a training file that sets a validation part aside in another way, which a fold's training part has not."""
_FEWEST_WITH_VALIDATION: Final = 3
_COMPLETED: Final = ("keypoints", "n_animals", "rate_hz")
"""What a rule may leave open, for the recordings to say."""
_WORDS: Final = ("task", "notes")
"""Keys of a training file that are for people: with other words a fold is the same."""
_CLOCK: Final = MonotonicClock()


@dataclass(frozen=True, slots=True)
class FoldTask:
    """One fold, whole: it can be pickled and sent elsewhere.

    Attributes:
        config: of the training.
        root: folder that its relative paths start from.
        run: of the cross-validation.
        rule: outer folds.
        number: of this one, from 0.
        data: what the recordings hold, as hashes: other data are another fold.
        cache: folder of the features that folds share; None: each fold computes its own.
    """

    config: TrainConfig
    root: Path
    run: Path
    rule: FoldSplit
    number: int
    data: tuple[str, ...]
    cache: Path | None = None

    @property
    def folder(self) -> Path:
        """Of its files."""
        return self.run / f"fold-{self.number + 1}"

    @property
    def key(self) -> str:
        """What it is done with; SHA-256."""
        keys = {name: value for name, value in resolved(self.config, self.root).items() if name not in _WORDS}
        parts = [keys, self.rule.model_dump(mode="json"), self.number, self.data]
        return hashlib.sha256(json.dumps([*parts, library_versions()]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What a fold has found.

    Attributes:
        answers: of the recordings that it has not learnt from.
        summary: ``scored`` (names), ``inner`` (how validation data were had), ``fit``, ``notes``, ``seconds`` in all
            calls, ``resumed``.
        cache: what the cache was good for; None: there is none, or the fold was done before.
    """

    answers: list[RecordingAnswers]
    summary: dict[str, Any]
    cache: dict[str, Any] | None = None


def run_fold(
    task: FoldTask,
    quiet: bool = True,
    say: Callable[[str], None] | None = None,
    whole: WholeProgress | None = None,
    opened: tuple[Sequence[PoseRecording], PoseRule] | None = None,
) -> FoldResult:
    """Do a fold, unless it is done, and leave ``fold.json`` and ``answers.npz`` in its folder.

    Args:
        task: which.
        quiet: no progress bars.
        say: told what is done.
        whole: the bar over all fits; it is told when those of this fold have ended.
        opened: recordings and rule of `open_poses`, where they have been read already; with another rule than the
            task's they are read anew.

    Raises:
        ConfigError, DataError, VideoError: what the user gave does not fit.
    """
    tell = say or (lambda _: None)
    if (done := read_fold(task)) is not None:
        tell(f"fold {task.number + 1}: done before")
        if whole is not None:
            whole.end_fits(int(done.summary["n_fits"]))
        return done
    began_ns = _CLOCK.now_ns()
    cache = None if task.cache is None else FeatureCache(task.cache, tell)
    if task.config.is_pose:
        found = _pose_fold(task, quiet, tell, whole, opened, cache)
    else:
        found = _video_fold(task, quiet, whole, cache)
    before_s = float(found.summary.pop("seconds_before"))
    found.summary["seconds"] = (_CLOCK.now_ns() - began_ns) / NS_PER_S + before_s
    found.summary["resumed"] = before_s > 0.0
    task.folder.mkdir(parents=True, exist_ok=True)
    write_answers(task.folder / ANSWERS_FILE, found.answers, task.config.classes)
    write_json(task.folder / FOLD_FILE, {"key": task.key, **found.summary})
    for folder in (task.folder, *task.folder.glob("**/fold-*"), *task.folder.glob("**/member-*")):
        forget_checkpoints(folder)
    return found if cache is None else replace(found, cache=cache.to_dict())


def read_fold(task: FoldTask) -> FoldResult | None:
    """What a fold has found; None: it is not done, or was done with something else.

    Raises:
        DataError: its files are damaged.
    """
    path = task.folder / FOLD_FILE
    if not path.is_file():
        return None
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it to do the fold again") from error
    if summary.pop("key", None) != task.key:
        return None
    return FoldResult(read_answers(task.folder / ANSWERS_FILE)[0], summary)


def count_fold_fits(task: FoldTask, recordings: Sequence[PoseRecording]) -> int:
    """How many fits of keypoints a fold takes; that of a video is one."""
    if not task.config.is_pose:
        return 1
    learnt = _learnt(task, recordings)[0]
    return count_fits(task.config.model_copy(update={"split": inner_split(task.config, learnt)}), learnt)


def inner_split(config: TrainConfig, learnt: Sequence[PoseRecording]) -> FoldSplit | RecordingSplit:
    """How validation data are had inside the training part of a fold.

    In the folds of the training file, as many as there are recordings or groups for; where the file sets a validation
    part aside in another way, in `INNER_FOLDS`; where it has no validation part, or there is one recording only, not at
    all, as in its own training.
    """
    rule = config.split
    if not isinstance(rule, KFoldSplit | LeaveOneOutSplit):
        if not config.has_validation:
            return RecordingSplit()
        rule = KFoldSplit(folds=INNER_FOLDS)
    n_units = len({unit_of(one.name, one.group, rule.unit) for one in learnt})
    if n_units < 2:
        return RecordingSplit()
    return rule if isinstance(rule, LeaveOneOutSplit) else rule.model_copy(update={"folds": min(rule.folds, n_units)})


def _learnt(task: FoldTask, recordings: Sequence[PoseRecording]) -> tuple[list[PoseRecording], list[PoseRecording]]:
    """What a fold learns from, and what it is scored on."""
    names, groups = [one.name for one in recordings], [one.group for one in recordings]
    held = folds_of(task.rule, names, groups)[task.number]
    # Whatever part the training file gives it, here it is learnt from.
    learnt = [replace(one, part="train") for place, one in enumerate(recordings) if place not in held]
    return learnt, [recordings[place] for place in held]


def _pose_fold(
    task: FoldTask,
    quiet: bool,
    say: Callable[[str], None],
    whole: WholeProgress | None,
    opened: tuple[Sequence[PoseRecording], PoseRule] | None,
    cache: FeatureCache | None,
) -> FoldResult:
    config = task.config
    assert config.pose is not None
    if opened is None or not _is_rule_of(config.pose, opened[1]):
        entries = [one for one in config.data if isinstance(one, PoseData)]
        opened = open_poses(entries, task.root, config.pose, config.classes, config.labels, config.split)
    recordings, rule = opened
    learnt, shown = _learnt(task, recordings)
    notes: list[str] = []
    if absent := absent_classes(config, learnt):
        notes.append(f"no frame of {', '.join(absent)} outside fold {task.number + 1}: it cannot be learnt there")
        say(notes[-1])
    rule = with_scale(rule, learnt)
    inner = config.model_copy(update={"pose": rule, "split": inner_split(config, learnt)})
    inputs = [pose_features(rule, one, cache) for one in learnt]
    fitted = fit_pose(inner, learnt, inputs, task.folder, quiet, say, whole)
    p = frame_answers(fitted.head, [pose_features(rule, one, cache) for one in shown])
    answers = [
        answers_from(one, of_one, np.ones(one.n_frames, np.bool_), config.classes, fitted.stabiliser, task.number)
        for one, of_one in zip(shown, p, strict=True)
    ]
    return FoldResult(
        answers,
        {
            "scored": [one.name for one in shown],
            "inner": inner_in_words(inner.split),
            "scale_px": rule.scale.start_px,
            "n_fits": count_fits(inner, learnt),
            "notes": notes + [f"fold {task.number + 1}, inside: {note}" for note in fitted.notes],
            "seconds_before": seconds_before(fitted.summary),
            **fitted.summary,
        },
    )


def _is_rule_of(asked: PoseRule, complete: PoseRule) -> bool:
    """Whether a rule is the completed one of what was asked for."""
    left_open = [key for key in _COMPLETED if getattr(asked, key) is None]
    return asked.model_copy(update={key: getattr(complete, key) for key in left_open}) == complete


def inner_in_words(split: object) -> dict[str, Any]:
    """How validation data were had inside a fold, for the record."""
    if isinstance(split, KFoldSplit | LeaveOneOutSplit):
        return split.model_dump(mode="json")
    kept = "the last epoch, a temperature of 1 and the configured stabiliser"
    return {"by": "none", "meaning": f"no validation part: {kept}"}


def _video_fold(task: FoldTask, quiet: bool, whole: WholeProgress | None, cache: FeatureCache | None) -> FoldResult:
    """A training with a bundle of its own; the next fold is its validation part, where there are three at least."""
    entries = single_recordings(task.config.data)
    names = [name_of(one) for one in entries]
    folds = folds_of(task.rule, names, [one.group for one in entries])
    held = folds[task.number]
    spare = folds[(task.number + 1) % len(folds)] if len(folds) >= _FEWEST_WITH_VALIDATION else []

    def part_of(place: int) -> Part:
        return "test" if place in held else "validation" if place in spare else "train"

    data = [one.model_copy(update={"part": part_of(place)}) for place, one in enumerate(entries)]
    of_fold = task.config.model_copy(update={"data": data, "split": RecordingSplit()})
    result = train_video(of_fold, task.root, task.folder / "bundle", quiet, may_be_absent=True, cache=cache)
    found, _ = read_answers(Path(result["run"]) / ANSWERS_FILE)
    if whole is not None:
        whole.end_fits()
    absent: list[str] = result["absent"]
    notes = (
        [f"no frame of {', '.join(absent)} outside fold {task.number + 1}: it cannot be learnt there"] if absent else []
    )
    notes += [f"fold {task.number + 1}, inside: {note}" for note in result["unchosen"]]
    inner = {"by": "recording", "validation": "the recordings of the next fold"} if spare else inner_in_words(None)
    return FoldResult(
        [replace(one, fold=task.number) for one in found],
        {
            "scored": [names[place] for place in held],
            "inner": inner,
            "n_fits": 1,
            "notes": notes,
            "seconds_before": seconds_before(result["fit"]),
            "bundle": result["bundle"],
            "fit": result["fit"],
        },
    )
