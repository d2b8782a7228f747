"""Reading of video files: the one decoder that training, file cameras, replay and prediction share.

Decoding is deterministic: no option depends on the machine, colour conversion runs with ``accurate_rnd`` and
``bitexact``, and 8-bit grey never passes through a conversion at all.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import av
import av.container
import av.error
import av.filter
import numpy as np
from numpy.typing import NDArray

from ..sync.clock import NS_PER_S
from ..sync.closing import Closing
from ..sync.errors import VideoError
from .container_end import is_cut
from .pixel_format import BYTES_PER_PIXEL, PixelFormat, frame_shape

DEEP_GREY_FORMATS = frozenset(f"gray{bits}{end}" for bits in (9, 10, 12, 14, 16) for end in ("le", "be"))
"""Grey of more than 8 bits: which of them a sensor filled is not in the file, so that none may be dropped here."""

GREY_FORMATS = frozenset({"gray", "gray8", "ya8", "monob", "monow"}) | DEEP_GREY_FORMATS
"""Stream pixel formats without chroma; every other format is colour, whatever its chroma samples hold."""

LUMA_PLANE_FORMATS = frozenset({"gray", "gray8", "nv12", "nv21", "nv16", "nv24", "nv42"}) | frozenset(
    f"{kind}{layout}p"
    for kind in ("yuv", "yuvj", "yuva")
    for layout in ("410", "411", "420", "422", "440", "444")
)  # fmt: skip
"""Formats whose first plane is 8-bit luma: ``mono8`` is that plane as it is stored, with no range expansion."""

_MONO16 = "gray16le"

COLOR_SCALE = "flags=bilinear+accurate_rnd+bitexact"
"""swscale flags under which its vector code gives the same bytes as its plain C code."""


class VideoReader(Closing):
    """The frames of one video file in presentation order, with their own times.

    Pixels: ``mono8`` (height, width) uint8, ``bgr8`` (height, width, 3) uint8, or ``mono16`` (height, width, 2), the
    bytes of 16-bit grey as they were written, which is only given where it is asked for: grey of more than 8 bits is
    never squeezed into 8. With ``pixel_format`` None a file is ``mono8`` when its stream's pixel format has no chroma
    (``GREY_FORMATS``) and ``bgr8`` otherwise; the samples are not looked at, so that the answer cannot depend on what
    happens to be filmed. (FFmpeg decodes monochrome H.264 as ``yuv420p``: ask for ``mono8`` where a file is known to be
    grey.) ``mono8`` of a YUV file is its luma plane as stored (a limited-range file keeps 16 for black); ``bgr8``
    follows the range and matrix that the stream declares. Rotation metadata is not applied.

    One thread opens, reads and closes a reader.

    Attributes:
        path: the file.
        width: pixels.
        height: pixels.
        pixel_format: ``mono8``, ``bgr8`` or ``mono16``.
        rate_hz: average frame rate; the frames' own times need not be even.
        n_frames: frames that the container announces, None where it does not.
        n_read: frames delivered so far.

    Args:
        path: any file that FFmpeg reads.
        pixel_format: what to deliver; None decides by the stream as above.
        n_threads: decoder threads; the pixels do not depend on it.
        allow_torn: end at the last whole frame of a truncated file instead of raising; for recordings that a crash
            left open.

    Raises:
        VideoError: the file is missing, empty, not a video, has no video stream, or holds more bits than are
            asked for; while reading: it is truncated or damaged, a frame has no time, times do not increase, or the
            frame size changes.
    """

    def __init__(
        self,
        path: Path | str,
        pixel_format: PixelFormat | None = None,
        n_threads: int = 1,
        allow_torn: bool = False,
    ) -> None:
        self.path = Path(path)
        self.n_read = 0
        self._allow_torn = allow_torn
        self._container = _open(self.path)
        try:
            stream = self._container.streams.video[0] if self._container.streams.video else None
            if stream is None:
                raise VideoError(f"{self.path}: has no video stream; give a file that holds video")
            context = stream.codec_context
            if not context.width or not context.height or context.pix_fmt is None:
                raise VideoError(
                    f"{self.path}: stream 0 states no picture size or pixel format, so it is damaged or not a video; "
                    "play it in a video player, and copy or export it again if that fails too"
                )
            rate = stream.average_rate or stream.guessed_rate
            if not rate:
                raise VideoError(f"{self.path}: states no frame rate; remux it with one (ffmpeg -i IN -c copy OUT.mkv)")
            context.thread_count = n_threads
            context.thread_type = "NONE" if n_threads == 1 else "AUTO"
        except BaseException:
            self._container.close()
            raise
        self.width: int = context.width
        self.height: int = context.height
        self.pixel_format: PixelFormat = pixel_format or ("mono8" if context.pix_fmt in GREY_FORMATS else "bgr8")
        if self.pixel_format == "mono16" and context.pix_fmt != _MONO16:
            self._container.close()
            raise VideoError(
                f"{self.path}: holds {context.pix_fmt}, which is not mono16 ({_MONO16}); read it as mono8 or bgr8"
            )
        if self.pixel_format != "mono16" and context.pix_fmt in DEEP_GREY_FORMATS:
            self._container.close()
            raise VideoError(
                f"{self.path}: holds {context.pix_fmt}, grey of more than 8 bits, and {self.pixel_format} has 8: which "
                "of them hold the picture is not in the file; give a copy of 8 bits, made with a scale of your choice"
            )
        self.rate_hz = float(rate)
        self.n_frames: int | None = stream.frames or None
        self._stream = stream
        self._graph: tuple[tuple[object, ...], av.filter.Graph] | None = None
        self._first_ns: int | None = None
        self._last_ns = -1
        self._n_packets = 0
        self._torn = False
        self._ends_early = is_cut(self.path, self._container.format.name)
        self._frames = self._decode()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame as a uint8 array."""
        return frame_shape(self.pixel_format, self.height, self.width)

    @property
    def torn(self) -> bool:
        """True once the end of a truncated file was met (only with ``allow_torn``)."""
        return self._torn

    def read_into(self, out: NDArray[np.uint8]) -> int | None:
        """Decode the next frame into ``out`` (``shape``, uint8, C-contiguous).

        Returns:
            Presentation time in ns since the first frame, None at the end of the file.

        Raises:
            VideoError: see the class; also when ``out`` does not have the right shape.
        """
        if out.shape != self.shape or out.dtype != np.uint8:
            raise VideoError(
                f"{self.path}: the buffer is {out.dtype} {out.shape}, its frames are uint8 {self.shape}; "
                "allocate it with VideoReader.shape"
            )
        frame = next(self._frames, None)
        if frame is None:
            return None
        pts_ns = self._time_of(frame)
        self._write_pixels(frame, out)
        self.n_read += 1
        return pts_ns

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield ``(pts_ns, image)`` from here to the end; every image is a new array."""
        while True:
            image = np.empty(self.shape, np.uint8)
            pts_ns = self.read_into(image)
            if pts_ns is None:
                return
            yield pts_ns, image

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._frames.close()
        self._container.close()

    def _decode(self) -> Generator[av.VideoFrame, None, None]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    yield from self._torn_end("a cut or damaged packet")
                    return
                self._n_packets += packet.size > 0
                for frame in packet.decode():
                    if frame.is_corrupt:
                        yield from self._torn_end("a frame that does not decode")
                        return
                    yield frame
        except av.error.FFmpegError as error:
            yield from self._torn_end(error.strerror or str(error))
            return
        if (self.n_frames is not None and self._n_packets < self.n_frames) or self._ends_early:
            yield from self._torn_end("the end of the file")

    def _torn_end(self, what: str) -> Iterator[av.VideoFrame]:
        if not self._allow_torn:
            of = f" of {self.n_frames}" if self.n_frames is not None else ""
            raise VideoError(
                f"{self.path}: truncated or damaged, {what} after {self.n_read} frames{of}; copy the file again "
                "from its source, or keep the readable part (ffmpeg -i IN -c copy OUT.mkv)"
            )
        self._torn = True
        # Frames that the decoder still holds are whole: they came before the cut.
        with suppress(av.error.FFmpegError):
            yield from (frame for frame in self._stream.decode(None) if not frame.is_corrupt)

    def _time_of(self, frame: av.VideoFrame) -> int:
        base = frame.time_base or self._stream.time_base
        if frame.pts is None or base is None:
            raise VideoError(
                f"{self.path}: frame {self.n_read} has no presentation time; remux it so that every frame has one "
                "(ffmpeg -fflags +genpts -i IN -c copy OUT.mkv)"
            )
        t_ns = frame.pts * base.numerator * NS_PER_S // base.denominator
        if self._first_ns is None:
            self._first_ns = t_ns
        pts_ns = t_ns - self._first_ns
        if pts_ns <= self._last_ns:
            raise VideoError(
                f"{self.path}: frame {self.n_read} is at {pts_ns} ns, not after the one before ({self._last_ns} ns); "
                "the times in the file are wrong: encode it again with a constant frame rate"
            )
        self._last_ns = pts_ns
        return pts_ns

    def _write_pixels(self, frame: av.VideoFrame, out: NDArray[np.uint8]) -> None:
        if (frame.width, frame.height) != (self.width, self.height):
            raise VideoError(
                f"{self.path}: frame {self.n_read} is {frame.width}x{frame.height}, the file began with "
                f"{self.width}x{self.height}; cut the file where the size changes"
            )
        if self.pixel_format == "mono8":
            if frame.format.name not in LUMA_PLANE_FORMATS:
                frame = self._convert(frame, "gray")
        elif self.pixel_format == "bgr8" and frame.format.name != "bgr24":
            frame = self._convert(frame, "bgr24")
        n_bytes = BYTES_PER_PIXEL[self.pixel_format] * self.width
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        out.reshape(self.height, n_bytes)[...] = rows[: self.height, :n_bytes]

    def _convert(self, frame: av.VideoFrame, name: str) -> av.VideoFrame:
        key = (frame.format.name, frame.colorspace, frame.color_range, name)
        if self._graph is None or self._graph[0] != key:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=self._stream.time_base
            )
            scale = graph.add("scale", COLOR_SCALE)
            pixel = graph.add("format", name)
            sink = graph.add("buffersink")
            source.link_to(scale)
            scale.link_to(pixel)
            pixel.link_to(sink)
            graph.configure()
            self._graph = (key, graph)
        graph = self._graph[1]
        graph.push(frame)
        converted = graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return converted


def _open(path: Path) -> av.container.InputContainer:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
    if not path.is_file():
        raise VideoError(f"{path}: is not a file; give the path of one video file")
    if size == 0:
        raise VideoError(f"{path}: is empty (0 bytes); copy or record it again")
    try:
        return av.open(str(path), "r")
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path}: cannot be read as video ({error.strerror or error}); it is truncated or not a video: play it in "
            "a video player, and copy or export it again if that fails too"
        ) from error
