"""Cross-validation: every recording is answered by a model that has not seen it, nor any other of its group.

Everything is done anew for every fold, on the other recordings alone: unit of length, normalisation, number of epochs,
temperature and stabiliser. What is scored has taken part in none of it.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import Progress

from ...sync.clock import NS_PER_S, MonotonicClock
from ...sync.errors import DataError
from ..answers.of_video import label_source_of
from ..cache.account import joined_account
from ..cache.store import FeatureCache
from ..config.export import ExportConfig
from ..config.pose import PoseRule
from ..config.training_file import TrainConfig
from ..data.checks import DataCheck, check_data, print_check
from ..data.entries import name_of, single_recordings
from ..data.pose_recordings import PoseRecording
from ..data.video_sources import Source, open_sources
from ..export.bundle_record import this_machine
from ..fitting.progress import WholeProgress
from ..presets.video_split import ABOUT_SPLIT
from ..run_files import COMMAND_FILE, DATA_FILE, EVALUATION_FILE
from ..scores.answers_file import ANSWERS_FILE, RecordingAnswers, write_answers
from ..scores.evaluation_record import evaluation_record
from ..splits import FoldSplit, RecordingSplit, folds_of
from .crossval_boosting import (
    GRADIENT_BOOSTING,
    boosting_scores,
    crossval_boosting,
    refuse_baselines,
    refuse_sequences,
)
from .crossval_fold import FoldResult, FoldTask, count_fold_fits, read_fold, run_fold
from .record import begin_run, forget_beyond, refuse_other_data, words_of, write_json
from .train_pose import read_poses

Opened = tuple[Sequence[PoseRecording], PoseRule]
RunFolds = Callable[[Sequence[FoldTask]], Sequence[FoldResult]]
_CLOCK: Final = MonotonicClock()


def crossval(
    config: TrainConfig,
    root: Path,
    run: Path,
    rule: FoldSplit,
    quiet: bool = False,
    notes: Sequence[str] = (),
    run_folds: RunFolds | None = None,
    cache: Path | None = None,
    baselines: bool = False,
) -> dict[str, Any]:
    """Cross-validate a model of keypoints or of video.

    Args:
        config: its own split says how validation data are had inside the training part of each fold; see
            `crossval_fold.inner_split`, and for video, where it is not looked at, `crossval_fold`.
        root: folder that relative paths start from.
        run: folder for what is found: ``evaluation.json``, ``answers.npz``, ``config.yaml``, ``command.txt`` and a
            folder per fold. Folds that are done are not done again by a later call, unless something that they depend
            on has changed.
        rule: outer folds.
        quiet: nothing is printed.
        notes: what was assumed about the data.
        run_folds: does the folds and returns what `run_fold` says of each, in order; None: one after the other, here.
        cache: folder of the features that folds share; None: each fold computes its own.
        baselines: score gradient boosting on the same features as well; for keypoints with one behaviour per frame.
            Where it cannot be, a note says why.

    Returns:
        ``run``, ``folds`` (members and summary of each) and ``evaluation``, of all recordings pooled, with intervals
        over recordings or groups; ``cache``, what it was good for to the folds that were done here.

    Raises:
        ConfigError: the folder holds the folds of recordings in another place.
        ConfigError, DataError, VideoError: what the user gave does not fit, or is too little for the folds.
    """
    began_ns = _CLOCK.now_ns()
    console = Console(quiet=quiet, stderr=True, highlight=False)
    run = run.resolve()  # what does the folds may do so from another folder
    config = _as_scored(config, notes)
    refuse_other_data(run, root)
    if baselines:
        refuse_baselines(config)
    tasks, opened, check = plan_folds(config, root, run, rule, console, cache)
    if baselines and opened is not None:
        refuse_sequences(opened[0])
    _begin(tasks, baselines)
    write_json(run / DATA_FILE, check.to_dict())
    spent_s = (_CLOCK.now_ns() - began_ns) / NS_PER_S
    results = _one_after_the_other(tasks, opened, console) if run_folds is None else run_folds(tasks)
    answers = [answer for one in results for answer in one.answers]
    summaries = [one.summary for one in results]
    compute = {
        "training_s": spent_s + sum(float(one["seconds"]) for one in summaries),
        "resumed": any(one["resumed"] for one in summaries),
        "threads": config.fit.threads,
        **({"machine": this_machine()} if run_folds is None else {}),  # else they may be done anywhere
    }
    evaluation = {"model": config.name, **_pooled(config, rule, answers, summaries, check.notes, compute)}
    write_answers(run / ANSWERS_FILE, answers, config.classes)
    write_json(run / EVALUATION_FILE, evaluation)
    if baselines and opened is not None:
        _add_boosting(evaluation, tasks, opened, console)
        write_json(run / EVALUATION_FILE, evaluation)
    accounts = [one.cache for one in results if one.cache is not None]
    kept = {} if cache is None or not accounts else {"cache": joined_account(cache, accounts)}
    return {"run": str(run), "folds": summaries, "evaluation": evaluation, **kept}


def _as_scored(config: TrainConfig, notes: Sequence[str]) -> TrainConfig:
    """A training file as its folds are fitted and scored, with notes of what that leaves out of it."""
    kept = [note for note in (*config.notes, *notes) if not note.startswith(ABOUT_SPLIT)]
    if config.export.precision == "int8":
        kept.append("export.precision: int8 is left out of a cross-validation: its scores are those of float32")
    return config.model_copy(update={"notes": kept, "export": ExportConfig()})


def _begin(tasks: Sequence[FoldTask], baselines: bool) -> None:
    """Say in the run folder how it comes about, and clear away what an earlier run has left; folds that are done stay.

    Raises:
        ReportError: the folder cannot be written.
    """
    of_all = tasks[0]  # but for its number every fold is of the same
    run, rule = of_all.run, of_all.rule
    done = {task.folder for task in tasks if read_fold(task) is not None}
    was_run = (run / COMMAND_FILE).is_file()  # else nothing in it is ours
    words = ["crossval", "{config}", *words_of(rule), "--out", str(run), *(["--baselines"] if baselines else [])]
    begin_run(run, of_all.config, of_all.root, words, done)
    if was_run:
        forget_beyond(run, "fold", len(tasks))


def _pooled(
    config: TrainConfig,
    rule: FoldSplit,
    answers: Sequence[RecordingAnswers],
    summaries: Sequence[dict[str, Any]],
    notes: Sequence[str],
    compute: dict[str, Any],
) -> dict[str, Any]:
    """The record of all folds together; ``notes`` are those of the data."""
    head = config.head
    return evaluation_record(
        answers,
        config.classes,
        {**rule.model_dump(mode="json"), "n_folds": len(summaries), "inner": summaries[0]["inner"]},
        causal=head.causal and not head.look_ahead_frames,
        look_ahead_frames=head.look_ahead_frames,
        label_source=label_source_of(config),
        notes=[*notes, *(note for one in summaries for note in one["notes"])],
        compute=compute,
    )


def _add_boosting(evaluation: dict[str, Any], tasks: Sequence[FoldTask], opened: Opened, console: Console) -> None:
    """Put the scores of gradient boosting on the same folds into an evaluation, or why there are none."""
    try:
        evaluation["baselines"][GRADIENT_BOOSTING] = _boosting(tasks, opened, console)
    except DataError as error:  # of the baseline alone: what the model scores stays
        evaluation["notes"].append(f"gradient boosting has no scores: {error}")
        console.print(f"! {evaluation['notes'][-1]}", style="yellow", markup=False)


def _boosting(tasks: Sequence[FoldTask], opened: Opened, console: Console) -> dict[str, Any]:
    recordings, pose = opened
    config, rule, cache = tasks[0].config, tasks[0].rule, tasks[0].cache
    with Progress(console=console, disable=console.quiet, transient=True) as bar:
        bar_task = bar.add_task("gradient boosting", total=len(tasks))
        kept = None if cache is None else FeatureCache(cache, console.print)
        answers = crossval_boosting(config, pose, recordings, rule, kept, lambda n: bar.advance(bar_task, n))
    chosen = config.choose is not None and config.choose.stabiliser
    return boosting_scores(answers, config.classes, rule.model_dump(mode="json"), chosen)


def plan_folds(
    config: TrainConfig, root: Path, run: Path, rule: FoldSplit, console: Console, cache: Path | None = None
) -> tuple[list[FoldTask], Opened | None, DataCheck]:
    """Read the recordings, print what was found, and deal the folds out.

    Returns:
        The folds, the recordings of keypoints as they were read (None for video), and what was found.

    Raises:
        ConfigError, DataError, VideoError: the data do not fit, or are too few for the folds.
    """
    opened: Opened | None = None
    root, run, cache = root.resolve(), run.resolve(), None if cache is None else cache.resolve()
    if config.is_pose:
        recordings, pose, check = read_poses(config, root, console)
        opened = recordings, pose
        n_folds = len(folds_of(rule, [one.name for one in recordings], [one.group for one in recordings]))
        data = tuple(word for one in recordings for word in (one.content, _labels_sha256(one)))
    else:
        entries = single_recordings(config.data)
        n_folds = len(folds_of(rule, [name_of(one) for one in entries], [one.group for one in entries]))
        whole = [one.model_copy(update={"part": "train"}) for one in entries]
        sources = open_sources(config.model_copy(update={"data": whole, "split": RecordingSplit()}), root)
        data = tuple(word for one in sources for word in (one.data.sha256, _labels_sha256(one)))
        check = check_data([one.checked for one in sources], config.classes, config.notes)
        print_check(check, console)
    return [FoldTask(config, root, run, rule, number, data, cache) for number in range(n_folds)], opened, check


def _labels_sha256(one: PoseRecording | Source) -> str:
    """Of everything that is learnt from or scored against, frame by frame: own labels, and those of other raters."""
    found = hashlib.sha256()
    of_raters = [(f"rater {name}", one.compare[name]) for name in sorted(one.compare)]
    for name, values in [("labels", one.labels), ("targets", one.targets), ("sequences", one.sequences), *of_raters]:
        found.update(f"{name} {None if values is None else (values.dtype.str, values.shape)}\n".encode())
        found.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _one_after_the_other(tasks: Sequence[FoldTask], opened: Opened | None, console: Console) -> list[FoldResult]:
    n_fits = sum(count_fold_fits(task, [] if opened is None else opened[0]) for task in tasks)
    found: list[FoldResult] = []
    with WholeProgress(console, "cross-validation", n_fits) as whole:
        for task in tasks:
            console.print(f"[bold]fold {task.number + 1} of {len(tasks)}[/]")
            # A training of video shows bars of its own, which would be drawn over this one.
            quiet = console.quiet or opened is None
            found.append(run_fold(task, quiet, console.print, whole, opened))
    return found
