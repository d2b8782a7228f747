"""Cumulative sums: as a plain loop has them, in time and not in frames, never sooner than they say."""

from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import pytest
from ethostream.inference.stabilisation.config import ClassCusum, CusumConfig
from ethostream.inference.stabilisation.cumulative_sums import CumulativeSums
from ethostream.inference.stabilisation.stabiliser import Stabiliser
from hypothesis import given, settings
from hypothesis import strategies as st

CLASSES = ["a", "b", "c"]
MS = 1_000_000
# No bound is a whole number of milliseconds at the clip: nothing hangs on the last bit of a sum.
CONFIG = CusumConfig(
    kind="cusum",
    default=ClassCusum(bound_nat_seconds=0.0937, drift_nat=0.5, clip_nat=1.5),
    per_class={"c": ClassCusum(bound_nat_seconds=0.0411, drift_nat=0.1, clip_nat=2.3)},
)

probabilities = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).map(lambda v: np.array([x / 3 for x in v]))
clear = st.sampled_from([np.array(row) for row in ([0.9, 0.06, 0.04], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0])])
stretches = st.lists(st.tuples(st.one_of(clear, probabilities), st.integers(0, 70), st.integers(1, 9)), max_size=12)
steps = stretches.map(lambda rows: [(p, dt_ms) for p, dt_ms, n in rows for _ in range(n)])
Sequence = list[tuple[np.ndarray, int]]


def times_of(sequence: Sequence) -> np.ndarray:
    return np.cumsum([dt_ms * MS for _, dt_ms in sequence], dtype=np.int64)


def stepped(sums: CumulativeSums, sequence: Sequence) -> list[int]:
    return [sums.step(p, t_ns) for (p, _), t_ns in zip(sequence, times_of(sequence).tolist(), strict=True)]


def plain_loop(config: CusumConfig, sequence: Sequence, step_ms: int = 0) -> list[int]:
    """The same from the formula, class by class."""
    label, g = -1, {name: 0.0 for name in CLASSES}
    labels: list[int] = []
    for number, (p, dt_ms) in enumerate(sequence):
        if number == 0:
            labels.append(-1)
            continue
        spoken_ms = step_ms if step_ms and dt_ms >= 1.5 * step_ms else dt_ms
        q = {name: log(max(float(value), 1e-6)) for name, value in zip(CLASSES, p, strict=True)}
        for name in CLASSES:
            one = config.of(name)
            if label < 0:
                d = q[name] - max(q[other] for other in CLASSES if other != name)
            else:
                d = q[name] - q[CLASSES[label]] - one.drift_nat
            g[name] = max(0.0, g[name] + spoken_ms / 1000 * max(-one.clip_nat, min(one.clip_nat, d)))
        reached = [name for name in CLASSES if g[name] >= config.of(name).bound_nat_seconds]
        if reached:
            label = CLASSES.index(max(reached, key=lambda name: q[name]))
            g = dict.fromkeys(CLASSES, 0.0)
        labels.append(label)
    return labels


@given(steps, st.sampled_from([0, 20, 33]))
def test_a_plain_loop_says_the_same(sequence: Sequence, step_ms: int) -> None:
    found = stepped(CumulativeSums(CLASSES, CONFIG, step_ms * MS), sequence)
    assert found == plain_loop(CONFIG, sequence, step_ms)


@given(steps, st.lists(st.integers(0, 100), max_size=4))
def test_many_steps_at_once_are_single_steps_wherever_they_are_cut(sequence: Sequence, cuts: list[int]) -> None:
    whole, cut, single = (Stabiliser(CLASSES, CONFIG) for _ in range(3))
    p, t_ns = np.array([row for row, _ in sequence]).reshape(-1, 3), times_of(sequence)
    expected: list[int] = []
    for row, time_ns in zip(p, t_ns.tolist(), strict=True):
        single.step(row, time_ns)
        expected.append(single.label_index)
    places = sorted({0, len(p), *(min(place, len(p)) for place in cuts)})
    found: list[int] = []
    for start, stop in pairwise(places):
        found += cut.run(p[start:stop], t_ns[start:stop]).tolist()
        kept, cut = cut.snapshot(), Stabiliser(CLASSES, CONFIG)  # each block in a new one
        cut.restore(kept)
    assert whole.run(p, t_ns).tolist() == found == expected
    for name, value in single.snapshot().items():
        assert value.tobytes() == whole.snapshot()[name].tobytes() == cut.snapshot()[name].tobytes(), name


@given(probabilities, st.lists(st.integers(0, 90), min_size=2, max_size=80))
@settings(max_examples=50)
def test_what_stays_the_same_never_changes_the_label(p: np.ndarray, times_ms: list[int]) -> None:
    named = [
        label for label in stepped(CumulativeSums(CLASSES, CONFIG), [(p, dt_ms) for dt_ms in times_ms]) if label >= 0
    ]
    assert set(named) <= {int(np.argmax(p))}


def test_nothing_is_named_while_two_classes_are_alike() -> None:
    assert set(stepped(CumulativeSums(CLASSES, CONFIG), [(np.array([0.45, 0.45, 0.1]), 33)] * 200)) == {-1}


