from pathlib import Path

import numpy as np
import pytest
from ethostream.streaming.frame_index import demux_pts_ms
from ethostream.streaming.recording_config import LOSSLESS_CODECS, CodecName
from ethostream.streaming.video import PixelFormat, VideoReader
from ethostream.streaming.video_writer import VideoWriter, frame_pts_ms
from ethostream.sync.errors import DiskFullError, EthostreamError, VideoError
from numpy.typing import NDArray

RATE_HZ = 60.0
PERIOD_NS = round(1e9 / RATE_HZ)
ALL_CODECS: list[CodecName] = ["h264", "h264_lossless", "ffv1", "mjpeg", "raw"]
LOSSLESS = sorted(LOSSLESS_CODECS)


def noise(n: int, shape: tuple[int, ...], seed: int = 1) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(n)]


def write(path: Path, codec: CodecName, images: list[NDArray[np.uint8]], *, close: bool = True) -> VideoWriter:
    height, width = images[0].shape[:2]
    video = VideoWriter(path, codec, width, height, "mono8" if images[0].ndim == 2 else "bgr8", RATE_HZ)
    for i, image in enumerate(images):
        video.write(image, i * PERIOD_NS)
    if close:
        video.close()
    return video


def read(path: Path, pixel_format: PixelFormat, *, allow_torn: bool = False) -> list[NDArray[np.uint8]]:
    with VideoReader(path, pixel_format, allow_torn=allow_torn) as video:
        return [image for _, image in video]


@pytest.mark.parametrize("shape", [(48, 64), (47, 61), (48, 64, 3), (47, 61, 3)])
@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_noise_comes_back_bit_for_bit(tmp_path: Path, codec: CodecName, shape: tuple[int, ...]) -> None:
    images = [*noise(70, shape), np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)]
    write(tmp_path / "a.mkv", codec, images)
    back = read(tmp_path / "a.mkv", "mono8" if len(shape) == 2 else "bgr8")
    assert len(back) == len(images)
    assert all(np.array_equal(a, b) for a, b in zip(images, back, strict=True))


@pytest.mark.parametrize("codec", LOSSLESS)
@pytest.mark.parametrize("pixel_format", ["mono8", "bgr8"])
def test_lossless_real_frames_come_back_bit_for_bit(
    tmp_path: Path, test_data: Path, codec: CodecName, pixel_format: PixelFormat
) -> None:
    with VideoReader(test_data / "openfield_top" / "m3v1mp4.mp4", pixel_format) as video:
        images = [image for (_, image), _ in zip(video, range(40), strict=False)]
    write(tmp_path / "a.mkv", codec, images)
    back = read(tmp_path / "a.mkv", pixel_format)
    assert len(back) == len(images) == 40
    assert all(np.array_equal(a, b) for a, b in zip(images, back, strict=True))


@pytest.mark.parametrize("pixel_format", ["mono8", "bgr8"])
@pytest.mark.parametrize("codec", ["h264", "mjpeg"])
@pytest.mark.parametrize("crop", [(480, 640), (479, 637)])
def test_lossy_real_frames_come_back_nearly(
    tmp_path: Path, test_data: Path, codec: CodecName, pixel_format: PixelFormat, crop: tuple[int, int]
) -> None:
    with VideoReader(test_data / "openfield_top" / "m3v1mp4.mp4", pixel_format) as video:
        images = [image[: crop[0], : crop[1]] for (_, image), _ in zip(video, range(5), strict=False)]
    write(tmp_path / "a.mkv", codec, images)
    back = read(tmp_path / "a.mkv", pixel_format)
    assert len(back) == 5
    error = [float(np.abs(a.astype(int) - b).mean()) for a, b in zip(images, back, strict=True)]
    assert max(error) < 4, error


def test_strided_images_are_taken(tmp_path: Path) -> None:
    whole = noise(3, (96, 128))
    views = [image[::2, ::-2] for image in whole]
    write(tmp_path / "a.mkv", "ffv1", views)
    assert all(np.array_equal(a, b) for a, b in zip(views, read(tmp_path / "a.mkv", "mono8"), strict=True))


