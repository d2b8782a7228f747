"""From recordings of keypoints to a bundle: read, look, fit, export, prove parity, choose, score what was not seen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ...inference.bundle import Bundle, make_pose_parity, write_bundle
from ...inference.manifest import Scores
from ...sync.clock import NS_PER_S, MonotonicClock
from ...sync.errors import DataError
from ..answers.of_pose import bundle_answers
from ..cache.pose_features import pose_features
from ..cache.store import FeatureCache
from ..config.pose import PoseRule
from ..config.recordings import PoseData
from ..config.training_file import TrainConfig
from ..data.checks import DataCheck, check_data, print_check, refuse_whole
from ..data.learnt_labels import class_frames
from ..data.pose_recordings import (
    PoseRecording,
    alike_in_words,
    feature_specs,
    open_poses,
    pose_input,
    with_scale,
)
from ..export.bundle_record import this_machine
from ..export.graphs import MIN_PARITY_STEPS
from ..fitting.checkpoint import forget_checkpoints
from ..fitting.progress import WholeProgress
from ..run_files import DATA_FILE, EVALUATION_FILE
from ..scores.answers_file import ANSWERS_FILE, RecordingAnswers, write_answers
from ..scores.evaluation_record import evaluation_record
from ..splits import KFoldSplit, LeaveOneOutSplit, Part, SplitRule, part_mask, stretches_of
from .drafted_bundle import drafted_bundle
from .fit_pose import FittedPose, count_fits, fit_pose
from .kept_model import graphs_of, keep_manifest, keep_model, prove_parity
from .manifest_fields import manifest_fields
from .record import begin_run, seconds_before, write_json

PARITY_FRAMES: Final = 90
_CLOCK: Final = MonotonicClock()


def train_pose(
    config: TrainConfig,
    root: Path,
    out: Path,
    quiet: bool = False,
    notes: Sequence[str] = (),
    cache: FeatureCache | None = None,
) -> dict[str, Any]:
    """Train a model of keypoints and write its bundle.

    Beside the bundle, ``<out>.run/`` gets ``config.yaml``, ``command.txt``, ``data.json``, ``metrics.jsonl``,
    ``tensorboard/``, ``answers.npz`` and ``evaluation.json``, and what `export_run` makes the bundle of again.

    Args:
        config: with recordings of ``kind: pose``.
        root: folder that relative paths start from.
        out: folder of the bundle.
        quiet: nothing is printed.
        notes: what was assumed about the data, to be printed and kept.
        cache: where features are looked for and kept; None: they are computed.

    Returns:
        ``bundle`` (identity), ``out``, ``run``, ``fit``, ``parity`` (relative error) and ``evaluation``; ``cache``,
        what it was good for.

    Raises:
        DataError: the data do not fit.
        ParityError: the exported graphs do not compute what was trained; no bundle is written.
        DiskFullError: no room for the cache, or for what goes on after a kill.
    """
    began_ns = _CLOCK.now_ns()
    console = Console(quiet=quiet, stderr=True, highlight=False)
    run = out.parent / f"{out.name}.run"
    config = config.model_copy(update={"notes": [*config.notes, *notes]})
    recordings, rule, check = read_poses(config, root, console, config.split)
    refuse_absent(config, recordings)
    config = config.model_copy(update={"pose": rule})
    # Before the unit of length is measured: whoever repeats the run, or cross-validates it, measures his own.
    begin_run(run, config, root, ["train", "{config}", "--out", str(out.resolve())])
    write_json(run / DATA_FILE, check.to_dict())
    measured = rule.scale.start_px is None
    rule = measured_rule(config, rule, recordings)
    config = config.model_copy(update={"pose": rule})
    inputs = [pose_features(rule, one, cache) for one in recordings]
    console.print(f"{inputs[0].shape[1]} features of {sum(map(len, inputs)):,} frames")
    with WholeProgress(console, "fits", count_fits(config, recordings)) as whole:
        fitted = fit_pose(config, recordings, inputs, run, quiet, console.print, whole)
    split = split_of(config, fitted, measured)
    console.print("exporting, and comparing the graphs with what was trained")
    proof = _export_input(rule, recordings, inputs[0])
    keep_model(run, fitted.head, None, proof)
    files = graphs_of(fitted.head, None)
    parity = prove_parity(fitted.head, None, files, proof)
    fields = _fields(config, rule, recordings, fitted)
    files["parity.npz"] = make_pose_parity(fields, files, proof["points"], proof["times_ns"])
    before_s = seconds_before(fitted.summary)
    training_s = (_CLOCK.now_ns() - began_ns) / NS_PER_S + before_s
    with drafted_bundle(run, fields, files) as drafted:
        answers, per_minute_s = _test_answers(config, fitted, recordings, drafted)
    evaluation = evaluation_record(
        answers,
        config.classes,
        split,
        causal=fitted.head.causal and not fitted.head.look_ahead_frames,
        look_ahead_frames=fitted.head.look_ahead_frames,
        learnt_counts=_learnt_counts(config, recordings),
        label_source=config.labels.made_by or "unknown",
        notes=[*check.notes, *fitted.notes],
        compute={
            "training_s": training_s,
            "resumed": before_s > 0.0,
            "per_minute_s": per_minute_s,
            "machine": this_machine(),
            "threads": config.fit.threads,
        },
    )
    fields["scores"] = scores_of_pose(evaluation, config, fitted)
    keep_manifest(run, write_bundle(out, fields, files))
    identity = Bundle.load(out, max_look_ahead_frames=None).identity
    evaluation = {"bundle": identity, "provider": "cpu", **evaluation}
    write_answers(run / ANSWERS_FILE, answers, config.classes)
    write_json(run / EVALUATION_FILE, evaluation)
    for folder in (run, *run.glob("**/fold-*"), *run.glob("**/member-*")):
        forget_checkpoints(folder)
    return {
        "bundle": identity,
        "out": str(out),
        "run": str(run),
        "fit": fitted.summary,
        "parity": parity,
        "evaluation": evaluation,
        **({} if cache is None else {"cache": cache.to_dict()}),
    }


def read_poses(
    config: TrainConfig, root: Path, console: Console, split: SplitRule | None = None
) -> tuple[list[PoseRecording], PoseRule, DataCheck]:
    """Read the recordings of a configuration, look at them and print what was found.

    Args:
        config: of recordings of keypoints.
        root: folder that relative paths start from.
        console: that is printed to.
        split: that they are scored by, so that bouts on its borders are named; None: another one than the file's.

    Raises:
        DataError: the data do not fit.
    """
    assert config.pose is not None
    entries = [one for one in config.data if isinstance(one, PoseData)]
    recordings, rule = open_poses(entries, root, config.pose, config.classes, config.labels, config.split)
    assumed = sorted({one.rate_hz for one in entries if one.rate_assumed and one.rate_hz is not None})
    said = [*config.notes]
    if assumed and not any("assumed" in note for note in said):
        said.append(f"assumed: {', '.join(f'{rate:g}' for rate in assumed)} frames/s, which nobody has stated")
    said += alike_in_words(recordings)
    check = check_data([one.checked for one in recordings], config.classes, said, split)
    print_check(check, console)
    refuse_whole([one.checked for one in recordings], config.fit.supervision)
    return recordings, rule, check


def refuse_absent(config: TrainConfig, recordings: Sequence[PoseRecording]) -> None:
    """Refuse classes that the training part does not hold at all.

    Raises:
        DataError: there is one.
    """
    counts = _learnt_counts(config, recordings)
    if absent := [name for name, n in counts.items() if not n]:
        raise DataError(
            f"the training part has no frame of {', '.join(absent)}; label some, choose another split, or leave the "
            "class out of 'classes'"
        )


def split_of(config: TrainConfig, fitted: FittedPose, measured: bool) -> dict[str, Any]:
    """How what is scored was kept apart from what was learnt, for the record.

    Args:
        config: of the training.
        fitted: with it.
        measured: the unit of length was measured on the recordings, and not stated.

    Returns:
        The rule; with folds also ``scored``, and ``chosen``: what had a look at the scored recordings.
    """
    split: dict[str, Any] = config.split.model_dump(mode="json")
    if fitted.folds:
        split["scored"] = "every recording by the model of the fold that has not seen it"
        if chosen := chosen_on_folds(fitted.summary, measured):
            split["chosen"] = ", ".join(chosen)
    return split


def chosen_on_folds(summary: Mapping[str, Any], measured: bool) -> list[str]:
    """What the folds have decided beside giving scores, in so far as there was something to decide it on.

    Args:
        summary: of `FittedPose`, with folds.
        measured: the unit of length was measured on the recordings, and not stated.
    """
    decided = {
        "unit of length": measured,
        "epochs": any(one["best_value"] is not None for one in summary["folds"]),
        "temperature": "calibration" in summary,
        "stabiliser": "stabiliser" in summary,
    }
    return [name for name, yes in decided.items() if yes]


def scores_of_pose(evaluation: dict[str, Any], config: TrainConfig, fitted: FittedPose) -> Scores:
    """An evaluation as the manifest keeps it."""
    how = "folds" if fitted.folds else "test part"
    chosen = evaluation["split"].get("chosen")
    return Scores(
        evaluated_on=f"{how}, {config.split.by}, raw keypoints to label, stabilised"
        + (", causal" if evaluation["causal"] else ", not causal")
        + (f"; chosen on the very recordings that are scored: {chosen}" if chosen else ""),
        n_frames=evaluation["n_frames"],
        accuracy=evaluation["accuracy"],
        balanced_accuracy=evaluation["balanced_accuracy"],
        macro_f1=evaluation["macro_f1"],
        per_class=evaluation["stabilised"]["per_class"],
        confusion=evaluation["confusion_matrix"],
        more={name: evaluation[name] for name in ("raw", "compare", "bout_f1", "flicker", "intervals", "warnings")},
    )


def _test_answers(
    config: TrainConfig, fitted: FittedPose, recordings: Sequence[PoseRecording], bundle: Bundle
) -> tuple[list[RecordingAnswers], float]:
    """Answers on what was not learnt from, and seconds of computing per minute of recording."""
    longest = max(recordings, key=lambda one: one.n_frames)
    before_ns = _CLOCK.now_ns()
    bundle_answers(bundle, longest, np.ones(longest.n_frames, np.bool_))
    per_minute_s = (_CLOCK.now_ns() - before_ns) / NS_PER_S / (longest.n_frames / longest.rate_hz / 60.0)
    if fitted.folds:
        return fitted.answers, per_minute_s
    judged = [(one, _mask(config, one, "test")) for one in recordings]
    return [bundle_answers(bundle, one, mask) for one, mask in judged if (mask & one.known).any()], per_minute_s


def measured_rule(config: TrainConfig, rule: PoseRule, recordings: Sequence[PoseRecording]) -> PoseRule:
    """The rule with the unit of length of the training part."""
    return with_scale(rule, recordings, [_mask(config, one, "train") for one in recordings])


def _export_input(
    rule: PoseRule, recordings: Sequence[PoseRecording], inputs: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Real input for the parity gate, in which the behaviour changes, repeated where it is shorter than needed.

    See `KeptModel`.
    """
    n_steps = 2 * MIN_PARITY_STEPS
    start = min(first_change(recordings[0], n_steps), max(len(inputs) - n_steps, 0))
    x = inputs[None, start : start + n_steps]
    x = np.tile(x, (1, -(-MIN_PARITY_STEPS // x.shape[1]), 1))
    points, times_ns = _parity_input(rule, recordings)
    return {"x": np.ascontiguousarray(x), "points": points, "times_ns": times_ns}


def _parity_input(rule: PoseRule, recordings: Sequence[PoseRecording]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points for ``parity.npz`` from a stretch of the first recording in which the behaviour changes, if any."""
    start = first_change(recordings[0], PARITY_FRAMES)
    points = recordings[0].points[start : start + PARITY_FRAMES]
    assert rule.rate_hz is not None
    return points, np.rint(np.arange(len(points)) * (NS_PER_S / rule.rate_hz)).astype(np.int64)


def first_change(recording: PoseRecording, n_frames: int) -> int:
    """Where a stretch begins that has the first change of behaviour in its middle; 0 where there is none."""
    labels = recording.labels
    changes = np.flatnonzero((np.diff(labels) != 0) & (labels[1:] >= 0) & (labels[:-1] >= 0))
    return max(int(changes[0]) - n_frames // 2, 0) if len(changes) else 0


def _learnt_counts(config: TrainConfig, recordings: Sequence[PoseRecording]) -> dict[str, int]:
    counts = np.zeros(len(config.classes), np.int64)
    for one in recordings:
        learnt = _mask(config, one, "train")
        targets = None if one.targets is None else one.targets[learnt]
        counts += class_frames(one.labels[learnt], targets, len(counts))
    return {name: int(n) for name, n in zip(config.classes, counts, strict=True)}


def _mask(config: TrainConfig, recording: PoseRecording, part: Part) -> NDArray[np.bool_]:
    if isinstance(config.split, KFoldSplit | LeaveOneOutSplit):
        return np.full(recording.n_frames, part == "train", np.bool_)
    return part_mask(config.split, recording, part)


def _members(config: TrainConfig, recordings: Sequence[PoseRecording], part: Part) -> list[str]:
    return [name for one in recordings for name in stretches_of(one.name, _mask(config, one, part))]


def _fields(
    config: TrainConfig, rule: PoseRule, recordings: Sequence[PoseRecording], fitted: FittedPose
) -> dict[str, Any]:
    assert rule.rate_hz is not None
    return {
        **manifest_fields(
            config,
            fitted.head,
            rule.rate_hz,
            feature_specs(rule),
            fitted.stabiliser,
            [one for recording in recordings for one in recording.data],
            lambda part: _members(config, recordings, part),
        ),
        "other_rates": rule.other_rates,
        "inputs": [pose_input(rule)],
    }
