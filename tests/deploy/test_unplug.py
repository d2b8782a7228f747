"""A camera that goes away in the middle of a run and comes back: the same recording, the gap declared with its size."""

import os
import signal
from pathlib import Path

import pytest
from ethostream.deploy.config import load_run
from ethostream.deploy.rig_run import run_rig
from ethostream.streaming.frame_account import AWAY
from ethostream.streaming.messages import FrameHeader, FrameSet, Gap, Heartbeat
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import FRAME, GAP
from ethostream.streaming.verify import verify
from ethostream.streaming.wire import Received
from small_rig import Quiet, write_rig

pytestmark = pytest.mark.timeout(300)


class Unplugger(Quiet):
    """Kills the process of camera ``cam1`` once, and ends the run when sets have been complete again for a while."""

    def __init__(self) -> None:
        super().__init__(self._see)
        self._pid = 0
        self._sets = 0
        self.killed = False
        self.sets_after = 0

    def _see(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Heartbeat) and message.node == "camera.cam1" and message.epoch == 0:
            self._pid = message.pid
        elif isinstance(message, FrameSet) and message.status == "complete":
            self._sets += 1
            if self._sets == 20:
                os.kill(self._pid, signal.SIGKILL)
                self.killed = True
            back = any(one.camera == "cam1" and one.epoch == 1 for one in message.sources)
            self.sets_after += back
            if self.sets_after == 20:
                os.kill(os.getpid(), signal.SIGINT)


def test_a_camera_that_returns_goes_on_and_its_gap_has_a_size(tmp_path: Path) -> None:
    shown = Unplugger()
    result = run_rig(load_run(write_rig(tmp_path)), shown, None, tmp_path / "out", None)
    assert shown.killed and shown.sets_after >= 20
    assert result.outcome.restarts == {"camera.cam1": 1}
    assert result.recording is not None
    verified = verify(result.recording, decode=True)
    assert verified.ok, verified.errors
    one = verified.cameras["cam1"]
    assert sorted(one.epochs) == [0, 1]
    assert all(epoch.written > 0 and epoch.undeclared == 0 for epoch in one.epochs.values())
    recording = Recording.open(result.recording)
    (gap,) = [
        logged.message
        for logged in recording.messages([GAP])
        if isinstance(logged.message, Gap) and logged.message.reason.startswith(AWAY)
    ]
    assert (gap.camera, gap.source, gap.epoch, gap.first_seq) == ("cam1", "device", 0, one.epochs[0].last_seq + 1)
    assert "was away for" in gap.reason and gap.n == one.away == one.epochs[0].away
    # The other camera ran on: what it exposed meanwhile, delivered or not, is what this one missed.
    headers = [logged.message for logged in recording.messages([FRAME])]
    of_cam1 = [one for one in headers if isinstance(one, FrameHeader) and one.camera == "cam1"]
    went_ns = max(one.t_exposure_ns for one in of_cam1 if one.epoch == 0)
    came_ns = min(one.t_exposure_ns for one in of_cam1 if one.epoch == 1)
    others = [one for one in headers if isinstance(one, FrameHeader) and one.camera == "cam0"]
    seqs = [one.seq for one in others if went_ns + 1_000_000 < one.t_exposure_ns < came_ns - 1_000_000]
    missed = max(seqs) - min(seqs) + 1
    assert abs(gap.n - missed) <= 1
    assert any(f"missed about {gap.n} frame(s)" in line for line in verified.warnings)
