"""Fitting a head on recordings of keypoints, and choosing what is chosen on data that it has not learnt from.

With a split into folds as many heads are fitted as there are folds, each without one of them. What these say of the
fold that they have not seen chooses the temperature, the stabiliser and, if asked for, the number of epochs; then one
head is fitted on everything. So no recording is given up for validation, and every choice is made on unseen ones. The
one on everything stops where the folds were best, on the course of the learning rate that they were on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from ...inference.graph_spec import HeadOutput
from ...inference.stabilisation.config import StabiliserConfig
from ..answers.look_ahead import moved_back
from ..answers.of_pose import answers_from, with_stabiliser
from ..config.fit import FitConfig
from ..config.training_file import TrainConfig
from ..data.learnt_labels import class_frames
from ..data.pose_recordings import PoseRecording
from ..fitting.head_data import HeadData
from ..fitting.head_fit import fit_head
from ..fitting.head_validation import head_logits
from ..fitting.missing_choices import Choice, missing_choices
from ..fitting.progress import WholeProgress
from ..fitting.temperature import calibration_of
from ..networks.ensemble import EnsembleHead
from ..networks.head import HeadModule, SequenceHead, build_head, probabilities
from ..scores.answers_file import RecordingAnswers
from ..splits import PARTS, UNUSED, KFoldSplit, LeaveOneOutSplit, Part, folds_of, parts_of
from ..stabilising.choice import choose_stabiliser, count_candidates
from .record import forget_beyond

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
        notes: what a reader of its scores must know, one line each.
    """

    head: HeadModule
    stabiliser: StabiliserConfig
    answers: list[RecordingAnswers]
    folds: bool
    summary: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Fits:
    """Where and how the fits of one call are made."""

    config: TrainConfig
    recordings: Sequence[PoseRecording]
    inputs: Sequence[NDArray[np.float32]]
    run: Path
    quiet: bool
    say: Say
    whole: WholeProgress


@dataclass(frozen=True, slots=True)
class _Folds:
    """The fits without each fold, and what they say of what they have not seen.

    Attributes:
        logits: of every recording, float32 [t, c].
        fold_of: by the fit of which fold, of every recording.
        output: of the heads.
        fitted: what is said of each fit.
        notes: as of `FittedPose`.
    """

    logits: list[NDArray[np.float32]]
    fold_of: list[int]
    output: HeadOutput
    fitted: list[dict[str, Any]]
    notes: list[str]


def count_fits(config: TrainConfig, recordings: Sequence[PoseRecording]) -> int:
    """How many heads `fit_pose` fits.

    Raises:
        DataError: there are not enough recordings for the folds.
    """
    n_folds = 0
    if isinstance(config.split, KFoldSplit | LeaveOneOutSplit):
        n_folds = len(folds_of(config.split, [one.name for one in recordings], [one.group for one in recordings]))
    return (n_folds + 1) * config.head.ensemble


def fit_pose(
    config: TrainConfig,
    recordings: Sequence[PoseRecording],
    inputs: Sequence[NDArray[np.float32]],
    run: Path,
    quiet: bool,
    say: Say,
    whole: WholeProgress | None = None,
) -> FittedPose:
    """Fit and choose. Deterministic by ``config.seed``; a run that was killed goes on where it was.

    Args:
        config: head, fit, split and what is chosen.
        recordings: those that may be learnt from, and, without folds, those of the other parts.
        inputs: features of the same recordings, float32 [t, f].
        run: folder for checkpoints and logs.
        quiet: no progress bars.
        say: told what is done.
        whole: the bar over all fits, of which these are `count_fits`; None: it has a bar of its own.

    Raises:
        DataError: there is nothing to learn from, or not enough recordings for the folds.
    """
    if whole is None:
        with WholeProgress(Console(stderr=True, quiet=quiet), "fits", count_fits(config, recordings)) as own:
            return fit_pose(config, recordings, inputs, run, quiet, say, own)
    fits = _Fits(config, recordings, inputs, run, quiet, say, whole)
    if isinstance(config.split, KFoldSplit | LeaveOneOutSplit):
        return _with_folds(fits, config.split)
    return _with_parts(fits)


