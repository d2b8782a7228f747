"""The numbers of a Basler camera's frames: every loss that anything knows of is a jump in ``seq``."""

from itertools import pairwise

import pytest
from ethostream.acquisition.basler_statistics import NO_BLOCK_ID, FrameAccount, StreamStatistics
from ethostream.sync.errors import CameraLostError
from hypothesis import given
from hypothesis import strategies as st

BUFFERS = 4
FATES = st.sampled_from(["good", "good", "good", "failed", "underrun", "wire"])


def device_id(n: int, kind: str) -> int:
    """Block ID of frame ``n``."""
    return {"usb": n, "gige": n % 65_535 + 1, "none": 0, "none_at_all": NO_BLOCK_ID}[kind]


def play(fates: list[str], kind: str, lead: int, first: int = 0) -> tuple[FrameAccount, list[int], StreamStatistics]:
    """A device exposes one frame per fate; its driver's statistics are up to ``lead`` frames ahead of deliveries."""
    account = FrameAccount("cam", gige=kind == "gige", settle_frames=BUFFERS)
    statistics = [StreamStatistics()]
    for fate in fates:
        last = statistics[-1]
        statistics.append(StreamStatistics(last.failed + (fate == "failed"), last.underruns + (fate == "underrun")))
    seqs: list[int] = []
    for n, fate in enumerate(fates):
        if fate == "failed":
            account.failed()
        elif fate == "good":
            known = statistics[min(len(fates), n + 1 + lead)]
            seqs.append(account.frame(device_id(first + n, kind), known))
    return account, seqs, statistics[-1]


@given(st.lists(FATES, min_size=1, max_size=200), st.sampled_from(["usb", "gige"]), st.integers(0, BUFFERS))
def test_with_block_ids_each_frame_has_its_own_number_whatever_is_lost(fates: list[str], kind: str, lead: int) -> None:
    """The statistics run ahead of the frames, and never count one loss twice."""
    account, seqs, _ = play(fates, kind, lead)
    assert seqs == [n for n, fate in enumerate(fates) if fate == "good"]
    assert account.added == 0


@given(st.lists(FATES, min_size=1, max_size=200), st.sampled_from(["none", "none_at_all"]))
def test_without_block_ids_failures_and_underruns_are_counted(fates: list[str], kind: str) -> None:
    known = [fate for fate in fates if fate != "wire"]  # what nobody counts cannot be known
    _, seqs, _ = play(known, kind, 0)
    right = [n for n, fate in enumerate(known) if fate == "good"]
    assert seqs[1:] == right[1:]
    # A first block ID of 0 may be that of a counter, so what was lost before it is only declared with the next frame.
    assert seqs[:1] == right[:1] or (kind == "none" and seqs[0] == known[: right[0]].count("failed"))


@given(st.integers(60_000, 65_534), st.integers(1, 8))
def test_a_gige_counter_wraps_over_zero(first: int, step: int) -> None:
    account = FrameAccount("cam", gige=True, settle_frames=BUFFERS)
    seqs = [account.frame(device_id(n, "gige"), StreamStatistics()) for n in range(first, first + 12_000, step)]
    assert seqs == list(range(first, first + 12_000, step))


def test_what_only_the_statistics_know_is_declared_once_and_late() -> None:
    """Three buffers failed without a trace in the block IDs: a jump of three, after all that was under way."""
    account = FrameAccount("cam", gige=False, settle_frames=BUFFERS)
    seqs = [account.frame(n, StreamStatistics(failed=3 if n >= 10 else 0)) for n in range(40)]
    jumps = [b - a - 1 for a, b in pairwise(seqs)]
    assert sum(jumps) == account.added == 3
    assert max(jumps) == 3
    assert 10 + BUFFERS <= jumps.index(3) + 1 <= 10 + 2 * (BUFFERS + 1)
    assert account.unexplained(StreamStatistics(failed=3)) == 0
    assert account.unexplained(StreamStatistics(failed=5)) == 2


def test_a_device_that_was_reset_is_lost() -> None:
    account = FrameAccount("cam", gige=False, settle_frames=BUFFERS)
    for n in range(100):
        account.frame(n, StreamStatistics())
    with pytest.raises(CameraLostError, match=r"cam.*went back from 99 to 3"):
        account.frame(3, StreamStatistics())
