"""Fitting a head on recordings of keypoints, and choosing what is chosen on data that it has not learnt from.

With a split into folds as many heads are fitted as there are folds, each without one of them. What these say of the
fold that they have not seen chooses the temperature, the stabiliser and, if asked for, the number of epochs; then one
head is fitted on everything. So no recording is given up for validation, and every choice is made on unseen ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ...inference.manifest import HeadOutput
from ...inference.stabilisation.config import StabiliserConfig
from ..answers.look_ahead import moved_back
from ..answers.of_pose import answers_from, with_stabiliser
from ..config.fit import FitConfig
from ..config.training_file import TrainConfig
from ..data.pose_recordings import PoseRecording
from ..fitting.head_data import HeadData
from ..fitting.head_fit import fit_head
from ..fitting.head_validation import head_logits
from ..fitting.temperature import calibration_of
from ..networks.ensemble import EnsembleHead
from ..networks.head import HeadModule, SequenceHead, build_head, probabilities
from ..scores.answers_file import RecordingAnswers
from ..splits import PARTS, UNUSED, KFoldSplit, LeaveOneOutSplit, Part, folds_of, parts_of
from ..stabilising.choice import choose_stabiliser, count_candidates

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FittedPose:
    """A head with everything that goes with it.

    Attributes:
        head: fitted.
        stabiliser: chosen, or the training file's own.
        answers: of recordings that were not learnt from, with that stabiliser: those of every fold, or of the
            validation part; empty where there is none.
        folds: the answers are those of folds.
        summary: epochs, temperature, choice and the like, for JSON.
    """

    head: HeadModule
    stabiliser: StabiliserConfig
    answers: list[RecordingAnswers]
    folds: bool
    summary: dict[str, Any]


def fit_pose(
    config: TrainConfig,
    recordings: Sequence[PoseRecording],
    inputs: Sequence[NDArray[np.float32]],
    run: Path,
    quiet: bool,
    say: Say,
) -> FittedPose:
    """Fit and choose. Deterministic by ``config.seed``; a run that was killed goes on where it was.

    Args:
        config: head, fit, split and what is chosen.
        recordings: those that may be learnt from, and, without folds, those of the other parts.
        inputs: features of the same recordings, float32 [t, f].
        run: folder for checkpoints and logs.
        quiet: no progress bars.
        say: told what is done.

    Raises:
        DataError: there is nothing to learn from, or not enough recordings for the folds.
    """
    if isinstance(config.split, KFoldSplit | LeaveOneOutSplit):
        return _with_folds(config, config.split, recordings, inputs, run, quiet, say)
    return _with_parts(config, recordings, inputs, run, quiet, say)


def _with_parts(
    config: TrainConfig,
    recordings: Sequence[PoseRecording],
    inputs: Sequence[NDArray[np.float32]],
    run: Path,
    quiet: bool,
    say: Say,
) -> FittedPose:
    parts = [parts_of(config.split, one.part, one.labels, one.rate_hz, one.name) for one in recordings]
    head, summary = _fit_one(config, config.fit, recordings, inputs, parts, run, quiet)
    judged = [part == PARTS.index("validation") for part in parts]
    places = [place for place, one in enumerate(recordings) if (judged[place] & (one.labels >= 0)).any()]
    found = frame_answers(head, [inputs[place] for place in places])
    answers = [
        answers_from(recordings[place], p, judged[place], config.classes, config.stabiliser)
        for place, p in zip(places, found, strict=True)
    ]
    stabiliser, answers, choice = _choose(config, answers, quiet, say)
    return FittedPose(head, stabiliser, answers, False, {"fit": summary, **choice})


def _with_folds(
    config: TrainConfig,
    rule: KFoldSplit | LeaveOneOutSplit,
    recordings: Sequence[PoseRecording],
    inputs: Sequence[NDArray[np.float32]],
    run: Path,
    quiet: bool,
    say: Say,
) -> FittedPose:
    folds = folds_of(rule, [one.name for one in recordings], [one.group for one in recordings])
    # Without a validation part the last epoch is kept.
    shown: Part | None = "validation" if config.choose is None or config.choose.epochs else None
    bare = config.fit.model_copy(update={"temperature": False})  # one for all folds together, below
    logits: dict[int, NDArray[np.float32]] = {}
    fold_of: dict[int, int] = {}
    fitted: list[dict[str, Any]] = []
    output: HeadOutput = "softmax"
    for number, held in enumerate(folds):
        say(f"fold {number + 1} of {len(folds)}: without {', '.join(recordings[place].name for place in held)}")
        parts = [_whole(one, "train" if place not in held else shown) for place, one in enumerate(recordings)]
        head, summary = _fit_one(config, bare, recordings, inputs, parts, run / f"fold-{number + 1}", quiet)
        fitted.append(summary)
        output = head.output
        for place, found in zip(held, frame_logits(head, [inputs[place] for place in held]), strict=True):
            logits[place], fold_of[place] = found, number
    temperature, calibration = 1.0, dict[str, Any]()
    if config.fit.temperature:
        every = np.concatenate([logits[place] for place in range(len(recordings))])
        best = calibration_of(every, np.concatenate([one.labels for one in recordings]), output)
        temperature, calibration = best.temperature, {"calibration": best.to_dict()}
    answers: list[RecordingAnswers] = []
    for place, one in enumerate(recordings):
        p = probabilities(torch.from_numpy(logits[place] / np.float32(temperature)), output).numpy()
        answers.append(
            answers_from(one, p, np.ones(len(p), np.bool_), config.classes, config.stabiliser, fold_of[place])
        )
    stabiliser, answers, choice = _choose(config, answers, quiet, say)
    epochs = config.fit.head_epochs
    if shown is not None:
        epochs = max(round(float(np.mean([one["best_epoch"] + 1 for one in fitted]))), 1)
    say(f"the model itself: all {len(recordings)} recordings, {epochs} epochs")
    whole = [_whole(one, "train") for one in recordings]
    once = bare.model_copy(update={"head_epochs": epochs})
    head, summary = _fit_one(config, once, recordings, inputs, whole, run, quiet)
    head.scale_logits(1.0 / temperature)
    return FittedPose(head, stabiliser, answers, True, {"folds": fitted, "fit": summary, **calibration, **choice})


def _fit_one(
    config: TrainConfig,
    rule: FitConfig,
    recordings: Sequence[PoseRecording],
    inputs: Sequence[NDArray[np.float32]],
    parts: Sequence[NDArray[np.int8]],
    run: Path,
    quiet: bool,
) -> tuple[HeadModule, dict[str, Any]]:
    data = [
        HeadData(one.name, x[None], one.labels, part)
        for one, x, part in zip(recordings, inputs, parts, strict=True)
        if (part != UNUSED).any()
    ]
    with torch.random.fork_rng():
        output: HeadOutput = "independent" if rule.loss.is_binary else "softmax"
        members: list[SequenceHead] = []
        fitted: list[dict[str, Any]] = []
        for number in range(config.head.ensemble):
            torch.manual_seed(config.seed + number)
            head = build_head(config.head, inputs[0].shape[1], len(config.classes), output)
            folder = run / f"member-{number + 1}" if number else run
            fitted.append(fit_head(head, data, rule, config.classes, config.seed + number, folder, quiet))
            members.append(head.eval())
    if len(members) == 1:
        return members[0], fitted[0]
    best_epoch = round(float(np.mean([one["best_epoch"] for one in fitted])))
    return EnsembleHead(members).eval(), {**fitted[0], "best_epoch": best_epoch, "members": fitted}


def _whole(recording: PoseRecording, part: Part | None) -> NDArray[np.int8]:
    return np.full(recording.n_frames, UNUSED if part is None else PARTS.index(part), np.int8)


def _choose(
    config: TrainConfig, answers: list[RecordingAnswers], quiet: bool, say: Say
) -> tuple[StabiliserConfig, list[RecordingAnswers], dict[str, Any]]:
    rule = config.choose
    if rule is not None and rule.stabiliser and not answers:
        say("no validation part: the stabiliser stays as it was configured")
    if rule is None or not rule.stabiliser or not answers:
        return config.stabiliser, answers, {}
    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("stabilisers", total=count_candidates(rule))
        choice = choose_stabiliser(rule, config.stabiliser, config.classes, answers, lambda n: bar.advance(task, n))
    say(f"stabiliser: {choice.words}")
    answers = [with_stabiliser(one, config.classes, choice.chosen) for one in answers]
    return choice.chosen, answers, {"stabiliser": {"words": choice.words, "tried": choice.tried}}


def frame_logits(head: HeadModule, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Logits [t, c] of every frame of whole recordings; what a head says late, since it looks ahead, is moved back.

    Args:
        head: on the CPU.
        inputs: features [t, f] of each recording.
    """
    return [moved_back(one, head.look_ahead_frames) for one in head_logits(head, inputs)]


def frame_answers(head: HeadModule, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Probabilities [t, c] of every frame; see `frame_logits`."""
    return [probabilities(torch.from_numpy(one), head.output).numpy() for one in frame_logits(head, inputs)]
