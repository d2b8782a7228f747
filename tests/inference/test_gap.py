import numpy as np
import pytest
from ethostream.inference.gap import GapPlan, StepGrid, plan_gap
from ethostream.inference.manifest import GapRule
from ethostream.sync.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st

PERIOD_NS = round(1e9 / 30.0)


def test_a_short_gap_repeats_and_a_long_one_resets() -> None:
    rule = GapRule(max_repeat_ms=100.0)
    assert plan_gap(0, rule, PERIOD_NS) == GapPlan(reset=False, n_repeat=0)
    assert plan_gap(3, rule, PERIOD_NS) == GapPlan(reset=False, n_repeat=3)
    assert plan_gap(4, rule, PERIOD_NS) == GapPlan(reset=True, n_repeat=0)


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(-0.4, 0.4)), min_size=1, max_size=50), st.integers(0, 10**18))
def test_steps_are_counted_by_time_whatever_was_lost(moves: list[tuple[int, float]], start_ns: int) -> None:
    grid = StepGrid(30.0, 30.0, "refuse")
    assert grid.step(start_ns) == 0
    index, before, t_ns = 0, 0.0, start_ns
    for n, wish in moves:
        jitter = (
            0.5 * wish
        )  # two stamps that each move by a fifth of a period stay within half a period of their distance
        t_ns += round((n + jitter - before) * PERIOD_NS)
        before = jitter
        index += n
        assert grid.step(t_ns) == index


def test_a_small_error_of_the_rate_does_not_add_up_over_a_day() -> None:
    grid = StepGrid(30.0, 30.0, "refuse")
    for frame in range(0, 24 * 3600 * 30, 1000):
        last = [grid.step(round((frame + k) * PERIOD_NS * 1.001)) for k in range(2)]
    assert last == [last[0], last[0] + 1]  # type: ignore[operator]
    assert not [k for k in range(1, 5000) if grid.step(round((frame + 1 + k) * PERIOD_NS * 1.001)) != last[1] + k]  # type: ignore[operator]


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_faster_rig_is_subsampled(every: int) -> None:
    grid = StepGrid(30.0, 30.0 * every, "subsample")
    answers = [grid.step(round(k * 1e9 / (30.0 * every))) for k in range(40)]
    assert answers == [k // every if k % every == 0 else None for k in range(40)]


def test_where_the_set_that_was_due_is_missing_the_next_takes_its_place() -> None:
    grid = StepGrid(30.0, 60.0, "subsample")
    answers = [grid.step(round(k * 1e9 / 60.0)) for k in (0, 1, 3, 4, 5, 6, 7)]
    assert answers == [0, None, 1, None, 2, None, 3]


def test_a_set_that_is_not_newer_is_left_out() -> None:
    grid = StepGrid(30.0, 30.0, "refuse")
    assert [grid.step(t) for t in (100, 100, 50, 100 + PERIOD_NS)] == [0, None, None, 1]


@pytest.mark.parametrize(
    ("set_rate_hz", "rule"), [(60.0, "refuse"), (45.0, "subsample"), (15.0, "subsample"), (25.0, "refuse")]
)
def test_a_rate_that_does_not_suit_is_refused(set_rate_hz: float, rule: str) -> None:
    with pytest.raises(ConfigError, match="30 Hz"):
        StepGrid(30.0, set_rate_hz, rule)  # type: ignore[arg-type]


def test_the_rate_of_ordinary_cameras_is_near_enough() -> None:
    assert StepGrid(30.0, 29.97, "refuse").every == 1


def test_a_restored_grid_continues() -> None:
    one, other = StepGrid(30.0, 60.0, "subsample"), StepGrid(30.0, 60.0, "subsample")
    times = np.cumsum(np.random.default_rng(0).integers(1, 4, 100)) * round(1e9 / 60.0)
    for t_ns in times[:51]:
        one.step(int(t_ns))
    other.restore(one.snapshot())
    assert [one.step(int(t)) for t in times[51:]] == [other.step(int(t)) for t in times[51:]]
