"""What goes onto the disk, in which order, and what is told when the disk does not take it."""

import os
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from ethostream.streaming.camera_encoder import CameraEncoder, FrameJob
from ethostream.streaming.disk_watch import DiskWatch
from ethostream.streaming.durable import BusyTimer, FileSync, StallWatch, write_atomically
from ethostream.streaming.event_flusher import EventFlusher
from ethostream.streaming.event_log import EventLog, EventLogWriter
from ethostream.streaming.messages import Alarm, FrameHeader
from ethostream.streaming.repair_video import scan_video
from ethostream.streaming.topics import ALARM
from ethostream.streaming.video_writer import VideoWriter
from ethostream.streaming.wire import encode
from ethostream.sync.clock import NS_PER_S


def job(seq: int, log_position: int) -> FrameJob:
    image = np.full((16, 16), seq, np.uint8)
    header = FrameHeader("cam", 0, seq, seq * 20_000_000, 1, 0, "simulated", 16, 16, "mono8", "", 0, 0, "raw")
    return FrameJob(header, None, memoryview(image.tobytes()), log_position)


def test_a_frame_goes_to_its_video_after_its_header_is_out(tmp_path: Path) -> None:
    """The gate between event log and video: a crash leaves no frame that nothing names."""
    asked: list[int] = []
    written = Event()

    def wait_logged(position: int) -> None:
        asked.append(position)
        written.wait()

    path = tmp_path / "a.mkv"
    encoder = CameraEncoder("cam", lambda: VideoWriter(path, "raw", 16, 16, "mono8", 50.0), 8, wait_logged)
    for seq in range(3):
        encoder.put(job(seq, 100 + seq))
    while not asked:
        Event().wait(0.002)
    assert asked == [100] and encoder.n_waiting == 3
    assert len(scan_video(path).pts_ms) == 0
    written.set()
    encoder.end()
    while not encoder.join(5):
        pass
    assert asked == [100, 101, 102]
    assert list(scan_video(path).pts_ms) == [0, 20, 40]


def test_the_flusher_says_when_a_header_is_out(tmp_path: Path) -> None:
    log = EventLogWriter(tmp_path / "events.mcap")
    flusher = EventFlusher(log)
    alarm = Alarm("node", "warning", "text", 1)
    for n in range(100):
        log.append(ALARM, "", n, encode(ALARM, "node", n, alarm), n)
        flusher.wait_written(log.position)
        assert log.written == log.position == (tmp_path / "events.mcap").stat().st_size
    assert EventLog(tmp_path / "events.mcap").count() == 100
    flusher.end()
    log.close()


def test_a_refusing_disk_does_not_hold_up_the_encoders(tmp_path: Path, small_disk: Path) -> None:
    """While messages find no room frames are not kept waiting for them: video has its own word on a full disk."""
    log = EventLogWriter(small_disk / "events.mcap")
    flusher = EventFlusher(log)
    (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    log.append(ALARM, "", 0, encode(ALARM, "node", 0, Alarm("node", "warning", "x" * 9000, 1)), 0)
    flusher.wait_written(log.position)
    assert flusher.error is not None and log.written < log.position
    (small_disk / "filler").unlink()
    while flusher.error is not None:
        Event().wait(0.01)
    assert log.written == log.position
    flusher.end()
    log.close()


def test_videos_are_forced_after_the_event_log(tmp_path: Path) -> None:
    order: list[str] = []
    for name in ("events", "video"):
        (tmp_path / name).write_bytes(b"x")
    video = FileSync(tmp_path / "video", period_s=None, after=lambda: order.append("video"))

    def after_events() -> None:
        order.append("events")
        video.kick()

    events = FileSync(tmp_path / "events", period_s=0.01, after=after_events)
    while order.count("video") < 5:
        Event().wait(0.005)
    events.end()
    video.end()
    assert order[0] == "events"
    assert all(order[: n + 1].count("events") >= order[: n + 1].count("video") - 1 for n in range(len(order)))
    assert events.timer.n >= 5 and events.timer.busy_ns == 0 and not events.error


def test_an_end_forces_a_last_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    sync = FileSync(tmp_path / "a", period_s=None)
    assert sync.timer.n == 0
    sync.end()
    assert sync.timer.n == 1
    sync.end()


def test_a_small_file_is_old_or_new_and_never_half(small_disk: Path) -> None:
    path = small_disk / "info.json"
    write_atomically(path, "old")
    (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "n" * 100_000)
    assert path.read_text() == "old"
    (small_disk / "filler").unlink()
    write_atomically(path, "n" * 100_000)
    assert path.read_text() == "n" * 100_000


def test_a_stall_is_told_when_it_begins_and_when_it_ends() -> None:
    watch = StallWatch(2 * NS_PER_S)
    looks = [watch.look(round(s * NS_PER_S)) for s in (0, 1.9, 0, 2.1, 3.0, 4.5, 0.1, 0, 2.5)]
    assert looks == [
        None, None, None, (True, 2_100_000_000), None, None, (False, 4_500_000_000), None, (True, 2_500_000_000),
    ]  # fmt: skip


def test_a_failed_write_is_told_once_with_its_file(tmp_path: Path, make_rig: Any) -> None:
    rig = make_rig()
    sync = rig.writer.syncs[0]
    sync.error = "Input/output error"
    rig.turn()
    rig.turn()
    (told,) = [one for one in rig.of(Alarm) if "reports a failed write" in one.text]
    assert told.severity == "error" and str(sync.path) in told.text and "Input/output error" in told.text
    assert DiskWatch(tmp_path, BusyTimer()).look([]) == []
