"""Gaps closed online are the gaps closed offline, one lag later."""

import numpy as np
import pytest
from ethostream.inference.stabilisation.gap_closing import GapClosing
from hypothesis import given
from hypothesis import strategies as st

MS = 1_000_000
steps = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60), st.integers(1, 5)), max_size=40).map(
    lambda rows: [(label, dt_ms) for label, dt_ms, n in rows for _ in range(n)]
)
gaps = st.lists(st.integers(0, 300), min_size=3, max_size=3).filter(any)


def closed_offline(times: list[int], labels: list[int], gaps_ms: list[int]) -> list[int]:
    """The definition: frame by frame, an interruption is closed when its behaviour comes back in time."""
    closed = list(labels)
    for k in range(1, len(closed)):
        held = closed[k - 1]
        if held < 0 or closed[k] == held:
            continue
        back = [j for j in range(k, len(labels)) if labels[j] == held and times[j] - times[k] <= gaps_ms[held]]
        if back:
            closed[k : back[0]] = [held] * (back[0] - k)
    return closed


@given(steps, gaps)
def test_online_is_offline_shifted_by_the_lag(sequence: list[tuple[int, int]], gaps_ms: list[int]) -> None:
    lag_ms = max(gaps_ms)
    times = np.cumsum([dt for _, dt in sequence]).tolist()
    labels = [label for label, _ in sequence]
    offline = closed_offline(times, labels, gaps_ms)
    closing = GapClosing([gap * MS for gap in gaps_ms])
    for t_ms, label in zip(times, labels, strict=True):
        found = closing.step(label, t_ms * MS)
        known = [k for k, t in enumerate(times) if t <= t_ms - lag_ms]
        assert found == (offline[known[-1]] if known else -1)
    assert {delay.worst_ms for delay in closing.delays()} == {lag_ms}


@pytest.mark.parametrize(("gap_ms", "expected"), [(100, [0, 0, 0, 0, 0]), (99, [0, 0, 1, 1, 0])])
def test_the_limit_itself_is_closed(gap_ms: int, expected: list[int]) -> None:
    labels = [0, 0, 1, 1, 0, 0, 0, 0, 0]
    closing = GapClosing([gap_ms * MS, 0])
    found = [closing.step(label, k * 50 * MS) for k, label in enumerate(labels)]
    shift = -(-gap_ms // 50)  # the lag in whole steps
    assert found[shift : shift + 5] == expected
