"""From header to pixels: through a shared-memory ring on one host, inside the message over tcp; one API for both."""

from collections.abc import Mapping
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sync.errors import ConfigError, FrameOverwrittenError, SharedMemoryError, WireError
from .messages import FrameHeader
from .pixel_format import BYTES_PER_PIXEL, frame_shape
from .ring import RingReader, RingWriter, ring_prefix


class FrameSender:
    """Where a camera's pixels go. One thread.

    Args:
        session: id of the session, part of the ring's name.
        camera: name of the camera.
        epoch: of its process.
        shape: of one frame.
        n_slots: of the ring; with ``encoding`` raw or jpeg two are kept in private memory instead.
        encoding: ``ring`` on one host; ``raw`` or ``jpeg`` put the pixels into the message.
    """

    def __init__(
        self,
        session: str,
        camera: str,
        epoch: int,
        shape: tuple[int, ...],
        n_slots: int,
        encoding: Literal["ring", "raw", "jpeg"] = "ring",
        jpeg_quality: int = 90,
    ) -> None:
        if encoding == "jpeg" and len(shape) == 3 and shape[2] == BYTES_PER_PIXEL["mono16"]:
            raise ConfigError(
                f"camera {camera}: its frames are mono16, and JPEG holds 8 bits; set bus.pixels to ring or raw, or the "
                "camera's pixel_format to mono8"
            )
        self.encoding: Literal["ring", "raw", "jpeg"] = encoding
        self._jpeg = [int(cv2.IMWRITE_JPEG_QUALITY), jpeg_quality]
        self._ring = (
            RingWriter(f"{ring_prefix(session)}{camera}-{epoch}", shape, n_slots) if encoding == "ring" else None
        )
        self._private = np.empty(shape if self._ring is None else (0,), np.uint8)

    def acquire(self) -> NDArray[np.uint8]:
        """The image to fill next."""
        return self._private if self._ring is None else self._ring.acquire()

    def commit(self) -> tuple[str, int, int, bytes | None]:
        """Make the filled image readable: (ring, slot, generation, pixel part or None)."""
        if self._ring is not None:
            slot, generation = self._ring.commit()
            return self._ring.name, slot, generation, None
        if self.encoding == "raw":
            return "", 0, 0, self._private.tobytes()
        ok, jpeg = cv2.imencode(".jpg", self._private, self._jpeg)
        if not ok:
            raise WireError(f"a frame of shape {self._private.shape} could not be encoded as JPEG")
        return "", 0, 0, jpeg.tobytes()

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()


class FrameReceiver:
    """Gives the pixels of a header. One thread; rings are attached when first named and kept."""

    def __init__(self) -> None:
        self._rings: dict[str, tuple[int, RingReader]] = {}

    def attach(self, header: FrameHeader) -> None:
        """Map the ring that a header names, so that it stays readable after its camera has gone.

        Raises:
            SharedMemoryError: the ring is not there.
        """
        epoch, _ = self._rings.get(header.camera, (-1, None))
        if header.ring and header.epoch > epoch:
            # A camera that starts again brings a new ring: the old one is let go, and never attached again.
            self._rings[header.camera] = header.epoch, RingReader(header.ring)

    def view(self, header: FrameHeader, pixels: memoryview | None = None) -> NDArray[np.uint8]:
        """The image of a header, uint8 in the shape of `frame_shape`; read-only, no copy unless JPEG.

        Call `check` after the pixels were used.

        Raises:
            FrameOverwrittenError: too late, the slot holds another frame.
            SharedMemoryError: the ring is gone, or is not what the header says.
            WireError: the pixel part is missing or does not fit the header.
        """
        shape = frame_shape(header.pixel_format, header.height, header.width)
        if header.ring:
            self.attach(header)
            ring = self._ring(header)
            if ring.shape != shape:
                raise SharedMemoryError(
                    f"camera {header.camera}: ring {header.ring} holds {ring.shape}, header says {shape}"
                )
            return ring.view(header.slot, header.generation)
        if pixels is None:
            raise WireError(f"camera {header.camera}: frame {header.seq} came without its pixel part")
        if header.encoding == "jpeg":
            flag = cv2.IMREAD_GRAYSCALE if header.pixel_format == "mono8" else cv2.IMREAD_COLOR
            image = cv2.imdecode(np.frombuffer(pixels, np.uint8), flag)
            if image is None or image.shape != shape:  # pyright: ignore[reportUnnecessaryComparison]
                raise WireError(f"camera {header.camera}: frame {header.seq} is not a JPEG of {shape}")
            return image.astype(np.uint8, copy=False)
        if len(pixels) != int(np.prod(shape)):
            raise WireError(f"camera {header.camera}: frame {header.seq} has {len(pixels)} bytes, header says {shape}")
        return np.frombuffer(pixels, np.uint8).reshape(shape)

    def check(self, header: FrameHeader) -> None:
        """Raise FrameOverwrittenError when the pixels of ``header`` may have changed while they were used."""
        if header.ring:
            self._ring(header).check(header.slot, header.generation)

    def check_all(self, headers: Mapping[str, FrameHeader]) -> None:
        """As `check`, for the frames of a set, by camera."""
        for header in headers.values():
            self.check(header)

    def _ring(self, header: FrameHeader) -> RingReader:
        _, ring = self._rings.get(header.camera, (-1, None))
        if ring is None or ring.name != header.ring:
            raise FrameOverwrittenError(f"camera {header.camera}: frame {header.seq} lies in a ring that was let go")
        return ring
