import math

from ethostream.sync.latency import LatencyHistogram
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.99, 0.999, 1.0]))
def test_percentiles_are_within_a_bucket_of_the_exact_ones(values: list[int], q: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = histogram.percentile_ns(q)
    assert found is not None
    assert exact <= found <= exact * (1 + 1 / 128)


def test_maximum_and_count_are_exact_and_negative_times_are_set_apart() -> None:
    histogram = LatencyHistogram()
    for value in (5, 1_234_567_891, -3):
        histogram.add(value)
    summary = histogram.summary()
    assert (summary.n, histogram.n_negative, histogram.max_ns) == (2, 1, 1_234_567_891)
    assert summary.max == 1234.5679


def test_nothing_measured_gives_nulls() -> None:
    summary = LatencyHistogram().summary()
    assert (summary.p50, summary.p99, summary.p999, summary.max, summary.n) == (None, None, None, None, 0)


@given(st.lists(st.integers(-5, 10**12), max_size=200))
def test_a_histogram_comes_back_from_its_buckets(durations: list[int]) -> None:
    one = LatencyHistogram()
    for duration in durations:
        one.add(duration)
    again = LatencyHistogram.restored(one.buckets(), one.max_ns, one.sum_ns, one.n_negative)
    assert again.summary() == one.summary()
    assert again.buckets() == one.buckets()
    assert (again.n, again.sum_ns, again.n_negative) == (one.n, one.sum_ns, one.n_negative)
