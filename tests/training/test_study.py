"""The trials of a search in their file: proposed alike, gone on with after a kill, given up where they stay behind."""

from pathlib import Path
from typing import Any

import pytest
from ethostream.sync.errors import ConfigError
from ethostream.training.config.search import Choices, Domain, Range
from ethostream.training.runs.study import KILLED, N_UNPRUNED, SearchStudy, best_of

SPACE: dict[str, Domain] = {
    "fit.learning_rate": Range(low=0.001, high=0.1, log=True),
    "head.hidden": Range(low=8, high=32, step=8),
    "head.dilations": Choices(choices=[[1, 2], [1, 2, 4]]),
    "fit.weight_average": Choices(choices=[None, 0.9]),
}
ABOUT = {"space": "this one", "objective": "raw.macro_f1"}


def _open(path: Path, seed: int = 0, minimise: bool = False, **about: Any) -> SearchStudy:
    return SearchStudy(path, SPACE, minimise, seed, ABOUT | about)


def _score(values: dict[str, Any]) -> float:
    return 1.0 - abs(values["fit.learning_rate"] - 0.02) - values["head.hidden"] / 100.0


def _try(study: SearchStudy, n: int) -> None:
    for one in study.ask(n):
        study.report(one, 0, _score(one.values))
        study.end(one, "complete", _score(one.values))


def test_the_same_seed_proposes_the_same_also_when_the_search_is_interrupted(tmp_path: Path) -> None:
    whole, parts = _open(tmp_path / "whole"), _open(tmp_path / "parts")
    for _ in range(11):  # beyond those that are drawn at random
        _try(whole, 1)
    for n in (2, 4, 5):
        for _ in range(n):
            _try(parts, 1)
        parts.close()
        parts = _open(tmp_path / "parts")
    assert [one.values for one in parts.tried] == [one.values for one in whole.tried]
    assert len({one.values["fit.learning_rate"] for one in whole.tried}) == len(whole.tried)  # each is another
    assert all(SPACE[key].holds(value) for one in whole.tried for key, value in one.values.items())
    other = _open(tmp_path / "other", seed=1)
    _try(other, 3)
    assert [one.values for one in other.tried] != [one.values for one in whole.tried[:3]]
    for study in (whole, parts, other):
        study.close()


def test_a_killed_variant_is_failed_and_tried_again(tmp_path: Path) -> None:
    study = _open(tmp_path / "s")
    _try(study, 1)
    lost = study.ask(2)
    study.report(lost[0], 0, 0.5)
    study.close()  # as a kill leaves it: two have begun and not ended
    study = _open(tmp_path / "s")
    assert study.n_killed == 2
    assert [(one.state, one.reason) for one in study.tried[1:]] == [("failed", KILLED)] * 2
    assert (study.n_counted, study.n_again) == (1, 2)
    again = study.ask(2)
    assert [one.values for one in again] == [one.values for one in lost]
    assert [one.number for one in again] == [3, 4]
    for one in again:
        study.end(one, "complete", 0.5)
    study.close()
    study = _open(tmp_path / "s")
    assert (study.n_killed, study.n_counted, study.n_again) == (0, 3, 0)
    study.close()


def test_what_is_put_first_is_tried_first(tmp_path: Path) -> None:
    study = _open(tmp_path / "s")
    own = {"fit.learning_rate": 0.005, "head.hidden": 16, "head.dilations": [1, 2, 4], "fit.weight_average": None}
    assert study.is_new
    study.put_first(own)
    assert not study.is_new
    assert study.ask(1)[0].values == own
    study.close()


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"space": "that one"}, 'holds a search with another space: "this one" there, "that one" here'),
        ({"objective": "bout_f1"}, "another objective"),
        ({"data": ["a"]}, "another data: none there"),
    ],
)
def test_another_search_does_not_go_on_here(about: dict[str, Any], message: str, tmp_path: Path) -> None:
    _open(tmp_path / "s").close()
    with pytest.raises(ConfigError, match=message):
        _open(tmp_path / "s", **about)


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("not a database " * 100)
    with pytest.raises(ConfigError, match="cannot be opened as a search"):
        _open(tmp_path / "s")


@pytest.mark.parametrize("minimise", [False, True])
def test_what_stays_behind_is_given_up_and_what_does_not_is_not(minimise: bool, tmp_path: Path) -> None:
    sign = -1.0 if minimise else 1.0
    study = _open(tmp_path / "s", minimise=minimise)
    for place in range(N_UNPRUNED):
        (one,) = study.ask(1)
        study.report(one, 0, sign * (0.5 + 0.1 * place))
        assert not study.hopeless(one)
        study.end(one, "complete", sign * (0.5 + 0.1 * place))
    good, bad = study.ask(2)
    study.report(good, 0, sign * 0.9)
    study.report(bad, 0, sign * 0.1)
    assert (study.hopeless(good), study.hopeless(bad)) == (False, True)
    study.end(bad, "pruned")
    study.report(good, 1, sign * 0.01)
    assert not study.hopeless(good)  # nobody else has come as far, so there is nothing to compare with
    study.end(good, "complete", sign * 0.95)
    tried = study.tried
    assert (tried[-1].state, tried[-1].score, tried[-1].by_fold) == ("pruned", None, [sign * 0.1])
    best = best_of(tried, minimise)
    assert best is not None and best.number == good.number
    study.close()
