from pathlib import Path

import numpy as np
import pytest
from ethostream.sync.errors import ConfigError, DataError
from ethostream.training.label_files.frame_labels import (
    UNLABELLED,
    Bout,
    behavior_matrix,
    bouts_of,
    frame_labels,
    labelled_frames,
)
from hypothesis import given
from hypothesis import strategies as st

CLASSES = ["locomote", "rear"]
PATH = Path("labels.csv")


def test_gaps_are_unlabelled_and_order_does_not_matter() -> None:
    bouts = [Bout(5, 7, "rear"), Bout(0, 3, "locomote")]
    labels = frame_labels(bouts, 10, CLASSES, PATH)
    assert labels.dtype == np.int16
    assert labels.tolist() == [0, 0, 0, -1, -1, 1, 1, -1, -1, -1]


def test_the_last_frame_may_be_labelled_and_the_one_behind_it_not() -> None:
    assert frame_labels([Bout(9, 10, "rear")], 10, CLASSES, PATH)[-1] == 1
    with pytest.raises(DataError, match=r"labels\.csv: line 4: rear goes on to frame 10 .* has 10 frames"):
        frame_labels([Bout(9, 11, "rear", None, 4)], 10, CLASSES, PATH)


def test_unknown_class_is_named_and_may_be_renamed_or_ignored() -> None:
    bouts = [Bout(0, 2, "locomote"), Bout(2, 4, "dance", None, 3)]
    with pytest.raises(DataError, match=r"labels\.csv: line 3: 'dance' is not among the classes \(locomote, rear\)"):
        frame_labels(bouts, 5, CLASSES, PATH)
    assert frame_labels(bouts, 5, CLASSES, PATH, rename={"dance": "rear"}).tolist() == [0, 0, 1, 1, -1]
    assert frame_labels(bouts, 5, CLASSES, PATH, ignore=["dance"]).tolist() == [0, 0, -1, -1, -1]


def test_overlaps_are_refused_unless_both_behaviours_have_a_place_in_the_order() -> None:
    bouts = [Bout(0, 6, "locomote", None, 2), Bout(4, 8, "rear", None, 3)]
    with pytest.raises(
        DataError, match=r"line 3: rear begins at frame 4, within locomote \(line 2, 0 to 6.*'priority'"
    ):
        frame_labels(bouts, 9, CLASSES, PATH)
    with pytest.raises(DataError, match=r"\(locomote not in it\)"):
        frame_labels(bouts, 9, CLASSES, PATH, priority=["rear"])
    by_rear = frame_labels(bouts, 9, CLASSES, PATH, priority=["rear", "locomote"])
    assert by_rear.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, -1]
    by_locomote = frame_labels(bouts, 9, CLASSES, PATH, priority=["locomote", "rear"])
    assert by_locomote.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, -1]


def test_overlaps_that_say_the_same_are_no_conflict() -> None:
    bouts = [Bout(0, 4, "rear"), Bout(2, 6, "high rear"), Bout(3, 5, "rear")]
    assert frame_labels(bouts, 7, CLASSES, PATH, rename={"high rear": "rear"}).tolist() == [1] * 6 + [-1]
    assert frame_labels(bouts, 7, CLASSES, PATH, ignore=["rear", "high rear"]).tolist() == [-1] * 7


def test_what_is_ignored_may_hide_a_class_or_be_hidden_by_it_but_not_in_silence() -> None:
    bouts = [Bout(0, 6, "rear"), Bout(2, 4, "out of sight")]
    with pytest.raises(DataError, match="out of sight begins at frame 2, within rear"):
        frame_labels(bouts, 6, CLASSES, PATH, ignore=["out of sight"])
    hidden = frame_labels(bouts, 6, CLASSES, PATH, ignore=["out of sight"], priority=["out of sight", "rear"])
    assert hidden.tolist() == [1, 1, -1, -1, 1, 1]


@pytest.mark.parametrize(("priority", "expected"), [(["rear", "rear"], "twice"), (["dance"], "'dance' is neither")])
def test_an_order_of_priority_that_cannot_be_is_refused(priority: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        frame_labels([], 3, CLASSES, PATH, priority=priority)


def test_behaviours_on_their_own_may_overlap() -> None:
    bouts = [Bout(0, 3, "locomote"), Bout(2, 4, "rear"), Bout(4, 5, "unclear")]
    matrix = behavior_matrix(bouts, 6, CLASSES, PATH, ignore=["unclear"])
    assert matrix.dtype == np.bool_
    assert matrix[:, 0].tolist() == [True, True, True, False, False, False]
    assert matrix[:, 1].tolist() == [False, False, True, True, False, False]
    counts = labelled_frames(bouts, 6, ignore=["unclear"], unlabelled=[(5, 6)])
    assert counts.tolist() == [True, True, True, True, False, False]
    with pytest.raises(DataError, match="'unclear' is not among the classes"):
        behavior_matrix(bouts, 6, CLASSES, PATH)
    with pytest.raises(DataError, match="goes on to frame 4"):
        behavior_matrix(bouts, 4, [*CLASSES, "unclear"], PATH)


@given(st.lists(st.integers(UNLABELLED, 2), max_size=60))
def test_bouts_and_frames_are_inverse(values: list[int]) -> None:
    labels = np.array(values, np.int16)
    names = ["a", "b", "c"]
    assert frame_labels(bouts_of(labels, names), len(labels), names, Path("x.csv")).tolist() == values


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 8), st.sampled_from("abc")), max_size=8),
    st.permutations("abc"),
)
def test_with_an_order_each_frame_is_the_first_behaviour_that_is_there(
    spans: list[tuple[int, int, str]], priority: list[str]
) -> None:
    bouts = [Bout(start, min(start + length, 20), name) for start, length, name in spans]
    labels = frame_labels(bouts, 20, list("abc"), PATH, priority=priority)
    matrix = behavior_matrix(bouts, 20, list("abc"), PATH)
    for frame in range(20):
        there = [name for name in priority if matrix[frame, "abc".index(name)]]
        assert labels[frame] == ("abc".index(there[0]) if there else UNLABELLED)
