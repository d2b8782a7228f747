"""A model that looks ahead: of which frame its answers are, and what delay is stated."""

import numpy as np
import pytest
from ethostream.inference.look_ahead import AnswerTimes
from ethostream.inference.stabilisation.config import ThresholdsConfig
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from hypothesis import given
from hypothesis import strategies as st

STEP_NS = 33_333_333


def test_an_answer_is_of_the_step_so_many_before() -> None:
    times = AnswerTimes(3, STEP_NS)
    exposed = [1_000 + n * STEP_NS + jitter for n, jitter in enumerate([0, 7, -9, 4, 0, 12, -3])]
    found = [times.step(n, t_ns) for n, t_ns in enumerate(exposed)]
    assert found[3:] == exposed[:4]
    # Before the first step there is the grid alone.
    assert found[:3] == [1_000 - 3 * STEP_NS, 1_000 - 2 * STEP_NS, 1_000 - STEP_NS]


def test_without_look_ahead_nothing_is_remembered() -> None:
    times = AnswerTimes(0, STEP_NS)
    assert [times.step(n, n * STEP_NS + 5) for n in range(3)] == [5, STEP_NS + 5, 2 * STEP_NS + 5]
    assert times.snapshot() == {}
    times.restore({})


def test_a_missing_step_is_counted_from_the_one_before() -> None:
    times = AnswerTimes(2, STEP_NS)
    for n in (0, 1, 4, 5):
        last = times.step(n, 10 + n * STEP_NS + (n == 1))
    assert last == 10 + 3 * STEP_NS + 1  # step 3 was missing; step 1 was a nanosecond late
    assert times.step(6, 10 + 6 * STEP_NS) == 10 + 4 * STEP_NS


@given(
    n_frames=st.integers(1, 6),
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    cut=st.integers(0, 40),
)
def test_answers_follow_each_other_and_a_snapshot_goes_on(n_frames: int, gaps: list[int], cut: int) -> None:
    whole, first = AnswerTimes(n_frames, STEP_NS), AnswerTimes(n_frames, STEP_NS)
    steps = np.cumsum(gaps).tolist()
    exposed = {n: 7 + n * STEP_NS for n in steps}
    expected = [whole.step(n, exposed[n]) for n in steps]
    assert expected == [exposed[n] - n_frames * STEP_NS for n in steps]  # exact stamps: always so many steps before
    for n in steps[:cut]:
        first.step(n, exposed[n])
    second = AnswerTimes(n_frames, STEP_NS)
    second.restore(first.snapshot())
    assert [second.step(n, exposed[n]) for n in steps[cut:]] == expected[cut:]
    assert second.snapshot()["answer_times"].shape == (n_frames + 1, 2)


def test_the_stated_delay_includes_the_look_ahead() -> None:
    config = ThresholdsConfig.model_validate({"default": {"min_dwell_ms": 100.0}})
    plain, ahead = Stabiliser(["a", "b"], config), Stabiliser(["a", "b"], config, look_ahead_ms=166.7)
    assert plain.added_delay_ms == {"a": 100.0, "b": 100.0}
    assert ahead.added_delay_ms["a"] == pytest.approx(266.7)
    assert ahead.delays["b"].worst_ms == pytest.approx(266.7)
    assert ahead.delays_in_words().endswith("b 266.7 ms; 166.7 ms of it is look-ahead")
    # The labels themselves are what they are.
    p = np.array([0.9, 0.1])
    assert [plain.step(p, n * STEP_NS) for n in range(6)] == [ahead.step(p, n * STEP_NS) for n in range(6)]
