"""Frames that are decoded ahead are the frames of the file: all of them, in order, also before a fault."""

import threading
from pathlib import Path

import av
import numpy as np
import pytest
from ethostream.streaming.read_ahead import BLOCK_BYTES, ReadAhead
from ethostream.streaming.video import VideoReader
from ethostream.sync.errors import VideoError
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 48


def write(path: Path, n_frames: int) -> Path:
    rng = np.random.default_rng(n_frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        for _ in range(n_frames):
            image = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
    return path


def read(path: Path, block_frames: int | None = None) -> tuple[list[int], list[NDArray[np.uint8]], list[int]]:
    times: list[int] = []
    images: list[NDArray[np.uint8]] = []
    sizes: list[int] = []
    with ReadAhead(path, "mono8", block_frames) as video:
        for block in video:
            times += block.times_ns
            images += [image.copy() for image in block.images]
            sizes.append(len(block.times_ns))
    return times, images, sizes


@pytest.mark.parametrize("n_frames", [1, 4, 8, 9])
def test_blocks_hold_every_frame_once(tmp_path: Path, n_frames: int) -> None:
    path = write(tmp_path / "clip.mkv", n_frames)
    with VideoReader(path, "mono8") as reader:
        expected = list(reader)
    times, images, sizes = read(path, 4)
    assert times == [t_ns for t_ns, _ in expected]
    assert all(np.array_equal(a, b) for a, (_, b) in zip(images, expected, strict=True))
    assert sizes == [4] * (n_frames // 4) + [n_frames % 4] * (n_frames % 4 > 0)


def test_the_next_block_is_decoded_into_other_memory(tmp_path: Path) -> None:
    with ReadAhead(write(tmp_path / "clip.mkv", 12), "mono8", 4) as video:
        first, second, third = video
    assert not np.shares_memory(first.images, second.images) and not np.shares_memory(second.images, third.images)


def test_a_block_is_as_long_as_memory_allows(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", 70)
    assert read(path)[2] == [64, 6]
    assert 64 * WIDTH * HEIGHT < BLOCK_BYTES


def test_frames_before_a_fault_are_given_first(tmp_path: Path) -> None:
    whole = write(tmp_path / "clip.mkv", 24)
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    expected: list[int] = []
    with VideoReader(torn, "mono8") as reader, pytest.raises(VideoError):
        expected.extend(t_ns for t_ns, _ in reader)
    got: list[int] = []
    with ReadAhead(torn, "mono8", 4) as video, pytest.raises(VideoError, match="truncated or damaged"):
        for block in video:
            got += block.times_ns
    assert got == expected and 8 < len(got) < 24


def test_what_is_left_early_leaves_no_thread(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", 24)
    before = threading.active_count()
    with ReadAhead(path, "mono8", 4) as video:
        assert len(next(iter(video)).times_ns) == 4
        assert threading.active_count() == before + 1
    video.close()
    assert threading.active_count() == before
    with pytest.raises(VideoError, match="cannot be opened"):
        ReadAhead(tmp_path / "absent.mkv")
    assert threading.active_count() == before


def test_what_cannot_be_held_in_memory_leaves_neither_thread_nor_file(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", 4)
    before = threading.active_count()
    with pytest.raises(MemoryError) as caught:
        ReadAhead(path, "mono8", 1 << 50)
    assert threading.active_count() == before
    # While its error is kept, nothing that was opened is given back by itself.
    open_files = {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}
    assert caught.value and str(path) not in open_files
