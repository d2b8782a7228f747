"""What a search was asked for, and the files that it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from ...sync.errors import ReportError
from ...sync.strict import validate
from ...sync.whole_file import write_whole
from ..config.search import Domain, value_at, with_values
from ..config.training_file import TrainConfig
from ..splits import FoldSplit
from .crossval_fold import FoldTask
from .record import begin_run, words_of, write_json
from .search_parts import name_and_group
from .study import SearchStudy, Tried, best_of

SEARCH_FILE: Final = "search.json"
BEST_FILE: Final = "best.yaml"
SPACE_FILE: Final = "space.yaml"
SCHEMA: Final = 1
TOO_GOOD: Final = (
    "The score of the best is too good: it is the best of many that were tried on the same recordings. What the "
    "settings are worth shows on recordings that the search has not seen."
)


@dataclass(frozen=True, slots=True)
class SearchRule:
    """How to search.

    Attributes:
        n_trials: variants in all, those of earlier calls included; one that was killed is not one of them.
        space: keys and values; None: `default_space`.
        where: the space comes from, for messages.
        objective: a score of the evaluation record, such as ``raw.macro_f1`` or ``per_class.groom.f1``.
        folds: that a variant is scored in; None: those of the training file, else every recording or group is left out
            once.
        leave_out: recordings or groups that are neither searched on nor in the file that is written.
        at_once: so many variants go on together.
        seed: of the sampler.
    """

    n_trials: int = 40
    space: dict[str, Domain] | None = None
    where: str = "default space"
    objective: str = "raw.macro_f1"
    folds: FoldSplit | None = None
    leave_out: Sequence[str] = ()
    at_once: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SearchContext:
    """What stays the same over all variants."""

    base: dict[str, Any]
    space: dict[str, Domain]
    rule: SearchRule
    folds: FoldSplit
    tasks: list[FoldTask]
    minimise: bool
    run: Path
    root: Path
    unseen: list[str]
    left_out: list[str]
    console: Console
    study: SearchStudy


def make_folder(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{run}: cannot be made ({error.strerror}); give another --out") from error


def write_how(context: SearchContext, config: TrainConfig) -> None:
    """The training file, with what is left out, the space and the command that goes on."""
    rule = context.rule
    words = ["search", "{config}", "--space", str((context.run / SPACE_FILE).resolve())]
    words += ["--trials", str(rule.n_trials), "--objective", rule.objective, "--seed", str(rule.seed)]
    words += ["--at-once", str(rule.at_once), "--out", str(context.run.resolve())]
    words += [] if rule.folds is None else words_of(rule.folds)
    words += [word for name in rule.leave_out for word in ("--leave-out", name)]
    begin_run(context.run, config, context.root, words)
    _write_yaml(context.run / SPACE_FILE, {key: _plain(domain) for key, domain in context.space.items()}, "")


def _plain(domain: Domain) -> dict[str, Any]:
    return domain.model_dump(mode="json", exclude_defaults=True)


def write_found(context: SearchContext, notes: Sequence[str]) -> dict[str, Any]:
    """``search.json``, and the best training file as far as there is one."""
    tried = context.study.tried
    best = best_of(tried, context.minimise)
    own = {key: value_at(context.base, key) for key in context.space}
    as_it_is = next((one.score for one in tried if one.values == own and one.score is not None), None)
    names = [name_and_group(one)[0] for one in context.tasks[0].config.data]
    n_of = {state: sum(one.state == state for one in tried) for state in ("complete", "pruned", "failed")}
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "run": str(context.run),
        "objective": context.rule.objective,
        "less_is_better": context.minimise,
        "tried": len(tried),
        **n_of,
        "best": None if best is None else best.to_dict(),
        "file_as_it_is": as_it_is,
        "best_file": None if best is None else str(context.run / BEST_FILE),
        "folds": {**context.folds.model_dump(mode="json"), "n_folds": len(context.tasks)},
        "recordings": names,
        "not_seen": context.unseen,
        "left_out": context.left_out,
        "space": {key: _plain(domain) for key, domain in context.space.items()},
        "sampler": "TPE",
        "pruner": "median",
        "seed": context.rule.seed,
        "at_once": context.rule.at_once,
        "notes": list(notes),
        "warnings": [TOO_GOOD],
        "trials": [one.to_dict() for one in tried],
    }
    if best is not None:
        _write_best(context, best, result)
    write_json(context.run / SEARCH_FILE, result)
    return result


def _write_best(context: SearchContext, best: Tried, result: dict[str, Any]) -> None:
    said = (
        f"settings chosen by `ethostream search`: the best of {result['tried']} variants tried ({result['complete']} "
        f"done, {result['pruned']} given up, {result['failed']} failed) by {context.rule.objective}, {best.score:.4f} "
        f"in {len(context.tasks)} folds of {', '.join(result['recordings'])}; as the best of many this score is too "
        "good"
    )
    values = with_values(context.base, {**best.values, "notes": [*context.base["notes"], said]})
    validate(TrainConfig, values, BEST_FILE)
    _write_yaml(context.run / BEST_FILE, values, f"# {said}\n")


def _write_yaml(path: Path, values: dict[str, Any], head: str) -> None:
    try:
        write_whole(path, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))
    except OSError as error:
        raise ReportError(f"{path}: cannot be written ({error.strerror}); make room, or give another --out") from error
