"""The forward filter against sums over all paths, and against time that is cut into other steps."""

from itertools import product

import numpy as np
from ethostream.inference.stabilisation.config import ClassDwell, HiddenMarkovConfig
from ethostream.inference.stabilisation.hidden_markov import HiddenMarkovFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

CLASSES = ["a", "b", "c"]
MS = 1_000_000
probabilities = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(lambda v: np.array(v) / sum(v))
dwells = st.lists(st.floats(40.0, 5000.0), min_size=3, max_size=3)
priors = st.lists(st.floats(0.1, 0.8), min_size=3, max_size=3)


def config_of(dwell_ms: list[float], prior: list[float], decorrelation_ms: float) -> HiddenMarkovConfig:
    per_class = {
        name: ClassDwell(mean_dwell_ms=dwell, prior=share)
        for name, dwell, share in zip(CLASSES, dwell_ms, prior, strict=True)
    }
    return HiddenMarkovConfig(kind="hidden_markov", per_class=per_class, decorrelation_ms=decorrelation_ms, max_p=0.98)


@given(
    dwells,
    priors,
    st.floats(10.0, 300.0),
    st.lists(st.tuples(probabilities, st.integers(1, 400)), min_size=1, max_size=5),
)
@settings(max_examples=50)
def test_the_filter_equals_the_sum_over_all_paths(
    dwell_ms: list[float], prior: list[float], decorrelation_ms: float, steps: list[tuple[np.ndarray, int]]
) -> None:
    found = HiddenMarkovFilter(CLASSES, config_of(dwell_ms, prior, decorrelation_ms))
    found.step(np.array([0.7, 0.2, 0.1]), 0)  # the first step speaks for no time
    t_ms = 0
    rates = np.array([[(-1.0 if i == j else 0.5) / dwell_ms[i] for j in range(3)] for i in range(3)])
    transitions, likelihoods = [], []
    for p, dt_ms in steps:
        t_ms += dt_ms
        found.step(p, t_ms * MS)
        transitions.append(expm(rates * dt_ms))
        likelihoods.append((np.clip(p, 0.02, 0.98) / prior) ** min(1.0, dt_ms / decorrelation_ms))
    expected = np.zeros(3)
    for path in product(range(3), repeat=len(steps) + 1):
        weight = 1.0 / 3.0
        for k in range(len(steps)):
            weight *= transitions[k][path[k], path[k + 1]] * likelihoods[k][path[k + 1]]
        expected[path[-1]] += weight
    assert np.allclose(found.belief, expected / expected.sum(), atol=1e-9)


@given(dwells, probabilities, st.integers(2, 6))
@settings(max_examples=40)
def test_steps_without_evidence_are_the_same_as_missing_steps(
    dwell_ms: list[float], p: np.ndarray, n_missing: int
) -> None:
    """Probabilities that equal the prior say nothing: with or without those steps the belief is the same."""
    prior = [0.2, 0.3, 0.5]
    every, some = (HiddenMarkovFilter(CLASSES, config_of(dwell_ms, prior, 30.0)) for _ in range(2))
    for one in (every, some):
        one.step(p, 0)
        one.step(p, 30 * MS)
    for k in range(n_missing):
        every.step(np.array(prior), (60 + 30 * k) * MS)
    end_ns = (60 + 30 * n_missing) * MS
    for one in (every, some):
        one.step(p, end_ns)
    assert np.allclose(every.belief, some.belief, atol=1e-9)


def test_a_dwell_without_evidence_is_geometric() -> None:
    """After its mean dwell in steps a class is still believed with the weight that a geometric dwell leaves it."""
    config = config_of([500.0, 1e9, 1e9], [0.2, 0.3, 0.5], 1e9)
    filter_ = HiddenMarkovFilter(CLASSES, config)
    filter_.restore(
        {
            "stabiliser.hidden_markov": np.array([0, 0], np.int64),
            "stabiliser.belief": np.array([1.0, 0.0, 0.0]),
        }
    )
    stay = []
    for k in range(1, 51):
        filter_.step(np.array([0.2, 0.3, 0.5]), k * 10 * MS)
        stay.append(float(filter_.belief[0]))
    ratios = np.array(stay[1:]) / np.array(stay[:-1])
    assert np.allclose(ratios, np.exp(-10 / 500), atol=1e-6)
    assert abs(stay[-1] - np.exp(-1)) < 1e-5


def test_a_long_dwell_makes_it_slower_and_steadier() -> None:
    flicker = [np.array([0.9, 0.05, 0.05])] * 40 + [np.array([0.1, 0.8, 0.1])] * 3 + [np.array([0.9, 0.05, 0.05])] * 40
    labels = {
        dwell: [
            one.step(p, k * 33 * MS)
            for one in [HiddenMarkovFilter(CLASSES, config_of([dwell] * 3, [1 / 3] * 3, 40.0))]
            for k, p in enumerate(flicker)
        ]
        for dwell in (50.0, 20_000.0)
    }
    assert 1 in labels[50.0]
    assert set(labels[20_000.0][10:]) == {0}