def _with_parts(fits: _Fits) -> FittedPose:
    config, recordings, inputs = fits.config, fits.recordings, fits.inputs
    forget_beyond(fits.run, "fold", 0)
    parts = [parts_of(config.split, one) for one in recordings]
    bare = config.fit.model_copy(update={"temperature": False})  # one for all members together, below
    data = _head_data(fits, parts)
    head, summary = _fit_one(fits, bare, data, fits.run)
    judged = [part == PARTS.index("validation") for part in parts]
    places = [place for place, one in enumerate(recordings) if (judged[place] & one.known).any()]
    logits = frame_logits(head, [inputs[place] for place in places])
    temperature, calibration = 1.0, dict[str, Any]()
    if config.fit.temperature and places:
        every = np.concatenate([z[judged[place]] for place, z in zip(places, logits, strict=True)])
        shown, frames = [recordings[place] for place in places], [judged[place] for place in places]
        temperature, calibration = _temperature(every, shown, frames, head.output)
    answers = [
        answers_from(recordings[place], p, judged[place], config.classes, config.stabiliser)
        for place, p in zip(places, (_p(z, temperature, head.output) for z in logits), strict=True)
    ]
    stabiliser, answers, choice = _choose(fits, answers)
    head.scale_logits(1.0 / temperature)
    summary = {"fit": summary, **calibration, **choice}
    notes = missing_choices(
        data, [summary["fit"]], _unfound(config, summary), config.fit.monitor, head.look_ahead_frames
    )
    return FittedPose(head, stabiliser, answers, False, summary, _said(fits, notes))


def _with_folds(fits: _Fits, rule: KFoldSplit | LeaveOneOutSplit) -> FittedPose:
    config, recordings = fits.config, fits.recordings
    bare = config.fit.model_copy(update={"temperature": False})  # one for all folds together, below
    folds = _fit_folds(fits, bare, rule)
    temperature, calibration = 1.0, dict[str, Any]()
    if config.fit.temperature:
        frames = [np.ones(one.n_frames, np.bool_) for one in recordings]
        temperature, calibration = _temperature(np.concatenate(folds.logits), recordings, frames, folds.output)
    answers: list[RecordingAnswers] = []
    for one, logits, fold in zip(recordings, folds.logits, folds.fold_of, strict=True):
        p = _p(logits, temperature, folds.output)
        answers.append(answers_from(one, p, np.ones(len(p), np.bool_), config.classes, config.stabiliser, fold))
    stabiliser, answers, choice = _choose(fits, answers)
    notes = folds.notes + _said(fits, _missing_in_folds(fits, {**calibration, **choice}))
    epochs = _epochs_of(folds.fitted) or config.fit.head_epochs
    horizon = config.fit.schedule_epochs or config.fit.head_epochs
    fits.say(f"the model itself: all {len(recordings)} recordings, {epochs} epochs of a course of {horizon}")
    once = bare.model_copy(update={"head_epochs": epochs, "schedule_epochs": horizon})
    head, summary = _fit_one(fits, once, _head_data(fits, [_whole(one, "train") for one in recordings]), fits.run)
    head.scale_logits(1.0 / temperature)
    summary = {"folds": folds.fitted, "fit": {**summary, "schedule_epochs": horizon}, **calibration, **choice}
    return FittedPose(head, stabiliser, answers, True, summary, notes)


def _fit_folds(fits: _Fits, rule: FitConfig, split: KFoldSplit | LeaveOneOutSplit) -> _Folds:
    config, recordings = fits.config, fits.recordings
    folds = folds_of(split, [one.name for one in recordings], [one.group for one in recordings])
    forget_beyond(fits.run, "fold", len(folds))
    # Without a validation part the last epoch is kept.
    shown: Part | None = "validation" if config.choose is None or config.choose.epochs else None
    logits: dict[int, tuple[int, NDArray[np.float32]]] = {}
    fitted: list[dict[str, Any]] = []
    notes: list[str] = []
    output: HeadOutput = "softmax"
    for number, held in enumerate(folds):
        name = f"fold {number + 1} of {len(folds)}"
        fits.say(f"{name}: without {', '.join(recordings[place].name for place in held)}")
        absent = absent_classes(config, [one for place, one in enumerate(recordings) if place not in held])
        if absent:
            about = (
                f"{name} does without {', '.join(absent)}, which no other recording shows: its head cannot know it, "
                "and what is chosen on the folds is chosen on its answers, too"
            )
            notes += _said(fits, [about])
        parts = [_whole(one, "train" if place not in held else shown) for place, one in enumerate(recordings)]
        data = _head_data(fits, parts)
        head, summary = _fit_one(fits, rule, data, fits.run / f"fold-{number + 1}")
        fitted.append({**summary, "absent": absent})
        missing = missing_choices(data, [summary], {}, rule.monitor, head.look_ahead_frames, name)
        notes += _said(fits, [f"{note}, which has no say in how many the model itself gets" for note in missing])
        output = head.output
        for place, found in zip(held, frame_logits(head, [fits.inputs[place] for place in held]), strict=True):
            logits[place] = number, found
    each = [logits[place] for place in range(len(recordings))]
    return _Folds([found for _, found in each], [number for number, _ in each], output, fitted, notes)


def _said(fits: _Fits, notes: list[str]) -> list[str]:
    for note in notes:
        fits.say(note)
    return notes


