"""Reliability, its error and the Brier score, against sums by hand."""

import numpy as np
import pytest
from ethostream.training.scores.calibration import calibration_scores, reliability, top_reliability
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

dyadic = st.integers(0, 64).map(lambda n: n / 64)
"""Exact in binary, so that an edge of a bin is one."""


@given(st.lists(st.tuples(dyadic, st.booleans()), min_size=1, max_size=60), st.sampled_from([1, 2, 4, 8]))
def test_every_case_is_in_one_bin(cases: list[tuple[float, bool]], n_bins: int) -> None:
    p, happened = np.array([one[0] for one in cases]), np.array([one[1] for one in cases])
    found = reliability(p, happened, n_bins)
    error = 0.0
    for place in range(n_bins):
        inside = (p <= (place + 1) / n_bins) & ((p > place / n_bins) | (place == 0))
        assert found.n[place] == inside.sum()
        if inside.any():
            assert found.mean_p[place] == pytest.approx(p[inside].mean())
            assert found.share[place] == pytest.approx(happened[inside].mean())
            error += inside.sum() * abs(happened[inside].mean() - p[inside].mean()) / len(p)
        else:
            assert np.isnan(found.mean_p[place]) and np.isnan(found.share[place])
    assert found.n.sum() == len(p)
    assert found.error == pytest.approx(error, abs=1e-12)


def test_probabilities_that_come_true_have_no_error_and_sure_ones_that_do_not_have_all() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    assert reliability(p, rng.random(200_000) < p).error == pytest.approx(0.0, abs=0.01)
    assert reliability(np.ones(10), np.zeros(10, np.bool_)).error == 1.0
    assert reliability(np.zeros(0), np.zeros(0, np.bool_)).error is None


def test_of_several_classes_the_most_probable_counts() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.2, 0.1, 0.7], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
    truth = np.array([0, 1, 2, -1])
    top = top_reliability(truth, p)
    assert top.n.sum() == 3
    assert top.n[6] == 2 and top.share[6] == 0.5
    found = calibration_scores(truth, p)
    assert found["ece"] == pytest.approx((2 * abs(0.5 - 0.7) + abs(1.0 - 0.8)) / 3)
    assert found["brier"] == pytest.approx((0.14 + 1.34 + 0.06) / 3)
    assert calibration_scores(np.array([-1]), p[:1]) == {"ece": None, "brier": None, "n_bins": 10}


def test_of_two_classes_the_brier_score_is_twice_that_of_one() -> None:
    rng = np.random.default_rng(1)
    p, truth = rng.random(50), rng.integers(0, 2, 50)
    both = calibration_scores(truth, np.stack([1 - p, p], axis=1))
    assert both["brier"] == pytest.approx(2 * sk.brier_score_loss(truth, p))
