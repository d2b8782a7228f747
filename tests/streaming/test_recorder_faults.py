"""The recorder when the disk refuses messages, and when an encoder dies."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from ethostream.streaming.event_log import MAX_PENDING_BYTES
from ethostream.streaming.messages import Alarm, Gap, PipelineState, RecordingStatus
from ethostream.streaming.recording_reader import Recording
from ethostream.streaming.topics import ALARM, KIB, MIB, PIPELINE_STATE
from ethostream.streaming.verify import verify
from ethostream.streaming.video_writer import VideoWriter

MakeRig = Any


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Another program holds all the space of the disk."""
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            if file.write(bytes(4096)) < 4096:
                raise OSError("No space left")
    yield
    filler.unlink()


def test_a_disk_that_refuses_many_messages_for_a_while_loses_none(make_rig: MakeRig, small_disk: Path) -> None:
    rig = make_rig(folder=small_disk / "rec")
    rig.turn()
    with full(small_disk):
        for i in range(20):
            rig.deliver(PIPELINE_STATE, PipelineState(i, "bundle", bytes(64 * KIB)))
            rig.turn(10)
        rig.turn()
    rig.turn()
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    assert [one.severity for one in rig.of(Alarm) if "no space left for messages" in one.text] == ["error"]
    assert rig.recorder.n_unlogged == 0
    assert len(list(Recording.open(rig.folder).messages([PIPELINE_STATE]))) == 20
    assert verify(rig.folder).ok


def test_messages_beyond_the_bound_are_alarmed_counted_and_not_ok(make_rig: MakeRig, small_disk: Path) -> None:
    rig = make_rig(folder=small_disk / "rec")
    rig.turn()
    n, size = 0, 4 * MIB
    with full(small_disk):
        while n * size < MAX_PENDING_BYTES + 3 * size:
            rig.deliver(PIPELINE_STATE, PipelineState(n, "bundle", bytes(size)))
            rig.turn()
            n += 1
        said = [one for one in rig.of(Alarm) if "are lost" in one.text]
        assert [one.severity for one in said] == ["error"]
        assert rig.recorder.n_unlogged > 0
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    rig.turn()
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    recording = Recording.open(rig.folder)
    assert recording.closed
    n_logged = len(list(recording.messages([PIPELINE_STATE])))
    assert recording.info.n_refused == rig.recorder.n_unlogged >= n - n_logged > 0
    texts = [one.message.text for one in recording.messages([ALARM]) if isinstance(one.message, Alarm)]
    assert any(f"{recording.info.n_refused} message(s)" in text for text in texts), texts
    result = verify(rig.folder)
    assert not result.ok
    assert any(f"{recording.info.n_refused} message(s)" in error for error in result.errors)


class BrokenVideo(VideoWriter):
    """A video whose encoder fails in a way that nobody foresaw, at frame 3."""

    def encode(self, t_ns: int) -> None:
        if self.n_written == 3:
            raise RuntimeError("the encoder library is broken")
        super().encode(t_ns)


@pytest.fixture
def thread_errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the threads of the test die of, as Python reports it on standard error."""
    errors: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(str(args.exc_value)))
    return errors


def opener(rig: Any) -> Callable[[str], VideoWriter]:
    def open_video(camera: str) -> VideoWriter:
        one = rig.writer.info.cameras[camera]
        path = rig.folder / one.file
        return BrokenVideo(
            path, one.codec, one.width, one.height, one.pixel_format, one.rate_hz, rig.writer.info.t_start_ns
        )

    return open_video


def test_an_encoder_that_dies_declares_its_frames_and_says_why(make_rig: MakeRig, thread_errors: list[str]) -> None:
    rig = make_rig()
    rig.writer.open_video = opener(rig)
    camera = rig.cameras["cam0"]
    for seq in range(20):
        camera.frame(seq)
    while not rig.recorder.ended:
        Event().wait(0.002)
    for seq in range(20, 30):
        camera.frame(seq)
    rig.turn()
    assert rig.recorder.n_waiting == 0
    camera.status(stopped=True)
    rig.close()
    assert thread_errors == ["the encoder library is broken"]
    assert [one.text for one in rig.of(Alarm) if "the encoder library is broken" in one.text and "cam0" in one.text]
    assert sum(one.n for one in rig.of(Gap) if one.source == "recorder") == 27
    result = verify(rig.folder, decode=True)
    assert result.ok, result.errors
    cam = result.cameras["cam0"]
    assert (cam.n_device, cam.written, cam.declared, cam.decoded_frames) == (30, 3, {"recorder": 27}, 3)


def test_frames_that_come_while_the_videos_are_closed_are_declared(make_rig: MakeRig) -> None:
    rig = make_rig()
    camera = rig.cameras["cam0"]
    for seq in range(10):
        camera.frame(seq)
    rig.turn()
    rig.end_encoders()
    for seq in range(10, 15):
        camera.frame(seq)
    camera.status(stopped=True)
    rig.recorder.poll()
    rig.closed = True
    rig.recorder.close()
    assert rig.of(RecordingStatus)[-1].state == "stopped"
    result = verify(rig.folder)
    assert result.ok, result.errors
    assert (result.cameras["cam0"].written, result.cameras["cam0"].declared) == (10, {"recorder": 5})


def test_a_file_that_the_disk_did_not_take_is_not_called_whole(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed fdatasync is reported once by the system, and what it concerned may be lost."""
    rig = make_rig()
    for seq in range(3):
        rig.cameras["cam0"].frame(seq)
    rig.turn()

    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("ethostream.streaming.durable.os.fdatasync", refuse)
    rig.cameras["cam0"].status(stopped=True)
    rig.close()
    result = verify(rig.folder)
    assert not result.ok
    assert any("could not be forced onto the disk" in error for error in result.errors)
    assert "events.mcap" in Recording.open(rig.folder).info.not_forced
