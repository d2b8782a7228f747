"""A video file whose frames are decoded by a thread of their own while those before them are worked on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..sync.closing import Closing
from ..sync.errors import VideoError
from .pixel_format import PixelFormat
from .video import VideoReader

BLOCK_FRAMES: Final = 64
BLOCK_BYTES: Final = 1 << 26
"""A block of large frames has fewer of them, but always one: two blocks are in memory at once."""


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """Frames that follow each other.

    Attributes:
        times_ns: presentation time of each since the first frame of the file.
        images: uint8 [n, *shape]; valid until the next block is asked for.
    """

    times_ns: list[int]
    images: NDArray[np.uint8]


class ReadAhead(Closing):
    """Blocks of frames of one video, in order, decoded one block ahead: pixels and times are those of `VideoReader`.

    One thread opens, iterates (once) and closes it; the decoder runs in another one, which is its own.

    Args:
        path: any file that FFmpeg reads.
        pixel_format: what to deliver; see `VideoReader`.
        block_frames: of a block, at most; None: as many as fit into `BLOCK_BYTES`, up to `BLOCK_FRAMES`.

    Attributes:
        shape: of one frame.
        rate_hz: average frame rate.
        n_frames: frames that the container announces, None where it does not.

    Raises:
        VideoError: see `VideoReader`; what comes up while reading is raised after the frames before it were given.
    """

    def __init__(
        self, path: Path | str, pixel_format: PixelFormat | None = None, block_frames: int | None = None
    ) -> None:
        with ExitStack() as opened:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
            opened.callback(self._thread.shutdown)
            self._reader = self._thread.submit(VideoReader, path, pixel_format).result()
            opened.callback(self._reader.close)
            self.shape = self._reader.shape
            self.rate_hz = self._reader.rate_hz
            self.n_frames = self._reader.n_frames
            fitting = max(1, BLOCK_BYTES // int(np.prod(self.shape)))
            n = min(BLOCK_FRAMES, fitting) if block_frames is None else block_frames
            self._buffers = [np.empty((n, *self.shape), np.uint8) for _ in range(2)]
            opened.pop_all()  # all of it is there: `close` gives it back

    def __iter__(self) -> Iterator[FrameBlock]:
        place = 0
        coming = self._thread.submit(self._fill, self._buffers[place])
        while True:
            times_ns, error = coming.result()
            buffer = self._buffers[place]
            ended = error is not None or len(times_ns) < len(buffer)
            if not ended:
                place = 1 - place  # the block before this one is given back: its memory is free
                coming = self._thread.submit(self._fill, self._buffers[place])
            if times_ns:
                yield FrameBlock(times_ns, buffer[: len(times_ns)])
            if error is not None:
                raise error
            if ended:
                return

    def close(self) -> None:
        """Close the file once the block that is being decoded is done; may be called twice."""
        self._thread.shutdown()
        self._reader.close()

    def _fill(self, buffer: NDArray[np.uint8]) -> tuple[list[int], VideoError | None]:
        """Times of the frames that were decoded into ``buffer``: fewer than it holds at the end, or before a fault."""
        times_ns: list[int] = []
        try:
            for image in buffer:
                t_ns = self._reader.read_into(image)
                if t_ns is None:
                    break
                times_ns.append(t_ns)
        except VideoError as error:
            return times_ns, error
        return times_ns, None
