"""Triggers against onsets, on hand-made streams and against a count by brute force."""

import numpy as np
import pytest
from ethostream.sync.errors import ConfigError
from ethostream.training.scores.onsets import OnsetScores, pooled, score_onsets
from ethostream.training.stabilising.target import parse_target
from hypothesis import given, settings
from hypothesis import strategies as st

CLASSES = ["a", "b"]
MS = 1_000_000


def stream(text: str) -> np.ndarray:
    """One letter per step of 100 ms: a class, or . for none."""
    return np.array(["ab.".index(letter) if letter != "." else -1 for letter in text], np.int16)


def scored(truth: str, label: str, tolerance_ms: float = 200.0, judged: str | None = None) -> dict[str, OnsetScores]:
    t_ns = np.arange(len(truth), dtype=np.int64) * 100 * MS
    mask = None if judged is None else np.array([letter == "x" for letter in judged])
    return score_onsets(t_ns, stream(truth), stream(label), CLASSES, mask, tolerance_ms)


def test_a_late_trigger_is_found_with_its_delay() -> None:
    found = scored("aaaaaabbbbbbaaaaaa", "aaaaaaaaabbbbaaaaa")["b"]
    assert (found.n_bouts, found.n_found, found.n_false, found.n_repeated) == (1, 1, 0, 0)
    assert found.delays_ms.tolist() == [300.0]
    assert found.recall == 1.0


def test_flicker_within_a_bout_is_repeated_and_not_false() -> None:
    found = scored("aaaaaabbbbbbaaaaaa", "aaaaaababbabaaaaaa")["b"]
    assert (found.n_triggers, found.n_found, found.n_false, found.n_repeated) == (3, 1, 0, 2)
    assert found.delay_ms(50) == 0.0


@pytest.mark.parametrize(("label", "n_false"), [("aaaaaaaaaaaaabaaaaaaaa", 0), ("aaaaaaaaaaaaaabaaaaaaa", 1)])
def test_a_trigger_is_false_beyond_the_tolerance(label: str, n_false: int) -> None:
    """The bout ends at 1,100 ms: a trigger at 1,300 ms is still its own, one at 1,400 ms is not."""
    found = scored("aaaaaabbbbbaaaaaaaaaaa", label)["b"]
    assert (found.n_false, found.n_found, found.n_triggers) == (n_false, 1 - n_false, 1)
    # 22 steps of 0.1 s, less the tolerance at both ends.
    assert found.hours == pytest.approx(1.8 / 3600)
    assert found.false_per_hour == pytest.approx(n_false * 2000.0)


def test_an_early_trigger_within_the_tolerance_has_a_negative_delay() -> None:
    assert scored("aaaaaaabbbbbaaaaaa", "aaaaabbbbbbbaaaaaa")["b"].delays_ms.tolist() == [-200.0]


def test_bouts_that_are_cut_count_neither_way() -> None:
    first, last = scored("bbbbbbaaaaaa", "..bbbbaaaaaa")["b"], scored("aaaaaabbbbbb", "aaaaaaaabbbb")["b"]
    for found in (first, last):
        assert (found.n_bouts, found.n_found, found.n_false, found.n_triggers) == (0, 0, 0, 0)
        assert found.recall is None
        assert found.delay_ms(50) is None


def test_what_is_not_labelled_or_not_judged_is_not_counted() -> None:
    truth = "aaaaaaaaaaaa......aaaaaaaaaaaa"
    assert scored(truth, "aaaaaaaaaaaaaabbaaaaaaaaaaaaaa")["b"].n_triggers == 0
    assert scored(truth, "aaaaaaaaaaaaaaaaaabaaaaaaaaaaa")["b"].n_triggers == 0  # closer to the edge than the tolerance
    assert scored(truth, "aaaaaaaaaaaaaaaaaaaaaabaaaaaaa")["b"].n_false == 1
    judged = "xxxxxxxxxxxx" + "-" * 18
    assert scored(truth, "aaaaaaaaaaaaaaaaaaaaaabaaaaaaa", judged=judged)["b"].n_false == 0
    assert scored(truth, "a" * 30, judged=judged)["b"].hours == pytest.approx(0.8 / 3600)


labels = st.lists(st.tuples(st.integers(-1, 1), st.integers(2, 7)), min_size=1, max_size=14).map(
    lambda rows: [label for label, n in rows for _ in range(n)]
)


@given(labels, labels, st.integers(0, 5))
@settings(max_examples=60)
def test_counts_equal_those_by_brute_force(truth: list[int], label: list[int], steps: int) -> None:
    """Everything is labelled here; every trigger is looked at step by step."""
    truth = [max(one, 0) for one in truth]
    label = (label * 100)[: len(truth)]
    n = len(truth)
    t_ns = np.arange(n, dtype=np.int64) * 100 * MS
    found = score_onsets(t_ns, np.array(truth), np.array(label), CLASSES, None, steps * 100.0)
    for place, name in enumerate(CLASSES):
        triggers = [k for k in range(n) if label[k] == place and (k == 0 or label[k - 1] != place)]
        n_false = 0
        for k in triggers:
            # The bout reaches to the end of its last step, so one step more counts after it than before it.
            near = truth[max(0, k - steps - 1) : k + steps + 1]
            inside = steps <= k < n - steps
            n_false += place not in near and inside
        assert found[name].n_false == n_false
        assert found[name].n_found <= found[name].n_bouts
        assert found[name].n_triggers == found[name].n_found + found[name].n_repeated + found[name].n_false
        assert len(found[name].delays_ms) == found[name].n_found


def test_recordings_are_added_up() -> None:
    one, other = (
        scored("aaaaaabbbbbbaaaaaa", "aaaaaaaabbbbaaaaaa")["b"],
        scored("aaaaaabbbaaaaaa", "aaaaaaaaaaaaaaa")["b"],
    )
    both = pooled([one, other])
    assert (both.n_bouts, both.n_found, both.recall) == (2, 1, 0.5)
    assert both.hours == one.hours + other.hours
    assert both.delays_ms.tolist() == [200.0]


def scores(false_per_hour: float, recall: float, delay_ms: float) -> OnsetScores:
    n = 1000
    n_found = round(recall * n)
    return OnsetScores(1.0, n, n_found, n_found, round(false_per_hour), 0, np.full(n_found, delay_ms))


def test_a_target_holds_for_every_behavior() -> None:
    target = parse_target("False triggers/h <= 2 AND recall >= 0.9 and delay p99 <= 300 ms")
    good = scores(2, 0.9, 300)
    assert target.met({"a": good, "b": good})
    for bad in (scores(3, 0.9, 300), scores(2, 0.89, 300), scores(2, 0.9, 301)):
        assert not target.met({"a": good, "b": bad})


def test_what_is_not_known_meets_no_target() -> None:
    nothing = OnsetScores(1.0, 0, 0, 0, 0, 0, np.zeros(0))
    assert not parse_target("recall >= 0").met({"a": nothing})
    assert parse_target("false triggers per hour <= 0").met({"a": nothing})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("few false triggers", "is not understood"),
        ("precision >= 0.5", "is not understood"),
        ("recall <= 0.5", "recall goes with >="),
        ("false triggers/h >= 2", "goes with <="),
        ("recall >= 90", "a share from 0 to 1"),
        ("recall >= 0.5 ms", "not in milliseconds"),
        ("recall >= 0.5 and", "is not understood"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_target(text)
