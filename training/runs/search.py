"""Search for the settings of a training file: variants are cross-validated, and the best is written out.

A variant is scored as `ethostream crossval` would score it, on the recordings that are not of the test part: those are
not opened here (a preset on a folder has read which behaviours they are labelled with). Several variants may be under
way at once; they go on together fold by fold, so that what is proposed and what is given up is the same wherever the
folds are done.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ...streaming.folder_lock import FolderLock
from ...sync.errors import ConfigError, DataError, RecordingError
from ...sync.strict import validate
from ..config.search import Domain, check_space, default_space, value_at, with_values, word_of
from ..config.training_file import TrainConfig
from ..fitting.progress import WholeProgress
from ..scores.answers_file import RecordingAnswers
from ..splits import FoldSplit, KFoldSplit, LeaveOneOutSplit
from .crossval import Opened, plan_folds
from .crossval_fold import FoldResult, FoldTask, count_fold_fits, run_fold
from .record import resolved
from .search_files import SearchContext, SearchRule, make_folder, write_found, write_how
from .search_parts import for_fits, name_and_group, not_seen, seen_entries
from .search_score import check_objective, less_is_better, score_of
from .study import KILLED, STUDY_FILE, SearchStudy, Tried, Variant, best_of

_TRIALS_FOLDER: Final = "trials"
_MOST_FAILED: Final = 5
"""So many failures without a single success mean that it is not the settings."""

Fault = ConfigError | DataError
"""What a variant may fail of while others go on: a combination that cannot be, a loss that is no number."""
DoFolds = Callable[[Sequence[FoldTask], Callable[[], None]], Sequence[FoldResult | Fault]]
"""Does folds, each of another variant, and gives what came of each, in order; told after each that it has ended."""


@dataclass(slots=True)
class _Running:
    """A variant that is under way."""

    variant: Variant
    config: TrainConfig
    folder: Path
    answers: list[RecordingAnswers] = field(default_factory=list[RecordingAnswers])
    score: float | None = None


def search(
    config: TrainConfig,
    root: Path,
    run: Path,
    rule: SearchRule,
    quiet: bool = False,
    notes: Sequence[str] = (),
    do_folds: DoFolds | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Search; the same call goes on where an earlier one was ended.

    Args:
        config: of keypoints or of video; the variants differ from it in the keys of the space.
        root: folder that relative paths start from.
        run: folder for what is found: ``search.json``, ``best.yaml`` (a training file), ``space.yaml``,
            ``config.yaml``, ``command.txt`` and ``study.sqlite``.
        rule: how.
        quiet: nothing is printed.
        notes: what was assumed about the data.
        do_folds: does the folds; None: one after the other, here.
        cache: folder of the features that folds and variants share; None: each fold computes its own.

    Returns:
        What ``search.json`` holds.

    Raises:
        ConfigError: the space or the objective cannot be, or the folder holds another search.
        DataError: the data do not fit or are too few for the folds, or no variant could be fitted.
    """
    console = Console(quiet=quiet, stderr=True, highlight=False)
    run = run.resolve()  # what does the folds may do so from another folder
    asked = config.model_copy(update={"notes": [*config.notes, *notes]})
    config = asked.model_copy(update={"data": seen_entries(asked, rule.leave_out)})
    base = resolved(config, root)
    space = check_space(rule.space if rule.space is not None else default_space(config), config, base, rule.where)
    check_objective(rule.objective, config.classes, config.labels.overlap == "each")
    folds = rule.folds or folds_for(config)
    tasks, opened, check = plan_folds(for_fits(config, rule.objective), root, run, folds, console, cache)
    make_folder(run)
    about = _what_is_searched(rule, space, folds, tasks, base)
    minimise = less_is_better(rule.objective)
    with _locked(run), closing(SearchStudy(run / STUDY_FILE, space, minimise, rule.seed, about)) as study:
        unseen, left_out = not_seen(config), list(rule.leave_out)
        context = SearchContext(base, space, rule, folds, tasks, minimise, run, root, unseen, left_out, console, study)
        write_how(context, asked)
        _say_first(context)
        _try_all(context, opened, do_folds, check.notes)
        result = write_found(context, check.notes)
    if result["best"] is None:
        raise DataError(f"none of {result['tried']} variants was done; {_reasons(result)}")
    return result


