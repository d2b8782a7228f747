"""A camera behind RTSP or HTTP.

Read with FFmpeg itself: OpenCV scales a stream that changes its size back to the first, and says nothing.
"""

import re
from typing import Literal

import av
import av.error
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from ..sync.errors import CameraLostError, CameraOpenError

_OPEN_S = 5.0
"""For a connection and its first frame."""


def without_password(url: str) -> str:
    """The URL as it may stand in a message."""
    # Users write @ into passwords unescaped, and some cameras take them as a parameter.
    return re.sub(r"(?i)(pass\w*|pwd)=[^&]*", r"\1=…", re.sub(r"//[^/]*@", "//…@", url))


class NetworkStream:
    """One connection, as a `FrameSource`.

    Args:
        name: the camera.
        url: ``rtsp://`` or ``http://``.
        pixel_format: what `read` gives.
        stall_s: silence that counts as a loss.
        rtsp_transport: how RTSP carries the pictures.

    Raises:
        CameraOpenError: nobody answers, or with something else than video.
    """

    def __init__(
        self,
        name: str,
        url: str,
        pixel_format: Literal["mono8", "bgr8"],
        stall_s: float,
        rtsp_transport: Literal["tcp", "udp"],
    ) -> None:
        self._name = name
        self._url = url
        self._stall_s = stall_s
        self._av_format = "gray" if pixel_format == "mono8" else "bgr24"
        options = {"rtsp_transport": rtsp_transport} if url.startswith("rtsp") else {}
        try:
            container = av.open(url, options={"fflags": "nobuffer", **options}, timeout=(_OPEN_S, stall_s))
        except (av.error.FFmpegError, OSError) as error:
            raise CameraOpenError(
                f"camera {name}: {without_password(url)} does not open ({_words(error)}); check address and "
                "cable, and that the camera is on"
            ) from error
        if not isinstance(container, InputContainer) or not container.streams.video:
            container.close()
            raise CameraOpenError(f"camera {name}: {without_password(url)} carries no video")
        self._container = container
        stream = container.streams.video[0]
        # Threads of the decoder by frame would each hold one back.
        stream.codec_context.thread_type = "SLICE"
        self.codec = stream.codec_context.name
        self._packets = container.demux(stream)
        self._waiting: list[NDArray[np.uint8]] = []

    def read(self) -> NDArray[np.uint8] | None:
        while not self._waiting:
            try:
                packet = next(self._packets)
            except (av.error.FFmpegError, OSError, StopIteration) as error:
                raise CameraLostError(
                    f"camera {self._name}: {without_password(self._url)}: nothing for {self._stall_s:g} s, or the "
                    f"connection was cut ({_words(error)})"
                ) from error
            if packet.dts is None and packet.size == 0:
                raise CameraLostError(f"camera {self._name}: {without_password(self._url)} has ended its stream")
            try:
                self._waiting.extend(self._array(frame) for frame in packet.decode())
            except av.error.FFmpegError:
                return None
        return self._waiting.pop(0)

    def close(self) -> None:
        self._container.close()

    def _array(self, frame: object) -> NDArray[np.uint8]:
        assert isinstance(frame, av.VideoFrame)
        return frame.to_ndarray(format=self._av_format).astype(np.uint8, copy=False)


def _words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
