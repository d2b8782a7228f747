"""Pixels that travel inside messages, that are recorded with loss, or that the recording lacks."""

from pathlib import Path

import pytest
from ethostream.deploy.replay_run import run_replay
from ethostream.streaming.messages import FrameSet
from free_ports import free_ports
from live_rig import live
from small_rig import HoldUp, Quiet

pytestmark = pytest.mark.timeout(300)


@pytest.mark.long
def test_a_lossy_recording_is_replayed_and_not_called_different(tmp_path: Path) -> None:
    result = live(tmp_path, 2.0, recording={"codec": "h264", "reserve_mb": 10})
    assert result.recording is not None
    replay = run_replay(result.recording, Quiet(), None, None, None, False, None).report["replay"]
    assert replay["exact"] is None and "h264" in replay["why"]
    assert replay["behaviors"] > 20 and replay["unreplayable"] == 0


@pytest.mark.long
def test_frames_without_pixels_leave_the_rest_comparable(tmp_path: Path) -> None:
    """A recorder that stands still is lapped: that is declared, and replay is exact again from the next state on."""
    hold_up = HoldUp("recorder", 6, FrameSet, 60)  # the first may have been on their way
    result = live(tmp_path, 10.0, Quiet(hold_up), bus={"ring_slots": 4})
    assert hold_up.n >= 60
    assert result.recording is not None and result.verified is not None
    assert result.verified.ok, result.verified.errors
    assert sum(one["dropped_declared"] for one in result.report["cameras"].values()) > 20
    replay = run_replay(result.recording, Quiet(), None, None, None, False, None).report["replay"]
    assert replay["exact"] is None and "lack pixels" in replay["why"], replay
    assert replay["different"] == 0 and replay["unreplayable"] == replay["missing"] > 10
    assert replay["behaviors"] - replay["not_compared"] > 60


@pytest.mark.parametrize("pixels", ["raw", pytest.param("jpeg", marks=pytest.mark.long)])
def test_pixels_inside_the_message_over_tcp(tmp_path: Path, pixels: str) -> None:
    result = live(tmp_path, 2.0, bus={"transport": "tcp", "pixels": pixels, "first_port": free_ports(10)[0]}, n_views=2)
    assert result.outcome.failures == []
    assert result.verified is not None and result.verified.ok, result.verified and result.verified.errors
    assert result.report["inference"]["steps"] > 20