def _what_is_searched(
    rule: SearchRule,
    space: Mapping[str, Domain],
    folds: FoldSplit,
    tasks: Sequence[FoldTask],
    base: Mapping[str, Any],
) -> dict[str, Any]:
    """What makes a search another one: its study is not gone on with where one of these differs."""
    return {
        "space": {key: domain.model_dump(mode="json") for key, domain in space.items()},
        "objective": rule.objective,
        "seed": rule.seed,
        "folds": folds.model_dump(mode="json"),
        "left out": sorted(set(rule.leave_out)),
        "recordings": [[*name_and_group(one)] for one in tasks[0].config.data],
        "data": tasks[0].data,
        "training file": {key: base[key] for key in base if key not in ("data", "data_root", "notes")},
    }


def _locked(run: Path) -> FolderLock:
    """The folder, as long as nobody else searches in it.

    Raises:
        ConfigError: somebody does.
    """
    try:
        return FolderLock(run, "search")
    except RecordingError as error:
        raise ConfigError(f"--out {error}") from error


def _try_all(context: SearchContext, opened: Opened | None, do_folds: DoFolds | None, notes: Sequence[str]) -> None:
    """Try variants, some at once, until there are as many as asked for; what is found is written after each time."""
    study, rule = context.study, context.rule
    n_fits = [count_fold_fits(task, [] if opened is None else opened[0]) for task in context.tasks]
    n_left = max(rule.n_trials - study.n_counted, 0)
    with WholeProgress(context.console, "search", n_left * sum(n_fits)) as whole:
        of_points = any(key.partition(".")[0] == "pose" for key in context.space)
        shared = None if of_points else opened  # what was read is of the file's own points
        do = do_folds or _here(context.console.quiet or opened is None, whole, shared)
        while study.n_counted < rule.n_trials:
            n = min(rule.at_once, rule.n_trials - study.n_counted, study.n_again or rule.at_once)
            _try_together(context, study.ask(n), do, n_fits, whole, do_folds is not None)
            _refuse_hopeless(study.tried)
            write_found(context, notes)


def folds_for(config: TrainConfig) -> FoldSplit:
    """The folds of a training file, or each recording, or each group where there are any, by itself."""
    if isinstance(config.split, KFoldSplit | LeaveOneOutSplit):
        return config.split
    return LeaveOneOutSplit()


def _try_together(
    context: SearchContext,
    variants: Sequence[Variant],
    do: DoFolds,
    n_fits: Sequence[int],
    whole: WholeProgress,
    away: bool,
) -> None:
    """Cross-validate some variants, all of them fold by fold, and give up those that fall behind."""
    running: list[_Running] = []
    for one in variants:
        try:
            config = validate(TrainConfig, with_values(context.base, one.values), f"variant {one.number}")
        except ConfigError as error:
            _end_failed(context, one, str(error))
            whole.end_fits(sum(n_fits))
            continue
        folder = _folder_of(context.run / _TRIALS_FOLDER, one, [other.folder for other in running])
        running.append(_Running(one, for_fits(config, context.rule.objective), folder))
    last = len(context.tasks) - 1
    for fold, task in enumerate(context.tasks):
        if not running:
            break
        of_fold = [replace(task, config=one.config, run=one.folder) for one in running]

        def ended(n: int = n_fits[fold]) -> None:
            if away:  # here the fits themselves say how far they are
                whole.end_fits(n)

        outcomes = do(of_fold, ended)
        going_on: list[_Running] = []
        for one, outcome in zip(running, outcomes, strict=True):
            if not _goes_on(context, one, outcome, fold, last):
                whole.end_fits(sum(n_fits[fold + 1 :]))
                shutil.rmtree(one.folder, ignore_errors=True)
            else:
                going_on.append(one)
        running = going_on


