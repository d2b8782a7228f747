"""Bouts against a matching by brute force, and against what can be counted by hand."""

from itertools import groupby

import numpy as np
import pytest
from ethostream.training.scores.answers_file import RecordingAnswers
from ethostream.training.scores.bouts import bout_counts, bout_figures, matched_pairs, score_bouts
from ethostream.training.stretches import bout_runs
from hypothesis import example, given, settings
from hypothesis import strategies as st

CLASSES = ["a", "b"]
RATE_HZ = 10.0


def stream(text: str) -> np.ndarray:
    """One letter per frame: a class, or . for none."""
    return np.array(["ab.".index(letter) if letter != "." else -1 for letter in text], np.int16)


def recording(truth: str, label: str, judged: str | None = None, name: str = "r") -> RecordingAnswers:
    said = stream(label)
    p = np.full((len(truth), 2), 0.5, np.float32)
    mask = np.ones(len(truth), np.bool_) if judged is None else np.array([letter == "x" for letter in judged])
    return RecordingAnswers(name, RATE_HZ, stream(truth), said, said, p, mask)


def scored(*recordings: RecordingAnswers, tolerance_ms: float = 500.0) -> dict:
    return score_bouts(recordings, [one.label for one in recordings], CLASSES, tolerance_ms)


Bouts = list[tuple[int, int, int]]


def bouts_by_hand(labels: list[int]) -> Bouts:
    found: Bouts = []
    start = 0
    for kind, frames in groupby(labels):
        n = len(list(frames))
        if kind >= 0:
            found.append((start, start + n, kind))
        start += n
    return found


def most_pairs(true: Bouts, said: Bouts, iou: float) -> int:
    """The largest number of pairs, by trying every partner of every bout."""
    if not true:
        return 0
    start, stop, kind = true[0]
    best = most_pairs(true[1:], said, iou)
    for place, (begin, end, other) in enumerate(said):
        frames, theirs = set(range(start, stop)), set(range(begin, end))
        if other == kind and len(frames & theirs) >= iou * len(frames | theirs):
            best = max(best, 1 + most_pairs(true[1:], said[:place] + said[place + 1 :], iou))
    return best


labels = st.lists(st.tuples(st.integers(-1, 1), st.integers(1, 5)), min_size=1, max_size=8).map(
    lambda rows: [kind for kind, n in rows for _ in range(n)]
)


@given(labels, labels, st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]))
@example([0, 0], [0, -1], 0.5)  # two halves of one bout: each overlaps it by exactly a half
@example([0] * 6 + [1] * 2, [0, 0, 1, 0, 0, 0, 1, 1], 0.25)
@settings(max_examples=300)
def test_counts_are_those_of_the_best_matching(truth: list[int], said: list[int], iou: float) -> None:
    said = (said * 40)[: len(truth)]
    counts = bout_counts(np.array(truth), np.array(said), 2, iou)
    shown = [label if true >= 0 else -1 for true, label in zip(truth, said, strict=True)]
    for kind in range(2):
        mine = [one for one in bouts_by_hand(truth) if one[2] == kind]
        theirs = [one for one in bouts_by_hand(shown) if one[2] == kind]
        assert counts[kind].tolist() == [len(mine), len(theirs), most_pairs(mine, theirs, iou)]
    starts, stops, kinds = bout_runs(np.array(truth))
    assert list(zip(starts.tolist(), stops.tolist(), kinds.tolist(), strict=True)) == bouts_by_hand(truth)


@given(labels, labels)
@settings(max_examples=100)
def test_pairs_are_one_to_one_and_overlap_enough(truth: list[int], said: list[int]) -> None:
    one = [np.array(side, np.int64) for side in zip(*bouts_by_hand(truth), strict=True)]
    other = [np.array(side, np.int64) for side in zip(*bouts_by_hand(said), strict=True)]
    if not one or not other:
        return
    mine, theirs = one[2] == 0, other[2] == 0
    pairs = matched_pairs(one[0][mine], one[1][mine], other[0][theirs], other[1][theirs])
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)
    for number, place in pairs:
        frames = set(range(one[0][mine][number], one[1][mine][number]))
        touched = set(range(other[0][theirs][place], other[1][theirs][place]))
        assert 2 * len(frames & touched) >= len(frames | touched)


