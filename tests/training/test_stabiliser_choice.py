"""Which stabiliser is chosen: few torn bouts, as long as nothing is lost by it."""

import numpy as np
import pytest
from ethostream.inference.stabilisation.config import MajorityConfig, ThresholdsConfig
from ethostream.sync.errors import DataError
from ethostream.training.config.choice import ChoiceConfig
from ethostream.training.scores.answers_file import RecordingAnswers
from ethostream.training.stabilising.choice import (
    StabiliserScores,
    candidates_for,
    choose_stabiliser,
    count_candidates,
    mean_bouts_ms,
    pick,
    score_candidate,
)
from ethostream.training.stabilising.grid import in_short, stabiliser_grid
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ["a", "b"]
RATE_HZ = 30.0


def _answers(seed: int, n_bouts: int = 16, wrong: float = 0.2) -> RecordingAnswers:
    """Bouts of 2 s in turn, of which single frames are wrong."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_bouts) % 2, 60).astype(np.int16)
    said = np.where(rng.random(len(truth)) < wrong, 1 - truth, truth)
    p = np.where(said[:, None] == np.arange(2), 0.8, 0.2).astype(np.float32)
    nothing = np.full(len(truth), -1, np.int16)
    return RecordingAnswers("one", RATE_HZ, truth, said.astype(np.int16), nothing, p, np.ones(len(truth), np.bool_))


def _scores(bout_f1: float, flicker: float, delay_ms: float = 100.0, macro_f1: float = 0.8) -> StabiliserScores:
    return StabiliserScores(ThresholdsConfig(), bout_f1, macro_f1, flicker, delay_ms)


def test_of_equally_good_ones_the_one_with_fewer_bouts_is_taken() -> None:
    best, steady, lost = _scores(0.60, 1.29), _scores(0.59, 1.05), _scores(0.50, 0.90)
    assert pick([best, steady, lost], ChoiceConfig()) is steady
    assert pick([best, steady, lost], ChoiceConfig(tolerance=0.001)) is best


def test_bouts_that_are_lost_are_no_steadiness() -> None:
    quick, fewer = _scores(0.60, 0.98, 50.0), _scores(0.60, 0.60, 400.0)
    assert pick([fewer, quick], ChoiceConfig()) is quick


def test_flicker_beyond_the_limit_is_not_bought_by_a_better_score() -> None:
    torn, whole = _scores(0.70, 2.5), _scores(0.55, 1.3)
    assert pick([torn, whole], ChoiceConfig()) is whole
    assert pick([torn, whole], ChoiceConfig(max_flicker=3.0)) is torn
    worse = _scores(0.60, 1.9)
    assert pick([torn, worse], ChoiceConfig()) is worse  # none reaches the limit: the steadiest


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5), st.floats(0, 900)), min_size=1, max_size=12))
def test_the_choice_is_never_far_from_the_best_that_is_allowed(found: list[tuple[float, float, float]]) -> None:
    scored = [_scores(*one) for one in found]
    chosen = pick(scored, ChoiceConfig())
    limit = max(1.3, min(one.flicker for one in scored))
    assert chosen.flicker <= limit
    best = max(one.quality for one in scored if one.flicker <= limit)
    assert chosen.quality >= best - 0.01


def test_noise_is_filtered_away() -> None:
    answers = [_answers(seed) for seed in (1, 2)]
    own = ThresholdsConfig.model_validate({"default": {"enter": 0.0, "exit": 0.0, "min_dwell_ms": 0.0}})
    raw = score_candidate(own, CLASSES, answers)
    assert raw.flicker > 5
    told: list[int] = []
    choice = choose_stabiliser(ChoiceConfig(), own, CLASSES, answers, told.append)
    found = score_candidate(choice.chosen, CLASSES, answers)
    assert found.flicker == pytest.approx(1.0, abs=0.1)
    assert found.bout_f1 > 0.9
    assert found.quality > raw.quality + 0.2
    assert sum(told) == count_candidates(ChoiceConfig()) == 1 + len(candidates_for(CLASSES, answers))
    assert "predicted bouts per true one" in choice.words
    best = max(one["bout_f1"] + one["macro_f1"] for one in choice.tried)
    assert 2 * found.quality >= best - 0.02


def test_cumulative_sums_are_among_those_that_are_tried() -> None:
    """Where no class is ever sure and one is better for a while, they are what finds the bouts."""
    answers = [_answers(seed) for seed in (1, 2)]
    sums = [one for one in candidates_for(CLASSES, answers) if one.kind == "cusum"]
    assert len(sums) > 10 and sums == [one for one in stabiliser_grid() if one.kind == "cusum"]
    assert len({in_short(one) for one in sums}) == len(sums)
    scored = [score_candidate(one, CLASSES, answers) for one in sums]
    assert max(one.bout_f1 for one in scored) > 0.9
    assert all(one.delay_ms < 400.0 for one in scored)


def test_slow_ones_are_left_out_and_not_run() -> None:
    answers = [_answers(1)]
    slow = MajorityConfig.model_validate({"kind": "majority", "default": {"window_ms": 900.0}})
    told: list[int] = []
    choice = choose_stabiliser(ChoiceConfig(max_delay_ms=150.0), slow, CLASSES, answers, told.append)
    delays = [one["delay_ms"] for one in choice.tried if one["stabiliser"]["kind"] != "majority"]
    assert delays and max(delays) <= 150.0
    assert told[0] == len(candidates_for(CLASSES, answers)) - len(delays) > 0  # at once, before any other
    assert sum(told) == count_candidates(ChoiceConfig())


def test_look_ahead_is_part_of_every_delay() -> None:
    """A head that waits for 10 frames at 30 Hz comes a third of a second late whatever the stabiliser adds."""
    answers, own = [_answers(1)], ThresholdsConfig()
    rule = ChoiceConfig(max_delay_ms=450.0)
    plain = choose_stabiliser(rule, own, CLASSES, answers)
    ahead = choose_stabiliser(rule, own, CLASSES, answers, look_ahead_frames=10)
    assert 0 < len(ahead.tried) < len(plain.tried)
    assert min(one["delay_ms"] for one in ahead.tried) >= 1000.0 * 10 / RATE_HZ
    target = ChoiceConfig(target="recall >= 0.9 and delay p50 <= 300")
    clear = [_answers(seed, wrong=0.0) for seed in (1, 2)]
    choose_stabiliser(target, own, CLASSES, clear)
    with pytest.raises(DataError, match=r"no stabiliser of \d+ meets 'recall >= 0.9 and delay p50 <= 300'"):
        choose_stabiliser(target, own, CLASSES, clear, look_ahead_frames=10)


def test_the_grid_knows_how_long_behaviours_last() -> None:
    answers = [_answers(1)]
    assert mean_bouts_ms(answers, 2) == [2000.0, 2000.0]
    assert mean_bouts_ms(answers, 3)[2] == 2000.0  # a class without a bout: as the others
    dwells = {
        one.per_class["a"].mean_dwell_ms for one in candidates_for(CLASSES, answers) if one.kind == "hidden_markov"
    }
    assert dwells == {200.0, 500.0, 2000.0}
