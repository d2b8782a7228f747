"""Reading of video files: bytes, times, and every way in which a file can be broken."""

from fractions import Fraction

import av
import numpy as np
import pytest
from ethostream.streaming.video import VideoReader
from ethostream.sync.errors import VideoError

MILLISECOND = Fraction(1, 1000)


def images(n=12, width=62, height=46):
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (height, width), dtype=np.uint8) for _ in range(n)]


def write(path, frames, codec="ffv1", pix_fmt="gray", times_ms=None, options=None, container_options=None):
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = MILLISECOND if times_ms else Fraction(1, 25)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "gray" if image.ndim == 2 else "bgr24")
            if frame.format.name != pix_fmt:
                frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = (times_ms[i], MILLISECOND) if times_ms else (i, Fraction(1, 25))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


LOSSLESS = [
    ("ffv1", "mkv", {}),
    ("ffv1", "avi", {}),
    ("libx264", "mkv", {"qp": "0", "preset": "ultrafast"}),
    ("libx264", "mp4", {"qp": "0"}),
    ("rawvideo", "mkv", {}),
    ("rawvideo", "avi", {}),
    ("png", "avi", {}),
]


@pytest.mark.parametrize(("codec", "suffix", "options"), LOSSLESS)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_lossless_grey_comes_back_bit_for_bit(tmp_path, codec, suffix, options, n_threads):
    frames = images()
    path = write(tmp_path / f"grey.{suffix}", frames, codec, options=options)
    with VideoReader(path, "mono8", n_threads=n_threads) as video:
        assert video.shape == frames[0].shape
        assert video.rate_hz == pytest.approx(25.0)
        got = list(video)
    assert len(got) == len(frames)
    for (_, image), expected in zip(got, frames, strict=True):
        assert np.array_equal(image, expected)


def test_the_format_follows_the_stream(tmp_path):
    grey = write(tmp_path / "grey.mkv", images())
    color = write(tmp_path / "color.mkv", [np.dstack([i, i[::-1], i]) for i in images()], "ffv1", "yuv444p")
    with VideoReader(grey) as video:
        assert (video.pixel_format, video.shape) == ("mono8", (46, 62))
    with VideoReader(color) as video:
        assert (video.pixel_format, video.shape) == ("bgr8", (46, 62, 3))
    with VideoReader(grey, "bgr8") as video:
        assert next(iter(video))[1].shape == (46, 62, 3)


def test_lossless_color_comes_back(tmp_path):
    frames = [np.dstack([i, i[::-1], i[:, ::-1]]) for i in images()]
    path = write(tmp_path / "color.mkv", frames, "ffv1", "bgr0")
    with VideoReader(path) as video:
        for (_, image), expected in zip(video, frames, strict=True):
            assert np.array_equal(image, expected)


def test_grey_of_a_color_file_is_its_luma_as_stored(tmp_path):
    frames = [np.dstack([i, i[::-1], i]) for i in images()]
    path = write(tmp_path / "color.mkv", frames, "ffv1", "yuv444p")
    with av.open(str(path)) as container:
        luma = [frame.to_ndarray()[0] for frame in container.decode(video=0)]
    with VideoReader(path, "mono8") as video:
        for (_, image), expected in zip(video, luma, strict=True):
            assert np.array_equal(image, expected)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "bgr0", "gray"])
@pytest.mark.parametrize("pixel_format", ["mono8", "bgr8"])
def test_decoding_twice_gives_the_same_bytes(tmp_path, pix_fmt, pixel_format):
    frames = [np.dstack([i, i[::-1], i]) for i in images()]
    path = write(tmp_path / "a.mkv", frames, "ffv1", pix_fmt)
    runs = []
    for n_threads in (1, 3):
        with VideoReader(path, pixel_format, n_threads=n_threads) as video:
            runs.append([image.tobytes() for _, image in video])
    assert runs[0] == runs[1]


def test_times_are_the_file_s_own_from_the_first_frame_on(tmp_path):
    times = [120, 160, 200, 201, 260, 1000, 5000, 5001, 5040, 5080, 5120, 9999]
    path = write(tmp_path / "uneven.mkv", images(), times_ms=times)
    with VideoReader(path) as video:
        assert [pts_ns for pts_ns, _ in video] == [(t - 120) * 1_000_000 for t in times]


