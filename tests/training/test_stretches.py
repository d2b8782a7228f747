"""Stretches of equal values."""

import numpy as np
import pytest
from ethostream.training.stretches import bout_runs, class_counts, runs_of, value_runs
from hypothesis import given
from hypothesis import strategies as st

vectors = st.lists(st.integers(-2, 3), max_size=60).map(lambda one: np.array(one, np.int16))


@given(vectors)
def test_stretches_are_the_vector_again(values: np.ndarray) -> None:
    starts, stops, kinds = value_runs(values)
    again = [int(kind) for start, stop, kind in zip(starts, stops, kinds, strict=True) for _ in range(start, stop)]
    assert again == values.tolist()
    assert (np.diff(kinds) != 0).all()


@given(vectors)
def test_bouts_are_stretches_of_classes(values: np.ndarray) -> None:
    again = np.full(len(values), -1)
    for start, stop, kind in zip(*bout_runs(values), strict=True):
        assert kind >= 0
        assert (again[start:stop] == -1).all()
        again[start:stop] = kind
    assert again.tolist() == np.maximum(values, -1).tolist()


@given(vectors, st.integers(1, 4))
def test_runs_of_a_mask_are_its_bouts_that_are_long_enough(values: np.ndarray, least: int) -> None:
    mask = values > 0
    starts, stops, _ = bout_runs(mask.astype(np.int16) - 1)
    assert runs_of(mask, least) == [
        (start, stop) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True) if stop - start >= least
    ]


def test_classes_are_counted_over_all_vectors() -> None:
    counts = class_counts(iter([np.array([0, 2, -1, 2]), np.array([], np.int16), np.array([-5, 0])]), 4)
    assert counts.tolist() == [2, 0, 2, 0]
    with pytest.raises(ValueError, match="broadcast"):
        class_counts([np.array([4])], 4)
