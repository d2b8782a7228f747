"""Writing of one camera's video: Matroska, one thread, readable up to the last frame but one after a crash.

Every frame is one packet in the order written (no B-frames, no look-ahead), so the i-th packet of a file is the i-th
frame. The container's time base is 1 ms; pts are milliseconds since the recording's start, strictly increasing.
"""

import errno
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.container
import av.error
import av.video.stream
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from ..sync.clock import NS_PER_MS
from ..sync.closing import Closing
from ..sync.errors import DiskFullError, VideoError
from .pixel_format import PixelFormat, frame_shape
from .recording_config import LOSSLESS_16_BIT, CodecName
from .video_tail import VideoTail, tail_path, write_tail

CONTAINER_OPTIONS = {
    # Every frame ends the cluster before it, which then goes to the file: one frame is held back, and no more.
    "cluster_time_limit": "0",
    "flush_packets": "1",
    # Raw colour has no native Matroska form; this one is read by every FFmpeg.
    "allow_raw_vfw": "1",
}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_TIME_BASE = Fraction(1, 1000)
_X264 = {"preset": "ultrafast", "tune": "zerolatency"}
_MJPEG = {"qmin": "3", "qmax": "3"}


class _Recipe(NamedTuple):
    """How one codec is driven. ``frame``: layout that is filled here; ``coded``: layout that the encoder is given."""

    encoder: str
    frame: str
    coded: str
    full_range: bool
    options: dict[str, str]


def _recipe(codec: CodecName, pixel_format: PixelFormat, even: bool, crf: int) -> _Recipe:
    chroma = "yuv420p" if even else "yuv444p"
    recipes: dict[tuple[CodecName, PixelFormat], _Recipe] = {
        ("h264", "mono8"): _Recipe("libx264", "gray", "gray", True, {**_X264, "crf": str(crf)}),
        ("h264", "bgr8"): _Recipe("libx264", "bgr24", chroma, False, {**_X264, "crf": str(crf)}),
        ("h264_lossless", "mono8"): _Recipe("libx264", "gray", "gray", True, {**_X264, "qp": "0"}),
        ("h264_lossless", "bgr8"): _Recipe("libx264rgb", "bgr24", "bgr24", True, {**_X264, "qp": "0"}),
        ("ffv1", "mono8"): _Recipe("ffv1", "gray", "gray", True, {"level": "3"}),
        ("ffv1", "bgr8"): _Recipe("ffv1", "bgr0", "bgr0", True, {"level": "3"}),
        ("mjpeg", "mono8"): _Recipe("mjpeg", "yuv420p", "yuv420p", True, _MJPEG),
        ("mjpeg", "bgr8"): _Recipe("mjpeg", "bgr24", "yuv420p", True, _MJPEG),
        ("raw", "mono8"): _Recipe("rawvideo", "gray", "gray", True, {}),
        ("raw", "bgr8"): _Recipe("rawvideo", "bgr24", "bgr24", True, {}),
        ("ffv1", "mono16"): _Recipe("ffv1", "gray16le", "gray16le", True, {"level": "3"}),
    }
    return recipes[(codec, pixel_format)]


