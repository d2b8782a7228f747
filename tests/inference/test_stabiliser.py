import itertools

import numpy as np
import pytest
from ethostream.inference.stabilisation.config import ClassThresholds, ThresholdsConfig
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

CLASSES = ["a", "b", "c"]
MS = 1_000_000
CONFIG = ThresholdsConfig(
    default=ClassThresholds(enter=0.6, exit=0.3, min_dwell_ms=100.0),
    per_class={"c": ClassThresholds(enter=0.5, exit=0.5, min_dwell_ms=0.0)},
)

probabilities = st.lists(st.floats(0.001, 1.0), min_size=3, max_size=3).map(lambda v: np.array(v) / sum(v))
steps = st.lists(st.tuples(probabilities, st.integers(1, 80)), min_size=1, max_size=60)


def run(stabiliser: Stabiliser, sequence: list[tuple[np.ndarray, int]], t_ns: int = 0) -> list[tuple[int, str]]:
    labels: list[tuple[int, str]] = []
    for p, dt_ms in sequence:
        t_ns += dt_ms * MS
        labels.append((t_ns, stabiliser.step(p, t_ns)))
    return labels


def test_a_class_takes_over_after_its_dwell_and_not_before() -> None:
    stabiliser = Stabiliser(CLASSES, CONFIG)
    strong = np.array([0.8, 0.1, 0.1])
    assert [stabiliser.step(strong, t * MS) for t in (0, 50, 99, 100)] == ["", "", "", "a"]
    assert stabiliser.label_since_ns == 100 * MS
    assert stabiliser.added_delay_ms == {"a": 100.0, "b": 100.0, "c": 0.0}


def test_an_interruption_starts_the_dwell_anew() -> None:
    stabiliser = Stabiliser(CLASSES, CONFIG)
    strong, weak = np.array([0.8, 0.1, 0.1]), np.array([0.4, 0.35, 0.25])
    for t, p in ((0, strong), (50, weak), (100, strong), (150, strong)):
        assert stabiliser.step(p, t * MS) == ""
    assert stabiliser.step(strong, 200 * MS) == "a"


def test_the_label_holds_between_its_thresholds_and_gives_way_below_exit() -> None:
    stabiliser = Stabiliser(CLASSES, CONFIG)
    run(stabiliser, [(np.array([0.8, 0.1, 0.1]), 60)] * 3)
    assert stabiliser.label == "a"
    held = run(stabiliser, [(np.array([0.4, 0.55, 0.05]), 60)] * 5, 1000 * MS)
    assert {label for _, label in held} == {"a"}
    given_way = run(stabiliser, [(np.array([0.25, 0.45, 0.3]), 60)] * 3, 2000 * MS)
    assert [label for _, label in given_way] == ["a", "a", "b"]


def test_an_exit_above_its_enter_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"exit 0\.8 is above enter 0\.6"):
        ClassThresholds(enter=0.6, exit=0.8)


@given(steps)
def test_a_label_never_lasts_shorter_than_the_dwell_of_the_one_after_it(
    sequence: list[tuple[np.ndarray, int]],
) -> None:
    labels = run(Stabiliser(CLASSES, CONFIG), sequence)
    changes = [
        (t, label) for (t, label), (_, before) in zip(labels, [(0, ""), *labels[:-1]], strict=True) if label != before
    ]
    for (t_before, _), (t, label) in itertools.pairwise(changes):
        assert t - t_before >= CONFIG.of(label).min_dwell_ms * MS


@given(steps)
def test_a_change_was_earned_by_every_step_of_its_dwell(sequence: list[tuple[np.ndarray, int]]) -> None:
    labels = run(Stabiliser(CLASSES, CONFIG), sequence)
    before = ""
    for place, (t, label) in enumerate(labels):
        if label != before:
            index, dwell_ns = CLASSES.index(label), CONFIG.of(label).min_dwell_ms * MS
            inside = [i for i in range(place + 1) if t - labels[i][0] <= dwell_ns]
            assert all(int(np.argmax(sequence[i][0])) == index for i in inside)
            leave = 1.0 if not before else CONFIG.of(before).exit
            for i in inside:
                p = sequence[i][0]
                assert p[index] >= CONFIG.of(label).enter or (before and p[CLASSES.index(before)] < leave)
        before = label


@given(steps, st.integers(0, 60))
def test_a_restored_stabiliser_continues_the_same(sequence: list[tuple[np.ndarray, int]], cut: int) -> None:
    cut = min(cut, len(sequence))
    whole, first, second = (Stabiliser(CLASSES, CONFIG) for _ in range(3))
    expected = run(whole, sequence)
    start = run(first, sequence[:cut])
    second.restore(first.snapshot())
    t_ns = start[-1][0] if start else 0
    assert start + run(second, sequence[cut:], t_ns) == expected
    assert second.label_since_ns == whole.label_since_ns


@given(steps, st.integers(0, 10**18))
def test_only_differences_of_time_count(sequence: list[tuple[np.ndarray, int]], shift_ns: int) -> None:
    plain = run(Stabiliser(CLASSES, CONFIG), sequence)
    shifted = run(Stabiliser(CLASSES, CONFIG), sequence, shift_ns)
    assert [label for _, label in plain] == [label for _, label in shifted]
