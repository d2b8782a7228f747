"""Memories over blocks: what a formula says, and the same bits however the frames are cut."""

from itertools import pairwise

import numpy as np
import pytest
from ethostream.inference.pose.history import Smoothing, sliding, with_past
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

DT_S = 1 / 30
N_FRAMES = 3 * Smoothing.MOST_FRAMES


def walk(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(N_FRAMES, 3)).cumsum(0)


@pytest.mark.parametrize("time_constant_s", [1e-5, 0.01, 0.1, 1.0, 40.0, 1e4])
def test_smoothing_follows_its_formula(time_constant_s: float) -> None:
    x = walk(0)
    found, _ = Smoothing(time_constant_s, DT_S).run(x, np.zeros(3), 0)
    weight, held, expected = -np.expm1(-DT_S / time_constant_s), x[0], np.empty_like(x)
    for place, value in enumerate(x):
        held = held + weight * (value - held)
        expected[place] = held
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * np.abs(x).max())


@given(
    st.lists(st.integers(1, N_FRAMES - 1), max_size=12),
    st.sampled_from([1e-5, 0.01, 0.1, 1.0, 40.0, 1e4]),
    st.integers(0, 3),
)
def test_smoothing_gives_the_same_bits_however_it_is_cut(cuts: list[int], time_constant_s: float, seed: int) -> None:
    x, smoothing = walk(seed), Smoothing(time_constant_s, DT_S)
    whole, _ = smoothing.run(x, np.zeros(3), 0)
    carry, parts = np.zeros(3), list[NDArray[np.float64]]()
    for begin, end in pairwise(sorted({0, *cuts, N_FRAMES})):
        part, carry = smoothing.run(x[begin:end], carry, begin)
        parts.append(part)
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 3))
def test_a_window_slides_over_the_frames_before(width: int, n_frames: int, seed: int) -> None:
    x = walk(seed)[: width - 1 + n_frames]
    windows = np.lib.stride_tricks.sliding_window_view(x, width, axis=0)
    assert (sliding(np.maximum, x, width) == windows.max(axis=-1)).all()
    assert (sliding(np.minimum, x, width) == windows.min(axis=-1)).all()


def test_before_the_first_frame_all_is_like_it() -> None:
    x = walk(0)[:4]
    joined = with_past(x, np.zeros((2, 3)), False)
    assert (joined[:2] == x[0]).all() and (joined[2:] == x).all()
    smoothed, _ = Smoothing(1.0, DT_S).run(np.full((600, 1), 7.0), np.zeros(1), 0)
    np.testing.assert_allclose(smoothed, 7.0, rtol=1e-13)