def test_frames_come_in_the_order_of_presentation(tmp_path):
    frames = [np.full((48, 64), 20 * i, np.uint8) for i in range(12)]
    path = write(tmp_path / "b.mp4", frames, "libx264", options={"bf": "3", "preset": "medium", "qp": "0"})
    with VideoReader(path, "mono8") as video:
        assert video.n_frames == 12
        got = list(video)
    assert [int(image[5, 5]) for _, image in got] == [20 * i for i in range(12)]
    assert [pts_ns for pts_ns, _ in got] == [i * 40_000_000 for i in range(12)]


def test_read_into(tmp_path):
    frames = images()
    path = write(tmp_path / "grey.mkv", frames)
    out = np.empty((46, 62), np.uint8)
    with VideoReader(path) as video:
        assert [video.read_into(out) for _ in range(3)] == [0, 40_000_000, 80_000_000]
        assert np.array_equal(out, frames[2])
        assert video.n_read == 3
        with pytest.raises(VideoError, match=r"\(46, 62\).*VideoReader\.shape"):
            video.read_into(np.empty((62, 46), np.uint8))
        assert len(list(video)) == 9
        assert video.read_into(out) is None
        assert video.read_into(out) is None
    video.close()


def refused(path, **options):
    with pytest.raises(VideoError) as caught, VideoReader(path, **options) as video:
        list(video)
    message = str(caught.value)
    assert str(path) in message
    return message


def test_missing_empty_folder_and_text(tmp_path):
    assert "check the path" in refused(tmp_path / "gone.mp4")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty (0 bytes)" in refused(empty)
    assert "not a file" in refused(tmp_path)
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 1000)
    assert "not a video" in refused(text)
    noise = tmp_path / "noise.mkv"
    noise.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert "not a video" in refused(noise)


def test_sound_without_picture(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no video stream" in refused(path)


CUT = [
    ("libx264", "mp4", {"movflags": "faststart"}),
    ("libx264", "mp4", {"movflags": "frag_keyframe+empty_moov"}),
    ("libx264", "mkv", {}),
    ("ffv1", "mkv", {}),
    ("ffv1", "avi", {}),
]


@pytest.mark.parametrize(("codec", "suffix", "container_options"), CUT)
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
def test_a_cut_file_is_refused_or_read_to_its_last_whole_frame(tmp_path, codec, suffix, container_options, part):
    frames = images(60)
    path = write(tmp_path / f"whole.{suffix}", frames, codec, container_options=container_options, options={"g": "10"})
    with VideoReader(path, "mono8") as video:
        assert len(list(video)) == 60
        assert not video.torn
    whole = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole[: int(len(whole) * part)])
    assert "truncated or damaged" in refused(cut, pixel_format="mono8")
    with VideoReader(cut, "mono8", allow_torn=True) as video:
        got = list(video)
        assert video.torn
    assert 60 * part - 12 < len(got) < 60
    if codec == "ffv1":
        for (_, image), expected in zip(got, frames, strict=False):
            assert np.array_equal(image, expected)


def test_an_mp4_that_was_never_closed(tmp_path):
    path = write(tmp_path / "whole.mp4", images(60), "libx264")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:-600])
    assert "truncated" in refused(cut)


def test_times_that_do_not_increase_are_refused(tmp_path):
    # A container that keeps what it is told: two frames are given the same time by remuxing.
    path = write(tmp_path / "good.mkv", images(), "ffv1")
    bad = tmp_path / "bad.mkv"
    with av.open(str(path)) as source, av.open(str(bad), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts = packet.dts = min(packet.pts, 200)
                target.mux(packet)
    assert "not after the one before" in refused(bad)


def test_real_videos_are_read_whole(test_data):
    for name, n in (("openfield_top/m3v1mp4.mp4", 2330), ("face_side/sample_video.mp4", 749)):
        with VideoReader(test_data / name, "mono8") as video:
            out = np.empty(video.shape, np.uint8)
            n_read = 0
            while video.read_into(out) is not None:
                n_read += 1
            assert n_read == video.n_frames == n
