"""Frame counters of devices: continued over wraps, corrected for damage, and never guessed."""

import pytest
from ethostream.acquisition.frame_counter import FrameCounter
from ethostream.sync.errors import CameraLostError
from hypothesis import given
from hypothesis import strategies as st


@given(
    wrap=st.sampled_from(["gige", 65_536, 2**32, None]),
    before=st.integers(0, 3_000),
    steps=st.lists(st.integers(1, 900), min_size=1, max_size=60),
)
def test_seq_counts_what_the_device_counted(wrap, before, steps):
    """The device exposes frames 0, 1, 2 ...; some are lost on the way; its id wraps in its own fashion."""
    first = 10 if wrap is None else (65_535 if wrap == "gige" else wrap) - before - 1

    def frame_id(n):
        if wrap is None:
            return n
        return (n - 1) % 65_535 + 1 if wrap == "gige" else n % wrap

    first = max(first, 1)
    counter = FrameCounter("cam", skips_zero=wrap == "gige")
    origin = counter.seq(frame_id(first)) - first
    n = first
    for step in steps:
        n += step
        assert counter.seq(frame_id(n)) == n + origin


def test_a_damaged_frame_is_missing_whether_or_not_the_device_counts_it():
    passes_over, does_not = FrameCounter("a"), FrameCounter("b")
    assert [passes_over.seq(1), passes_over.seq(3, n_damaged=1), passes_over.seq(4)] == [1, 3, 4]
    assert [does_not.seq(1), does_not.seq(2, n_damaged=1), does_not.seq(3)] == [1, 3, 4]


def test_late_and_repeated_frames_keep_their_number():
    counter = FrameCounter("cam")
    assert [counter.seq(i) for i in (5, 6, 8, 7, 8, 9)] == [5, 6, 8, 7, 8, 9]


@pytest.mark.parametrize(("last", "now"), [(5_000, 0), (40_000, 1), (65_000, 30_000)])
def test_a_reset_is_a_loss_and_no_wrap(last, now):
    counter = FrameCounter("top")
    counter.seq(last)
    with pytest.raises(CameraLostError, match=rf"camera top: .* from {last} to {now}"):
        counter.seq(now)
