"""Intervals against all resamples there are, and against how often they hold what they should."""

from itertools import product

import numpy as np
import pytest
from ethostream.training.scores.intervals import FEWEST_UNITS, bootstrap, expected_level


def mean_of(values: np.ndarray):
    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": weights @ values / weights.sum(1)}

    return statistic


def test_the_interval_is_that_of_all_resamples() -> None:
    values = np.array([0.1, 0.35, 0.5, 0.8, 0.95])
    every = np.array([values[list(places)].mean() for places in product(range(5), repeat=5)])
    found = bootstrap(5, mean_of(values), n_draws=40_000).values["mean"]
    assert found is not None
    assert found.low == pytest.approx(np.quantile(every, 0.025), abs=0.01)
    assert found.high == pytest.approx(np.quantile(every, 0.975), abs=0.01)


def test_the_same_seed_draws_the_same() -> None:
    values = np.random.default_rng(1).normal(size=12)
    first, again, other = (bootstrap(12, mean_of(values), seed=seed).values["mean"] for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("n_units", [5, 12, 30])
def test_it_holds_the_truth_about_as_often_as_it_says(n_units: int) -> None:
    rng = np.random.default_rng(n_units)
    n_tries = 600
    held = 0
    for place in range(n_tries):
        found = bootstrap(n_units, mean_of(rng.normal(size=n_units)), n_draws=500, seed=place).values["mean"]
        assert found is not None
        held += found.low <= 0.0 <= found.high
    expected = expected_level(n_units)
    assert held / n_tries == pytest.approx(expected, abs=3.5 * np.sqrt(expected * (1 - expected) / n_tries))


def test_it_says_less_than_it_is_asked_for_with_few_and_comes_close_with_many() -> None:
    levels = [expected_level(n) for n in (2, 3, 5, 8, 12, 30, 300)]
    assert levels == sorted(levels)
    assert levels[0] < 0.65 and levels[1] < 0.8
    assert levels[-1] == pytest.approx(0.95, abs=0.002)


def test_too_few_units_give_no_interval_and_say_so() -> None:
    few = bootstrap(FEWEST_UNITS - 1, mean_of(np.arange(FEWEST_UNITS - 1.0)), unit="block")
    assert few.too_few
    assert few.values == {"mean": None}
    assert few.plain_values() == {"mean": None}
    assert f"{FEWEST_UNITS - 1} blocks: too few" in few.note
    assert few.about()["expected_level"] is None
    enough = bootstrap(FEWEST_UNITS, mean_of(np.arange(float(FEWEST_UNITS))))
    assert not enough.too_few
    assert enough.values["mean"] is not None
    assert f"over {FEWEST_UNITS} recordings" in enough.note


def test_a_score_that_most_draws_leave_undefined_has_no_interval() -> None:
    values = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 0.3])

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        mean = weights @ values / weights.sum(1)
        return {
            "often": np.where(weights[:, 0] > 0, mean, np.nan),
            "seldom": np.where(weights[:, 0] > 2, mean, np.nan),
        }

    found = bootstrap(6, statistic)
    assert found.values["seldom"] is None
    assert found.values["often"] is not None
