"""Small videos, and reading from any camera."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from ethostream.acquisition.camera import Camera, EndOfStream, Grab
from numpy.typing import NDArray

Image = NDArray[np.uint8]
MILLISECOND = Fraction(1, 1000)


def _grey_frames(n: int, width: int = 64, height: int = 48, seed: int = 0) -> list[Image]:
    """Noise over a moving ramp: every frame differs."""
    rng = np.random.default_rng(seed)
    ramp = np.arange(width, dtype=np.int64)[None, :] * 3
    return [((ramp + 5 * i + rng.integers(0, 60, (height, width))) % 256).astype(np.uint8) for i in range(n)]


def _write_video(path: Path, frames: list[Image], times_ms: list[int] | None = None, codec: str = "ffv1") -> Path:
    """Write grey frames without loss; at 25 Hz unless ``times_ms`` says when each is shown."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "gray"
        stream.codec_context.time_base = MILLISECOND
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "gray")
            frame.pts, frame.time_base = times_ms[i] if times_ms else 40 * i, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _read_all(camera: Camera, shape: tuple[int, ...], n: int, timeout_s: float = 10.0) -> list[tuple[Grab, Image]]:
    """Up to ``n`` frames; fewer where the stream ends."""
    got: list[tuple[Grab, Image]] = []
    while len(got) < n:
        out = np.full(shape, 255, np.uint8)
        try:
            grab = camera.read_into(out, timeout_s)
        except EndOfStream:
            break
        assert grab is not None, "no frame within the timeout"
        got.append((grab, out))
    return got


@pytest.fixture
def grey_frames() -> Callable[..., list[Image]]:
    return _grey_frames


@pytest.fixture
def write_video() -> Callable[..., Path]:
    return _write_video


@pytest.fixture
def read_all() -> Callable[..., list[tuple[Grab, Image]]]:
    return _read_all


@pytest.fixture
def small_video(tmp_path: Path) -> Path:
    """40 lossless grey frames at 25 Hz."""
    return _write_video(tmp_path / "small.mkv", _grey_frames(40))
