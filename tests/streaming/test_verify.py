"""`verify` finds what was done to a recording after it was made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from ethostream.streaming.event_log import EventLog, EventLogWriter, LoggedMessage
from ethostream.streaming.messages import ClockStatus, FrameHeader, Gap
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import CAMERA_STATUS, CLOCK
from ethostream.streaming.verify import verify

N = 120


@pytest.fixture(params=["ffv1", "h264_lossless"])
def rig(make_rig: Any, request: pytest.FixtureRequest) -> Any:
    """A closed recording of 120 frames of one camera; frames 40 and 41 were dropped by the device, 60 lapped."""
    import msgspec

    one = make_rig(codec=request.param)
    camera = one.cameras["cam0"]
    for seq in range(N):
        if seq in (40, 41):
            continue
        header = camera.frame(seq, arrives=seq != 60)
        if seq == 60:
            camera.deliver(msgspec.structs.replace(header, generation=header.generation + 2))
        if seq % 20 == 0:
            one.turn(20)
    camera.status(stopped=True)
    one.close()
    result = verify(one.folder, decode=True)
    assert result.ok, result.errors
    assert result.cameras["cam0"].declared == {"recorder": 1, "device": 2}
    return one


def rewrite_events(folder: Path, keep: Callable[[LoggedMessage], bool]) -> None:
    path = folder / "events.mcap"
    kept = [one for one in EventLog(path).messages() if keep(one)]
    path.unlink()
    log = EventLogWriter(path)
    for one in kept:
        log.append(one.topic, one.camera, one.seq, one.body, one.log_time_ns)
    log.close()


def remux(path: Path, keep: Callable[[int], bool]) -> None:
    new = path.with_suffix(".new.mkv")
    with av.open(str(path)) as source, av.open(str(new), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        n = 0
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                if keep(n):
                    packet.stream = stream
                    target.mux(packet)
                n += 1
    new.replace(path)


@pytest.mark.parametrize("removed", [0, 1, 55, N - 4])
def test_a_removed_video_frame_is_named(rig: Any, removed: int) -> None:
    written = [seq for seq in range(N) if seq not in (40, 41, 60)]
    remux(rig.folder / "cam0.mkv", lambda n: n != removed)
    result = verify(rig.folder)
    assert not result.ok
    assert result.cameras["cam0"].undeclared == 1
    assert any(f"numbers {written[removed]};" in error for error in result.errors), result.errors
    assert any("restore it from a copy" in error for error in result.errors)


def test_after_a_removed_frame_the_others_keep_their_headers(rig: Any) -> None:
    if rig.writer.info.cameras["cam0"].codec == "h264_lossless":
        pytest.skip("frames after it do not decode without it")
    remux(rig.folder / "cam0.mkv", lambda n: n != 10)
    frames = list(Recording.open(rig.folder).frames("cam0"))
    assert len(frames) == N - 4
    assert all(np.array_equal(image, rig.cameras["cam0"].images[0, header.seq]) for header, image in frames)


def test_a_deleted_gap_message_is_found(rig: Any) -> None:
    rewrite_events(rig.folder, lambda one: not (isinstance(one.message, Gap) and one.message.source == "device"))
    result = verify(rig.folder)
    assert not result.ok
    assert result.cameras["cam0"].undeclared == 2
    assert any("numbers 40-41" in error for error in result.errors)
    assert any("messages" in error for error in result.errors)


def test_a_deleted_recorder_gap_is_found(rig: Any) -> None:
    rewrite_events(rig.folder, lambda one: not (isinstance(one.message, Gap) and one.message.source == "recorder"))
    result = verify(rig.folder)
    assert result.cameras["cam0"].undeclared == 1
    assert result.cameras["cam0"].extra_frames == 0
    assert any("numbers 60" in error and "missing in the video" in error for error in result.errors)


def test_a_deleted_header_is_found(rig: Any) -> None:
    rewrite_events(rig.folder, lambda one: not (isinstance(one.message, FrameHeader) and one.message.seq == 77))
    result = verify(rig.folder)
    assert result.cameras["cam0"].extra_frames == 1
    assert any("numbers 77" in error and "never reached" in error for error in result.errors)
    assert any("belong to no header" in error for error in result.errors)


def test_a_deleted_last_status_is_found(rig: Any) -> None:
    rewrite_events(rig.folder, lambda one: one.topic is not CAMERA_STATUS)
    assert any("ended without a last status" in error for error in verify(rig.folder).errors)


@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_a_truncated_video_is_found(rig: Any, part: float) -> None:
    path = rig.folder / "cam0.mkv"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    result = verify(rig.folder)
    assert not result.ok
    cam = result.cameras["cam0"]
    assert 0 < cam.undeclared < N
    assert cam.written + cam.undeclared == N - 3
    assert any("was cut or changed" in error for error in result.errors)


def test_a_missing_and_an_empty_video_are_found(rig: Any) -> None:
    path = rig.folder / "cam0.mkv"
    path.write_bytes(b"")
    assert any("cannot be read as video" in error for error in verify(rig.folder).errors)
    path.unlink()
    result = verify(rig.folder)
    assert any("is missing" in error for error in result.errors)
    assert result.cameras["cam0"].undeclared == N - 3


def test_truncated_events_are_found(rig: Any) -> None:
    path = rig.folder / "events.mcap"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    result = verify(rig.folder)
    assert not result.ok
    assert not result.closed
    assert any("cut short" in error for error in result.errors)
    assert len(list(Recording.open(rig.folder).frames("cam0"))) > 20


def test_garbage_in_events_is_an_error_in_words(rig: Any) -> None:
    path = rig.folder / "events.mcap"
    path.write_bytes(path.read_bytes().replace(b"simulated", b"stimulate"))
    result = verify(rig.folder)
    assert not result.ok
    assert any("restore it from a copy" in error for error in result.errors)


def test_a_folder_that_is_no_recording(tmp_path: Path) -> None:
    result = verify(tmp_path)
    assert not result.ok
    assert "recording.json" in result.errors[0]


def test_clocks_that_stepped_are_named(make_rig: Any) -> None:
    rig = make_rig()
    rig.cameras["cam0"].frame(0)
    for name, n_steps in (("camera.cam0", 0), ("camera.cam0", 2), ("board.trigger", 0)):
        said = ClockStatus(name, 0, "locked", 0, 0.0, 1.0, 2.0, 3.0, 9, 0, n_steps, 0)
        rig.deliver(CLOCK, said, "", "test")
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert result.ok, result.errors
    (clock,) = (one for one in result.warnings if one.startswith("clock"))
    assert clock.startswith("clock camera.cam0: stepped or began anew 2 time(s)")
