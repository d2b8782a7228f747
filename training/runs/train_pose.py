"""From recordings of keypoints to a bundle: read, look, fit, export, prove parity, choose, score what was not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ...inference.bundle import Bundle, write_bundle
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
from .kept_model import keep_manifest, keep_model, proven_files
from .manifest_fields import manifest_fields
from .pose_record import scores_of_pose, split_of
from .record import begin_run, seconds_before, write_json

PARITY_FRAMES: Final = 90
_CLOCK: Final = MonotonicClock()


@dataclass(frozen=True, slots=True)
class _Trained:
    """What was fitted, and on what.

    Attributes:
        config: of the training, with the unit of length of its points.
        recordings: of every part.
        check: what was found in them.
        fitted: head, stabiliser, and answers of folds.
    """

    config: TrainConfig
    recordings: Sequence[PoseRecording]
    check: DataCheck
    fitted: FittedPose

    @property
    def rule(self) -> PoseRule:
        """Of the points."""
        assert self.config.pose is not None
        return self.config.pose


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
    trained = _Trained(config, recordings, check, fitted)
    console.print("exporting, and comparing the graphs with what was trained")
    proof = _export_input(trained, inputs[0])
    keep_model(run, fitted.head, None, proof)
    fields = _fields(trained)
    files, parity = proven_files(fitted.head, None, proof, fields)
    before_s = seconds_before(fitted.summary)
    training_s = (_CLOCK.now_ns() - began_ns) / NS_PER_S + before_s
    with drafted_bundle(run, fields, files) as drafted:
        per_minute_s = _seconds_per_minute(trained, drafted)
        answers = _test_answers(trained, drafted)
    compute = {"training_s": training_s, "resumed": before_s > 0.0, "per_minute_s": per_minute_s}
    evaluation = _evaluation(trained, answers, split_of(config, fitted, measured), compute)
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


def _test_answers(trained: _Trained, bundle: Bundle) -> list[RecordingAnswers]:
    """Answers on what was not learnt from."""
    if trained.fitted.folds:
        return trained.fitted.answers
    judged = [(one, _mask(trained.config, one, "test")) for one in trained.recordings]
    return [bundle_answers(bundle, one, mask) for one, mask in judged if (mask & one.known).any()]


def _seconds_per_minute(trained: _Trained, bundle: Bundle) -> float:
    """Seconds of computing per minute of recording, of the longest one."""
    longest = max(trained.recordings, key=lambda one: one.n_frames)
    before_ns = _CLOCK.now_ns()
    bundle_answers(bundle, longest, np.ones(longest.n_frames, np.bool_))
    return (_CLOCK.now_ns() - before_ns) / NS_PER_S / (longest.n_frames / longest.rate_hz / 60.0)


def _evaluation(
    trained: _Trained, answers: Sequence[RecordingAnswers], split: Mapping[str, Any], compute: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of what was not learnt from; ``compute`` holds the times that were taken."""
    config, head = trained.config, trained.fitted.head
    return evaluation_record(
        answers,
        config.classes,
        split,
        causal=head.causal and not head.look_ahead_frames,
        look_ahead_frames=head.look_ahead_frames,
        learnt_counts=_learnt_counts(config, trained.recordings),
        label_source=config.labels.made_by or "unknown",
        notes=[*trained.check.notes, *trained.fitted.notes],
        compute={**compute, "machine": this_machine(), "threads": config.fit.threads},
    )


def measured_rule(config: TrainConfig, rule: PoseRule, recordings: Sequence[PoseRecording]) -> PoseRule:
    """The rule with the unit of length of the training part."""
    return with_scale(rule, recordings, [_mask(config, one, "train") for one in recordings])


def _export_input(trained: _Trained, inputs: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Real input for the parity gate, in which the behaviour changes, repeated where it is shorter than needed.

    See `KeptModel`; ``inputs`` are the features of the first recording.
    """
    n_steps = 2 * MIN_PARITY_STEPS
    start = min(first_change(trained.recordings[0], n_steps), max(len(inputs) - n_steps, 0))
    x = inputs[None, start : start + n_steps]
    x = np.tile(x, (1, -(-MIN_PARITY_STEPS // x.shape[1]), 1))
    points, times_ns = _parity_input(trained.rule, trained.recordings)
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


def _fields(trained: _Trained) -> dict[str, Any]:
    """Of the manifest, without scores."""
    config, rule, recordings = trained.config, trained.rule, trained.recordings
    assert rule.rate_hz is not None
    return {
        **manifest_fields(
            config,
            trained.fitted.head,
            rule.rate_hz,
            feature_specs(rule),
            trained.fitted.stabiliser,
            [one for recording in recordings for one in recording.data],
            lambda part: _members(config, recordings, part),
        ),
        "other_rates": rule.other_rates,
        "inputs": [pose_input(rule)],
    }
