"""A rig whose disk stands still for a while, and one whose disk fills: what is lost is declared, the rest goes on."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ethostream.deploy.config import load_run
from ethostream.deploy.report import RunReport
from ethostream.deploy.rig_run import RunResult, run_rig
from ethostream.streaming.messages import Alarm, FrameHeader, FrameSet, RecordingStatus
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import FRAME
from ethostream.streaming.verify import verify
from ethostream.streaming.wire import Received

pytestmark = pytest.mark.timeout(300)


PATIENCE = 900
"""Frame sets; half a minute at 30 Hz."""


class Watched(AbstractContextManager["Watched"]):
    """Shows nothing, keeps alarms and states; ends the run some sets after what it waits for, or when that never comes.

    Sets are counted, not seconds: a busy machine brings fewer of them.
    """

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self.states: list[str] = []
        self._sets_before = 0
        self._sets_after = 0

    def seen(self) -> bool:
        """What it waits for."""
        return "video_stopped" in self.states

    def told(self, words: str) -> bool:
        return any(words in one.text for one in self.alarms)

    def __exit__(self, *_: object) -> None:
        return None

    def on_message(self, received: Received) -> None:
        if isinstance(received.message, Alarm):
            self.alarms.append(received.message)
        elif isinstance(received.message, RecordingStatus):
            self.states.append(received.message.state)
        elif isinstance(received.message, FrameSet):
            self._sets_before += 1
            self._sets_after += self.seen()
            if self._sets_after == 40 or self._sets_before == PATIENCE:
                os.kill(os.getpid(), signal.SIGINT)

    def on_tick(self, phase: str, report: RunReport) -> None:
        pass


def run(folder: Path, out: Path, display: Watched, size: tuple[int, int], **recording: Any) -> RunResult:
    camera = {"kind": "simulated", "width": size[0], "height": size[1], "rate_hz": 30}
    rig = {
        "name": "small",
        "cameras": {f"cam{view}": {**camera, "view": view} for view in range(2)},
        "recording": {"codec": "raw", "reserve_mb": 1, **recording},
        "monitor": {"enabled": False},
    }
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    return run_rig(load_run(folder / "rig.yaml"), display, None, out, None)


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


@pytest.fixture
def freezing_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which `fsfreeze` can stop: whoever writes to it then waits."""
    for name in ("mkfs.ext4", "fsfreeze", "mount"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not here: no disk can be stopped")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for words in (("mkfs.ext4", "-q", image), ("mount", "-o", "loop", image, folder)):
        done = tool(*words)
        if done.returncode:
            pytest.skip(f"a disk of our own cannot be made here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        tool("fsfreeze", "-u", folder)
        tool("umount", "-l", folder)


class Freezer(Watched):
    """Stops the disk once the recording runs, and lets it go on some sets after the alarm."""

    def __init__(self, disk: Path) -> None:
        super().__init__()
        self._disk = disk
        self._sets = 0
        self.frozen = False
        self.done = False

    def seen(self) -> bool:
        return self.done and self.told("goes on now")

    def on_message(self, received: Received) -> None:
        super().on_message(received)
        self._sets += isinstance(received.message, FrameSet)
        if not self.frozen and not self.done and "running" in self.states:
            self.frozen = tool("fsfreeze", "-f", self._disk).returncode == 0
            assert self.frozen
            self._sets = 0
        if self.frozen and ((self.told("messages wait in memory") and self._sets > 30) or self._sets > PATIENCE // 2):
            assert tool("fsfreeze", "-u", self._disk).returncode == 0
            self.frozen, self.done = False, True


def test_a_disk_that_stands_still_costs_declared_frames_and_an_alarm(freezing_disk: Path, tmp_path: Path) -> None:
    freezer = Freezer(freezing_disk)
    result = run(tmp_path, freezing_disk / "out", freezer, (160, 120), queue_frames=8)
    assert freezer.done
    assert result.outcome.failures == [] and result.outcome.restarts == {}
    texts = [one.text for one in freezer.alarms]
    assert any("the disk has taken nothing for" in text and "messages wait in memory" in text for text in texts), texts
    assert any("the disk has taken nothing for" in text and "goes on now" in text for text in texts), texts
    assert any("encoder queue of 8 frames is full" in text for text in texts), texts
    assert result.recording is not None
    verified = verify(result.recording, decode=True)
    assert verified.ok, verified.errors
    for name, one in verified.cameras.items():
        assert one.n_device == one.written + sum(one.declared.values())
        assert one.declared.get("recorder", 0) > 10, "the disk held nobody up: nothing is proved"
        # It goes on afterwards: the last frame of the device is in the video.
        last = list(Recording.open(result.recording).frames(name))[-1][0]
        assert last.seq == one.epochs[0].last_seq
    # No message is lost: all waited in memory.
    assert Recording.open(result.recording).info.n_refused == 0


def test_a_disk_that_fills_stops_the_video_and_nothing_else(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = tool("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk)
    if done.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        watched = Watched()
        result = run(tmp_path, disk / "out", watched, (320, 240), reserve_mb=3)
        assert result.outcome.failures == []
        assert "video_stopped" in watched.states and watched.states[-1] == "stopped"
        low = next(n for n, one in enumerate(watched.alarms) if "video will stop: free some space" in one.text)
        full = next(n for n, one in enumerate(watched.alarms) if "video has stopped" in one.text)
        assert low < full
        assert (watched.alarms[low].severity, watched.alarms[full].severity) == ("warning", "error")
        assert shutil.disk_usage(disk).free > 1 << 20, "video was to leave the reserve free"
        assert result.recording is not None
        verified = verify(result.recording, decode=True)
        assert verified.ok, verified.errors
        recording = Recording.open(result.recording)
        assert recording.info.video_stopped
        for one in verified.cameras.values():
            assert one.declared["recorder"] > 10
            assert one.n_device == one.written + sum(one.declared.values())
        # Events go on: there are headers of frames exposed after the video stopped.
        t_stop_ns = watched.alarms[full].t_ns
        headers = [one.message for one in recording.messages([FRAME])]
        assert sum(isinstance(one, FrameHeader) and one.t_exposure_ns > t_stop_ns for one in headers) > 10
    finally:
        tool("umount", "-l", disk)