def frame_pts_ms(t_ns: int, t_start_ns: int, last_pts_ms: int) -> int:
    """Presentation time of a frame exposed at ``t_ns``, in ms since the recording began.

    Strictly increasing: a frame within the same millisecond as the last one, or before it, gets the next millisecond.
    ``last_pts_ms`` is -1 for the first frame. Writer and `verify` share this rule.
    """
    return max((t_ns - t_start_ns) // NS_PER_MS, last_pts_ms + 1)


class VideoWriter(Closing):
    """One video file. One thread writes and closes it.

    ``h264_lossless``, ``ffv1`` and ``raw`` give back the bytes that were written, ``mono8`` and ``bgr8`` alike;
    ``h264`` and ``mjpeg`` do not. Grey stays monochrome (one luma plane of full range) except in ``mjpeg``.

    Attributes:
        path: the file.
        n_written: frames handed to the encoder.

    Args:
        path: file to create; an existing one is not overwritten.
        codec: see `RecordingConfig`.
        width: pixels.
        height: pixels.
        pixel_format: ``mono8``, ``bgr8`` or, in ``ffv1``, ``mono16``; shapes as in `frame_shape`.
        rate_hz: nominal rate, for the header and the key frame distance (1 s).
        t_start_ns: rig time of pts 0.
        crf: quality of ``h264``.

    Raises:
        VideoError: the file cannot be created, or the encoder refuses the format.
        DiskFullError: no space left.
    """

    def __init__(
        self,
        path: Path,
        codec: CodecName,
        width: int,
        height: int,
        pixel_format: PixelFormat,
        rate_hz: float,
        t_start_ns: int = 0,
        crf: int = 20,
    ) -> None:
        if width < 1 or height < 1 or rate_hz <= 0:
            raise VideoError(f"{path}: {width}x{height} at {rate_hz} Hz is not a video; check the camera's format")
        self.path = path
        self.codec: CodecName = codec
        self.n_written = 0
        self._t_start_ns = t_start_ns
        self._last_pts_ms = -1
        self._shape = frame_shape(pixel_format, height, width)
        if pixel_format == "mono16" and codec not in LOSSLESS_16_BIT:
            raise VideoError(
                f"{path}: {codec} cannot hold mono16 frames; set recording.codec to "
                f"{' or '.join(sorted(LOSSLESS_16_BIT))}"
            )
        self._recipe = _recipe(codec, pixel_format, width % 2 == 0 and height % 2 == 0, crf)
        if path.exists():
            raise VideoError(f"{path}: exists; a recording never overwrites a video, choose another folder")
        self._closed = False
        self._held: av.Packet[av.video.stream.VideoStream] | None = None
        try:
            self._container: av.container.OutputContainer = av.open(
                str(path), "w", format="matroska", container_options=CONTAINER_OPTIONS
            )
        except (av.error.FFmpegError, OSError) as error:
            raise _explained(path, "cannot be created", error) from error
        try:
            self._stream = self._add_stream(width, height, rate_hz)
            self._frame = av.VideoFrame(width, height, self._recipe.frame)
            if self._recipe.full_range:
                self._frame.color_range = ColorRange.JPEG
            self._target = self._frame_view(width, height, pixel_format)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._abort()
            raise _explained(path, f"cannot be created as {codec} of {width}x{height} {pixel_format}", error) from error

    def _add_stream(self, width: int, height: int, rate_hz: float) -> av.video.stream.VideoStream:
        rate = Fraction(rate_hz).limit_denominator(1001)
        stream = self._container.add_stream(self._recipe.encoder, rate=rate, options=self._recipe.options)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, self._recipe.coded
        stream.time_base = _TIME_BASE
        context = stream.codec_context
        context.time_base = _TIME_BASE
        context.thread_count = 1
        if self._recipe.encoder != "rawvideo":
            # FFV1 carries its statistics from frame to frame unless every frame is a key frame.
            context.gop_size = 1 if self._recipe.encoder == "ffv1" else max(1, round(rate_hz))
        if self._recipe.full_range:
            context.color_range = ColorRange.JPEG
        # The header is on the disk before the first frame comes, so that the file opens from then on.
        self._container.start_encoding()
        return stream

    def _frame_view(self, width: int, height: int, pixel_format: PixelFormat) -> NDArray[np.uint8]:
        planes = self._frame.planes
        for plane in planes[1:]:
            np.frombuffer(memoryview(plane), np.uint8)[...] = 128
        rows = np.frombuffer(memoryview(planes[0]), np.uint8).reshape(-1, planes[0].line_size)[:height]
        if pixel_format == "mono8":
            return rows[:, :width]
        if pixel_format == "mono16":
            return rows[:, : 2 * width].reshape(height, width, 2)
        if self._recipe.frame == "bgr0":
            rows[...] = 0
            return rows[:, : 4 * width].reshape(height, width, 4)[:, :, :3]
        return rows[:, : 3 * width].reshape(height, width, 3)

    def load(self, image: NDArray[np.uint8]) -> None:
        """Copy the pixels of the next frame; ``image`` may change from then on. `encode` or another `load` follows.

        Raises:
            VideoError: wrong shape or type.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise VideoError(
                f"{self.path}: the frame is {image.dtype} {image.shape}, this video holds uint8 {self._shape}; "
                "a camera that changes its format needs a new recording"
            )
        self._target[...] = image

    def encode(self, t_ns: int) -> None:
        """Write the loaded frame, exposed at rig time ``t_ns``.

        Raises:
            DiskFullError: no space left; nothing more can be written to this file.
            VideoError: the encoder or the disk failed.
        """
        pts_ms = frame_pts_ms(t_ns, self._t_start_ns, self._last_pts_ms)
        try:
            frame = self._frame
            if self._recipe.coded != self._recipe.frame:
                color_range = ColorRange.JPEG if self._recipe.full_range else ColorRange.MPEG
                frame = frame.reformat(format=self._recipe.coded, dst_color_range=color_range)
            frame.pts = pts_ms
            frame.time_base = _TIME_BASE
            for packet in self._stream.encode(frame):
                self._container.mux_one(packet)
                self._held = packet
        except (av.error.FFmpegError, OSError) as error:
            raise _explained(self.path, f"frame {self.n_written} cannot be written", error) from error
        self._last_pts_ms = pts_ms
        self.n_written += 1

    def write(self, image: NDArray[np.uint8], t_ns: int) -> None:
        """`load` and `encode`.

        Args:
            image: uint8 in the shape of `frame_shape`, any strides.
            t_ns: start of exposure, rig time.
        """
        self.load(image)
        self.encode(t_ns)

    def keep_tail(self) -> None:
        """The camera pauses: put the frame that the container holds back beside the video. Once per pause is enough.

        Raises:
            DiskFullError, VideoError: it could not be written.
        """
        packet, self._held = self._held, None
        if packet is None:
            return
        try:
            write_tail(self.path, VideoTail(packet.pts or 0, packet.is_keyframe, bytes(packet)))
        except OSError as error:
            raise _explained(self.path, "its last frame cannot be kept", error) from error

    def close(self) -> None:
        """Write what is left and the index; may be called twice.

        Raises:
            DiskFullError, VideoError: the end could not be written; the file opens up to there.
        """
        if self._closed:
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            self._abort()
            raise _explained(self.path, "cannot be closed", error) from error
        self._closed = True
        tail_path(self.path).unlink(missing_ok=True)

    def _abort(self) -> None:
        self._closed = True
        with suppress(av.error.FFmpegError, OSError):
            self._container.close()


def _explained(path: Path, what: str, error: Exception) -> VideoError | DiskFullError:
    number = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error)
    if number in _NO_SPACE:
        return DiskFullError(f"{path}: {what}, no space left on the disk; free some, or record to another disk")
    return VideoError(f"{path}: {what} ({reason}); check the folder, the disk and the codec")