@pytest.mark.parametrize("rate_hz", [10, 30, 100, 250])
@pytest.mark.parametrize("options", [{}, {"bound_nat_seconds": 0.41, "drift_nat": 0.0, "clip_nat": 3.0}])
@pytest.mark.parametrize(("after", "sure"), [([0.1, 0.9, 0.0], False), ([0.0, 1.0, 0.0], True)])
def test_a_change_comes_after_the_stated_delay_at_any_rate(
    rate_hz: int, options: dict[str, Any], after: list[float], sure: bool
) -> None:
    config = CusumConfig(kind="cusum", default=ClassCusum(**options))
    stabiliser = Stabiliser(CLASSES, config)
    change_ns, step_ns = 2_000_000_000, round(1e9 / rate_hz)
    t_ns = np.arange(0, 2 * change_ns, step_ns)
    p = np.where((t_ns > change_ns)[:, None], after, [0.9, 0.1, 0.0])
    labels = stabiliser.run(p, t_ns)
    assert labels[t_ns <= change_ns][-1] == 0 and labels[-1] == 1
    last_before = t_ns[t_ns <= change_ns][-1]  # the first step after the change speaks for the time since this one
    took_ms = (t_ns[labels == 1][0] - last_before) / MS
    stated_ms = stabiliser.added_delay_ms["b"]
    least_ms = 1000.0 * config.default.bound_nat_seconds / config.default.clip_nat
    assert least_ms <= stated_ms
    expected_ms = least_ms if sure else stated_ms
    assert expected_ms - 1e-3 <= took_ms <= expected_ms + step_ns / MS + 1e-3


def test_the_delay_is_stated_in_milliseconds_for_each_class() -> None:
    config = CusumConfig(
        kind="cusum",
        per_class={"b": ClassCusum(clip_nat=9.0), "c": ClassCusum(drift_nat=3.0)},
        smoothing_ms={"a": 40.0},
    )
    # log(0.9 / 0.1) - 0.5 nats where the clip does not matter; a drift above log(0.9 / 0.1) is never overcome.
    words = (
        "a 100 ms (at worst without a bound), b 53.03 ms (at worst without a bound), c (not at a probability of 0.9)"
    )
    assert Stabiliser(CLASSES, config).delays_in_words().endswith(words)


@given(steps)
def test_no_change_follows_another_sooner_than_the_bound_over_the_clip(sequence: Sequence) -> None:
    labels, t_ns = stepped(CumulativeSums(CLASSES, CONFIG), sequence), times_of(sequence)
    last_ns = t_ns[0] if len(t_ns) else 0
    for place, (before, label) in enumerate(pairwise(labels), start=1):
        if label != before:
            one = CONFIG.of(CLASSES[label])
            assert (t_ns[place] - last_ns) / 1e9 >= one.bound_nat_seconds / one.clip_nat * (1 - 1e-9)
            last_ns = t_ns[place]


def test_one_step_after_missing_ones_speaks_for_one_step() -> None:
    first, second = np.array([0.9, 0.06, 0.04]), np.array([0.06, 0.9, 0.04])
    for step_ns, expected in ((30 * MS, [0, 0, 1, 1]), (0, [1, 1, 1, 1])):
        sums = CumulativeSums(CLASSES, CONFIG, step_ns)
        assert stepped(sums, [(first, 30)] * 20)[-1] == 0
        # 62 ms of full evidence are needed: three steps, of which the gap is one, or all of the gap at once.
        assert [sums.step(second, (600 + t_ms) * MS) for t_ms in (400, 430, 459, 489)] == expected


def test_weak_evidence_adds_up_and_less_than_the_drift_never_does() -> None:
    before = [(np.array([0.9, 0.05, 0.05]), 30)] * 20
    for ratio, changes in ((1.5, False), (1.8, True)):  # exp(0.5) is 1.65
        p = np.array([1.0, ratio, 0.0]) / (1.0 + ratio)
        assert (stepped(CumulativeSums(CLASSES, CONFIG), [*before, *[(p, 30)] * 200])[-1] == 1) == changes


def test_one_sure_frame_for_the_label_takes_off_no_more_than_the_clip() -> None:
    first, second, sure = np.array([0.9, 0.06, 0.04]), np.array([0.06, 0.9, 0.04]), np.array([1.0, 0.0, 0.0])
    # 40 ms of full evidence for, 10 ms against, 33 ms for: 63 ms, of which 62.5 are needed.
    changing = [(second, 40), (sure, 10), (second, 33)]
    assert stepped(CumulativeSums(CLASSES, CONFIG), [*[(first, 30)] * 20, *changing])[-3:] == [0, 0, 1]


def test_of_several_that_get_there_at_once_the_most_probable_is_named() -> None:
    """Both are held to the clip, and so their sums are the same."""
    before = [(np.array([0.9, 0.06, 0.04]), 30)] * 20
    config = CusumConfig(kind="cusum")
    for p in ([0.01, 0.59, 0.4], [0.01, 0.4, 0.59]):
        labels = stepped(CumulativeSums(CLASSES, config), [*before, *[(np.array(p), 30)] * 5])
        assert labels[-1] == int(np.argmax(p))


def test_every_class_that_is_named_is_known() -> None:
    config = CusumConfig(kind="cusum", per_class={"x": ClassCusum()}, close_gaps_ms={"y": 1.0})
    assert config.unknown(CLASSES) == ["x", "y"]
