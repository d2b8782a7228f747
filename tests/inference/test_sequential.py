"""The sequential test keeps its error rates, on independent frames and on frames that are copies of each other."""

import numpy as np
import pytest
from ethostream.inference.stabilisation.config import ClassTest, SequentialConfig
from ethostream.inference.stabilisation.sequential import SequentialTests, WaldTest
from hypothesis import given
from hypothesis import strategies as st

MS = 1_000_000


def rates(config: ClassTest, separation: float, prior: float, copies: int, step_ms: float) -> list[tuple[float, int]]:
    """Measured rates of false alarms and misses, with the number of tests each.

    Scores of unit variance, ``separation`` apart, as calibrated probabilities; each stands for ``copies`` steps.
    """
    random = np.random.default_rng(3)
    found: list[tuple[float, int]] = []
    for present in (False, True):
        test = WaldTest(config, 2)
        wrong = done = 0
        for score in random.normal(separation / 2 if present else -separation / 2, 1.0, 20_000):
            odds = np.exp(separation * score) * prior / (1.0 - prior)
            for _ in range(copies):
                ended = test.step(float(odds / (1.0 + odds)), step_ms)
                done += ended != 0
                wrong += ended == (-1 if present else 1)
        found.append((wrong / done, done))
    return found


@pytest.mark.parametrize(("false_alarm", "miss"), [(0.05, 0.05), (0.01, 0.2), (0.2, 0.01)])
@pytest.mark.parametrize(
    ("prior", "copies", "step_ms"),
    [(0.5, 1, 100.0), (0.2, 1, 250.0), (0.5, 1, 30.0), (0.5, 4, 25.0)],
    ids=["independent", "prior", "a third of an observation", "four copies share one"],
)
def test_error_rates_lie_below_the_chosen_ones(
    false_alarm: float, miss: float, prior: float, copies: int, step_ms: float
) -> None:
    config = ClassTest(false_alarm=false_alarm, miss=miss, decorrelation_ms=100.0, max_p=0.9999, prior=prior)
    found = rates(config, 1.0, prior, copies, step_ms)
    for (measured, n_tests), chosen in zip(found, (false_alarm, miss), strict=True):
        assert n_tests > 500
        assert measured <= chosen + 3 * np.sqrt(chosen / n_tests)  # three standard errors
    # Where a step is less than an observation the test is more careful than it was asked to be.
    assert max(measured for measured, _ in found) > 0.0 or step_ms * copies < 100.0


def test_copies_that_count_in_full_would_break_the_promise() -> None:
    """What decorrelation_ms is for: four copies of each frame, taken as four observations."""
    config = ClassTest(false_alarm=0.01, miss=0.2, decorrelation_ms=25.0, max_p=0.9999)
    assert rates(config, 1.0, 0.5, 4, 25.0)[0][0] > 0.02


@given(st.integers(1, 400), st.floats(0.5, 1.0), st.floats(20.0, 400.0))
def test_evidence_per_second_is_bounded_at_any_frame_rate(rate_hz: int, p: float, decorrelation_ms: float) -> None:
    config = ClassTest(false_alarm=1e-300, miss=1e-300, decorrelation_ms=decorrelation_ms, max_p=0.95)
    test = WaldTest(config, 4)
    for _ in range(rate_hz):
        test.step(p, 1000.0 / rate_hz)
    most = 1000.0 / decorrelation_ms * (np.log(0.95 / 0.05) - np.log(0.25 / 0.75))
    assert 0.0 < test.total <= most * (1 + 1e-9)


def test_the_label_holds_until_another_class_is_accepted() -> None:
    config = SequentialConfig(kind="sequential", default=ClassTest(decorrelation_ms=100.0))
    tests = SequentialTests(["a", "b"], config)
    sure, opposite, unsure = np.array([0.98, 0.02]), np.array([0.02, 0.98]), np.array([0.5, 0.5])
    # log(1 / 0.001) = 6.9 nats, 3.9 each; the first step speaks for no time.
    assert [tests.step(sure, t * 100 * MS) for t in range(4)] == [-1, -1, 0, 0]
    assert {tests.step(unsure, t * 100 * MS) for t in range(4, 40)} == {0}
    assert [tests.step(opposite, t * 100 * MS) for t in range(40, 43)] == [0, 1, 1]


def test_what_was_gathered_for_another_class_outlasts_the_label_being_confirmed() -> None:
    quick = ClassTest(false_alarm=0.4, decorrelation_ms=100.0)
    config = SequentialConfig(kind="sequential", default=ClassTest(decorrelation_ms=100.0), per_class={"a": quick})
    tests = SequentialTests(["a", "b", "c", "d"], config)
    p = np.array([0.44, 0.46, 0.05, 0.05])  # evidence of 0.86 nats for a, 0.94 for b, whose bound is 6.9
    labels = [tests.step(p, t * 100 * MS) for t in range(12)]
    # a is accepted by the second observation and again and again; that it took the label set b back once.
    assert labels == [-1, -1] + [0] * 8 + [1] * 2


def test_a_model_with_another_prior_is_read_with_it() -> None:
    """A class that the model takes for rare gathers evidence at a probability at which a common one does not."""
    rare, common = ClassTest(prior=0.05), ClassTest(prior=0.6)
    assert WaldTest(rare, 4).observation(0.4) > 0.0 > WaldTest(common, 4).observation(0.4)
