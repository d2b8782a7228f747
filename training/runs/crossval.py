"""Cross-validation: every recording is answered by a model that has not seen it, nor any other of its group.

Everything is done anew for every fold, on the other recordings alone: unit of length, normalisation, number of epochs,
temperature and stabiliser. What is scored has taken part in none of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ...sync.clock import NS_PER_S, MonotonicClock
from ..answers.of_pose import answers_from
from ..config.training_file import TrainConfig
from ..data.pose_recordings import PoseRecording, features_of, with_scale
from ..export.bundle_record import this_machine
from ..fitting.loop import forget_checkpoints
from ..scores.answers_file import ANSWERS_FILE, RecordingAnswers, write_answers
from ..scores.evaluation_record import evaluation_record
from ..splits import FoldSplit, KFoldSplit, LeaveOneOutSplit, RecordingSplit, folds_of
from .crossval_video import crossval_video
from .fit_pose import fit_pose, frame_answers
from .record import DATA_FILE, EVALUATION_FILE, words_of, write_json, write_record
from .train_pose import read_poses

_CLOCK: Final = MonotonicClock()


def crossval(
    config: TrainConfig,
    root: Path,
    run: Path,
    rule: FoldSplit,
    quiet: bool = False,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Cross-validate a model of keypoints; one of video goes to `crossval_video`.

    Args:
        config: its own split says how validation data are had inside the training part of each fold: folds of their
            own, or, with any other split, none.
        root: folder that relative paths start from.
        run: folder for what is found: ``evaluation.json``, ``answers.npz``, ``config.yaml``, ``command.txt`` and a
            folder per fold with its logs. Folds that are done are not done again by the same call.
        rule: outer folds.
        quiet: nothing is printed.
        notes: what was assumed about the data.

    Returns:
        ``run``, ``folds`` (members and summary of each) and ``evaluation``, of all recordings pooled, with intervals
        over recordings or groups.

    Raises:
        DataError: the data do not fit, or are too few for the folds.
    """
    if not config.is_pose:
        return crossval_video(config, root, run, rule, quiet)
    began_ns = _CLOCK.now_ns()
    console = Console(quiet=quiet, stderr=True, highlight=False)
    recordings, read_rule, check = read_poses(config, root, console, notes)
    folds = folds_of(rule, [one.name for one in recordings], [one.group for one in recordings])
    write_record(run, config, root, ["crossval", "{config}", *words_of(rule), "--out", str(run.resolve())])
    write_json(run / DATA_FILE, check.to_dict())
    answers: list[RecordingAnswers] = []
    summaries: list[dict[str, Any]] = []
    for number, held in enumerate(folds):
        names = [recordings[place].name for place in held]
        console.print(f"[bold]fold {number + 1} of {len(folds)}[/]: scored on {', '.join(names)}")
        learnt = [one for place, one in enumerate(recordings) if place not in held]
        if absent := _absent(config, [one.labels for one in learnt]):
            console.print(f"  no frame of {', '.join(absent)} outside this fold: it cannot be learnt here")
        pose = with_scale(read_rule, learnt)
        inner = config.model_copy(update={"pose": pose, "split": _inner(config, learnt)})
        of_fold = run / f"fold-{number + 1}"
        learnt = [_for_training(one) for one in learnt]
        fitted = fit_pose(
            inner, learnt, [features_of(pose, one.points) for one in learnt], of_fold, quiet, console.print
        )
        shown = [recordings[place] for place in held]
        for one, p in zip(
            shown, frame_answers(fitted.head, [features_of(pose, one.points) for one in shown]), strict=True
        ):
            judged = np.ones(one.n_frames, np.bool_)
            answers.append(answers_from(one, p, judged, config.classes, fitted.stabiliser, number))
        summaries.append({"scored": names, **fitted.summary})
    causal = config.head.causal and not config.head.look_ahead_frames
    evaluation = evaluation_record(
        answers,
        config.classes,
        {**rule.model_dump(mode="json"), "n_folds": len(folds)},
        causal=causal,
        look_ahead_frames=config.head.look_ahead_frames,
        label_source=config.labels.made_by or "unknown",
        notes=check.notes,
        compute={
            "training_s": (_CLOCK.now_ns() - began_ns) / NS_PER_S,
            "machine": this_machine(),
            "threads": config.fit.threads,
        },
    )
    evaluation = {"model": config.name, **evaluation}
    write_answers(run / ANSWERS_FILE, answers, config.classes)
    write_json(run / EVALUATION_FILE, evaluation)
    for folder in (*run.glob("**/fold-*"), *run.glob("**/member-*")):
        forget_checkpoints(folder)
    return {"run": str(run), "folds": summaries, "evaluation": evaluation}


def _inner(config: TrainConfig, learnt: Sequence[PoseRecording]) -> FoldSplit | RecordingSplit:
    """How validation data are had inside the training part: in as many folds as its recordings allow, or not at all."""
    rule = config.split
    if not isinstance(rule, KFoldSplit | LeaveOneOutSplit):
        return RecordingSplit()
    n_units = len({one.group if rule.unit == "group" and one.group else f"recording {one.name}" for one in learnt})
    if n_units < 2:
        return RecordingSplit()
    return rule if isinstance(rule, LeaveOneOutSplit) else rule.model_copy(update={"folds": min(rule.folds, n_units)})


def _for_training(recording: PoseRecording) -> PoseRecording:
    """A recording that is learnt from, whatever part the training file gives it."""
    return replace(recording, part="train")


def _absent(config: TrainConfig, labels: Sequence[NDArray[np.int16]]) -> list[str]:
    return [name for place, name in enumerate(config.classes) if not any((one == place).any() for one in labels)]
