from pathlib import Path
from threading import Event

import numpy as np
from ethostream.streaming.camera_encoder import CameraEncoder, FrameJob
from ethostream.streaming.messages import FrameHeader
from ethostream.streaming.video import VideoReader
from ethostream.streaming.video_writer import VideoWriter
from ethostream.sync.errors import VideoError


def job(seq: int, shape: tuple[int, int] = (16, 16)) -> FrameJob:
    image = np.full(shape, seq, np.uint8)
    header = FrameHeader(
        "cam", 0, seq, seq * 20_000_000, 1, 0, "simulated", shape[1], shape[0], "mono8", "", 0, 0, "raw"
    )
    return FrameJob(header, None, memoryview(image.tobytes()))


def finish(encoder: CameraEncoder) -> None:
    encoder.end()
    while not encoder.join(5):
        pass


def test_frames_that_travel_in_the_message_are_written(tmp_path: Path) -> None:
    encoder = CameraEncoder("cam", lambda: VideoWriter(tmp_path / "a.mkv", "raw", 16, 16, "mono8", 50.0), 64)
    assert [encoder.put(job(seq)) for seq in range(10)] == [""] * 10
    finish(encoder)
    assert [(one.seq, one.reason) for one in encoder.take_outcomes()] == [(seq, "") for seq in range(10)]
    with VideoReader(tmp_path / "a.mkv", "mono8") as video:
        assert [int(image[0, 0]) for _, image in video] == list(range(10))


def test_full_queue_refuses_and_goes_on(tmp_path: Path) -> None:
    opened, may_open = Event(), Event()

    def open_slowly() -> VideoWriter:
        opened.set()
        may_open.wait()
        return VideoWriter(tmp_path / "a.mkv", "raw", 16, 16, "mono8", 50.0)

    encoder = CameraEncoder("cam", open_slowly, 2)
    assert encoder.put(job(0)) == ""
    opened.wait()  # the thread holds frame 0, the queue is empty
    assert [encoder.put(job(seq)) for seq in (1, 2)] == ["", ""]
    assert encoder.put(job(3)) == "encoder queue of 2 frames is full"
    assert encoder.n_waiting == 3
    may_open.set()
    finish(encoder)
    assert [one.seq for one in encoder.take_outcomes()] == [0, 1, 2]


def test_frames_that_do_not_fit_their_header_are_lost_alone(tmp_path: Path) -> None:
    encoder = CameraEncoder("cam", lambda: VideoWriter(tmp_path / "a.mkv", "raw", 16, 16, "mono8", 50.0), 64)
    encoder.put(job(0))
    good = job(1)
    encoder.put(FrameJob(good.header, None, memoryview(bytes(7))))
    encoder.put(FrameJob(good.header, None, None))
    encoder.put(job(2))
    finish(encoder)
    reasons = [one.reason for one in encoder.take_outcomes()]
    assert reasons[0] == reasons[3] == ""
    assert "has 7 bytes" in reasons[1]
    assert "without its pixel part" in reasons[2]
    assert not encoder.failure


def test_a_video_that_cannot_be_made_is_said_once_and_every_frame_declared(tmp_path: Path) -> None:
    encoder = CameraEncoder("cam", lambda: VideoWriter(tmp_path / "no" / "a.mkv", "raw", 16, 16, "mono8", 50.0), 64)
    encoder.put(job(0))
    while not encoder.failure:
        pass
    assert encoder.put(job(1)) == "encoder error"
    finish(encoder)
    assert [one.reason for one in encoder.take_outcomes()] == ["encoder error"]
    assert "cannot be created" in encoder.detail


def test_stopped_video_is_closed_and_whole(tmp_path: Path) -> None:
    encoder = CameraEncoder("cam", lambda: VideoWriter(tmp_path / "a.mkv", "ffv1", 16, 16, "mono8", 50.0), 64)
    for seq in range(5):
        encoder.put(job(seq))
    while encoder.n_waiting:
        pass
    encoder.stop_video("disk full", "no room")
    assert encoder.put(job(5)) == "disk full"
    finish(encoder)
    assert [one.reason for one in encoder.take_outcomes()] == [""] * 5
    with VideoReader(tmp_path / "a.mkv", "mono8") as video:
        assert sum(1 for _ in video) == 5


def test_error_of_the_video_is_kept_in_full() -> None:
    def refuse() -> VideoWriter:
        raise VideoError("a.mkv: no")

    encoder = CameraEncoder("cam", refuse, 2)
    encoder.put(job(0))
    finish(encoder)
    assert (encoder.failure, encoder.detail) == ("encoder error", "a.mkv: no")
