"""Threshold with hysteresis, against signals whose edges are known."""

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.sync.pulses import choose_threshold, edge_times, quantum_s
from hypothesis import given, settings
from hypothesis import strategies as st


def ttl(edges_s: np.ndarray, width_s: float, rate_hz: float, n: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """0 to 5 V with straight ramps of two samples around each edge, so that its time can be told between samples."""
    t = np.arange(n) / rate_hz
    volts = np.zeros(n)
    for edge in edges_s:
        up = np.clip((t - edge) * rate_hz / 2 + 0.5, 0, 1)
        down = np.clip((t - edge - width_s) * rate_hz / 2 + 0.5, 0, 1)
        volts += 5 * (up - down)
    return volts + np.random.default_rng(seed).normal(0, noise, n)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.3]))
@settings(max_examples=60)
def test_every_edge_is_found_once_between_its_samples(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    edges = 0.01 + np.cumsum(rng.uniform(0.01, 0.02, 50))
    volts = ttl(edges, 0.003, 10_000.0, 12_000, noise, seed)
    rising = edge_times(volts, 10_000.0, 2.5, 2.4)
    falling = edge_times(volts, 10_000.0, 2.5, 2.4, "falling")
    assert len(rising) == len(falling) == 50
    tolerance = 1e-9 + 1e-4 * (noise / 2.5) * 8
    assert np.abs(rising - edges).max() < tolerance
    assert np.abs(falling - edges - 0.003).max() < tolerance


def test_noise_at_the_threshold_makes_no_edges_with_hysteresis_and_many_without() -> None:
    rng = np.random.default_rng(0)
    slow = np.interp(np.arange(4000), [0, 1000, 3000, 4000], [0.0, 0.0, 5.0, 5.0]) + rng.normal(0, 0.1, 4000)
    assert len(edge_times(slow, 1000.0, 2.5, 1.0)) == 1
    assert len(edge_times(slow, 1000.0, 2.5, 0.0)) > 5


def test_a_signal_that_begins_high_gives_no_edge_for_that() -> None:
    assert edge_times([5, 5, 0, 0, 5, 5], 10.0, 2.5, 1.0).tolist() == [0.35]
    assert edge_times([5, 5, 0, 0, 5, 5], 10.0, 2.5, 1.0, "falling").tolist() == pytest.approx([0.15])
    assert edge_times([5.0] * 9, 10.0, 2.5).tolist() == edge_times([], 10.0, 2.5).tolist() == []


def test_a_runt_that_does_not_reach_the_other_side_is_no_pulse() -> None:
    assert len(edge_times([0, 0, 2.8, 0, 0, 5, 0], 10.0, 2.5, 1.0)) == 1


def test_the_first_sample_may_have_another_time() -> None:
    assert edge_times([0, 1], 2.0, 0.5, t0_s=100.0).tolist() == [100.25]


def test_the_threshold_is_found_between_two_levels() -> None:
    volts = ttl(np.arange(20) * 0.05 + 0.01, 0.005, 1000.0, 1000, 0.05)
    threshold, hysteresis = choose_threshold(volts)
    assert threshold == pytest.approx(2.5, abs=0.1) and hysteresis == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("samples", [np.zeros(100), np.random.default_rng(0).normal(0, 1, 5000), np.array([])])
def test_a_signal_without_two_levels_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(DataError, match="no two levels"):
        choose_threshold(samples)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="not numbers"):
        edge_times([0, np.nan, 1], 10.0, 0.5)
    with pytest.raises(DataError, match="one channel"):
        edge_times(np.zeros((3, 2)), 10.0, 0.5)
    with pytest.raises(DataError, match="a rate above 0"):
        edge_times([0, 1], 0.0, 0.5)


def test_the_step_of_rounded_times_is_seen() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.02, 500))
    assert quantum_s(np.round(times, 3)) == pytest.approx(1e-3)
    assert quantum_s(times) == 0.0 and quantum_s(np.arange(50) / 10) == 0.0