def _goes_on(context: SearchContext, one: _Running, outcome: FoldResult | Fault, fold: int, last: int) -> bool:
    """Take what a fold has found; False: the variant has come to an end, whichever."""
    study, number = context.study, one.variant.number
    if not isinstance(outcome, FoldResult):
        _end_failed(context, one.variant, str(outcome))
        return False
    one.answers += outcome.answers
    one.score = score_of(one.answers, one.config, context.folds, context.rule.objective)
    if one.score is not None:
        study.report(one.variant, fold, one.score)
    if fold < last:
        if one.score is None or not study.hopeless(one.variant):
            return True
        study.end(one.variant, "pruned")
        context.console.print(f"variant {number}: {one.score:.4f} after {fold + 1} of {last + 1} folds, given up")
        return False
    if one.score is None:
        _end_failed(context, one.variant, f"{context.rule.objective} is not defined on these recordings")
        return False
    study.end(one.variant, "complete", one.score)
    best = best_of(study.tried, context.minimise)
    assert best is not None and best.score is not None
    context.console.print(f"variant {number}: {one.score:.4f}; the best is {best.number} with {best.score:.4f}")
    return False


def _end_failed(context: SearchContext, variant: Variant, reason: str) -> None:
    context.study.end(variant, "failed", reason=reason)
    context.console.print(f"variant {variant.number}: failed: {reason}", markup=False)


def _folder_of(parent: Path, variant: Variant, taken: Sequence[Path]) -> Path:
    """A folder for a variant; what a killed search has left of the very same one is gone on with."""
    name = hashlib.sha256(word_of(variant.values).encode()).hexdigest()[:16]
    left = [one for one in sorted(parent.glob(f"*-{name}")) if one not in taken]
    return left[0] if left else parent / f"{variant.number:04}-{name}"


def _here(quiet: bool, whole: WholeProgress, opened: Opened | None) -> DoFolds:
    """Folds one after the other, in this process."""

    def do(tasks: Sequence[FoldTask], ended: Callable[[], None]) -> list[FoldResult | Fault]:
        outcomes: list[FoldResult | Fault] = []
        for task in tasks:
            try:
                outcomes.append(run_fold(task, quiet, None, whole, opened))
            except (ConfigError, DataError) as error:
                outcomes.append(error)
            ended()
        return outcomes

    return do


def _refuse_hopeless(tried: Sequence[Tried]) -> None:
    """Raise where nothing works.

    Raises:
        DataError: see above.
    """
    own_fault = [one for one in tried if one.state == "failed" and one.reason != KILLED]
    if len(own_fault) >= _MOST_FAILED and all(one.state == "failed" for one in tried):
        raise DataError(f"the first {len(own_fault)} variants have all failed; the last one: {own_fault[-1].reason}")


def _say_first(context: SearchContext) -> None:
    """Put the training file as it is first, and say what is not seen."""
    study, console = context.study, context.console
    if context.unseen:
        console.print(f"neither learnt from nor scored, since it is the test part: {', '.join(context.unseen)}")
    elif not context.left_out:
        console.print(
            "every recording takes part in the search, so none is left that could say what its result is worth; "
            "--leave-out NAME keeps some aside"
        )
    if study.n_killed:
        console.print(f"{study.n_killed} variant(s) that had not ended with the last search are tried again")
    if not study.is_new:
        return
    own = {key: value_at(context.base, key) for key in context.space}
    outside = [key for key, domain in context.space.items() if not domain.holds(own[key])]
    if outside:
        console.print(f"the training file as it is lies outside the space ({', '.join(outside)}) and is not tried")
    else:
        study.put_first(own)


def _reasons(result: dict[str, Any]) -> str:
    last = [one["reason"] for one in result["trials"] if one.get("reason")]
    return f"the last failed so: {last[-1]}" if last else "give more --trials"