def test_pts_are_milliseconds_since_the_start_and_strictly_increase(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    times = [start + ms * 1_000_000 for ms in (-5, 0, 0, 1, 40, 39, 38, 100, 90_000)]
    with VideoWriter(tmp_path / "a.mkv", "ffv1", 32, 32, "mono8", RATE_HZ, start) as video:
        for t in times:
            video.write(np.zeros((32, 32), np.uint8), t)
    expected, last = list[int](), -1
    for t in times:
        last = frame_pts_ms(t, start, last)
        expected.append(last)
    assert expected == [0, 1, 2, 3, 40, 41, 42, 100, 90_000]
    assert list(demux_pts_ms(tmp_path / "a.mkv")) == expected


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_without_close_all_but_the_last_frame_is_there(tmp_path: Path, codec: CodecName) -> None:
    images = noise(150, (48, 64))
    video = write(tmp_path / "a.mkv", codec, images, close=False)
    # What another process sees now is what a kill would leave.
    copy = tmp_path / "b.mkv"
    copy.write_bytes((tmp_path / "a.mkv").read_bytes())
    video.close()
    back = read(copy, "mono8", allow_torn=True)
    assert len(images) - len(back) == 1
    if codec in LOSSLESS_CODECS:
        assert all(np.array_equal(a, b) for a, b in zip(images, back, strict=False))


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_cut_anywhere_it_opens_up_to_the_cut(tmp_path: Path, codec: CodecName) -> None:
    images = noise(90, (48, 64))
    write(tmp_path / "a.mkv", codec, images)
    whole = (tmp_path / "a.mkv").read_bytes()
    n_before = 0
    for cut in sorted({len(whole) * part // 16 for part in range(1, 16)} | {len(whole) - 1, len(whole) - 200}):
        (tmp_path / "b.mkv").write_bytes(whole[:cut])
        n = sum(1 for _ in demux_pts_ms(tmp_path / "b.mkv"))
        back = read(tmp_path / "b.mkv", "mono8", allow_torn=True)
        assert len(back) <= n <= len(images)
        assert len(back) >= n - 1
        assert n >= n_before
        n_before = n
        if codec in LOSSLESS_CODECS:
            assert all(np.array_equal(a, b) for a, b in zip(images, back, strict=False))
    assert n_before == len(images)


@pytest.mark.parametrize("n_bytes", [0, 1, 40, 200])
def test_cut_before_the_first_frame_is_a_named_error(tmp_path: Path, n_bytes: int) -> None:
    write(tmp_path / "a.mkv", "ffv1", noise(3, (48, 64)))
    (tmp_path / "b.mkv").write_bytes((tmp_path / "a.mkv").read_bytes()[:n_bytes])
    with pytest.raises(VideoError, match=r"b\.mkv"):
        list(demux_pts_ms(tmp_path / "b.mkv"))


def test_wrong_shape_and_type_are_refused_and_the_video_goes_on(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mkv", "ffv1", 64, 48, "mono8", RATE_HZ) as video:
        with pytest.raises(VideoError, match=r"\(64, 48\)"):
            video.write(np.zeros((64, 48), np.uint8), 0)
        with pytest.raises(VideoError, match="uint16"):
            video.write(np.zeros((48, 64), np.uint16), 0)  # pyright: ignore[reportArgumentType]
        video.write(np.zeros((48, 64), np.uint8), 0)
    assert len(read(tmp_path / "a.mkv", "mono8")) == 1


def test_refusals_name_file_and_cure(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be created"):
        VideoWriter(tmp_path / "missing" / "a.mkv", "ffv1", 64, 48, "mono8", RATE_HZ)
    with pytest.raises(VideoError, match="not a video"):
        VideoWriter(tmp_path / "a.mkv", "ffv1", 0, 48, "mono8", RATE_HZ)
    (tmp_path / "b.mkv").write_bytes(b"precious")
    with pytest.raises(VideoError, match="exists"):
        VideoWriter(tmp_path / "b.mkv", "ffv1", 64, 48, "mono8", RATE_HZ)
    assert (tmp_path / "b.mkv").read_bytes() == b"precious"


@pytest.mark.parametrize("codec", ["raw", "ffv1", "h264_lossless", "mjpeg"])
def test_full_disk_is_a_named_error_and_what_is_there_opens(small_disk: Path, codec: CodecName) -> None:
    images = noise(60, (480, 640))
    video = VideoWriter(small_disk / "a.mkv", codec, 640, 480, "mono8", RATE_HZ)
    with pytest.raises(DiskFullError, match="no space left"):
        for i in range(600):
            video.write(images[i % 60], i * PERIOD_NS)
    with pytest.raises(EthostreamError):
        video.close()
    video.close()
    back = read(small_disk / "a.mkv", "mono8", allow_torn=True)
    assert 0 < len(back) <= video.n_written
    if codec != "mjpeg":
        assert all(np.array_equal(images[i % 60], image) for i, image in enumerate(back))