def _epochs_of(folds: Sequence[Mapping[str, Any]]) -> int | None:
    """How many epochs were best on the folds, on average; None: no fold has chosen any."""
    chosen = [one["best_epoch"] + 1 for one in folds if one["best_value"] is not None]
    return max(round(float(np.mean(chosen))), 1) if chosen else None


def _missing_in_folds(fits: _Fits, found: Mapping[str, Any]) -> list[str]:
    """Of what is chosen on all folds together."""
    data = _head_data(fits, [_whole(one, "validation") for one in fits.recordings])
    return missing_choices(data, [], _unfound(fits.config, found), fits.config.fit.monitor, 0, "the folds")


def _unfound(config: TrainConfig, found: Mapping[str, Any]) -> dict[Choice, bool]:
    """What is asked for beside the epoch and was not found."""
    stabiliser = config.choose is not None and config.choose.stabiliser
    return {
        "temperature": config.fit.temperature and "calibration" not in found,
        "stabiliser": stabiliser and "stabiliser" not in found,
    }


def absent_classes(config: TrainConfig, learnt: Sequence[PoseRecording]) -> list[str]:
    """Classes that no frame of some recordings shows."""
    n = len(config.classes)
    counts = np.sum([np.zeros(n, np.int64), *(class_frames(one.labels, one.targets, n) for one in learnt)], axis=0)
    return [name for name, count in zip(config.classes, counts.tolist(), strict=True) if not count]


def _head_data(fits: _Fits, parts: Sequence[NDArray[np.int8]]) -> list[HeadData]:
    return [
        HeadData(one.name, x[None], one.labels, part, one.targets, one.sequences)
        for one, x, part in zip(fits.recordings, fits.inputs, parts, strict=True)
        if (part != UNUSED).any()
    ]


def _fit_one(fits: _Fits, rule: FitConfig, data: Sequence[HeadData], run: Path) -> tuple[HeadModule, dict[str, Any]]:
    config = fits.config
    forget_beyond(run, "member", config.head.ensemble)
    with torch.random.fork_rng():
        output: HeadOutput = "independent" if rule.loss.is_binary else "softmax"
        members: list[SequenceHead] = []
        fitted: list[dict[str, Any]] = []
        for number in range(config.head.ensemble):
            seed = config.seed + number
            torch.manual_seed(seed)
            head = build_head(config.head, fits.inputs[0].shape[1], len(config.classes), output)
            folder = run / f"member-{number + 1}" if number else run
            fitted.append(fit_head(head, data, rule, config.classes, seed, folder, fits.quiet, whole=fits.whole))
            members.append(head.eval())
            fits.whole.end_fits()
    if len(members) == 1:
        return members[0], fitted[0]
    chosen = [one for one in fitted if one["best_value"] is not None] or fitted
    together = {
        "best_epoch": round(float(np.mean([one["best_epoch"] for one in chosen]))),
        "seconds": sum(float(one["seconds"]) for one in fitted),
        "seconds_before": sum(float(one["seconds_before"]) for one in fitted),
    }
    return EnsembleHead(members).eval(), {**chosen[0], **together, "members": fitted}


def _whole(recording: PoseRecording, part: Part | None) -> NDArray[np.int8]:
    return np.full(recording.n_frames, UNUSED if part is None else PARTS.index(part), np.int8)


def _temperature(
    logits: NDArray[np.float32],
    recordings: Sequence[PoseRecording],
    frames: Sequence[NDArray[np.bool_]],
    output: HeadOutput,
) -> tuple[float, dict[str, Any]]:
    truth = np.concatenate([one.labels[mask] for one, mask in zip(recordings, frames, strict=True)])
    given = [one.targets[mask] for one, mask in zip(recordings, frames, strict=True) if one.targets is not None]
    best = calibration_of(logits, truth, output, np.concatenate(given) if given else None)
    return best.temperature, {"calibration": best.to_dict()}


def _p(logits: NDArray[np.float32], temperature: float, output: HeadOutput) -> NDArray[np.float32]:
    return probabilities(torch.from_numpy(logits / np.float32(temperature)), output).numpy()


def _choose(
    fits: _Fits, answers: list[RecordingAnswers]
) -> tuple[StabiliserConfig, list[RecordingAnswers], dict[str, Any]]:
    config, rule = fits.config, fits.config.choose
    if rule is None or not rule.stabiliser or not any(one.known.any() for one in answers):
        return config.stabiliser, answers, {}
    look_ahead = config.head.look_ahead_frames
    with fits.whole.task("stabilisers", count_candidates(rule)) as advance:
        choice = choose_stabiliser(rule, config.stabiliser, config.classes, answers, advance, look_ahead)
    fits.say(f"stabiliser: {choice.words}")
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
