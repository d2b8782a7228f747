"""Targets and windows against brute force."""

import numpy as np
import pytest
from ethostream.sync.errors import DataError
from ethostream.training.fitting.targets import frame_targets
from ethostream.training.fitting.window_sampling import WindowSampler
from ethostream.training.splits import UNUSED
from hypothesis import given, settings
from hypothesis import strategies as st

N_CLASSES = 3
bouts = st.lists(st.tuples(st.integers(-1, N_CLASSES - 1), st.integers(1, 6)), min_size=1, max_size=12)
part_runs = st.lists(st.tuples(st.sampled_from([UNUSED, 0, 1, 2]), st.integers(1, 20)), min_size=1, max_size=5)


def spelled(rows: list[tuple[int, int]], n: int | None = None) -> np.ndarray:
    flat = [value for value, length in rows for _ in range(length)]
    return np.array(flat if n is None else (flat * n)[:n], np.int16)


@given(bouts, part_runs, st.integers(0, 4))
@settings(max_examples=60)
def test_frames_beside_a_change_do_not_count(rows: list[tuple[int, int]], runs: list[tuple[int, int]], n: int) -> None:
    labels = spelled(rows)
    parts = spelled(runs, len(labels)).astype(np.int8)
    targets, counts = frame_targets(labels, parts, N_CLASSES, margin=n)
    for t, label in enumerate(labels):
        near = any(
            labels[k] != labels[k - 1] and k - n <= t < k + n for k in range(max(1, t - n), min(len(labels), t + n + 1))
        )
        assert counts[t] == (parts[t] == 0 and label >= 0 and not near)
        assert targets[t].tolist() == [float(label == place) for place in range(N_CLASSES)]


@given(bouts, part_runs, st.integers(1, 5))
@settings(max_examples=60)
def test_soft_edges_are_shared_by_the_two_bouts_that_meet(
    rows: list[tuple[int, int]], runs: list[tuple[int, int]], width: int
) -> None:
    labels = spelled(rows)
    parts = spelled(runs, len(labels)).astype(np.int8)
    targets, counts = frame_targets(labels, parts, N_CLASSES, edge_frames=width)
    assert np.array_equal(counts, (parts == 0) & (labels >= 0))
    edges = [
        k
        for k in range(1, len(labels))
        if labels[k] != labels[k - 1] and min(labels[k], labels[k - 1]) >= 0 and parts[k] == parts[k - 1]
    ]
    for t, label in enumerate(labels):
        expected = np.zeros(N_CLASSES)
        if label >= 0:
            expected[label] = 1.0
        # Edges of this very stretch, with the distance from the middle of the frame.
        mine = []
        for k in edges:
            low, high = min(k, t), max(k - 1, t)
            same = labels[k : t + 1] if t >= k else labels[t:k]
            if len(set(same.tolist())) == 1 and len(set(parts[low : high + 1].tolist())) == 1:
                mine.append((abs(t + 0.5 - k), labels[k - 1] if t >= k else labels[k]))
        if mine and min(mine, key=lambda one: one[0])[0] < width:
            away = min(one[0] for one in mine)
            share = 0.5 - away / (2 * width)
            nearest = [other for distance, other in mine if distance == away]
            expected[label] -= share
            expected[nearest[0]] += share
        assert np.allclose(targets[t], expected, atol=1e-6)


def test_an_edge_is_half_and_half_in_the_middle() -> None:
    labels, parts = np.array([0] * 5 + [1] * 5, np.int16), np.zeros(10, np.int8)
    targets, _ = frame_targets(labels, parts, 2, edge_frames=2)
    assert targets[:, 1].tolist() == [0, 0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1, 1]


def test_given_targets_stand_in_for_labels() -> None:
    given_ = np.array([[0.2, 0.9], [np.nan, 0.0], [0.0, 0.0]], np.float32)
    labels, parts = np.full(3, -1, np.int16), np.zeros(3, np.int8)
    targets, counts = frame_targets(labels, parts, 2, given=given_)
    assert counts.tolist() == [True, False, True]
    assert np.allclose(targets, [[0.2, 0.9], [0, 0], [0, 0]])


@given(st.lists(part_runs, min_size=1, max_size=3), st.integers(1, 9), st.booleans(), st.integers(0, 99))
@settings(max_examples=60)
def test_windows_never_leave_the_training_frames(
    recordings: list[list[tuple[int, int]]], window: int, by_bouts: bool, seed: int
) -> None:
    parts = [spelled(rows).astype(np.int8) for rows in recordings]
    labels = [
        np.where(np.arange(len(one)) % 5 == 4, -1, np.arange(len(one)) // 3 % 3).astype(np.int16) for one in parts
    ]
    rows = [1 + place for place in range(len(parts))]
    learnable = any(((part == 0) & (label >= 0)).any() for part, label in zip(parts, labels, strict=True))
    if not learnable:
        with pytest.raises(DataError, match="the training part"):
            WindowSampler(labels, parts, rows, False, window, 5, "bouts")
        return
    sampler = WindowSampler(labels, parts, rows, False, window, None, "bouts" if by_bouts else "frames")
    drawn = sampler.draw(np.random.default_rng(seed))
    assert drawn == sampler.draw(np.random.default_rng(seed))
    assert len(drawn) == sampler.n_windows
    for one in drawn:
        assert (parts[one.recording][one.start : one.stop] == 0).all()
        assert 0 < one.stop - one.start <= window
        assert len(one.rows) == 1 and one.rows[0] < rows[one.recording]
        short = one.stop - one.start < window
        part = np.append(parts[one.recording], 1)
        assert not short or (part[one.stop] != 0 and (one.start == 0 or part[one.start - 1] != 0))
        if by_bouts:
            assert (labels[one.recording][one.start : one.stop] >= 0).any()


def test_a_rare_class_is_drawn_as_often_as_a_common_one() -> None:
    labels = np.zeros(6000, np.int16)
    labels[3000:3030] = 1  # half a percent
    parts, window = np.zeros(6000, np.int8), 40
    shares: list[float] = []
    for sampling in ("frames", "bouts"):
        sampler = WindowSampler([labels], [parts], [1], False, window, 400, sampling)  # type: ignore[arg-type]
        drawn = sampler.draw(np.random.default_rng(1))
        shares.append(float(np.mean([(labels[one.start : one.stop] == 1).any() for one in drawn])))
    assert shares[0] < 0.05
    assert 0.4 < shares[1] < 0.65
    labels[:], labels[1000], labels[4000] = -1, 0, 1
    sampler = WindowSampler([labels], [parts], [1], False, window, 400, "bouts")
    for one in sampler.draw(np.random.default_rng(1)):
        assert (labels[one.start : one.stop] >= 0).sum() == 1


def test_joined_windows_hold_every_row() -> None:
    sampler = WindowSampler([np.zeros(50, np.int16)], [np.zeros(50, np.int8)], [3], True, 20)
    assert {one.rows for one in sampler.draw(np.random.default_rng(0))} == {(0, 1, 2)}
    assert sampler.n_windows == 3
