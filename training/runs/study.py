"""Which variants are tried next, and which are given up: Optuna over a file. The only importer of optuna.

The sampler is TPE (Bergstra et al. 2011), the pruner gives up what stays below the median of the others at the same
fold. What it proposes depends on the seed and on what the file holds, not on where the work was done.
"""

import json
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ...sync.errors import ConfigError
from ..config.search import Domain, Range, Space, word_of

State = Literal["complete", "pruned", "failed"]
STUDY_FILE: Final = "study.sqlite"
KILLED: Final = "ended with the search before it was done"
N_RANDOM: Final = 10
"""So many variants are drawn at random before the sampler learns from them; TPE's usual number."""
N_UNPRUNED: Final = 4
"""So many variants are done whole before one is given up."""
_NAME: Final = "search"
_ABOUT, _REASON, _AGAIN = "about", "reason", "again"
_STATES: Final[Mapping[TrialState, State]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """A variant that has come to an end.

    Attributes:
        number: from 0, in the order in which they were begun.
        values: of the keys of the space.
        state: done, given up before its last fold, or failed.
        score: of a variant that is done, else None.
        by_fold: the score of the folds so far, after each one.
        reason: why it failed.
    """

    number: int
    values: dict[str, Any]
    state: State
    score: float | None
    by_fold: list[float]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "number": self.number,
            "state": self.state,
            "score": self.score,
            "by_fold": self.by_fold,
            "values": self.values,
            **({"reason": self.reason} if self.reason else {}),
        }


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant that is being tried: ``values`` of the keys of the space."""

    number: int
    values: dict[str, Any]
    trial: Trial


class MedianAtFold(BasePruner):
    """Gives up what lies below the median of the variants that are done, at the same fold.

    Optuna's own takes the best value that a trial has ever had for its value now: right for epochs of one fit, of which
    the best is kept, and wrong for folds, of which each is another question.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to give a trial up after what it has reported last."""
        fold = trial.last_step
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [one.intermediate_values[fold] for one in done if fold in one.intermediate_values]
        if fold is None or len(others) < N_UNPRUNED:
            return False
        behind = float(np.median(others)) - trial.intermediate_values[fold]
        return behind < 0.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else behind > 0.0


class SearchStudy:
    """The trials of a search, kept in a file of SQLite; one process at a time.

    Args:
        path: the file; what it holds is gone on with.
        space: keys with their values.
        minimise: less is better.
        seed: of the sampler.
        about: everything that a score depends on, by name: another study may not go on here.

    Attributes:
        n_killed: trials that an earlier search had begun and not ended; they are failed now.

    Raises:
        ConfigError: the file holds a search for something else, or is no such file.
    """

    def __init__(self, path: Path, space: Space, minimise: bool, seed: int, about: Mapping[str, Any]) -> None:
        self._seed = seed
        self._domains = dict(space)
        self._distributions = {key: _distribution(domain) for key, domain in space.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            with _calm():
                self._storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=_NAME,
                    load_if_exists=True,
                    direction="minimize" if minimise else "maximize",
                    pruner=MedianAtFold(),
                )
        except (optuna.exceptions.OptunaError, SQLAlchemyError, RuntimeError) as error:
            raise ConfigError(
                f"{path}: cannot be opened as a search ({error}); give another --out, or remove the file"
            ) from error
        self._refuse_another(path, about)
        self.n_killed = self._end_killed()

    def close(self) -> None:
        """Close the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    @property
    def is_new(self) -> bool:
        """Nothing has been tried, nor is to be tried next."""
        return not self._study.get_trials(deepcopy=False)

    @property
    def n_counted(self) -> int:
        """Variants so far, without those that were killed: these are tried again."""
        every = self._study.get_trials(deepcopy=False)
        return sum(one.state != TrialState.WAITING and not _was_killed(one) for one in every)

    @property
    def n_again(self) -> int:
        """Variants that were killed and wait to be tried again."""
        every = self._study.get_trials(deepcopy=False)
        return sum(one.state == TrialState.WAITING and _AGAIN in one.user_attrs for one in every)

    @property
    def tried(self) -> list[Tried]:
        """What has come to an end, in the order in which it was begun."""
        every = self._study.get_trials(deepcopy=False)
        return [self._tried(one) for one in every if one.state in _STATES]

    def put_first(self, values: Mapping[str, Any]) -> None:
        """Try these values next."""
        self._study.enqueue_trial(self._as_parameters(values))

    def ask(self, n: int) -> list[Variant]:
        """Begin so many variants; nothing is known of any of them when the next is proposed."""
        seed = np.random.SeedSequence([self._seed, self.n_counted]).generate_state(1)[0]
        begun: list[Variant] = []
        with _calm():
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seed), n_startup_trials=N_RANDOM, constant_liar=n > 1
            )
            for _ in range(n):
                trial = self._study.ask(self._distributions)
                begun.append(Variant(trial.number, self._as_values(trial.params), trial))
        return begun

    def report(self, variant: Variant, fold: int, score: float) -> None:
        """Keep the score of the folds so far.

        Args:
            variant: of `ask`.
            fold: the newest, from 0.
            score: of all folds up to it.
        """
        variant.trial.report(score, fold)

    def hopeless(self, variant: Variant) -> bool:
        """Whether it stays so far behind the others that the remaining folds are not worth their time."""
        return variant.trial.should_prune()

    def end(self, variant: Variant, state: State, score: float | None = None, reason: str = "") -> None:
        """A variant has come to an end.

        Args:
            variant: of `ask`.
            state: how.
            score: of one that is complete.
            reason: of one that failed.
        """
        if reason or state == "failed":  # what has failed without one was killed
            variant.trial.set_user_attr(_REASON, reason or "it does not say why")
        if state == "complete":
            self._study.tell(variant.trial, score)
        else:
            self._study.tell(variant.trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)

    def _refuse_another(self, path: Path, about: Mapping[str, Any]) -> None:
        now: dict[str, str] = {name: word_of(value) for name, value in about.items()}
        text = self._study.user_attrs.get(_ABOUT)
        if text is None:
            self._study.set_user_attr(_ABOUT, json.dumps(now))
            return
        before: dict[str, str] = json.loads(text)
        for name in [*now, *before]:
            if now.get(name) != before.get(name):
                raise ConfigError(
                    f"{path}: holds a search with another {name}: {_short(before.get(name), now.get(name))} there, "
                    f"{_short(now.get(name), before.get(name))} here. A search goes on with what it was begun "
                    "with; give that, or another --out"
                )

    def _end_killed(self) -> int:
        killed = [one for one in self._study.get_trials(deepcopy=False) if one.state == TrialState.RUNNING]
        for one in killed:
            self._study.tell(one.number, state=TrialState.FAIL)
            self._study.enqueue_trial(one.params, user_attrs={_AGAIN: one.number})
        return len(killed)

    def _tried(self, one: FrozenTrial) -> Tried:
        state = _STATES[one.state]
        return Tried(
            number=one.number,
            values=self._as_values(one.params),
            state=state,
            score=one.value if state == "complete" else None,
            by_fold=[one.intermediate_values[fold] for fold in sorted(one.intermediate_values)],
            reason=str(one.user_attrs.get(_REASON, KILLED if state == "failed" else "")),
        )

    def _as_values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: parameters[key] if isinstance(domain, Range) else json.loads(parameters[key])
            for key, domain in self._domains.items()
            if key in parameters
        }

    def _as_parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: values[key] if isinstance(domain, Range) else word_of(values[key])
            for key, domain in self._domains.items()
        }


def _was_killed(one: FrozenTrial) -> bool:
    return one.state == TrialState.FAIL and _REASON not in one.user_attrs


def _distribution(domain: Domain) -> BaseDistribution:
    if not isinstance(domain, Range):
        # Lists and groups of keys are chosen by their words: a study keeps plain values only.
        return CategoricalDistribution([word_of(one) for one in domain.choices])
    if domain.is_whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _short(value: str | None, other: str | None) -> str:
    """From where two values begin to differ."""
    if value is None or other is None:
        return "none" if value is None else value[:60]
    first = next((place for place, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), 0)
    start = max(first - 30, 0)
    return f"{'…' if start else ''}{value[start : start + 80]}{'…' if start + 80 < len(value) else ''}"


@contextmanager
def _calm() -> Generator[None]:
    """What Optuna calls experimental in one release it has by default in the next."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def best_of(tried: Sequence[Tried], minimise: bool) -> Tried | None:
    """The best variant that is done, the earlier of equals; None: none is."""
    done = [one for one in tried if one.score is not None]
    sign = 1.0 if minimise else -1.0
    return min(done, key=lambda one: (sign * (one.score or 0.0), one.number), default=None)