def test_one_bout_torn_in_three_flickers() -> None:
    found = scored(recording("aaaabbbbbbbbbbaaaa", "aaaabbbbbbabababbb"[:14] + "aaaa"))
    # b: one true bout of ten frames; said are bouts of 6, 1 and 1 frames, the first of which overlaps it by 6 / 10.
    b = found["per_class"]["b"]
    assert (b["n_true"], b["n_predicted"], b["n_matched"], b["flicker"]) == (1, 3, 1, 3.0)
    assert b["bout_f1"] == pytest.approx(0.5)
    assert (b["bout_precision"], b["bout_recall"]) == (pytest.approx(1 / 3), 1.0)
    assert (b["median_true_s"], b["median_predicted_s"]) == (1.0, 0.1)
    a = found["per_class"]["a"]
    assert (a["n_true"], a["n_predicted"], a["n_matched"]) == (2, 4, 2)
    assert found["bout_f1"] == pytest.approx((0.5 + 4 / 6) / 2)
    assert found["bout_f1_micro"] == pytest.approx(6 / 10)
    assert found["flicker"] == pytest.approx(7 / 3)


def test_a_bout_that_overlaps_by_less_than_half_is_missed_and_invented() -> None:
    found = scored(recording("aaaabbbbbbaaaa", "aaaaaaaabbbbbb"))["per_class"]["b"]
    assert (found["n_true"], found["n_predicted"], found["n_matched"], found["bout_f1"]) == (1, 1, 0, 0.0)


def test_unscored_frames_end_bouts_and_what_is_said_there_counts_for_nothing() -> None:
    found = scored(recording("aaaa..bbbb..aaaa", "aaaabbbbbbbbaaaa"))
    assert (found["n_true"], found["n_predicted"], found["bout_f1"]) == (3, 3, 1.0)
    judged = scored(recording("aaaabbbbaaaabbbb", "aaaabbbbbbbbaaaa", "xxxxxxxx--------"))
    assert (judged["n_true"], judged["n_predicted"], judged["bout_f1"]) == (2, 2, 1.0)


def test_no_bout_reaches_from_one_recording_into_the_next() -> None:
    two = scored(recording("aaaabbbb", "aaaabbbb"), recording("bbbbaaaa", "bbbbaaaa", name="s"))
    assert (two["n_true"], two["n_predicted"]) == (4, 4)


def test_a_class_that_the_truth_does_not_hold_is_undefined_and_not_averaged() -> None:
    found = scored(recording("aaaaaaaa", "aaaabbaa"))
    assert found["per_class"]["b"]["bout_f1"] is None
    assert found["per_class"]["b"]["flicker"] is None
    assert (found["per_class"]["b"]["n_predicted"], found["flicker"]) == (1, 3.0)
    assert found["bout_f1"] == found["per_class"]["a"]["bout_f1"] == pytest.approx(2 / 3)  # the first half is its pair
    nothing = bout_figures(np.zeros((2, 3), np.int64))
    assert all(np.isnan(values).all() for values in nothing.values())


def test_delays_and_false_detections_are_those_of_onsets() -> None:
    quiet = "a" * 20
    late = scored(
        recording(quiet + "b" * 10 + quiet + "b" * 10 + quiet, quiet + "aabbbbbbbb" + quiet + "aaaabbbbbb" + quiet),
        recording("a" * 80, "a" * 40 + "b" + "a" * 39, name="s"),
        tolerance_ms=200.0,
    )
    b = late["per_class"]["b"]
    assert b["onset_delay_p50_ms"] == pytest.approx(300.0)
    assert b["onset_delay_p90_ms"] == pytest.approx(380.0)
    assert b["onset_recall"] == 1.0
    # Two recordings of 8 s, without the tolerance of 0.2 s at either end.
    hours = 2 * 7.6 / 3600.0
    assert late["hours"] == pytest.approx(hours)
    assert b["false_per_hour"] == pytest.approx(1 / hours)
    assert late["false_per_hour"] == pytest.approx(1 / hours)  # not halved by there being two classes
