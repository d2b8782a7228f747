"""16-bit grey on its way: through rings, messages and files, bit for bit or not at all."""

import uuid

import numpy as np
import pytest
from ethostream.deploy.monitor.tile import TileEncoder
from ethostream.streaming.frames import FrameReceiver, FrameSender
from ethostream.streaming.messages import FrameHeader
from ethostream.streaming.pixel_format import frame_shape, values16
from ethostream.streaming.video import VideoReader
from ethostream.streaming.video_writer import VideoWriter
from ethostream.sync.clock import NS_PER_MS
from ethostream.sync.errors import ConfigError, VideoError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

HEIGHT, WIDTH = 37, 51
VALUES = np.random.default_rng(5).integers(0, 4096, (HEIGHT, WIDTH)).astype("<u2")
FRAME = VALUES.view(np.uint8).reshape(HEIGHT, WIDTH, 2)


def test_shapes():
    assert frame_shape("mono8", 4, 6) == (4, 6)
    assert frame_shape("bgr8", 4, 6) == (4, 6, 3)
    assert frame_shape("mono16", 4, 6) == FRAME[:4, :6].shape


@given(arrays(np.dtype("<u2"), (3, 5)))
def test_values_are_a_view_of_the_bytes(values):
    frame = values.view(np.uint8).reshape(3, 5, 2)
    assert np.array_equal(values16(frame), values)
    assert np.shares_memory(values16(frame), values)


@pytest.mark.parametrize("encoding", ["ring", "raw"])
def test_frames_travel_bit_for_bit(encoding):
    sender = FrameSender(uuid.uuid4().hex[:8], "deep", 0, FRAME.shape, 4, encoding)
    try:
        np.copyto(sender.acquire(), FRAME)
        ring, slot, generation, pixels = sender.commit()
        header = FrameHeader(
            "deep", 0, 0, 1, 1, 1, "host", WIDTH, HEIGHT, "mono16", ring, slot, generation, encoding
        )  # fmt: skip
        got = FrameReceiver().view(header, None if pixels is None else memoryview(pixels))
        assert np.array_equal(values16(got), VALUES)
    finally:
        sender.close()


def test_jpeg_is_refused():
    with pytest.raises(ConfigError, match=r"camera deep: its frames are mono16.*bus\.pixels to ring or raw"):
        FrameSender("s", "deep", 0, FRAME.shape, 4, "jpeg")


def test_ffv1_gives_back_what_was_written(tmp_path):
    frames = [np.roll(FRAME, i, axis=1) for i in range(4)]
    with VideoWriter(tmp_path / "a.mkv", "ffv1", WIDTH, HEIGHT, "mono16", 50.0) as video:
        for i, frame in enumerate(frames):
            video.write(frame, i * 20 * NS_PER_MS)
    with VideoReader(tmp_path / "a.mkv", "mono16") as video:
        back = [image for _, image in video]
    assert len(back) == 4
    assert all(np.array_equal(a, b) for a, b in zip(frames, back, strict=True))


@pytest.mark.parametrize("codec", ["h264", "h264_lossless", "mjpeg", "raw"])
def test_other_codecs_refuse(tmp_path, codec):
    with pytest.raises(VideoError, match=f"{codec} cannot hold mono16 frames; set recording.codec to ffv1"):
        VideoWriter(tmp_path / "a.mkv", codec, WIDTH, HEIGHT, "mono16", 50.0)
    assert not (tmp_path / "a.mkv").exists()


def test_a_file_of_8_bits_is_not_read_as_16(tmp_path):
    with VideoWriter(tmp_path / "a.mkv", "ffv1", WIDTH, HEIGHT, "mono8", 50.0) as video:
        video.write(FRAME[..., 0], 0)
    with pytest.raises(VideoError, match="holds gray, which is not mono16"):
        VideoReader(tmp_path / "a.mkv", "mono16")


@pytest.mark.parametrize("asked", ["mono8", "bgr8", None])
def test_a_file_of_16_bits_is_not_squeezed_into_8(tmp_path, asked):
    with VideoWriter(tmp_path / "a.mkv", "ffv1", WIDTH, HEIGHT, "mono16", 50.0) as video:
        video.write(FRAME, 0)
    with pytest.raises(VideoError, match=r"holds gray16le, grey of more than 8 bits, and (mono8|bgr8) has 8"):
        VideoReader(tmp_path / "a.mkv", asked)


@given(st.integers(20, 300))
def test_the_monitor_shows_bits_4_to_11(width):
    ramp = np.tile(np.arange(256, dtype="<u2") * 16, (8, 1))
    small = TileEncoder(width, 80).shrink(ramp.view(np.uint8).reshape(8, 256, 2))
    assert small.ndim == 2
    assert small.shape[1] == min(width, 256)
    assert int(small[0, 0]) <= 12
    assert int(small[0, -1]) >= 243
